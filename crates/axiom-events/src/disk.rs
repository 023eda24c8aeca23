//! The little that the log wants of a file system. Tests put one in its place that fails, and one that loses power.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file system, or a part of one. Every call blocks.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes the folder and those above it, durably.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Names of the files in a folder, in no order.
    fn files(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes a file that must not exist yet, of `bytes` zeros for which there is room.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>>;

    /// Opens a file that exists.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;

    /// Takes the folder for this process alone, until the guard is dropped or the process ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another process has it.
    fn lock(&self, folder: &Path) -> io::Result<Box<dyn std::any::Any + Send + Sync>>;

    /// Gives a file another name, and replaces what has it. Durable after [`Disk::sync_folder`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which files a folder has.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync + fmt::Debug {
    /// Fills `buffer` with what is at `at`, as far as the file goes; says how much that is.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of it, or says why not; then some of it may be there.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Returns when everything written before is on the disk. After an error nobody knows what is: the system may have
    /// dropped the pages and will not try again.
    fn sync(&self) -> io::Result<()>;

    fn bytes(&self) -> io::Result<u64>;

    /// Cuts it or fills it up with zeros.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

#[derive(Debug)]
struct Opened {
    file: fs_err::File,
}

impl Disk for Machine {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let above = above(folder);
        self.create_folder(&above)?;
        match fs_err::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_folder(&above)
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            // What is no UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        let opened = Opened { file };
        opened.reserve(bytes).inspect_err(|_| {
            // Half a file is of no use. If it cannot be removed either, the first error is the one to tell.
            let _removed = fs_err::remove_file(path).is_ok();
        })?;
        Ok(Box::new(opened))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .open(path)?;
        Ok(Box::new(Opened { file }))
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn std::any::Any + Send + Sync>> {
        let file = fs_err::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("lock"))?;
        rustix::fs::flock(file.file(), rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(Locked { file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs_err::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        fs_err::File::open(folder)?.sync_all()
    }
}

#[derive(Debug)]
struct Locked {
    file: fs_err::File,
}

impl Drop for Locked {
    /// Closing the file is not enough: a child process that was begun and has not come to its own program has it, too.
    fn drop(&mut self) {
        let unlocked = rustix::fs::flock(self.file.file(), rustix::fs::FlockOperation::Unlock);
        if let Err(error) = unlocked {
            tracing::warn!(%error, "an event log's folder may stay locked until this process ends");
        }
    }
}

impl Opened {
    /// Room now rather than "no space left" later; and a length that does not change any more costs no journal entry at
    /// each sync.
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::FallocateFlags;
            use rustix::io::Errno;
            let reserve = || rustix::fs::fallocate(self.file.file(), FallocateFlags::empty(), 0, bytes);
            match rustix::io::retry_on_intr(reserve) {
                Ok(()) => return Ok(()),
                // This file system cannot; it still can be told the length.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file.set_len(bytes)
    }
}

impl File for Opened {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        use fs_err::os::unix::fs::FileExt as _;
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        use fs_err::os::unix::fs::FileExt as _;
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

fn above(folder: &Path) -> PathBuf {
    match folder.parent() {
        Some(above) if above != Path::new("") => above.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests;
