//! A catch-up subscription: everything from a position on, first what is there, then what comes.
//!
//! The position is the subscriber's own to keep. Kept together with what was made of the events, it makes their effect happen
//! once.

use std::sync::Arc;

use tokio::sync::watch;

use crate::block::Block;
use crate::event::{Level, Recorded};
use crate::read::{Next, Reader};
use crate::segment::ReadError;
use crate::segments::End;

/// Which events a subscriber wants. What is empty or `None` asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub tenant: Option<String>,
    /// Streams that begin like this.
    pub stream_prefix: String,
    /// Kinds that begin like this.
    pub kind_prefix: String,
    pub task: Option<String>,
    pub level_min: Option<Level>,
}

/// A subscription.
#[derive(Debug)]
pub struct Follow {
    reader: Reader,
    end: watch::Receiver<End>,
    filter: Arc<Filter>,
    position: u64,
}

/// What comes next in a subscription.
#[derive(Debug)]
pub enum Delivery {
    /// Wanted events, at least one.
    Events(Delivered),
    /// Events of these offsets are lost, or were retired; wanted ones may have been among them.
    Gap(std::ops::Range<u64>),
}

/// What a subscription has passed.
#[derive(Debug)]
pub(crate) enum Passed {
    Delivery(Delivery),
    /// A block in which nothing is wanted.
    Unwanted,
}

/// The wanted events of a block.
#[derive(Debug)]
pub struct Delivered {
    block: Arc<Block>,
    offsets: Vec<u64>,
}

impl Filter {
    pub fn wants(&self, recorded: &Recorded<'_>) -> bool {
        let event = &recorded.event;
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        is(&self.tenant, event.tenant)
            && is(&self.task, event.task)
            && event.stream.starts_with(&self.stream_prefix)
            && event.kind.starts_with(&self.kind_prefix)
            && self.level_min.is_none_or(|min| event.level >= min)
    }
}

impl Reader {
    /// Everything from `position` on that the filter wants.
    pub fn follow(&self, position: u64, filter: Filter) -> Follow {
        Follow {
            reader: self.clone(),
            end: self.watch_end(),
            filter: Arc::new(filter),
            position,
        }
    }
}

impl Follow {
    /// The offset from which on nothing was delivered yet.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Waits for the next wanted events; `None` when the log was closed and everything was delivered.
    ///
    /// # Errors
    /// When the disk does not give what is there. The position stays: the next call tries again.
    ///
    /// # Cancel safety
    /// Dropped, nothing was delivered: the next call delivers it.
    pub async fn next(&mut self) -> Result<Option<Delivery>, ReadError> {
        loop {
            match self.step().await? {
                Some(Passed::Delivery(delivery)) => return Ok(Some(delivery)),
                Some(Passed::Unwanted) => {}
                None => return Ok(None),
            }
        }
    }

    /// One block or gap further, whether there is anything wanted in it or not; else as [`Follow::next`].
    pub(crate) async fn step(&mut self) -> Result<Option<Passed>, ReadError> {
        loop {
            match self.look().await? {
                (Next::Block(block), offsets) => {
                    self.position = block.offsets().end;
                    return Ok(Some(match offsets.is_empty() {
                        true => Passed::Unwanted,
                        false => Passed::Delivery(Delivery::Events(Delivered { block, offsets })),
                    }));
                }
                (Next::Gap(gap), _) => {
                    self.position = gap.end;
                    return Ok(Some(Passed::Delivery(Delivery::Gap(gap))));
                }
                (Next::End, _) => {
                    let position = self.position;
                    // cancel-safe: it only waits.
                    let moved = self
                        .end
                        .wait_for(|end| end.offset > position || end.is_closed)
                        .await;
                    if moved.is_ok_and(|end| end.offset <= position) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// What is at the position, and the wanted offsets of it. Reading and unpacking take up to some milliseconds, so they
    /// are done where nobody else waits.
    async fn look(&self) -> Result<(Next, Vec<u64>), ReadError> {
        if self.position >= self.reader.end() {
            return Ok((Next::End, Vec::new()));
        }
        let (reader, filter, position) = (self.reader.clone(), Arc::clone(&self.filter), self.position);
        let looking = axiom_core::spawn::blocking(move || {
            let next = reader.at(position)?;
            let wanted = match &next {
                Next::Block(block) => block.wanted(&filter, position),
                Next::Gap(_) | Next::End => Vec::new(),
            };
            Ok((next, wanted))
        });
        looking.join().await.unwrap_or(Err(ReadError::Panicked))
    }
}

impl Delivered {
    /// The offset after the block that they are in.
    pub(crate) fn end(&self) -> u64 {
        self.block.offsets().end
    }

    /// Their offsets, in order.
    pub(crate) fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    pub(crate) fn event(&self, offset: u64) -> Option<Recorded<'_>> {
        self.block.event(offset)
    }

    /// In order.
    pub fn events(&self) -> impl Iterator<Item = Recorded<'_>> {
        self.offsets.iter().filter_map(|offset| self.block.event(*offset))
    }
}
