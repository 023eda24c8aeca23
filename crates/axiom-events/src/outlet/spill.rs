//! A file of a fixed size in which batches wait, in order, until the log takes them.
//!
//! It is a ring: what was taken out makes room for what comes. All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `AXP` and the version of this format, 1 |
//! | 4 | 4 | CRC-32C of the 32 bytes after it |
//! | 8 | 8 | how many bytes were ever put in |
//! | 16 | 8 | how many of them were taken out again |
//! | 24 | 8 | how many events are in between |
//! | 32 | 8 | bytes of the ring |
//! | 64 | | the ring: blocks as in the log, one after the other; the byte that was put in as the n-th is at n modulo its length |
//!
//! Nothing is synced: it outlives the process, not the machine. A head or a block that does not hold its checksum after that
//! costs what is in the file, and how many events it was is said in the log if the head is sound.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::batch::Batch;
use crate::block::columns::Builder;
use crate::block::{Block, Encoder, HEAD_BYTES as BLOCK_HEAD_BYTES, Hash, Head, Place};
use crate::disk::{Access, Disk, File};

const MAGIC: [u8; 4] = *b"AXP\x01";
const HEAD_BYTES: usize = 40;
const RING_AT: u64 = 64;

/// Why something could not be put in or taken out.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpillError {
    #[error("the spill file is full too")]
    Full,
    #[error("the spill file {}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub(super) struct Spill {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// `None` until something is put in for the first time.
    file: Option<Box<dyn File>>,
    encoder: Encoder,
    builder: Builder,
    state: State,
    /// The first batch, if it was read already.
    first: Option<(Batch, u64)>,
}

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    put: u64,
    taken: u64,
    events: u64,
    ring_bytes: u64,
}

/// What was found in a file that another process has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Sound(State),
    /// Its head is damaged.
    Unsound,
}

impl Spill {
    /// Takes over what a process before this one has left in the file.
    pub(super) fn open(disk: Arc<dyn Disk>, path: PathBuf, bytes_max: u64) -> io::Result<Spill> {
        let state = State {
            put: 0,
            taken: 0,
            events: 0,
            ring_bytes: bytes_max.saturating_sub(RING_AT).max(1),
        };
        let mut spill = Spill {
            file: match disk.open(&path, Access::Write) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
            disk,
            path,
            encoder: Encoder::new()?,
            builder: Builder::default(),
            state,
            first: None,
        };
        match spill.left()? {
            Left::Nothing => {}
            Left::Sound(left) if left.events > 0 => spill.state = left,
            Left::Sound(_) => spill.start_over()?,
            Left::Unsound => {
                tracing::error!(path = %spill.path.display(), "the spill file's head is damaged; its events are missing");
                spill.start_over()?;
            }
        }
        Ok(spill)
    }

    /// Events in it.
    pub(super) fn len(&self) -> u64 {
        self.state.events
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.events == 0
    }

    /// Puts a batch in, behind all others.
    pub(super) fn put(&mut self, batch: &Batch) -> Result<(), SpillError> {
        self.builder.clear();
        self.builder.add(batch, &vec![0; batch.len()]);
        let place = Place {
            shard: 0,
            first_offset: self.state.put,
            before: Hash::default(),
            durable: 0,
        };
        let mut bytes = Vec::new();
        self.encoder.encode(&self.builder, place, &mut bytes);
        let used = self.state.put - self.state.taken;
        if used + bytes.len() as u64 > self.state.ring_bytes {
            return Err(SpillError::Full);
        }
        let next = State {
            put: self.state.put + bytes.len() as u64,
            events: self.state.events + batch.len() as u64,
            ..self.state
        };
        self.write(&bytes, next).map_err(|source| SpillError::Disk {
            path: self.path.clone(),
            source,
        })?;
        self.state = next;
        Ok(())
    }

    /// The batch that was put in first, and its bytes in the file; `None` if there is none. It stays there until it is
    /// [taken](Spill::taken).
    ///
    /// # Errors
    /// How many events are missing because the file cannot be read; it is empty then.
    pub(super) fn first(&mut self) -> Result<Option<(Batch, u64)>, (u64, SpillError)> {
        if self.is_empty() {
            return Ok(None);
        }
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        self.read_first().map(Some).map_err(|source| {
            let lost = self.state.events;
            let path = self.path.clone();
            // What cannot be read is not read again.
            let source = self.start_over().err().unwrap_or(source);
            (lost, SpillError::Disk { path, source })
        })
    }

    /// Nobody wanted the first batch: then it is at hand when it is asked for again.
    pub(super) fn keep_first(&mut self, first: (Batch, u64)) {
        self.first = Some(first);
    }

    /// The first batch, of so many events and bytes, has its place now.
    pub(super) fn taken(&mut self, events: u64, bytes: u64) {
        self.state.taken += bytes;
        self.state.events = self.state.events.saturating_sub(events);
        let file = self.file.as_ref().expect("something was put in");
        if let Err(error) = file.write_at(&self.state.head(), 0) {
            let path = self.path.display();
            tracing::error!(%error, %path, "failed to write to a spill file: the next process may record its events again");
        }
    }

    fn read_first(&self) -> io::Result<(Batch, u64)> {
        let unsound = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut bytes = vec![0; BLOCK_HEAD_BYTES];
        self.read(&mut bytes, self.state.taken)?;
        let head = Head::read(&bytes).map_err(unsound)?;
        if head.bytes() as u64 > self.state.put - self.state.taken || head.first_offset != self.state.taken {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a block of another place",
            ));
        }
        bytes.resize(head.bytes(), 0);
        self.read(&mut bytes, self.state.taken)?;
        let block = Block::decode(&bytes).map_err(unsound)?;
        let mut batch = Batch::new();
        for recorded in block.events() {
            batch.push(&recorded.event).map_err(io::Error::other)?;
        }
        Ok((batch, bytes.len() as u64))
    }

    /// What another process has left.
    fn left(&self) -> io::Result<Left> {
        let Some(file) = &self.file else {
            return Ok(Left::Nothing);
        };
        let mut head = [0; HEAD_BYTES];
        let filled = file.read_at(&mut head, 0)?;
        if filled == HEAD_BYTES && head == [0; HEAD_BYTES] {
            return Ok(Left::Sound(State {
                put: 0,
                taken: 0,
                events: 0,
                ring_bytes: 0,
            }));
        }
        let number = |at: usize| {
            head[at..]
                .first_chunk()
                .map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let state = State {
            put: number(8),
            taken: number(16),
            events: number(24),
            ring_bytes: number(32),
        };
        let is_sound = head == state.head()
            && state.taken <= state.put
            && state.put - state.taken <= state.ring_bytes
            && state.ring_bytes > 0;
        Ok(if is_sound {
            Left::Sound(state)
        } else {
            Left::Unsound
        })
    }

    /// Empties it. The file is made again when it is needed: with the size that is wanted now.
    fn start_over(&mut self) -> io::Result<()> {
        (self.state.put, self.state.taken, self.state.events) = (0, 0, 0);
        self.file = None;
        self.disk.remove(&self.path)
    }

    /// Writes behind what was put in, then how it is next. Makes the file, with room for everything that it may hold.
    fn write(&mut self, bytes: &[u8], next: State) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = self.disk.create(&self.path, RING_AT + self.state.ring_bytes)?;
                self.file.insert(file)
            }
        };
        let (at, before_end) = self.state.place(self.state.put, bytes.len());
        file.write_at(&bytes[..before_end], at)?;
        file.write_at(&bytes[before_end..], RING_AT)?;
        file.write_at(&next.head(), 0)
    }

    fn read(&self, buffer: &mut [u8], from: u64) -> io::Result<()> {
        let file = self.file.as_ref().expect("something was put in");
        let (at, before_end) = self.state.place(from, buffer.len());
        let (first, second) = buffer.split_at_mut(before_end);
        let filled = file.read_at(first, at)? + file.read_at(second, RING_AT)?;
        if filled < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl State {
    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&MAGIC);
        let numbers = [self.put, self.taken, self.events, self.ring_bytes];
        for (at, number) in (8..).step_by(8).zip(numbers) {
            head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Where the n-th byte is, and how many of so many bytes from there on are before the ring's end.
    fn place(&self, n: u64, bytes: usize) -> (u64, usize) {
        let at = n % self.ring_bytes;
        let before_end = usize::try_from(self.ring_bytes - at).unwrap_or(usize::MAX);
        (RING_AT + at, before_end.min(bytes))
    }
}
