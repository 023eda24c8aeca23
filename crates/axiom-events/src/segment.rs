//! A segment: a file of blocks that follow one another. The newest one is being written, the others are sealed.
//!
//! A segment is named after the offset of its first event, twenty digits and `.seg`. All numbers are little-endian.
//!
//! | at | bytes | the head, written before the first block |
//! |---|---|---|
//! | 0 | 8 | `AXSEG`, two zeros, and the version of this format, 1 |
//! | 8 | 4 | CRC-32C of the rest of the head |
//! | 12 | 2 | shard |
//! | 14 | 2 | zeros |
//! | 16 | 8 | offset of the first event |
//! | 24 | 8 | when it was begun, nanoseconds since 1970 |
//! | 32 | 32 | hash of the block before the first |
//! | 64 | 64 | zeros |
//!
//! Blocks follow ([`crate::block`]), then zeros up to the size that was reserved, or, in a sealed segment, 128 bytes of seal
//! and the end of the file:
//!
//! | at | bytes | the seal |
//! |---|---|---|
//! | 0 | 4 | `AXE` and 1 |
//! | 4 | 4 | CRC-32C of the rest of the seal |
//! | 8 | 8 | shard, six zeros |
//! | 16 | 8 | the offset after the last event |
//! | 24 | 8 | how many blocks |
//! | 32 | 32 | hash of the last block, or of the one before the first if there is none |
//! | 64 | 32 | [Merkle root](crate::merkle) over the blocks' hashes |
//! | 96 | 32 | zeros |
//!
//! An event belongs to a segment if its offset is below that of the next segment's first. What a segment holds beyond that
//! was never acknowledged: its sync failed, and it was written again into the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{self, Hash, Head, Unsound};
use crate::disk::File;
use crate::files::{Files, Id};

/// Bytes of a segment's head, and of its seal.
pub(crate) const HEAD_BYTES: usize = 128;
pub(crate) const SEAL_BYTES: usize = 128;

const MAGIC: [u8; 8] = *b"AXSEG\0\0\x01";
pub(crate) const SEAL_MAGIC: [u8; 4] = *b"AXE\x01";
/// How much of a file is read at once when it is walked.
const WINDOW_BYTES: usize = 1 << 20;

/// What a segment's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) shard: u16,
    pub(crate) first_offset: u64,
    pub(crate) created: i64,
    pub(crate) before: Hash,
}

/// What a segment's seal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) shard: u16,
    pub(crate) end_offset: u64,
    pub(crate) blocks: u64,
    pub(crate) last: Hash,
    pub(crate) root: Hash,
}

pub(crate) fn path(folder: &Path, first_offset: u64) -> PathBuf {
    folder.join(format!("{first_offset:020}.seg"))
}

/// The first offset in a segment's file name; `None` for other files.
pub(crate) fn first_offset(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let is_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| digits.parse().ok()).flatten()
}

impl Begin {
    pub(crate) fn write(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&MAGIC);
        head[12..14].copy_from_slice(&self.shard.to_le_bytes());
        head[16..24].copy_from_slice(&self.first_offset.to_le_bytes());
        head[24..32].copy_from_slice(&self.created.to_le_bytes());
        head[32..64].copy_from_slice(&self.before.0);
        let crc = crc32c::crc32c(&head[12..]);
        head[8..12].copy_from_slice(&crc.to_le_bytes());
        head
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Begin, Unsound> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Err(Unsound::Short { bytes: bytes.len() });
        };
        match head.first_chunk::<8>() {
            Some(magic) if *magic == MAGIC => {}
            Some([b'A', b'X', b'S', b'E', b'G', 0, 0, version]) => {
                return Err(Unsound::Version { version: *version });
            }
            _ => return Err(Unsound::Absent),
        }
        check(u32::from_le_bytes(array(head, 8)), &head[12..])?;
        Ok(Begin {
            shard: u16::from_le_bytes(array(head, 12)),
            first_offset: u64::from_le_bytes(array(head, 16)),
            created: i64::from_le_bytes(array(head, 24)),
            before: Hash(array(head, 32)),
        })
    }
}

impl Seal {
    pub(crate) fn write(&self) -> [u8; SEAL_BYTES] {
        let mut seal = [0; SEAL_BYTES];
        seal[..4].copy_from_slice(&SEAL_MAGIC);
        seal[8..10].copy_from_slice(&self.shard.to_le_bytes());
        seal[16..24].copy_from_slice(&self.end_offset.to_le_bytes());
        seal[24..32].copy_from_slice(&self.blocks.to_le_bytes());
        seal[32..64].copy_from_slice(&self.last.0);
        seal[64..96].copy_from_slice(&self.root.0);
        let crc = crc32c::crc32c(&seal[8..]);
        seal[4..8].copy_from_slice(&crc.to_le_bytes());
        seal
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Seal, Unsound> {
        let Some(seal) = bytes.first_chunk::<SEAL_BYTES>() else {
            return Err(Unsound::Short { bytes: bytes.len() });
        };
        match seal.first_chunk::<4>() {
            Some(magic) if *magic == SEAL_MAGIC => {}
            Some([b'A', b'X', b'E', version]) => return Err(Unsound::Version { version: *version }),
            _ => return Err(Unsound::Absent),
        }
        check(u32::from_le_bytes(array(seal, 4)), &seal[8..])?;
        Ok(Seal {
            shard: u16::from_le_bytes(array(seal, 8)),
            end_offset: u64::from_le_bytes(array(seal, 16)),
            blocks: u64::from_le_bytes(array(seal, 24)),
            last: Hash(array(seal, 32)),
            root: Hash(array(seal, 64)),
        })
    }
}

fn check(found: u32, bytes: &[u8]) -> Result<(), Unsound> {
    let computed = crc32c::crc32c(bytes);
    if found == computed {
        Ok(())
    } else {
        Err(Unsound::Checksum { found, computed })
    }
}

fn array<const N: usize>(bytes: &[u8; 128], at: usize) -> [u8; N] {
    *bytes[at..]
        .first_chunk()
        .expect("every field lies within the head")
}

/// A segment's file, to be read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) begin: Begin,
    files: Arc<Files>,
    file: Id,
}

/// Why a segment or a block of it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("failed to read {path}: {source}")]
    Disk { path: PathBuf, source: std::io::Error },
    #[error("{path} is damaged at byte {at}: {source}")]
    Damaged { path: PathBuf, at: u64, source: Unsound },
    /// It was retired, or its writer began it anew.
    #[error("{path} is not there any more, or another segment has taken its place")]
    Gone { path: PathBuf },
    /// What an older tier has cannot be read. The reason says what to do.
    #[error("failed to read archived events: {reason}")]
    Archive { reason: String },
    /// Nothing is known of what is there.
    #[error(
        "reading panicked, which is a defect; the panic itself is told where the program's errors go\nhint: report it"
    )]
    Panicked,
}

impl Segment {
    pub(crate) fn open(files: &Arc<Files>, path: PathBuf) -> Result<Segment, ReadError> {
        let open = || {
            let (id, file) = files.open(&path)?;
            let begin = read_begin(file.as_ref());
            if !matches!(begin, Ok(Ok(_))) {
                files.close(id);
            }
            Ok((id, begin?))
        };
        match open() {
            Ok((file, Ok(begin))) => Ok(Segment {
                path,
                begin,
                files: Arc::clone(files),
                file,
            }),
            Ok((_, Err(source))) => Err(ReadError::Damaged { path, at: 0, source }),
            Err(source) => Err(ReadError::Disk { path, source }),
        }
    }

    /// A segment whose head is damaged: what it said is in its name and its first sound block. `None` if it has no block.
    pub(crate) fn open_headless(
        files: &Arc<Files>,
        path: PathBuf,
        first_offset: u64,
    ) -> Result<Option<Segment>, ReadError> {
        let file = match files.open(&path) {
            Ok((file, _)) => file,
            Err(source) => return Err(ReadError::Disk { path, source }),
        };
        let begin = Begin {
            shard: 0,
            first_offset,
            created: 0,
            before: Hash::default(),
        };
        let mut segment = Segment {
            path,
            begin,
            files: Arc::clone(files),
            file,
        };
        let found = segment.find(HEAD_BYTES as u64, |head| head.first_offset >= first_offset)?;
        let Some((_, head)) = found else {
            return Ok(None);
        };
        segment.begin.shard = head.shard;
        if head.first_offset == first_offset {
            segment.begin.before = head.before;
        }
        Ok(Some(segment))
    }

    /// The file, which is opened if it was closed meanwhile.
    fn file(&self) -> Result<Arc<dyn File>, ReadError> {
        if let Some(file) = self.files.get(self.file) {
            return Ok(file);
        }
        let gone = || {
            let path = self.path.clone();
            ReadError::Gone { path }
        };
        let file = match self.files.open_again(self.file, &self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(gone()),
            Err(source) => return Err(self.failed(source)),
        };
        match read_begin(file.as_ref()).map_err(|source| self.failed(source))? {
            // Shard and hash of a segment with a damaged head were found elsewhere. When it was begun was not.
            Ok(begin) if begin != self.begin => {
                self.close();
                Err(gone())
            }
            // A head that was damaged meanwhile does not make its blocks worse.
            Ok(_) | Err(_) => Ok(file),
        }
    }

    /// Closes the file; whoever reads next opens it again, and sees whether it is still the same one.
    pub(crate) fn close(&self) {
        self.files.close(self.file);
    }

    pub(crate) fn bytes(&self) -> Result<u64, ReadError> {
        self.file()?.bytes().map_err(|source| self.failed(source))
    }

    /// The bytes of the block at `at`, which are proven to be a block's.
    pub(crate) fn raw_block(&self, at: u64) -> Result<(Head, Vec<u8>), ReadError> {
        let mut bytes = vec![0; block::HEAD_BYTES];
        self.fill(&mut bytes, at)?;
        let damaged = |source| self.damaged(at, source);
        let head = Head::read(&bytes).map_err(damaged)?;
        bytes.resize(head.bytes(), 0);
        self.fill(&mut bytes[block::HEAD_BYTES..], at + block::HEAD_BYTES as u64)?;
        head.check(&bytes).map_err(damaged)?;
        Ok((head, bytes))
    }

    /// The head of the block at `at`, as it is there: nothing proves it.
    pub(crate) fn head(&self, at: u64) -> Result<Head, ReadError> {
        let mut bytes = [0; block::HEAD_BYTES];
        let filled = self.read(&mut bytes, at)?;
        Head::read(&bytes[..filled]).map_err(|source| self.damaged(at, source))
    }

    /// Whether there is room for a block's head here, and nothing in it.
    pub(crate) fn is_unwritten(&self, at: u64) -> Result<bool, ReadError> {
        let mut bytes = [0; block::HEAD_BYTES];
        let filled = self.read(&mut bytes, at)?;
        Ok(filled == bytes.len() && bytes.iter().all(|byte| *byte == 0))
    }

    pub(crate) fn seal(&self, at: u64) -> Result<Seal, ReadError> {
        let mut bytes = [0; SEAL_BYTES];
        let filled = self.read(&mut bytes, at)?;
        Seal::read(&bytes[..filled]).map_err(|source| self.damaged(at, source))
    }

    /// The seal at the file's end, if it has one.
    pub(crate) fn sealed(&self) -> Result<Option<(u64, Seal)>, ReadError> {
        let Some(at) = self.bytes()?.checked_sub(SEAL_BYTES as u64) else {
            return Ok(None);
        };
        match self.seal(at) {
            Ok(seal) if seal.shard != self.begin.shard || seal.end_offset < self.begin.first_offset => {
                Ok(None)
            }
            Ok(seal) => Ok(Some((at, seal))),
            Err(ReadError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next sound block of this shard at `at` or behind it: its place and head. Looks at every byte.
    pub(crate) fn find_block(&self, at: u64, min_offset: u64) -> Result<Option<(u64, Head)>, ReadError> {
        let shard = self.begin.shard;
        self.find(at, |head| head.shard == shard && head.first_offset >= min_offset)
    }

    fn find(&self, at: u64, fits: impl Fn(&Head) -> bool) -> Result<Option<(u64, Head)>, ReadError> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut at = at;
        loop {
            let filled = self.read(&mut window, at)?;
            for place in magic_places(&window[..filled]) {
                let place = at + place as u64;
                // Most are none, and few are read whole for it.
                if !self.head(place).is_ok_and(|head| fits(&head)) {
                    continue;
                }
                match self.raw_block(place) {
                    Ok((head, _)) => return Ok(Some((place, head))),
                    Err(ReadError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if filled < window.len() {
                return Ok(None);
            }
            // A magic number may lie across two windows.
            at += (filled - block::MAGIC.len() + 1) as u64;
        }
    }

    /// Where the bytes that are not zero end, at `at` or behind it.
    pub(crate) fn used_until(&self, at: u64) -> Result<u64, ReadError> {
        let mut window = vec![0; WINDOW_BYTES];
        let (mut at, mut end) = (at, at);
        loop {
            let filled = self.read(&mut window, at)?;
            if let Some(last) = window[..filled].iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            if filled < window.len() {
                return Ok(end);
            }
            at += filled as u64;
        }
    }

    /// Reads until the buffer is full or the file ends; says how much it was.
    pub(crate) fn read(&self, buffer: &mut [u8], at: u64) -> Result<usize, ReadError> {
        self.file()?
            .read_at(buffer, at)
            .map_err(|source| self.failed(source))
    }

    fn fill(&self, buffer: &mut [u8], at: u64) -> Result<(), ReadError> {
        let filled = self.read(buffer, at)?;
        if filled == buffer.len() {
            return Ok(());
        }
        Err(self.damaged(at, Unsound::Short { bytes: filled }))
    }

    fn failed(&self, source: std::io::Error) -> ReadError {
        let path = self.path.clone();
        ReadError::Disk { path, source }
    }

    fn damaged(&self, at: u64, source: Unsound) -> ReadError {
        let path = self.path.clone();
        ReadError::Damaged { path, at, source }
    }
}

impl Drop for Segment {
    /// What was retired gives its room on the disk back.
    fn drop(&mut self) {
        self.close();
    }
}

fn read_begin(file: &dyn File) -> std::io::Result<Result<Begin, Unsound>> {
    let mut head = [0; HEAD_BYTES];
    let bytes = file.read_at(&mut head, 0)?;
    Ok(Begin::read(&head[..bytes]))
}

fn magic_places(window: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::find_iter(window, &block::MAGIC)
}

#[cfg(test)]
mod tests;
