//! The log of one shard: everything that happened on this node, in one order.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::append::{Append, AppendError, Appended, Full, Queue};
use crate::archive::Archive;
use crate::batch::Batch;
use crate::disk::Disk;
use crate::read::Reader;
use crate::recover::{self, OpenError, Report};
use crate::segment::ReadError;
use crate::segments::Sealed;
use crate::sync::{self, Order};
use crate::writer::{Target, Writer};

/// What a log may be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its files are. It is made if it is not there.
    pub folder: PathBuf,
    /// Which of a cluster's logs it is. It is written into every block: the same folder keeps its number.
    pub shard: u16,
    /// Bytes that are reserved for a segment at once. A smaller one is sealed, and can be moved to another tier, sooner.
    pub segment_bytes: u64,
    /// Bytes of events that wait for the writer or the disk. Beyond it `append` waits and `post` gives the batch back.
    pub queue_bytes: usize,
    /// How long events that nobody waits for may wait for others to share a block with.
    pub linger: Duration,
    /// A segment that was begun so long ago is sealed with the next append, however small it is. `None`: when it is full. One to
    /// which nothing more is appended is sealed when somebody asks: [`Log::end_segment`].
    pub segment_age: Option<Duration>,
    /// Where events are that the log gave away.
    pub archive: Option<Arc<dyn Archive>>,
}

/// A log that is open for writing. Clones write to the same one.
///
/// When the last clone is dropped, what is in the queue is still written, by threads that nobody waits for: the folder is
/// taken until they are done. [`Log::close`] waits.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Arc<Queue>,
    reader: Reader,
    report: Report,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Options {
    pub fn new(folder: impl Into<PathBuf>) -> Options {
        Options {
            folder: folder.into(),
            shard: 0,
            segment_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            linger: Duration::from_millis(5),
            segment_age: None,
            archive: None,
        }
    }
}

impl Log {
    /// Opens the log, or begins it. Blocks on the disk: it reads what was written since the last checkpoint.
    ///
    /// # Errors
    /// When another process has it open, or the disk does not give what is needed. Damage is no error: [`Log::report`].
    pub fn open(options: Options, disk: Arc<dyn Disk>) -> Result<Log, OpenError> {
        let folder = options.folder;
        let failed = |source| OpenError::Disk {
            path: folder.clone(),
            source,
        };
        disk.create_folder(&folder).map_err(failed)?;
        let lock = disk.lock(&folder).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked {
                folder: folder.clone(),
            },
            _ => failed(source),
        })?;
        let archive = options.archive;
        let shelf = archive.as_ref().map(|archive| archive.shelf());
        let recovered = recover::recover(&disk, &folder, options.shard, shelf.as_deref())?;
        let segments = Arc::new(recovered.segments);
        let queue = Arc::new(Queue::new(options.queue_bytes));
        // The writer is at most two blocks ahead of the disk.
        let (orders, to_sync) = sync_channel::<Order>(2);
        let target = Target {
            disk,
            folder,
            shard: options.shard,
            segment_bytes: options.segment_bytes,
            linger: options.linger,
            segment_age: options.segment_age,
        };
        let (for_writer, for_sync) = (Arc::clone(&queue), Arc::clone(&queue));
        let writer = Writer::new(
            target,
            for_writer,
            Arc::clone(&segments),
            orders,
            recovered.streams,
            recovered.last,
        );
        let writer = writer.map_err(OpenError::Thread)?;
        let published = Arc::clone(&segments);
        let sync = move || sync::run(&to_sync, &published, &for_sync);
        let sync = axiom_core::spawn::thread("events sync", sync).map_err(OpenError::Thread)?;
        let write = move || {
            // Held as long as anything is written.
            let _lock = lock;
            writer.run();
        };
        let write = axiom_core::spawn::thread("events writer", write).map_err(OpenError::Thread)?;
        Ok(Log {
            shared: Arc::new(Shared {
                queue,
                reader: Reader::new(segments, archive),
                report: recovered.report,
                threads: Mutex::new(vec![write, sync]),
            }),
        })
    }

    /// What was damaged or unfinished when it was opened.
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// Appends events, all or none, and waits for what [`Append::ack`] asks. Waits for room first when the queue is full.
    ///
    /// # Errors
    /// See [`AppendError`]; after each of them nothing of the append is recorded.
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, nothing is recorded; later, everything may be.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.shared.queue.submit(append).await
    }

    /// Hands over events and does not wait. They are written within some milliseconds. If the disk refuses them, or
    /// some were recorded before and some were not, an event of kind [`axiom.gap`](crate::writer::GAP_KIND) says how many
    /// are missing.
    ///
    /// # Errors
    /// Gives the batch back when the queue is full or closed, and always if it has more than
    /// [`APPEND_BYTES_MAX`](crate::append::APPEND_BYTES_MAX).
    pub fn post(&self, batch: Batch) -> Result<(), Full> {
        self.shared.queue.post(batch)
    }

    /// As [`Log::post`], but waits until there is room. The batch is empty afterwards, or else as it was.
    ///
    /// # Errors
    /// When the log is closed, or the batch is too large for any block.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the batch is as it was.
    pub async fn feed(&self, batch: &mut Batch) -> Result<(), AppendError> {
        self.shared.queue.feed(batch).await
    }

    /// Whether the queue has room for so many bytes at the moment. Others may take it before this one does.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.shared.queue.has_room(bytes)
    }

    /// An empty batch for [`Log::post`]. It has the memory of one that was posted and written, if there is one.
    pub fn spare_batch(&self) -> Batch {
        self.shared.queue.spare_batch()
    }

    /// Reads what is on the disk.
    pub fn reader(&self) -> Reader {
        self.shared.reader.clone()
    }

    /// The segments to which nothing is added any more, oldest first. The newest segment is never one of them.
    ///
    /// # Errors
    /// When the disk does not give their sizes.
    pub fn sealed(&self) -> Result<Vec<Sealed>, ReadError> {
        self.shared.reader.segments.sealed()
    }

    /// Ends the newest segment if it was begun before this time, nanoseconds since 1970, and has events, even though nothing
    /// more is appended: one of [`Log::sealed`] it is soon afterwards. Does not wait.
    pub fn end_segment(&self, begun_before: i64) {
        let newest = self.shared.reader.segments.newest_with_events();
        if newest.is_some_and(|begin| begin.created < begun_before) {
            self.shared.queue.end_segment(begun_before);
        }
    }

    /// From now on whole segments before this offset are read from the archive, which must have all of them. Their files
    /// stay until [`Log::reclaim`].
    pub fn retire(&self, before: u64) {
        self.shared.reader.segments.retire(before);
    }

    /// Removes the files of retired segments that end before this offset and that nobody reads any more; says how many bytes
    /// that were. A segment in which something is damaged is kept as `damaged-....bin`. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses it; what is left is removed by a later call.
    pub fn reclaim(&self, before: u64) -> Result<u64, ReadError> {
        self.shared.reader.segments.reclaim(before)
    }

    /// Writes what is in the queue, seals, and returns when all is on the disk. Appends from now on are refused. Blocks.
    pub fn close(&self) {
        self.shared.queue.close();
        let mut threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // Its panic was reported.
            let _panicked = thread.join().is_err();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}
