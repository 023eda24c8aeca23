//! The second half of the writer: while it packs the next block, this thread waits for the disk.
//!
//! Whatever was written when a sync begins shares it: that is the group commit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use tokio::sync::OwnedSemaphorePermit;

use crate::append::{Ack, AppendError, Appended, Queue, Reply};
use crate::block::Hash;
use crate::digest::Digest;
use crate::disk::File;
use crate::segments::{Placed, Segments};
use crate::streams::Undo;

/// Blocks that one sync may cover. They are held in memory until it is over.
const BLOCKS_MAX: usize = 64;

/// A block that was written and is not known to be on the disk.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) file: Arc<dyn File>,
    pub(crate) placed: Arc<Placed>,
    pub(crate) at: u64,
    pub(crate) first_offset: u64,
    pub(crate) end_offset: u64,
    pub(crate) before: Hash,
    pub(crate) hash: Hash,
    /// To write it again, elsewhere.
    pub(crate) bytes: Vec<u8>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) undo: Undo,
    pub(crate) digest: Digest,
    /// How many lost events one of its events tells of.
    pub(crate) lost_told: u64,
}

/// What a producer waits for, and the room that its append takes in the queue until it has it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `None` if nobody waits, or not any more.
    pub(crate) reply: Option<Reply>,
    pub(crate) appended: Appended,
    pub(crate) ack: Ack,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// What the writer and this thread tell each other.
#[derive(Debug)]
pub(crate) enum Order {
    Sync(Box<Written>),
    /// Answer when everything before is on the disk, or has been given back.
    Drain(SyncSender<Drained>),
}

#[derive(Debug)]
pub(crate) struct Drained {
    /// What is not on the disk, in order, and why.
    pub(crate) failed: Vec<Written>,
    pub(crate) reason: Option<std::io::Error>,
}

/// Syncs until the writer is gone.
pub(crate) fn run(orders: &Receiver<Order>, segments: &Segments, queue: &Queue) {
    let mut failed = Vec::new();
    let mut reason = None;
    while let Ok(order) = orders.recv() {
        let mut written = Vec::new();
        let mut drain = None;
        match order {
            Order::Sync(block) => written.push(*block),
            Order::Drain(tx) => drain = Some(tx),
        }
        while drain.is_none() && written.len() < BLOCKS_MAX {
            match orders.try_recv() {
                Ok(Order::Sync(block)) => written.push(*block),
                Ok(Order::Drain(tx)) => drain = Some(tx),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        // After a failure the file is not to be trusted: nothing more of it may become readable.
        match sync(&written, reason.is_some()) {
            Ok(()) if reason.is_none() => written.into_iter().for_each(|block| block.publish(segments)),
            Ok(()) => failed.extend(written),
            Err(error) => {
                reason = Some(error);
                failed.extend(written);
                queue.poke();
            }
        }
        if let Some(tx) = drain {
            let drained = Drained {
                failed: std::mem::take(&mut failed),
                reason: reason.take(),
            };
            if tx.send(drained).is_err() {
                return;
            }
        }
    }
}

/// All these blocks are in one file: the writer drains before it begins the next.
fn sync(written: &[Written], has_failed: bool) -> std::io::Result<()> {
    match written.last() {
        Some(last) if !has_failed => last.file.sync(),
        _ => Ok(()),
    }
}

impl Written {
    /// It is on the disk: readers may have it, producers are told.
    pub(crate) fn publish(self, segments: &Segments) {
        self.placed
            .wrote(self.first_offset..self.end_offset, self.at, &self.digest);
        segments.publish(self.end_offset);
        for answer in self.answers {
            let appended = answer.appended;
            answer.give(Ok(appended));
        }
    }
}

impl Answer {
    pub(crate) fn give(mut self, outcome: Result<Appended, AppendError>) {
        if let Some(reply) = self.reply.take() {
            // A producer that has gone does not want to know.
            let _gone = reply.send(outcome).is_err();
        }
    }
}
