//! The writer: one thread that gives each append its place, packs blocks and writes them.
//!
//! What it has written goes on to the [sync](crate::sync) thread. When the disk fails, everything that is not known to be on it
//! is written again into a new segment; only if that fails too do producers hear of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use crate::append::{Ack, AppendError, Appended, Queue, Submission};
use crate::block::columns::Builder;
use crate::block::{self, Encoder, Hash, Place};
use crate::checkpoint;
use crate::disk::{Disk, File};
use crate::gap::gap;
use crate::index;
use crate::merkle;
use crate::recover::FRESH;
use crate::segment::{self, Begin, HEAD_BYTES, SEAL_BYTES, Seal, Segment};
use crate::segments::{Placed, Segments};
use crate::streams::{Known, Streams, Undo};
use crate::sync::{Answer, Drained, Order, Written};

/// The stream in which the log tells of itself.
pub const LOG_STREAM: &str = "axiom.log";
/// The kind of an event that says how many others are missing before it, and why.
pub const GAP_KIND: &str = "axiom.gap";

/// What a block has beside the events that it is made of: its head, and the heads of its columns.
const BLOCK_EXTRA_BYTES: usize = block::HEAD_BYTES + 256;
/// What an event has that tells of lost ones, beside their reason: its names, its numbers and the words around them.
const GAP_EXTRA_BYTES: usize = 256;

/// How a shard is written.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) shard: u16,
    pub(crate) segment_bytes: u64,
    pub(crate) linger: Duration,
    /// From when on a segment is sealed with the next append.
    pub(crate) segment_age: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    target: Target,
    queue: Arc<Queue>,
    segments: Arc<Segments>,
    orders: SyncSender<Order>,
    streams: Streams,
    encoder: Encoder,
    /// `None` before the first append, and after a failure.
    active: Option<Active>,
    next_offset: u64,
    /// Hash of the newest block.
    last: Hash,
    builder: Builder,
    versions: Vec<u64>,
    /// Events that were accepted and could not be written, until there is an event that says so.
    lost: u64,
    lost_reason: String,
    /// A segment could not be cut where its sound blocks end, so blocks that were refused are readable until the next one
    /// begins.
    has_refused_blocks: bool,
    /// Segments that the disk did not let end, until it does. That a segment begins behind them says where they end, but
    /// without a seal they look damaged to whoever verifies them.
    unsealed: Vec<Unsealed>,
}

/// A segment that is still to be sealed.
#[derive(Debug)]
struct Unsealed {
    active: Active,
    end_offset: u64,
    last: Hash,
}

/// The segment that is being written.
#[derive(Debug)]
struct Active {
    file: Arc<dyn File>,
    placed: Arc<Placed>,
    path: PathBuf,
    bytes: u64,
    at: u64,
    hashes: Vec<Hash>,
}

impl Writer {
    pub(crate) fn new(
        target: Target,
        queue: Arc<Queue>,
        segments: Arc<Segments>,
        orders: SyncSender<Order>,
        streams: Streams,
        last: Hash,
    ) -> io::Result<Writer> {
        Ok(Writer {
            next_offset: segments.end(),
            target,
            queue,
            segments,
            orders,
            streams,
            encoder: Encoder::new()?,
            active: None,
            last,
            builder: Builder::default(),
            versions: Vec::new(),
            lost: 0,
            lost_reason: String::new(),
            has_refused_blocks: false,
            unsealed: Vec::new(),
        })
    }

    /// Writes until the queue is closed and empty, then seals.
    pub(crate) fn run(mut self) {
        while let Some(work) = self.queue.take(self.target.linger) {
            if work.is_poked {
                self.rescue(None);
            }
            if !work.submissions.is_empty() {
                self.write(work.submissions);
            }
            if let Some(begun_before) = work.ends_begun_before {
                self.end_segment(begun_before);
            }
        }
        self.rescue(None);
        self.tell_before_the_end();
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "the newest segment was not sealed; the next start does it");
        }
        self.seal_unsealed();
        self.segments.close();
    }

    /// Nothing comes any more that would take along what has to be told: how many events are missing, and, by a segment
    /// that begins behind them, which blocks do not count.
    fn tell_before_the_end(&mut self) {
        if self.lost == 0 && !self.has_refused_blocks {
            return;
        }
        let lost = self.lost;
        if let Err(error) = self.make_room(BLOCK_EXTRA_BYTES) {
            tracing::error!(%error, lost, "the log ends without an event that tells of lost ones");
            return;
        }
        let mut undo = Undo::default();
        let lost_told = self.tell_of_lost(&mut undo);
        if !self.builder.is_empty() {
            self.put(Vec::new(), undo, lost_told);
            self.rescue(None);
        }
        if self.lost > 0 {
            tracing::error!(lost, "the log ends without an event that tells of lost ones");
        }
    }

    fn write(&mut self, submissions: Vec<Submission>) {
        let bytes: usize = submissions
            .iter()
            .map(|submission| submission.append.batch.bytes())
            .sum();
        if let Err(error) = self.make_room(bytes + BLOCK_EXTRA_BYTES) {
            return self.refuse(submissions, &error);
        }
        let mut answers = Vec::with_capacity(submissions.len());
        let mut undo = Undo::default();
        let lost_told = self.tell_of_lost(&mut undo);
        for submission in submissions {
            self.admit(submission, &mut answers, &mut undo);
        }
        if self.builder.is_empty() {
            return self.answer_without_block(answers);
        }
        self.put(answers, undo, lost_told);
    }

    /// Appends that add nothing: conditions alone, or what was recorded before. That may not be on the disk yet.
    fn answer_without_block(&mut self, answers: Vec<Answer>) {
        if answers.is_empty() {
            return;
        }
        self.rescue(None);
        let end = self.segments.end();
        for answer in answers {
            let appended = answer.appended;
            let outcome = if appended.first_offset + u64::from(appended.count) <= end {
                Ok(appended)
            } else {
                let reason = "what it repeats could not be written".into();
                Err(AppendError::Disk { reason })
            };
            answer.give(outcome);
        }
    }

    /// Gives an append its place in the block, or refuses it.
    fn admit(&mut self, submission: Submission, answers: &mut Vec<Answer>, undo: &mut Undo) {
        let Submission { append, reply, room } = submission;
        let first_offset = self.next_offset + u64::from(self.builder.count());
        let mut answer = Answer {
            reply,
            appended: Appended {
                shard: self.target.shard,
                first_offset,
                count: u32::try_from(append.batch.len()).unwrap_or(u32::MAX),
                is_repeated: false,
            },
            ack: append.ack,
            _room: room,
        };
        let known = self.streams.known(&append.batch);
        if let Known::Yes(first_offset) = known {
            answer.appended.first_offset = first_offset;
            answer.appended.is_repeated = true;
            // With the others: the first time may not be on the disk yet.
            return answers.push(answer);
        }
        // First of all: where a part was recorded by somebody else, that is what its conditions are there to tell.
        for (stream, expected) in &append.expected {
            if let Err(conflict) = self.streams.check(stream, *expected) {
                return answer.give(Err(conflict.into()));
            }
        }
        if known == Known::Partly {
            if answer.reply.is_none() {
                self.lost += u64::from(answer.appended.count);
                self.lost_reason = AppendError::PartlyKnown.to_string();
            }
            return answer.give(Err(AppendError::PartlyKnown));
        }
        self.versions.clear();
        self.streams
            .assign(&append.batch, first_offset, &mut self.versions, undo);
        self.builder.add(&append.batch, &self.versions);
        if answer.reply.is_none() {
            self.queue.give_back(append.batch);
        }
        answers.push(answer);
    }

    /// Writes the block and hands it to the sync thread.
    fn put(&mut self, answers: Vec<Answer>, undo: Undo, lost_told: u64) {
        let place = Place {
            shard: self.target.shard,
            first_offset: self.next_offset,
            before: self.last,
            durable: self.segments.end(),
        };
        let mut bytes = Vec::new();
        let hash = self.encoder.encode(&self.builder, place, &mut bytes);
        let end_offset = self.next_offset + u64::from(self.builder.count());
        let active = self.active.as_mut().expect("there was room made");
        let mut written = Written {
            file: Arc::clone(&active.file),
            placed: Arc::clone(&active.placed),
            at: active.at,
            first_offset: self.next_offset,
            end_offset,
            before: self.last,
            hash,
            bytes,
            answers,
            undo,
            digest: self.builder.digest(self.next_offset),
            lost_told,
        };
        self.builder.clear();
        (self.next_offset, self.last) = (written.end_offset, hash);
        if let Err(error) = active.file.write_at(&written.bytes, active.at) {
            return self.rescue(Some((written, error)));
        }
        active.at += written.bytes.len() as u64;
        active.hashes.push(hash);
        written.acknowledge_in_memory();
        self.order(Order::Sync(Box::new(written)));
    }

    /// Sees to it that there is a segment with room for a block of so many bytes.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let needed = (bytes + self.gap_bytes() + SEAL_BYTES) as u64;
        match &self.active {
            Some(active) if active.at + needed <= active.bytes && !self.is_old(active) => return Ok(()),
            Some(_) => {
                self.rescue(None);
                if let Err(error) = self.seal() {
                    // What is in it is on the disk all the same.
                    tracing::warn!(%error, "a segment was not sealed; it is tried again");
                }
            }
            None => {}
        }
        self.begin(needed)
    }

    /// Whether a segment with events in it was begun too long ago.
    fn is_old(&self, active: &Active) -> bool {
        let Some(age) = self.target.segment_age else {
            return false;
        };
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let begun = active.placed.segment.begin.created;
        active.at > HEAD_BYTES as u64 && axiom_core::time::unix_nanos().saturating_sub(begun) >= age
    }

    /// Ends the newest segment if it has events and was begun before this time, and begins the one behind it, by which others
    /// see that it has ended. That one is empty: it is not ended before something is in it.
    fn end_segment(&mut self, begun_before: i64) {
        self.rescue(None);
        let newest = self.segments.newest_with_events();
        if newest.is_none_or(|begin| begin.created >= begun_before) {
            return;
        }
        // What fails here is asked for again, and the next append says so aloud.
        if let Err(error) = self.seal() {
            tracing::debug!(%error, "a segment to which nothing comes was not sealed");
        }
        if let Err(error) = self.begin(0) {
            tracing::debug!(%error, "no segment was begun behind one to which nothing comes");
        }
    }

    /// Begins a segment at the next offset.
    fn begin(&mut self, needed: u64) -> io::Result<()> {
        let Target { disk, folder, .. } = &self.target;
        let bytes = self.target.segment_bytes.max(HEAD_BYTES as u64 + needed);
        let fresh = folder.join(FRESH);
        match disk.remove(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let begin = Begin {
            shard: self.target.shard,
            first_offset: self.next_offset,
            created: axiom_core::time::unix_nanos(),
            before: self.last,
        };
        let file = disk.create(&fresh, bytes)?;
        file.write_at(&begin.write(), 0)?;
        file.sync()?;
        let path = segment::path(folder, begin.first_offset);
        disk.rename(&fresh, &path)?;
        disk.sync_folder(folder)?;
        let segment = Segment::open(self.segments.files(), path.clone()).map_err(io::Error::other)?;
        self.has_refused_blocks = false;
        let placed = Arc::new(Placed::fresh(segment));
        self.segments.push(Arc::clone(&placed));
        self.active = Some(Active {
            file: Arc::from(file),
            placed,
            path,
            bytes,
            at: HEAD_BYTES as u64,
            hashes: Vec::new(),
        });
        // The disk is well, or well again.
        self.seal_unsealed();
        Ok(())
    }

    /// Seals what could not be sealed before. What still cannot be is tried again, and by the next start at last.
    fn seal_unsealed(&mut self) {
        let shard = self.target.shard;
        self.unsealed.retain(|unsealed| {
            let Unsealed {
                active,
                end_offset,
                last,
            } = unsealed;
            active.seal(shard, *end_offset, *last).is_err()
        });
    }

    /// Seals a segment that ends here, now or later.
    fn end(&mut self, active: Active) -> io::Result<()> {
        let (end_offset, last) = (self.next_offset, self.last);
        let ended = active.seal(self.target.shard, end_offset, last);
        if ended.is_err() {
            self.unsealed.push(Unsealed {
                active,
                end_offset,
                last,
            });
        }
        ended
    }

    /// Ends the segment; everything in it is on the disk.
    fn seal(&mut self) -> io::Result<()> {
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        let placed = Arc::clone(&active.placed);
        self.end(active)?;
        let Target { disk, folder, .. } = &self.target;
        if let Err(error) = checkpoint::save(disk.as_ref(), folder, self.next_offset, &self.streams) {
            tracing::warn!(%error, "no checkpoint was written; the next start reads more of the log");
        }
        let offsets = placed.segment.begin.first_offset..self.next_offset;
        let saved = placed.with_index(|index| index::file::save(disk.as_ref(), folder, offsets, index));
        if let Some(Err(error)) = saved {
            tracing::warn!(%error, "no index was written; who wants it reads the segment");
        }
        Ok(())
    }

    /// Waits for the disk, and writes what is not on it into a new segment.
    fn rescue(&mut self, unwritten: Option<(Written, io::Error)>) {
        let Drained { mut failed, reason } = self.drain();
        let (written, error) = unwritten.unzip();
        failed.extend(written);
        let (Some(first), Some(reason)) = (failed.first(), reason.or(error)) else {
            return;
        };
        tracing::error!(error = %reason, from_offset = first.first_offset, "failed to write events; trying a new segment");
        if let Err(error) = self.write_again(&mut failed) {
            tracing::error!(%error, "failed to write events to a new segment too");
            return self.give_up(failed, &format!("{reason}; in a new segment: {error}"));
        }
        for written in failed {
            written.publish(&self.segments);
        }
    }

    fn write_again(&mut self, failed: &mut [Written]) -> io::Result<()> {
        let (end, last) = (self.next_offset, self.last);
        let first = failed.first().expect("something failed");
        (self.next_offset, self.last) = (first.first_offset, first.before);
        let at = first.at;
        let bytes: usize = failed.iter().map(|written| written.bytes.len()).sum();
        self.abandon(at);
        self.begin((bytes + SEAL_BYTES) as u64)?;
        let active = self.active.as_mut().expect("a segment was begun");
        for written in failed.iter_mut() {
            active.file.write_at(&written.bytes, active.at)?;
            written.file = Arc::clone(&active.file);
            written.placed = Arc::clone(&active.placed);
            written.at = active.at;
            active.at += written.bytes.len() as u64;
            active.hashes.push(written.hash);
        }
        active.file.sync()?;
        for written in failed.iter_mut() {
            written.acknowledge_in_memory();
        }
        (self.next_offset, self.last) = (end, last);
        Ok(())
    }

    /// Ends the segment at `at`. Behind that there may be blocks that nobody was promised.
    fn abandon(&mut self, at: u64) {
        let Some(mut active) = self.active.take() else {
            return;
        };
        let Target { disk, folder, .. } = &self.target;
        // With no block that counts it would have the same name as the one that takes its place.
        let ended = if at == HEAD_BYTES as u64 {
            self.segments.pop();
            disk.remove(&active.path).and_then(|()| disk.sync_folder(folder))
        } else {
            active.cut(at, self.last);
            self.end(active)
        };
        // The next segment's first offset says where it ends, too, as soon as there is one.
        if let Err(error) = ended {
            tracing::warn!(%error, "a segment was not ended where its sound blocks end");
            self.has_refused_blocks = true;
        }
    }

    /// Takes everything back that could not be written.
    fn give_up(&mut self, failed: Vec<Written>, reason: &str) {
        // What was begun for it holds nothing that counts.
        self.abandon(HEAD_BYTES as u64);
        let reason: Arc<str> = reason.into();
        for written in failed.into_iter().rev() {
            (self.next_offset, self.last) = (written.first_offset, written.before);
            self.streams.undo(written.undo);
            self.lost += written.lost_told;
            for answer in written.answers {
                if answer.reply.is_none() {
                    self.lost += u64::from(answer.appended.count);
                    self.lost_reason = reason.to_string();
                }
                let reason = Arc::clone(&reason);
                answer.give(Err(AppendError::Disk { reason }));
            }
        }
    }

    /// There is no segment to write to.
    fn refuse(&mut self, submissions: Vec<Submission>, error: &io::Error) {
        tracing::error!(%error, "failed to begin a segment");
        let reason: Arc<str> = error.to_string().into();
        for submission in submissions {
            match submission.reply {
                Some(reply) => {
                    let reason = Arc::clone(&reason);
                    let _gone = reply.send(Err(AppendError::Disk { reason })).is_err();
                }
                None => {
                    self.lost += submission.append.batch.len() as u64;
                    self.lost_reason = reason.to_string();
                }
            }
        }
    }

    /// Says in the log how many events are missing from it.
    fn tell_of_lost(&mut self, undo: &mut Undo) -> u64 {
        if self.lost == 0 {
            return 0;
        }
        let batch = gap("", self.lost, &self.lost_reason);
        self.versions.clear();
        self.streams
            .assign(&batch, self.next_offset, &mut self.versions, undo);
        self.builder.add(&batch, &self.versions);
        std::mem::take(&mut self.lost)
    }

    /// What the event that tells of lost ones may take; a control character of its reason becomes six.
    fn gap_bytes(&self) -> usize {
        if self.lost == 0 {
            return 0;
        }
        GAP_EXTRA_BYTES + 6 * self.lost_reason.len()
    }

    fn drain(&mut self) -> Drained {
        let (tx, rx) = sync_channel(1);
        self.order(Order::Drain(tx));
        rx.recv().expect("the sync thread lives as long as the writer")
    }

    fn order(&mut self, order: Order) {
        assert!(
            self.orders.send(order).is_ok(),
            "the sync thread lives as long as the writer"
        );
    }
}

impl Drop for Writer {
    /// Also when it panics: neither producers nor those who follow the log must wait for it then.
    fn drop(&mut self) {
        let lost = self.queue.give_up();
        self.segments.close();
        if lost > 0 {
            tracing::error!(
                lost,
                "the event log's writer has ended before it came to these events"
            );
        }
    }
}

impl Active {
    /// Forgets the blocks from `at` on; `last` is the hash of the one before.
    fn cut(&mut self, at: u64, last: Hash) {
        let kept = self.hashes.iter().rposition(|hash| *hash == last);
        self.hashes.truncate(kept.map_or(0, |kept| kept + 1));
        self.at = at;
    }

    /// Writes the seal behind the last block, and ends the file behind the seal.
    fn seal(&self, shard: u16, end_offset: u64, last: Hash) -> io::Result<()> {
        let seal = Seal {
            shard,
            end_offset,
            blocks: self.hashes.len() as u64,
            last,
            root: merkle::root(&self.hashes),
        };
        self.file.write_at(&seal.write(), self.at)?;
        self.file.set_bytes(self.at + SEAL_BYTES as u64)?;
        self.file.sync()
    }
}

impl Written {
    /// Those who want no more than that the system has it.
    fn acknowledge_in_memory(&mut self) {
        for answer in &mut self.answers {
            if answer.ack == Ack::Memory
                && let Some(reply) = answer.reply.take()
            {
                let _gone = reply.send(Ok(answer.appended)).is_err();
            }
        }
    }
}
