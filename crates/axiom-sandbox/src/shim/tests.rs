//! A shim with a real command, and a client at its socket.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::*;
use crate::limits::Limits;
use crate::output::{Next, Reader};
use crate::spawner::start;
use crate::spawner::walls::Ground;
use crate::spec::{Executor, Grants, Size};
use crate::wire::{Message, UNREAD_BYTES_MAX};

/// A shim takes all children of its process for its own: here only one at a time may be.
static ALONE: Mutex<()> = Mutex::new(());

struct Task {
    folder: tempfile::TempDir,
    shim: JoinHandle<io::Result<Exit>>,
    client: UnixStream,
    heard: Vec<u8>,
    _alone: MutexGuard<'static, ()>,
}

fn spec(script: &str) -> Spec {
    Spec {
        id: "test".to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
        folder: "/".into(),
        terminal: None,
        limits: Limits::default(),
        executor: Executor::Process,
        grants: Grants::default(),
        spool_bytes: 1 << 20,
    }
}

fn task(spec: Spec) -> Task {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().to_owned();
    let listener = UnixListener::bind(path.join(SOCKET)).unwrap();
    let client = UnixStream::connect(path.join(SOCKET)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let file = Writer::create(&path.join(OUTPUT)).unwrap();
    // The command dies with the thread that starts it.
    let shim = std::thread::spawn(move || {
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
        let started = start::start(&spec, &Ground::none()).map_err(io::Error::other)?;
        run(&path, spec, file, listener, started)
    });
    Task {
        folder,
        shim,
        client,
        heard: Vec::new(),
        _alone: alone,
    }
}

impl Task {
    fn ask(&mut self, request: Request) {
        let mut bytes = Vec::new();
        Message::Request(request).push(&mut bytes);
        self.client.write_all(&bytes).unwrap();
    }

    fn put(&mut self, input: &[u8]) {
        let mut bytes = Vec::new();
        Message::Input(input.to_vec()).push(&mut bytes);
        self.client.write_all(&bytes).unwrap();
    }

    fn hear(&mut self) -> Reply {
        loop {
            if let Some((message, took)) = Message::read(&self.heard).unwrap() {
                self.heard.drain(..took);
                match message {
                    Message::Reply(reply) => return reply,
                    other => panic!("{other:?}"),
                }
            }
            let mut buffer = [0; 4096];
            let count = self.client.read(&mut buffer).unwrap();
            assert!(count > 0, "the shim is gone");
            self.heard.extend_from_slice(&buffer[..count]);
        }
    }

    /// The answer to the request before, past any news.
    fn reply(&mut self) -> Reply {
        loop {
            match self.hear() {
                Reply::Grown(_) | Reply::Read(_) => {}
                reply => return reply,
            }
        }
    }

    fn status(&mut self) -> Status {
        self.ask(Request::Status);
        match self.reply() {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until there is output with this in it.
    fn until(&mut self, text: &str) {
        while !self.output().contains(text) {
            let (Reply::Grown(_) | Reply::Read(_)) = self.hear() else {
                panic!("it ended without {text:?}: {:?}", self.output());
            };
        }
    }

    fn output(&self) -> String {
        read_output(&self.folder.path().join(OUTPUT))
    }

    /// How it ended, as the shim says, as the file says, and as the client was told; and its output.
    fn end(mut self) -> (How, String) {
        let exit = self.shim.join().unwrap().unwrap();
        let path = self.folder.path();
        assert_eq!(Exit::read(&path.join(EXIT)).unwrap().as_ref(), Some(&exit));
        UnixStream::connect(path.join(SOCKET)).unwrap_err();
        let told = {
            self.shim = std::thread::spawn(|| Err(io::Error::other("joined")));
            loop {
                match self.hear() {
                    Reply::Ended(told) => break told,
                    _ => continue,
                }
            }
        };
        assert_eq!(told, exit);
        let output = self.output();
        assert_eq!(exit.output_bytes, output.len() as u64);
        (exit.how, output)
    }
}

fn read_output(path: &Path) -> String {
    let mut reader = Reader::open(path).unwrap();
    let mut all = Vec::new();
    while let Next::Frame(frame) = reader.next(false).unwrap() {
        all.extend_from_slice(frame.bytes);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn output_and_code_are_kept() {
    let task = task(spec("echo out; echo err >&2; exit 7"));
    let (how, output) = task.end();
    assert_eq!(how, How::Code(7));
    assert!(output.contains("out\n") && output.contains("err\n"), "{output}");
}

#[test]
fn a_signal_is_told_from_a_code() {
    assert_eq!(task(spec("kill -9 $$")).end().0, How::Signal(9));
}

#[test]
fn input_goes_in_and_ends() {
    let mut task = task(spec("cat; echo end"));
    let long = "a line of input\n".repeat(15_000);
    task.put(long.as_bytes());
    task.ask(Request::EndInput);
    let (how, output) = task.end();
    assert_eq!(how, How::Code(0));
    assert_eq!(output, format!("{long}end\n"));
}

/// Whoever put in the beginning has died. The next one says all of it again, and the command reads each byte once.
#[test]
fn a_first_input_is_read_once_by_whomever_it_is_put_in() {
    let mut task = task(spec("cat; echo end"));
    let first = Request::FirstInput {
        bytes: 10,
        ends: true,
    };
    task.ask(first.clone());
    assert_eq!(task.reply(), Reply::Done);
    task.put(b"one\nt");
    task.until("one");
    task.client = UnixStream::connect(task.folder.path().join(SOCKET)).unwrap();
    task.heard.clear();
    task.ask(first);
    task.put(b"on");
    task.put(b"e\ntwo\nxx");
    // Behind the end, which comes once.
    task.put(b"more");
    assert_eq!(task.end(), (How::Code(0), "one\ntwo\nxxend\n".to_owned()));
}

#[test]
fn input_that_nobody_reads_holds_up_nothing_but_itself() {
    let mut task = task(spec("echo ready; sleep 30"));
    task.until("ready");
    // The command's pipe takes some; the rest waits in the shim.
    task.put(&vec![b'x'; UNREAD_BYTES_MAX]);
    let status = task.status();
    assert!(
        (100_000..UNREAD_BYTES_MAX).contains(&status.input_bytes),
        "{status:?}"
    );
    let why = "enough".to_owned();
    task.ask(Request::Kill { why: why.clone() });
    assert_eq!(task.end().0, How::Killed { why });
}

#[test]
fn a_client_with_more_unread_input_than_agreed_is_let_go() {
    let mut task = task(spec("sleep 30"));
    let mut other = UnixStream::connect(task.folder.path().join(SOCKET)).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = Vec::new();
    Message::Input(vec![b'x'; 2 * UNREAD_BYTES_MAX]).push(&mut bytes);
    // Half of it may not even be taken.
    other.write_all(&bytes).ok();
    other.read_to_end(&mut Vec::new()).ok();
    assert!(task.status().input_bytes > 0);
    task.ask(Request::Kill { why: String::new() });
    task.end();
}

#[test]
fn a_client_is_told_how_much_was_read() {
    let mut task = task(spec("head -c 100000 >/dev/null; echo read; sleep 30"));
    task.put(&vec![b'x'; 150_000]);
    let mut read = 0;
    while read < 50_000 {
        if let Reply::Read(bytes) = task.hear() {
            read += bytes;
        }
    }
    task.until("read");
    task.ask(Request::Kill { why: String::new() });
    task.end();
}

#[test]
fn a_terminal_is_one_and_has_a_size() {
    let mut spec = spec("tty; stty size; read line; echo got $line; stty size");
    spec.terminal = Some(Size {
        columns: 80,
        rows: 24,
    });
    let mut task = task(spec);
    task.until("24 80");
    task.ask(Request::Resize(Size {
        columns: 132,
        rows: 50,
    }));
    assert_eq!(task.reply(), Reply::Done);
    task.put(b"hello\n");
    let (how, output) = task.end();
    assert_eq!(how, How::Code(0));
    assert!(output.starts_with("/dev/pts/"), "{output}");
    assert!(
        output.contains("got hello") && output.ends_with("50 132\r\n"),
        "{output}"
    );
}

#[test]
fn a_terminals_input_ends_too() {
    let mut spec = spec("cat; echo end");
    spec.terminal = Some(Size {
        columns: 80,
        rows: 24,
    });
    let mut task = task(spec);
    task.put(b"a\n");
    task.until("a\r\na");
    task.ask(Request::EndInput);
    assert!(task.end().1.ends_with("end\r\n"));
}

#[test]
fn a_signal_reaches_the_whole_group() {
    let mut task = task(spec(
        "trap 'echo caught; exit 3' INT; sleep 30 & echo ready; wait",
    ));
    task.until("ready");
    task.ask(Request::Signal(2));
    assert_eq!(task.reply(), Reply::Done);
    task.until("caught");
    assert_eq!(task.end().0, How::Code(3));
}

#[test]
fn killing_leaves_nothing_not_even_daemons() {
    let script =
        "setsid sh -c 'echo $$; exec sleep 60' & (setsid sh -c 'sleep 1000 & echo $!; wait' &) ; sleep 60";
    let mut task = task(spec(script));
    while task.output().lines().count() < 2 {
        task.hear();
    }
    let daemons = task.output();
    assert!(daemons.lines().all(is_alive), "{daemons}");
    task.ask(Request::Kill {
        why: "test".to_owned(),
    });
    assert_eq!(
        task.end().0,
        How::Killed {
            why: "test".to_owned()
        }
    );
    assert!(!daemons.lines().any(is_alive), "{daemons}");
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() {
    let task = task(spec("setsid sleep 60 & echo $!; exit 4"));
    let (how, output) = task.end();
    assert_eq!(how, How::Code(4));
    assert!(!is_alive(&output));
}

#[test]
fn time_is_up() {
    let mut spec = spec("echo begun; sleep 60");
    spec.limits.wall = Some(Duration::from_millis(300));
    let (how, output) = task(spec).end();
    let limit = How::Limit {
        limit: "wall".to_owned(),
        value: "300ms".to_owned(),
    };
    assert_eq!((how, output.as_str()), (limit, "begun\n"));
}

#[test]
fn output_has_a_limit() {
    let mut spec = spec("yes");
    spec.limits.output_bytes = Some(100_000);
    spec.spool_bytes = 1 << 30;
    let (how, output) = task(spec).end();
    let How::Limit { limit, value } = how else {
        panic!("{how:?}")
    };
    assert_eq!((limit.as_str(), value.as_str()), ("output_bytes", "100000 B"));
    assert!(output.len() < 2 << 20, "{}", output.len());
}

#[test]
fn output_that_nobody_takes_waits_and_is_not_lost() {
    let mut spec = spec("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    spec.spool_bytes = 10_000;
    let mut task = task(spec);
    loop {
        let status = task.status();
        assert!(status.output_bytes < 600_000);
        if status.is_held {
            break;
        }
        task.hear();
    }
    // Taken bit by bit, it goes on. It may end between two words of ours.
    while !task.shim.is_finished() {
        let taken = std::fs::metadata(task.folder.path().join(OUTPUT)).unwrap().len();
        let mut bytes = Vec::new();
        Message::Request(Request::Taken(taken)).push(&mut bytes);
        task.client.write_all(&bytes).ok();
        let mut news = [0; 4096];
        // What they say is of no interest here, nor that there is nobody to say it.
        if task.client.read(&mut news).is_err() {
            break;
        }
    }
    let output = task.folder.path().join(OUTPUT);
    let exit = task.shim.join().unwrap().unwrap();
    assert_eq!(exit.how, How::Code(0));
    let expected: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(read_output(&output), expected);
}

#[test]
fn a_frozen_task_does_nothing() {
    let mut task = task(spec("while :; do echo tick; sleep 0.01; done"));
    task.until("tick");
    task.ask(Request::Freeze);
    assert_eq!(task.reply(), Reply::Done);
    assert!(task.status().is_frozen);
    // What was on its way arrives; then nothing more.
    let mut before = task.status().output_bytes;
    loop {
        std::thread::park_timeout(Duration::from_millis(50));
        let now = task.status().output_bytes;
        if now == before {
            break;
        }
        before = now;
    }
    task.ask(Request::Thaw);
    assert_eq!(task.reply(), Reply::Done);
    while task.status().output_bytes == before {
        task.hear();
    }
    task.ask(Request::Kill { why: String::new() });
    task.end();
}

#[test]
fn nonsense_ends_the_client_and_not_the_task() {
    let mut task = task(spec("cat"));
    let mut other = UnixStream::connect(task.folder.path().join(SOCKET)).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    other.write_all(&[0xff; 100]).unwrap();
    let mut rest = Vec::new();
    // Reset or closed: it is let go, with nothing but the news.
    other.read_to_end(&mut rest).ok();
    let news = Message::read(&rest).unwrap();
    assert!(
        matches!(news, None | Some((Message::Reply(Reply::Grown(8)), _))),
        "{news:?}"
    );
    task.ask(Request::Signal(1000));
    assert!(matches!(task.reply(), Reply::Refused { .. }));
    task.ask(Request::EndInput);
    assert_eq!(task.end().0, How::Code(0));
}

#[test]
fn what_cannot_be_started_says_why() {
    let check = |change: fn(&mut Spec), expected: &str| {
        let mut spec = spec("true");
        change(&mut spec);
        let why = start::start(&spec, &Ground::none()).unwrap_err().to_string();
        assert!(why.contains(expected), "{why}");
    };
    check(
        |spec| spec.argv = vec!["/no/such/program".to_owned()],
        "/no/such/program",
    );
    check(
        |spec| spec.argv = vec!["/etc/passwd".to_owned()],
        "ermission denied",
    );
    check(|spec| spec.folder = "/no/such/folder".into(), "/no/such/folder");
    check(|spec| spec.folder = "/etc/passwd".into(), "is none");
}
