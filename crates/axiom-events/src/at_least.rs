//! Reading one's own writes: a read that waits until what reads has come to a position.

use std::time::Duration;

use axiom_core::time;
use tokio::sync::watch;

use crate::append::Appended;
use crate::read::Reader;

/// What was asked for is not there yet. Asking again may help, unless the log was closed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{who} is at position {reached}, {wanted} was asked for{}", why(*is_closed, *waited))]
pub struct NotYet {
    /// What was read: the log, or a projection's name.
    pub who: String,
    pub wanted: u64,
    pub reached: u64,
    pub waited: Duration,
    /// Nothing will come any more.
    pub is_closed: bool,
}

fn why(is_closed: bool, waited: Duration) -> String {
    match is_closed {
        true => ", and nothing comes any more: it was closed".to_owned(),
        false => format!(" and was not reached within {waited:?}; ask again"),
    }
}

/// How far something has come, and whether it has ended.
pub(crate) trait Reached: Clone + Send + Sync + 'static {
    fn position(&self) -> u64;
    fn is_closed(&self) -> bool;
}

impl Reached for crate::segments::End {
    fn position(&self) -> u64 {
        self.offset
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}

impl Appended {
    /// The position that what reads this append's events has come to: the offset after its last event. To be given to a
    /// read that must see them.
    pub fn position(&self) -> u64 {
        self.first_offset + u64::from(self.count)
    }
}

impl Reader {
    /// Waits until everything before `position` may be read, `patience` long at most. After an append with
    /// [`Ack::Group`](crate::Ack::Group) that is at once; after one with [`Ack::Memory`](crate::Ack::Memory), when the disk
    /// has it. A reader beside another process goes on only when it is [refreshed](Reader::refresh).
    ///
    /// # Errors
    /// When it has not come so far in time, or the log was closed before.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn at_least(&self, position: u64, patience: Duration) -> Result<(), NotYet> {
        wait("the log", self.watch_end(), position, patience).await
    }
}

pub(crate) async fn wait<R: Reached>(
    who: &str,
    mut reached: watch::Receiver<R>,
    position: u64,
    patience: Duration,
) -> Result<(), NotYet> {
    let there = reached.wait_for(|now| now.position() >= position || now.is_closed());
    // cancel-safe: it only waits.
    let outcome = time::timeout(patience, there).await.map(|there| there.is_ok());
    let now = reached.borrow().clone();
    if now.position() >= position {
        return Ok(());
    }
    Err(NotYet {
        who: who.to_owned(),
        wanted: position,
        reached: now.position(),
        waited: patience,
        // Whoever moves it may be gone without a word.
        is_closed: now.is_closed() || matches!(outcome, Ok(false)),
    })
}
