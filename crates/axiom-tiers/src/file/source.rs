//! Where a file's bytes come from.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;

/// Random access to a file's bytes, on a disk or in an object store. It may block.
pub trait Source: Debug + Send + Sync {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// All bytes of this range, which lies within [`Source::bytes`].
    ///
    /// # Errors
    /// When they cannot be had; then none are.
    fn read(&self, range: Range<u64>) -> io::Result<Bytes>;
}

impl Source for Bytes {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let start = usize::try_from(range.start).map_err(|_| end())?;
        let stop = usize::try_from(range.end).map_err(|_| end())?;
        if start > stop || stop > self.len() {
            return Err(end());
        }
        Ok(self.slice(start..stop))
    }
}

/// A file on a disk.
#[derive(Debug)]
pub struct Local {
    file: fs_err::File,
    bytes: u64,
}

impl Local {
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Local> {
        let file = fs_err::File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Local { file, bytes })
    }
}

impl Source for Local {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.file().read_exact_at(&mut bytes, range.start)?;
        Ok(Bytes::from(bytes))
    }
}
