//! A warm file in the making: it has another name until all of it is on the disk and was read again.
//!
//! Its own name comes from its bytes, so there is one only when they are all written.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_events::archive::Summary;
use axiom_events::disk::{Access, Disk, File as DiskFile};
use axiom_events::{Block, Recorded};
use bytes::Bytes;

use crate::file::{EventsHash, File, FileError, Source, WriteError, WriteOptions, Writer};
use crate::manifest::{Object, Tier, read_all, remove};
use crate::store::chain;

/// The folder of warm files in a shard's folder.
pub const WARM: &str = "warm";
/// What a file's name ends with while it is made.
pub(crate) const UNFINISHED: &str = ".tmp";
/// What the name of a file's summary ends with.
pub(crate) const SUMMARY: &str = ".idx";

/// Why a warm file was not made. Nothing else has changed.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error("failed to {what} {path}: {source}")]
    Disk {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("failed to write {path}: {}", chain(source))]
    Write { path: PathBuf, source: WriteError },
    #[error("{path} was written and cannot be read again: {}", chain(source))]
    Unreadable { path: PathBuf, source: FileError },
    #[error("{path} was written and has other events than it was given: {what}")]
    Different { path: PathBuf, what: String },
}

/// A file that is being written.
pub(crate) struct Making {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    unfinished: PathBuf,
    writer: Writer<io::BufWriter<OnDisk>>,
    /// Of what was given to us, not of what was written.
    hash: EventsHash,
    rows: u64,
    offsets: Range<u64>,
    summary: Summary,
}

/// A file that is on the disk, under its name, and has the events that it was given.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) object: Object,
    pub(crate) summary: Summary,
}

impl Making {
    /// Begins a file for events with these offsets.
    pub(crate) fn begin(
        disk: &Arc<dyn Disk>,
        shard_folder: &Path,
        shard: u16,
        offsets: Range<u64>,
    ) -> Result<Making, MakeError> {
        let folder = shard_folder.join(WARM);
        let unfinished = folder.join(format!("{}{UNFINISHED}", stem(&offsets)));
        let create = || {
            disk.create_folder(&folder)?;
            remove(disk.as_ref(), &unfinished)?;
            disk.create(&unfinished, 1)
        };
        let file = create().map_err(|source| failed("create", &unfinished, source))?;
        let options = WriteOptions {
            offsets: Some(offsets.clone()),
            ..WriteOptions::default()
        };
        let out = io::BufWriter::with_capacity(
            1 << 20,
            OnDisk {
                file,
                at: 0,
                hasher: blake3::Hasher::new(),
            },
        );
        let writer = Writer::new(out, shard, &options).map_err(|source| MakeError::Write {
            path: unfinished.clone(),
            source,
        })?;
        Ok(Making {
            disk: Arc::clone(disk),
            folder,
            unfinished,
            writer,
            hash: EventsHash::new(),
            rows: 0,
            offsets,
            summary: Summary::new(),
        })
    }

    /// Adds the next event.
    pub(crate) fn push(&mut self, recorded: &Recorded<'_>) -> Result<(), MakeError> {
        self.hash.push(recorded);
        self.rows += 1;
        self.writer.push(recorded).map_err(|source| MakeError::Write {
            path: self.unfinished.clone(),
            source,
        })
    }

    /// Adds to the summary what was pushed.
    pub(crate) fn summarise(&mut self, block: &Block) {
        self.summary.add(block);
    }

    /// Removes what was written.
    pub(crate) fn abandon(self) {
        let Making {
            disk,
            unfinished,
            writer,
            ..
        } = self;
        drop(writer);
        if let Err(error) = remove(disk.as_ref(), &unfinished) {
            tracing::warn!(%error, path = %unfinished.display(), "an unfinished file was not removed; the next start does it");
        }
    }

    /// Completes the file, reads it again, and gives it its name. After an error it is removed.
    pub(crate) fn finish(self) -> Result<Made, MakeError> {
        let (disk, unfinished) = (Arc::clone(&self.disk), self.unfinished.clone());
        self.complete().inspect_err(|_| {
            if let Err(error) = remove(disk.as_ref(), &unfinished) {
                tracing::warn!(%error, "an unfinished file was not removed; the next start does it");
            }
        })
    }

    fn complete(self) -> Result<Made, MakeError> {
        let unfinished = self.unfinished;
        let on = |what| {
            let path = unfinished.clone();
            move |source| MakeError::Disk { what, path, source }
        };
        let (out, written) = self.writer.finish().map_err(|source| MakeError::Write {
            path: unfinished.clone(),
            source,
        })?;
        let out = out
            .into_inner()
            .map_err(|error| on("write")(error.into_error()))?;
        let (bytes, bytes_hash) = out.close().map_err(on("sync"))?;

        // As it will be read: from the disk, by somebody who knows only the file.
        let expected = self.hash.finish();
        let source = DiskSource::open(self.disk.as_ref(), &unfinished).map_err(on("open"))?;
        let read = File::open(Arc::new(source)).and_then(|file| file.verify().map(|()| file));
        let file = read.map_err(|source| MakeError::Unreadable {
            path: unfinished.clone(),
            source,
        })?;
        if file.rows() != self.rows || file.events_hash() != expected || written.events_hash != expected {
            return Err(MakeError::Different {
                what: format!("{} of {} events, or another hash", file.rows(), self.rows),
                path: unfinished,
            });
        }
        let name = name_for(&self.offsets, &bytes_hash);
        if self.rows > 0 {
            save_summary(
                self.disk.as_ref(),
                &self.folder,
                &summary_name(&name),
                &self.summary,
                self.offsets.clone(),
            );
        }
        let path = self.folder.join(&name);
        self.disk.rename(&unfinished, &path).map_err(on("rename"))?;
        self.disk
            .sync_folder(&self.folder)
            .map_err(|source| failed("sync", &self.folder, source))?;
        Ok(Made {
            object: Object {
                tier: Tier::Warm,
                location: name,
                offsets: self.offsets,
                rows: self.rows,
                bytes,
                time_min: written.time_min,
                time_max: written.time_max,
                events_hash: expected,
                bytes_hash,
                began: 0,
                hot_bytes: 0,
                lost: Vec::new(),
            },
            summary: self.summary,
        })
    }
}

/// `<first>-<end>.<hash>.parquet`, the hash being the first 16 digits of the BLAKE3 of its bytes. So a name never means other
/// bytes than it did before, to whoever remembers it: not after a crash, and not to another process.
fn name_for(offsets: &Range<u64>, bytes_hash: &[u8; 32]) -> String {
    format!("{}.{}.parquet", stem(offsets), digits(bytes_hash))
}

fn stem(offsets: &Range<u64>) -> String {
    format!("{:020}-{:020}", offsets.start, offsets.end)
}

/// The first 16 digits of a hash.
pub(crate) fn digits(bytes_hash: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    let mut digits = String::with_capacity(16);
    for byte in bytes_hash.iter().take(8) {
        // A String takes everything.
        let _written = write!(digits, "{byte:02x}").is_ok();
    }
    digits
}

/// The name of the summary of the file at this location.
pub(crate) fn summary_name(location: &str) -> String {
    let name = location.rsplit('/').next().unwrap_or(location);
    let stem = name.strip_suffix(".parquet").unwrap_or(name);
    format!("{stem}{SUMMARY}")
}

/// A summary is derived: where it is missing it is made again, so failing to write it harms nobody.
pub(crate) fn save_summary(
    disk: &dyn Disk,
    folder: &Path,
    name: &str,
    summary: &Summary,
    offsets: Range<u64>,
) {
    let save = || {
        let bytes = summary.encode(offsets)?;
        let temporary = folder.join(format!("{name}{UNFINISHED}"));
        remove(disk, &temporary)?;
        let file = disk.create(&temporary, bytes.len() as u64)?;
        file.write_at(&bytes, 0)?;
        disk.rename(&temporary, &folder.join(name))
    };
    if let Err(error) = save() {
        let error: io::Error = error;
        tracing::debug!(%error, name, "no summary was written; who wants it reads the file");
    }
}

pub(crate) fn load_summary(
    disk: &dyn Disk,
    folder: &Path,
    name: &str,
    offsets: Range<u64>,
) -> Option<Summary> {
    let bytes = read_all(disk, &folder.join(name)).ok()?;
    Summary::decode(&bytes, offsets)
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> MakeError {
    MakeError::Disk {
        what,
        path: path.to_owned(),
        source,
    }
}

/// A file that is written from its beginning to its end.
#[derive(Debug)]
struct OnDisk {
    file: Box<dyn DiskFile>,
    at: u64,
    hasher: blake3::Hasher,
}

impl OnDisk {
    /// Ends it here, durably; says its length and the hash of its bytes.
    fn close(self) -> io::Result<(u64, [u8; 32])> {
        self.file.set_bytes(self.at)?;
        self.file.sync()?;
        Ok((self.at, *self.hasher.finalize().as_bytes()))
    }
}

impl Write for OnDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file on a disk, to be read.
#[derive(Debug)]
pub(crate) struct DiskSource {
    file: Box<dyn DiskFile>,
    bytes: u64,
}

impl DiskSource {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> io::Result<DiskSource> {
        let file = disk.open(path, Access::Read)?;
        let bytes = file.bytes()?;
        Ok(DiskSource { file, bytes })
    }
}

impl Source for DiskSource {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let length = range.end.saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let filled = self.file.read_at(&mut bytes, range.start)?;
        if filled < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes.into())
    }
}
