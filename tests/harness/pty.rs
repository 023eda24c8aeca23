//! A program at a terminal: what it shows, what is typed, and what became of the terminal.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::wait;

/// A program whose session's terminal is ours.
pub struct Pty {
    child: Child,
    ours: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
    /// Ends when nobody has the terminal open any more.
    reader: std::thread::JoinHandle<()>,
}

impl Pty {
    /// Starts what the command says, at a terminal of that size.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Pty {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let open = || {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).unwrap()
        };
        tcsetwinsize(&ours, size(columns, rows)).unwrap();
        // It makes the terminal that of a new session, and becomes the program.
        let mut inside = Command::new("setsid");
        inside
            .arg("-c")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside.env("TERM", "xterm-256color");
        let child = inside
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .unwrap();
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let (screen, shown) = (Arc::clone(&seen), ours.try_clone().unwrap());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = rustix::io::read(&shown, &mut buffer) {
                screen.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        // With it go the ends of the terminal that the program was given.
        drop(inside);
        Pty {
            child,
            ours,
            seen,
            reader,
        }
    }

    /// Everything it has shown.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until it has shown that.
    pub fn wait(&self, part: &str) {
        let shown = wait::within(wait::DEADLINE, || self.text().contains(part).then_some(()));
        assert!(shown.is_some(), "it never shows {part:?}, only {:?}", self.text());
    }

    /// What stands on the screen, line by line: as much of a terminal as programs need that put text where they want it.
    pub fn screen(&self) -> String {
        let text = self.text();
        let mut lines: Vec<Vec<char>> = Vec::new();
        let (mut row, mut column) = (0, 0);
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            match letter {
                '\r' => column = 0,
                '\n' => row += 1,
                '\x1b' if rest.next_if_eq(&'[').is_some() => {
                    let mut parameters = String::new();
                    while let Some(byte) = rest.next_if(|next| !('@'..='~').contains(next)) {
                        parameters.push(byte);
                    }
                    let number = |nth: usize| {
                        let number = parameters
                            .split(';')
                            .nth(nth)
                            .and_then(|number| number.parse().ok());
                        number.unwrap_or(1_usize).saturating_sub(1)
                    };
                    match rest.next() {
                        Some('H') => (row, column) = (number(0), number(1)),
                        // Where the whole screen goes, or another one comes.
                        Some('J') => lines.clear(),
                        Some('h' | 'l') if parameters == "?1049" => lines.clear(),
                        _ => {}
                    }
                }
                letter => {
                    lines.resize(lines.len().max(row + 1), Vec::new());
                    let line = &mut lines[row];
                    line.resize(line.len().max(column + 1), ' ');
                    line[column] = letter;
                    column += 1;
                }
            }
        }
        let lines = lines.into_iter().map(|line| line.into_iter().collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Waits until that stands on the screen.
    pub fn wait_screen(&self, part: &str) {
        let shown = wait::within(wait::DEADLINE, || self.screen().contains(part).then_some(()));
        assert!(
            shown.is_some(),
            "{part:?} never stands on the screen:\n{}",
            self.screen()
        );
    }

    pub fn write(&self, keys: &str) {
        let mut bytes = keys.as_bytes();
        while !bytes.is_empty() {
            let count = rustix::io::write(&self.ours, bytes).unwrap();
            bytes = &bytes[count..];
        }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.ours, size(columns, rows)).unwrap();
    }

    /// Whether the terminal makes lines and shows what is typed, as at first.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.ours).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub fn until_raw(&self) {
        wait::until("the terminal is raw", || (!self.is_cooked()).then_some(()));
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended and all that it showed is here, and gives its code.
    pub fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let ended = wait::within(wait::DEADLINE, || child.try_wait().unwrap());
        match ended {
            Some(status) => {
                wait::until("all is read", || self.reader.is_finished().then_some(()));
                status.code()
            }
            None => panic!("it does not end; it showed {:?}", self.text()),
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
