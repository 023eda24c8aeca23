//! One task, watched and steered.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_core::time;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::exit::Exit;
use crate::output::{Next, Reader, Source};
use crate::shim::{EXIT, OUTPUT, SOCKET};
use crate::wire::{Message, Reply, Request, UNREAD_BYTES_MAX};

/// What was said to a task and not yet sent; more than all input that may be under way.
const WAITING_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 16 << 10;
/// A shim lets everybody in who waits for it, within a moment.
const BUSY_TIME: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// A task that is watched: its output from the beginning, as fast as it is read, and then as it comes; and its end.
#[derive(Debug)]
pub struct Attached {
    folder: PathBuf,
    reader: Reader,
    /// `None` as soon as the shim has nothing more to say.
    shim: Option<Shim>,
    /// The end, which is told when all output is.
    end: Option<End>,
    replies: VecDeque<Reply>,
    /// It was told that some is lost.
    is_damaged: bool,
    has_room: bool,
}

#[derive(Debug)]
struct Shim {
    stream: UnixStream,
    heard: Vec<u8>,
    waiting: Vec<u8>,
    /// Input that the command has not read.
    unread: usize,
}

/// What happens to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Output {
        seq: u64,
        time: i64,
        source: Source,
        bytes: Vec<u8>,
    },
    /// The answer to a request, in the order of requests.
    Reply(Reply),
    /// The command has read input: there is more room for it.
    Room,
    /// Some of its output was lost on the disk. What comes is its end.
    Damaged { at: u64, why: &'static str },
    /// The last.
    Ended(End),
}

/// How it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Exit(Exit),
    /// Its shim was killed before it could say how. Its command was killed with it.
    Lost,
}

impl Attached {
    /// The task in that folder, whether it runs or not.
    ///
    /// # Errors
    /// When there is none, or it never had any output file (`NotFound`): then its [`Exit`] says why, if it is there; if not, its
    /// start has not come so far, and whoever looks after it may [`claim`](super::claim) it. Any other error says nothing about the
    /// task: this process may have too many files open.
    pub async fn open(folder: &Path) -> io::Result<Attached> {
        let reader = Reader::open(&folder.join(OUTPUT))?;
        Attached::open_from(folder, reader).await
    }

    /// As [`Attached::open`], with the output that this reader of it has not given.
    ///
    /// # Errors
    /// When the folder does not say whether the task has ended.
    pub async fn open_from(folder: &Path, reader: Reader) -> io::Result<Attached> {
        let mut attached = Attached {
            folder: folder.to_owned(),
            reader,
            shim: None,
            end: None,
            replies: VecDeque::new(),
            is_damaged: false,
            has_room: false,
        };
        match connect(folder).await {
            Ok(stream) => {
                attached.shim = Some(Shim {
                    stream,
                    heard: Vec::new(),
                    waiting: Vec::new(),
                    unread: 0,
                });
            }
            // Who listens does so before there is any output: nobody will any more.
            Err(error) if is_nobody(&error) => attached.end = Some(attached.end_in_folder()?),
            // We are at fault: it may be alive, and is not to be taken for dead.
            Err(error) => return Err(error),
        }
        Ok(attached)
    }

    /// The byte of the output file up to which output was told.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// The number of the first frame of output that was not told.
    pub fn seq(&self) -> u64 {
        self.reader.seq()
    }

    /// Asks something of the task. The answer comes as an [`Event::Reply`]; a task that has ended gives none.
    ///
    /// # Errors
    /// When it has not taken what it was asked before: the request is given back.
    pub fn ask(&mut self, request: Request) -> Result<(), Request> {
        match &mut self.shim {
            Some(shim) if shim.waiting.len() <= WAITING_BYTES_MAX => {
                Message::Request(request).push(&mut shim.waiting);
                shim.write();
                Ok(())
            }
            Some(_) => Err(request),
            None => Ok(()),
        }
    }

    /// Puts something in, if there is room. Says whether there was; if not, an [`Event::Room`] comes when there is more.
    pub fn put(&mut self, input: &[u8]) -> bool {
        match &mut self.shim {
            Some(shim) if shim.unread + input.len() <= UNREAD_BYTES_MAX => {
                shim.unread += input.len();
                Message::Input(input.to_vec()).push(&mut shim.waiting);
                shim.write();
                true
            }
            // Nobody is there to read it.
            shim => shim.is_none(),
        }
    }

    /// What happens next. After [`Event::Ended`] it says that again.
    ///
    /// # Errors
    /// When the disk does not read, or the shim says what nobody understands.
    ///
    /// # Cancel safety
    /// Safe: what was not returned comes with the next call.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(Event::Reply(reply));
            }
            if std::mem::take(&mut self.has_room) {
                return Ok(Event::Room);
            }
            match self.reader.next(self.end.is_some())? {
                Next::Frame(frame) => {
                    return Ok(Event::Output {
                        seq: frame.seq,
                        time: frame.time,
                        source: frame.source,
                        bytes: frame.bytes.to_vec(),
                    });
                }
                Next::Damaged { at, why } if !self.is_damaged => {
                    self.is_damaged = true;
                    return Ok(Event::Damaged { at, why });
                }
                Next::Damaged { .. } | Next::End => {}
            }
            if let Some(end) = &self.end {
                return Ok(Event::Ended(end.clone()));
            }
            self.listen().await?;
        }
    }

    /// The answer to a request, whatever output there is meanwhile; `None` if the task has ended without one.
    ///
    /// # Errors
    /// When the shim says what nobody understands.
    ///
    /// # Cancel safety
    /// Safe: an answer that was not returned comes with the next call.
    pub async fn reply(&mut self) -> io::Result<Option<Reply>> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(Some(reply));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            self.listen().await?;
        }
    }

    /// How it is over, if it is.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Waits until the shim has said something, and takes it in.
    async fn listen(&mut self) -> io::Result<()> {
        let Some(shim) = &mut self.shim else {
            self.end = Some(self.end_in_folder()?);
            return Ok(());
        };
        // cancel-safe: nothing is taken before the wait is over.
        let is_open = shim.turn().await?;
        while let Some((message, took)) = Message::read(&shim.heard).map_err(io::Error::other)? {
            shim.heard.drain(..took);
            match message {
                Message::Reply(Reply::Grown(_)) => {}
                Message::Reply(Reply::Read(bytes)) => {
                    shim.unread = shim.unread.saturating_sub(bytes);
                    self.has_room = true;
                }
                Message::Reply(Reply::Ended(exit)) => self.end = Some(End::Exit(exit)),
                Message::Reply(reply) => self.replies.push_back(reply),
                Message::Request(_) | Message::Input(_) => {
                    return Err(io::Error::other("a task's shim asks us something"));
                }
            }
        }
        if !is_open || self.end.is_some() {
            self.shim = None;
        }
        Ok(())
    }

    fn end_in_folder(&self) -> io::Result<End> {
        Ok(Exit::read(&self.folder.join(EXIT))?.map_or(End::Lost, End::Exit))
    }
}

impl Shim {
    /// Sends and reads what can be, as soon as something can. Says whether the line is still open.
    async fn turn(&mut self) -> io::Result<bool> {
        let interest = match self.waiting.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = self.stream.ready(interest).await?;
        if ready.is_writable() {
            self.write();
        }
        let mut buffer = [0; READ_BYTES];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.heard.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// As much as the socket takes. That it is closed is found by reading; what waits then waits for nobody.
    fn write(&mut self) {
        while !self.waiting.is_empty() {
            match self.stream.try_write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.waiting.clear(),
            }
        }
    }
}

/// By way of the folder's descriptor: the path of a socket has 107 bytes at most.
async fn connect(folder: &Path) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd as _;
    let folder = fs_err::File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    let deadline = time::now() + BUSY_TIME;
    loop {
        match UnixStream::connect(&path).await {
            // So many others come at the same time that there is no room for us to wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && time::now() < deadline => {
                time::sleep(BUSY_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// Nobody listens there, there is no such place, or whoever listened has ended while we waited to be let in.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::output::Writer;

    /// Its shim ends in the moment in which somebody comes.
    #[tokio::test]
    async fn who_comes_as_a_shim_ends_finds_the_end() {
        for round in 0..500 {
            let folder = tempfile::tempdir().unwrap();
            drop(Writer::create(&folder.path().join(OUTPUT)).unwrap());
            let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
            let shim = std::thread::spawn(move || {
                (0..round * 100).for_each(|_| std::hint::spin_loop());
                drop(listener);
            });
            let mut attached = Attached::open(folder.path()).await.unwrap();
            assert_eq!(attached.next().await.unwrap(), Event::Ended(End::Lost));
            shim.join().unwrap();
        }
    }

    /// A task whose shim has died, with a request under way.
    #[tokio::test]
    async fn a_shim_that_is_gone_is_noticed_while_something_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Writer::create(&folder.path().join(OUTPUT)).unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let mut attached = Attached::open(folder.path()).await.unwrap();
        let (shim, _) = listener.accept().unwrap();
        attached.ask(Request::Status).unwrap();
        output.append(Source::Stdout, 7, b"last words").unwrap();
        drop(shim);
        // This cannot be sent any more.
        attached.ask(Request::Status).unwrap();
        let said = attached.next().await.unwrap();
        let bytes = b"last words".to_vec();
        let expected = Event::Output {
            seq: 0,
            time: 7,
            source: Source::Stdout,
            bytes,
        };
        assert_eq!(said, expected);
        for _ in 0..2 {
            assert_eq!(attached.next().await.unwrap(), Event::Ended(End::Lost));
        }
        // Nobody is there to answer, and nobody waits for an answer.
        attached.ask(Request::Status).unwrap();
        assert_eq!(attached.reply().await.unwrap(), None);
    }
}
