//! A coding agent's command line without an agent in it: it behaves in a terminal as real ones do, and does what a script says.
//!
//! It needs a terminal, switches it to single keys, draws a prompt `> ` in bold, shows what is typed itself, takes pasted text in
//! brackets, turns a mark while it works, asks before it does something, and obeys Escape and Ctrl-C. Each prompt runs the script:
//!
//! ```text
//! say TEXT          a line; {prompt} stands for the prompt
//! err TEXT          a line, on standard error
//! spin MS           works for so long
//! silent MS         the same, without a mark that turns
//! ask QUESTION      asks `QUESTION (y/n) `, again and again until one of both is typed; goes on with the script if it is y
//! edit FILE TEXT    writes a file in its folder
//! exit CODE         ends
//! ```
//!
//! A prompt that is its last argument is run at once; then it ends. So is one on standard input, with `--print`.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Read, Write},
    os::fd::AsFd as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr},
};

/// Its command line.
#[derive(Debug, Parser)]
#[command(name = "axiom-fake-agent")]
pub struct FakeAgent {
    /// Steps, one a line or with `;` between them.
    #[arg(long, default_value = "say you said: {prompt}")]
    script: String,
    /// Read the prompt from standard input, without a terminal.
    #[arg(long)]
    print: bool,
    /// How long it takes until it is ready.
    #[arg(long, default_value_t = 0)]
    start_ms: u64,
    /// Run this, and end.
    prompt: Option<String>,
}

/// How a step, or all of them, went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    On,
    Interrupted,
    Ended(u8),
}

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Char(u8),
    Enter,
    Escape,
    /// Pasted, in brackets.
    Paste(Vec<u8>),
    EndOfInput,
}

struct Screen {
    keys: VecDeque<u8>,
    /// What was typed while it worked, for the next prompt.
    ahead: VecDeque<Key>,
    is_interactive: bool,
    before: Option<Termios>,
}

const FRAMES: [&str; 4] = ["|", "/", "-", "\\"];
const FRAME: Duration = Duration::from_millis(80);

impl FakeAgent {
    /// Runs until it has ended.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.print {
            let mut prompt = String::new();
            io::stdin().read_to_string(&mut prompt)?;
            let mut screen = Screen {
                keys: VecDeque::new(),
                ahead: VecDeque::new(),
                is_interactive: false,
                before: None,
            };
            return Ok(code(screen.script(&self.script, &prompt)?));
        }
        if !io::stdin().is_terminal() {
            writeln!(io::stderr(), "this needs a terminal")?;
            return Ok(ExitCode::from(2));
        }
        let mut screen = Screen::open()?;
        std::thread::park_timeout(Duration::from_millis(self.start_ms));
        if let Some(prompt) = &self.prompt {
            return Ok(code(screen.script(&self.script, prompt)?));
        }
        screen.show("\x1b]0;fake agent\x07\x1b[2mfake agent 1.0\x1b[0m\r\n\r\n\x1b[?2004h")?;
        loop {
            let Some(prompt) = screen.prompt()? else {
                return Ok(ExitCode::SUCCESS);
            };
            match screen.script(&self.script, &prompt)? {
                Went::On => {}
                Went::Interrupted => screen.show("\r\x1b[2Kinterrupted\r\n")?,
                ended => return Ok(code(ended)),
            }
        }
    }
}

fn code(went: Went) -> ExitCode {
    match went {
        Went::On => ExitCode::SUCCESS,
        Went::Interrupted => ExitCode::from(130),
        Went::Ended(code) => ExitCode::from(code),
    }
}

impl Screen {
    fn open() -> anyhow::Result<Screen> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Screen {
            keys: VecDeque::new(),
            ahead: VecDeque::new(),
            is_interactive: true,
            before: Some(before),
        })
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Lines that a person gives; nothing when it is told to end.
    fn prompt(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.show("\x1b[1m>\x1b[0m ")?;
        loop {
            let key = match self.ahead.pop_front() {
                Some(key) => Some(key),
                None => self.key(None)?,
            };
            match key {
                Some(Key::Enter) => {
                    self.show("\r\n")?;
                    let line = String::from_utf8_lossy(&line).into_owned();
                    return Ok((line != "/exit").then_some(line));
                }
                Some(Key::EndOfInput) => return Ok(None),
                Some(Key::Char(3)) if line.is_empty() => return Ok(None),
                Some(Key::Char(3)) => line.clear(),
                Some(Key::Char(byte)) => line.push(byte),
                Some(Key::Paste(text)) => line.extend(text),
                Some(Key::Escape) | None => {}
            }
            let shown = String::from_utf8_lossy(&line).replace('\n', "\r\n  ");
            self.show(&format!("\r\x1b[K\x1b[1m>\x1b[0m {shown}"))?;
        }
    }

    fn script(&mut self, script: &str, prompt: &str) -> anyhow::Result<Went> {
        for step in script
            .split(['\n', ';'])
            .map(str::trim)
            .filter(|step| !step.is_empty())
        {
            let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
            let went = match verb {
                "say" => {
                    self.show(&format!("{}\r\n", rest.replace("{prompt}", prompt)))?;
                    Went::On
                }
                "err" => {
                    writeln!(io::stderr(), "{rest}")?;
                    Went::On
                }
                "spin" => self.work(Duration::from_millis(rest.parse()?), true)?,
                "silent" => self.work(Duration::from_millis(rest.parse()?), false)?,
                "ask" => self.ask(rest)?,
                "edit" => {
                    let (file, text) = rest.split_once(' ').unwrap_or((rest, ""));
                    std::fs::write(file, text)?;
                    Went::On
                }
                "exit" => Went::Ended(rest.parse()?),
                _ => anyhow::bail!("{step:?} is no step"),
            };
            if went != Went::On {
                return Ok(went);
            }
        }
        Ok(Went::On)
    }

    fn work(&mut self, time: Duration, is_shown: bool) -> io::Result<Went> {
        let until = Instant::now() + time;
        let mut frames = FRAMES.iter().cycle();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.show(if is_shown { "\r\x1b[2K" } else { "" })?;
                return Ok(Went::On);
            }
            if is_shown {
                let frame = frames.next().unwrap_or(&"");
                self.show(&format!("\r\x1b[2K\x1b[36m{frame}\x1b[0m working"))?;
            }
            match self.key(Some(left.min(FRAME)))? {
                key if is_stop(key.clone()) => return Ok(Went::Interrupted),
                key => self.ahead.extend(key),
            }
        }
    }

    fn ask(&mut self, question: &str) -> io::Result<Went> {
        let question = format!("\x1b[33m{question}\x1b[0m (y/n) ");
        self.show(&question)?;
        loop {
            match self.key(Some(Duration::from_millis(300)))? {
                // As those do that draw their screen now and then.
                None => self.show(&format!("\r\x1b[2K{question}"))?,
                Some(Key::Char(b'y')) => {
                    self.show("y\r\n")?;
                    return Ok(Went::On);
                }
                Some(Key::Char(b'n')) => {
                    self.show("n\r\nnot allowed\r\n")?;
                    return Ok(Went::Interrupted);
                }
                key if is_stop(key.clone()) => return Ok(Went::Interrupted),
                Some(_) => {}
            }
        }
    }

    /// The next key; nothing if none comes in this time.
    fn key(&mut self, time: Option<Duration>) -> io::Result<Option<Key>> {
        if !self.is_interactive {
            std::thread::park_timeout(time.unwrap_or_default());
            return Ok(None);
        }
        if self.keys.is_empty() && !self.read(time)? {
            return Ok(None);
        }
        let Some(first) = self.keys.pop_front() else {
            return Ok(Some(Key::EndOfInput));
        };
        Ok(Some(match first {
            b'\r' | b'\n' => Key::Enter,
            4 => Key::EndOfInput,
            0x1b if self.keys.front() == Some(&b'[') => self.paste()?,
            0x1b => Key::Escape,
            byte => Key::Char(byte),
        }))
    }

    /// After an Escape: what was pasted, up to the bracket at its end. Other sequences are nothing.
    fn paste(&mut self) -> io::Result<Key> {
        let mut text = Vec::new();
        while !text.ends_with(b"\x1b[201~") {
            if self.keys.is_empty() && !self.read(Some(Duration::from_secs(5)))? {
                break;
            }
            text.extend(self.keys.pop_front());
        }
        let text = text.strip_prefix(b"[200~").unwrap_or(&text);
        Ok(Key::Paste(
            text.strip_suffix(b"\x1b[201~").unwrap_or(text).to_vec(),
        ))
    }

    /// False if nothing has come. At the end of the input something has, which is nothing.
    fn read(&mut self, time: Option<Duration>) -> io::Result<bool> {
        let stdin = io::stdin();
        let time = time.map(|time| Timespec::try_from(time).unwrap_or_default());
        let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        if poll(&mut fds, time.as_ref())? == 0 {
            return Ok(false);
        }
        let mut buffer = [0; 4096];
        let count = rustix::io::read(&stdin, &mut buffer)?;
        self.keys.extend(&buffer[..count]);
        Ok(true)
    }
}

fn is_stop(key: Option<Key>) -> bool {
    matches!(key, Some(Key::Escape | Key::Char(3) | Key::EndOfInput))
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may be gone.
            tcsetattr(io::stdin(), OptionalActions::Now, before).ok();
        }
    }
}
