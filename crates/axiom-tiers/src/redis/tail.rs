//! Reading a shard from Redis, in order, every block checked against the one before it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use axiom_events::{Block, Chain};

use super::entry::{Content, Entry, Fault, entries, entries_read, id, key, offset_of};
use super::link::{Address, Link};

/// Entries that are fetched at once: blocks may have a megabyte each.
const ENTRIES_AHEAD: usize = 8;

/// A reader of one shard.
#[derive(Debug)]
pub struct Tail {
    link: Link,
    key: String,
    shard: u16,
    chain: Chain,
    /// The id behind which everything is new.
    last_id: String,
    fetched: VecDeque<Entry>,
}

/// What comes next in a shard.
#[derive(Debug)]
pub enum Next {
    /// A block; its first events may have been asked for or not.
    Block(Block),
    /// These events were trimmed, or never came to Redis. The node's own log may have them.
    Gap(Range<u64>),
    Nothing,
    /// The stream ends before what was read already: it was emptied, and the node has not added it again.
    Behind,
}

impl Tail {
    /// A reader that begins with the block in which `from` is, or with what is left behind it.
    pub fn from(address: &Address, shard: u16, from: u64) -> Tail {
        Tail {
            link: Link::new(address.clone()),
            key: key(shard),
            shard,
            chain: Chain::new(Some(shard), Some(from)),
            last_id: String::new(),
            fetched: VecDeque::new(),
        }
    }

    /// A reader that begins with the last `blocks` that are there now.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn newest(address: &Address, shard: u16, blocks: usize) -> Result<Tail, Fault> {
        let mut tail = Tail::from(address, shard, 0);
        let mut command = redis::cmd("XREVRANGE");
        command
            .arg(&tail.key)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(blocks.max(1));
        let reply = tail.link.run("XREVRANGE", &command).await;
        let newest = entries(&reply.map_err(|fault| fault.of_key(&tail.key))?);
        let oldest = newest.last().and_then(|entry| offset_of(&entry.id));
        tail.chain = Chain::new(Some(shard), oldest);
        tail.last_id = newest
            .first()
            .map_or_else(|| "0".to_owned(), |entry| entry.id.clone());
        tail.fetched = newest.into_iter().rev().collect();
        Ok(tail)
    }

    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// The offset that comes next; `None` while any may.
    pub fn position(&self) -> Option<u64> {
        self.chain.next()
    }

    /// What comes next; waits so long for it. Behind something that is refused it can be [left out](Tail::skip).
    ///
    /// # Errors
    /// See [`Fault`]; the position stays.
    ///
    /// # Cancel safety
    /// Dropped, nothing was read: the next call gives it.
    pub async fn next(&mut self, wait: Duration) -> Result<Next, Fault> {
        if self.fetched.is_empty() {
            self.fetch(wait).await?;
        }
        let Some(entry) = self.fetched.front() else {
            return self
                .is_behind()
                .await
                .map(|is| if is { Next::Behind } else { Next::Nothing });
        };
        if let Content::Gap(gap) = &entry.content {
            let from = self.chain.next().unwrap_or(gap.start);
            let gap = from..gap.end.max(from);
            self.fetched.pop_front();
            self.chain.skip(gap.end);
            return Ok(Next::Gap(gap));
        }
        let block = entry.block(&self.key, self.shard)?;
        let offsets = block.offsets();
        match self.chain.next() {
            Some(next) if next < offsets.start => {
                self.chain.skip(offsets.start);
                return Ok(Next::Gap(next..offsets.start));
            }
            // It begins in the middle: nothing is known of what was before.
            Some(next) if self.chain.last().is_none() && offsets.contains(&next) => {
                self.chain.skip(offsets.start)
            }
            _ => {}
        }
        let Content::Block { bytes, .. } = &entry.content else {
            unreachable!("it was found to be a block");
        };
        let fits = self.chain.check(bytes).map_err(|source| Fault::Unsound {
            key: self.key.clone(),
            id: entry.id.clone(),
            source: Box::new(source),
        })?;
        self.chain.advance(&fits);
        self.fetched.pop_front();
        Ok(Next::Block(fits.block))
    }

    /// Leaves out the entry that was refused, and takes what is behind it as it is.
    pub fn skip(&mut self) {
        if let Some(entry) = self.fetched.pop_front() {
            let end = entry
                .block(&self.key, self.shard)
                .map(|block| block.offsets().end)
                .ok();
            let next = end.or_else(|| offset_of(&entry.id)?.checked_add(1));
            // What is asked for may begin behind it.
            self.chain.skip(next.max(self.chain.next()).unwrap_or_default());
        }
    }

    async fn fetch(&mut self, wait: Duration) -> Result<(), Fault> {
        if self.last_id.is_empty() {
            self.last_id = self.begin().await?;
        }
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(ENTRIES_AHEAD);
        if !wait.is_zero() {
            let wait_ms = wait.min(Duration::from_secs(5)).as_millis();
            command.arg("BLOCK").arg(wait_ms.to_string());
        }
        command.arg("STREAMS").arg(&self.key).arg(&self.last_id);
        let reply = self.link.run("XREAD", &command).await;
        let fetched = entries_read(&reply.map_err(|fault| fault.of_key(&self.key))?);
        if let Some(last) = fetched.last() {
            self.last_id.clone_from(&last.id);
        }
        self.fetched.extend(fetched);
        Ok(())
    }

    /// The id before the entry in which the position is.
    async fn begin(&mut self) -> Result<String, Fault> {
        let from = self.chain.next().unwrap_or_default();
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg(id(from)).arg("-").arg("COUNT").arg(1);
        let reply = self.link.run("XREVRANGE", &command).await;
        let before = entries(&reply.map_err(|fault| fault.of_key(&self.key))?);
        let Some(entry) = before.into_iter().next() else {
            return Ok("0".to_owned());
        };
        let ends_before = match &entry.content {
            Content::Gap(gap) => gap.end <= from,
            // What is no block may be the place that was asked for: it is refused there, and can be left out.
            _ => entry
                .block(&self.key, self.shard)
                .is_ok_and(|block| block.offsets().end <= from),
        };
        let id = entry.id.clone();
        if !ends_before {
            self.fetched.push_back(entry);
        }
        Ok(id)
    }

    /// Whether the stream ends before what was read.
    async fn is_behind(&mut self) -> Result<bool, Fault> {
        let Some(last) = offset_of(&self.last_id) else {
            return Ok(false);
        };
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        let reply = self.link.run("XREVRANGE", &command).await;
        let newest = entries(&reply.map_err(|fault| fault.of_key(&self.key))?);
        let newest = newest.first().and_then(|entry| offset_of(&entry.id));
        Ok(newest.is_none_or(|newest| newest < last))
    }
}
