//! What a task has put out, as it lies on the disk: one file of frames, in the order in which they came out of its pipes.
//!
//! ```text
//! file  := "AXOUT" 0 0 1                       eight bytes, the last one is the version
//!          frame*
//! frame := crc32c u32                          of everything behind it, the payload included
//!          len u32                             bytes of payload, 1 to 65,536
//!          seq u64                             0, 1, 2, ... without gaps
//!          time i64                            nanoseconds since 1970
//!          source u8                           1 stdout, 2 stderr, 3 terminal
//!          0 0 0 0 0 0 0
//!          payload
//! ```
//!
//! All numbers are little endian. The file has one writer, the task's [shim](crate::shim), and any number of readers, who may
//! read while it is written: a frame that is not all there yet is not there. A frame that does not become whole although its
//! writer has ended was torn by the writer's death; it and what follows is [damage](Next::Damaged), and is never read as output.
//! Not supported: files of more than one task, frames that change.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;

const MAGIC: &[u8; 8] = b"AXOUT\0\0\x01";
const HEAD_BYTES: usize = 32;
/// What a pipe gives at once.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Read at once: a few frames of the largest size.
const READ_BYTES: usize = 4 * PAYLOAD_BYTES_MAX;

/// Where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Stdout,
    Stderr,
    /// Both at once, where the task has a terminal.
    Terminal,
}

/// A piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub seq: u64,
    /// When it was read, nanoseconds since 1970.
    pub time: i64,
    pub source: Source,
    pub bytes: &'a [u8],
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    Frame(Frame<'a>),
    /// Nothing more, for now.
    End,
    /// What begins at byte `at` is no frame and will not become one.
    Damaged {
        at: u64,
        why: &'static str,
    },
}

/// Appends frames.
#[derive(Debug)]
pub struct Writer {
    file: File,
    end: u64,
    seq: u64,
    payload: u64,
    /// Memory for a frame, so that one write does.
    frame: Vec<u8>,
}

/// Reads frames, from the first.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    /// Bytes of the file from `start` on, of which those before `at` were taken.
    bytes: Vec<u8>,
    start: u64,
    at: usize,
    seq: u64,
    /// The file begins as ours do. Its writer may have made it and not begun yet.
    is_begun: bool,
    read_bytes: u64,
}

impl Source {
    fn number(self) -> u8 {
        match self {
            Source::Stdout => 1,
            Source::Stderr => 2,
            Source::Terminal => 3,
        }
    }

    fn of(number: u8) -> Option<Source> {
        [Source::Stdout, Source::Stderr, Source::Terminal]
            .into_iter()
            .find(|source| source.number() == number)
    }
}

impl Writer {
    /// A file that was not there.
    ///
    /// # Errors
    /// When there is one, or it cannot be made.
    pub fn create(path: &Path) -> io::Result<Writer> {
        let file = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)?
            .into_file();
        file.write_all_at(MAGIC, 0)?;
        Ok(Writer {
            file,
            end: MAGIC.len() as u64,
            seq: 0,
            payload: 0,
            frame: Vec::new(),
        })
    }

    /// Bytes that the file has.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Frames in it, and so the number of the next one.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of output in it.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Appends what was read at `time`, as one frame for each [`PAYLOAD_BYTES_MAX`] of it.
    ///
    /// # Errors
    /// When the disk takes no more: then the file is as it was before the frame that did not fit, and says how many bytes of
    /// these are in it.
    pub fn append(&mut self, source: Source, time: i64, bytes: &[u8]) -> Result<(), Short> {
        for (nth, payload) in bytes.chunks(PAYLOAD_BYTES_MAX).enumerate() {
            self.put(source, time, payload).map_err(|error| Short {
                written: nth * PAYLOAD_BYTES_MAX,
                error,
            })?;
        }
        Ok(())
    }

    fn put(&mut self, source: Source, time: i64, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.frame.clear();
        self.frame.extend_from_slice(&[0; 4]);
        self.frame.extend_from_slice(&len.to_le_bytes());
        self.frame.extend_from_slice(&self.seq.to_le_bytes());
        self.frame.extend_from_slice(&time.to_le_bytes());
        self.frame
            .extend_from_slice(&[source.number(), 0, 0, 0, 0, 0, 0, 0]);
        self.frame.extend_from_slice(payload);
        let sum = crc32c::crc32c(&self.frame[4..]);
        self.frame[..4].copy_from_slice(&sum.to_le_bytes());
        if let Err(error) = self.file.write_all_at(&self.frame, self.end) {
            // Of what is half written nothing stays; should that fail too, the next frame goes over it.
            self.file.set_len(self.end).ok();
            return Err(error);
        }
        self.end += self.frame.len() as u64;
        self.seq += 1;
        self.payload += payload.len() as u64;
        // A task that has been quiet for long should cost little.
        if self.frame.capacity() > 2 * PAYLOAD_BYTES_MAX {
            self.frame = Vec::new();
        }
        Ok(())
    }
}

/// The disk took only some of it.
#[derive(Debug, thiserror::Error)]
#[error("only {written} B of the output are on the disk")]
pub struct Short {
    pub written: usize,
    #[source]
    pub error: io::Error,
}

impl Reader {
    /// # Errors
    /// When there is no such file, or it is none of ours.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let mut reader = Reader {
            path: path.to_owned(),
            file: fs_err::File::open(path)?.into_file(),
            bytes: Vec::new(),
            start: MAGIC.len() as u64,
            at: 0,
            seq: 0,
            is_begun: false,
            read_bytes: 0,
        };
        reader.begin()?;
        Ok(reader)
    }

    /// As [`Reader::open`], but the first frame is the one of number `seq`, which begins at byte `position`: as another reader of the
    /// same file has [said](Reader::position). What lies before it is not read.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_at(path: &Path, position: u64, seq: u64) -> io::Result<Reader> {
        let mut reader = Reader::open(path)?;
        reader.start = position.max(reader.start);
        reader.seq = seq;
        Ok(reader)
    }

    /// Looks whether the file is one of ours. One that has not begun yet may become one.
    fn begin(&mut self) -> io::Result<()> {
        let mut magic = [0; MAGIC.len()];
        let read = self.file.read_at(&mut magic, 0);
        let read = read.map_err(|error| self.failed(&error))?;
        self.read_bytes += read as u64;
        if !MAGIC.starts_with(&magic[..read]) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is no output of a task that this version can read",
                    self.path.display()
                ),
            ));
        }
        self.is_begun = read == MAGIC.len();
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }

    /// Bytes that were read from the disk.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The sequence number of the next frame.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The byte at which it begins.
    pub fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    /// The next frame. `is_over` says that nobody writes any more, so that half a frame is damage.
    ///
    /// # Errors
    /// When the disk does not read.
    pub fn next(&mut self, is_over: bool) -> io::Result<Next<'_>> {
        if !self.is_begun {
            self.begin()?;
            if !self.is_begun {
                return Ok(Next::End);
            }
        }
        let position = self.position();
        let Some(head) = self.want(HEAD_BYTES)? else {
            return Ok(self.half(is_over));
        };
        let damaged = |why| Next::Damaged { at: position, why };
        let Some(head) = Head::read(head) else {
            return Ok(damaged("it has a length or a source that no frame has"));
        };
        if self.want(HEAD_BYTES + head.len)?.is_none() {
            return Ok(self.half(is_over));
        }
        let frame = &self.bytes[self.at..self.at + HEAD_BYTES + head.len];
        if crc32c::crc32c(&frame[4..]) != head.sum {
            // Its writer may be at it.
            return Ok(match is_over {
                true => damaged("its checksum is another"),
                false => Next::End,
            });
        }
        if head.seq != self.seq {
            return Ok(damaged("it does not follow the one before"));
        }
        self.seq += 1;
        self.at += HEAD_BYTES + head.len;
        Ok(Next::Frame(Frame {
            seq: head.seq,
            time: head.time,
            source: head.source,
            bytes: &frame[HEAD_BYTES..],
        }))
    }

    fn half(&self, is_over: bool) -> Next<'static> {
        if is_over && self.bytes.len() > self.at {
            return Next::Damaged {
                at: self.position(),
                why: "its end is missing",
            };
        }
        Next::End
    }

    /// That many bytes from the place where we are, if the file has them.
    fn want(&mut self, count: usize) -> io::Result<Option<&[u8]>> {
        if self.bytes.len() - self.at < count {
            self.bytes.drain(..self.at);
            self.start += self.at as u64;
            self.at = 0;
            self.fill(count)?;
        }
        Ok(self.bytes.get(self.at..self.at + count))
    }

    /// Reads on until so many bytes are here, or no more are there.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.bytes.len() < count {
            let have = self.bytes.len();
            // Not cleared before: a quiet task is looked at often, and there is seldom anything.
            self.bytes.reserve(READ_BYTES);
            let at = self.start + have as u64;
            let read = rustix::io::pread(&self.file, spare_capacity(&mut self.bytes), at);
            let read = read.map_err(|errno| self.failed(&io::Error::from(errno)));
            self.read_bytes += *read.as_ref().unwrap_or(&0) as u64;
            if read? == 0 {
                // Whoever waits for a quiet task should cost little.
                self.bytes.shrink_to_fit();
                break;
            }
        }
        Ok(())
    }
}

struct Head {
    sum: u32,
    len: usize,
    seq: u64,
    time: i64,
    source: Source,
}

impl Head {
    /// `None` if a frame cannot begin like this.
    fn read(bytes: &[u8]) -> Option<Head> {
        let (sum, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (source, padding) = rest.split_first()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let is_fit = (1..=PAYLOAD_BYTES_MAX).contains(&len) && padding == [0; 7];
        is_fit.then_some(Head {
            sum: u32::from_le_bytes(*sum),
            len,
            seq: u64::from_le_bytes(*seq),
            time: i64::from_le_bytes(*time),
            source: Source::of(*source)?,
        })
    }
}

mod tail;

#[cfg(test)]
mod tests;
