//! Several workers that share a shard's events between them: each block is given to one, until that one says it is done.
//!
//! A worker that dies leaves what it was given to the others, after [`Worker::join`]'s `idle`. So each block is worked on at
//! least once: whoever must do it once keeps the offset with what was made of it.

use std::ops::Range;
use std::time::Duration;

use axiom_events::Block;
use redis::Value;

use super::entry::{Content, Entry, Fault, entries, entries_read, items, key, offset_of, text};
use super::link::{Address, Link};

/// One of a group.
#[derive(Debug)]
pub struct Worker {
    link: Link,
    key: String,
    shard: u16,
    group: String,
    name: String,
    idle: Duration,
    /// What this worker was given before it was started again comes first: the id behind which there may be more of it.
    own: Option<String>,
}

/// What a worker was given.
#[derive(Debug)]
pub struct Work {
    id: String,
    pub given: Given,
}

#[derive(Debug)]
pub enum Given {
    Block(Block),
    /// Events that are not to be had. The end is the start where only that is known: the block was trimmed.
    Gap(Range<u64>),
}

impl Worker {
    /// Joins a group of a shard, which begins with the oldest block that is there if it is new. `name` is this worker's
    /// alone; one that is started again under it gets first what it had. What a worker has had for `idle` goes to another.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn join(
        address: &Address,
        shard: u16,
        group: &str,
        name: &str,
        idle: Duration,
    ) -> Result<Worker, Fault> {
        let mut worker = Worker {
            link: Link::new(address.clone()),
            key: key(shard),
            shard,
            group: group.to_owned(),
            name: name.to_owned(),
            idle,
            own: Some("0".to_owned()),
        };
        worker.make_group().await?;
        Ok(worker)
    }

    /// The next block for this worker; waits so long for one.
    ///
    /// # Errors
    /// See [`Fault`]. What is refused as unsound stays with this worker, and comes to another one later.
    ///
    /// # Cancel safety
    /// Dropped, a block may have been given to this worker: it comes again after `idle`, or when it joins again.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<Work>, Fault> {
        let found = match self.find(wait).await {
            Err(Fault::Refused { detail, .. }) if detail.contains("NOGROUP") => {
                // The stream was emptied. What comes again is given again.
                self.make_group().await?;
                self.find(wait).await?
            }
            found => found?,
        };
        let Some(entry) = found else {
            return Ok(None);
        };
        let given = match &entry.content {
            Content::Gap(gap) => Given::Gap(gap.clone()),
            Content::Trimmed => {
                let at = offset_of(&entry.id).unwrap_or_default();
                Given::Gap(at..at)
            }
            Content::Block { .. } | Content::Other => Given::Block(entry.block(&self.key, self.shard)?),
        };
        Ok(Some(Work { id: entry.id, given }))
    }

    /// Says that it is done with this: nobody is given it again.
    ///
    /// # Errors
    /// See [`Fault`]; then it may be given again.
    pub async fn done(&mut self, work: &Work) -> Result<(), Fault> {
        let mut command = redis::cmd("XACK");
        command.arg(&self.key).arg(&self.group).arg(&work.id);
        self.run("XACK", &command).await.map(drop)
    }

    async fn find(&mut self, wait: Duration) -> Result<Option<Entry>, Fault> {
        if let Some(after) = self.own.clone() {
            let own = entries_read(&self.read(&after, Duration::ZERO).await?);
            if let Some(entry) = own.into_iter().next() {
                self.own = Some(entry.id.clone());
                return Ok(Some(entry));
            }
            self.own = None;
        }
        if let Some(entry) = self.claim().await? {
            return Ok(Some(entry));
        }
        let fresh = entries_read(&self.read(">", wait).await?);
        Ok(fresh.into_iter().next())
    }

    async fn read(&mut self, after: &str, wait: Duration) -> Result<Value, Fault> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.name);
        command.arg("COUNT").arg(1);
        if !wait.is_zero() {
            let wait_ms = wait.min(Duration::from_secs(5)).as_millis();
            command.arg("BLOCK").arg(wait_ms.to_string());
        }
        command.arg("STREAMS").arg(&self.key).arg(after);
        self.run("XREADGROUP", &command).await
    }

    /// Takes over what somebody else has had for too long.
    async fn claim(&mut self) -> Result<Option<Entry>, Fault> {
        let mut command = redis::cmd("XAUTOCLAIM");
        command.arg(&self.key).arg(&self.group).arg(&self.name);
        command.arg(self.idle.as_millis().to_string()).arg("0");
        command.arg("COUNT").arg(1);
        let reply = self.run("XAUTOCLAIM", &command).await?;
        let [_, claimed, rest @ ..] = items(&reply) else {
            return Ok(None);
        };
        if let Some(entry) = entries(claimed).into_iter().next() {
            return Ok(Some(entry));
        }
        // Trimmed ones are on no list any more; they are told once.
        let trimmed = rest.first().and_then(|trimmed| items(trimmed).first());
        Ok(trimmed.map(|id| Entry {
            id: text(id),
            content: Content::Trimmed,
        }))
    }

    async fn make_group(&mut self) -> Result<(), Fault> {
        let mut command = redis::cmd("XGROUP");
        command
            .arg("CREATE")
            .arg(&self.key)
            .arg(&self.group)
            .arg("0")
            .arg("MKSTREAM");
        match self.run("XGROUP", &command).await {
            Err(Fault::Refused { detail, .. }) if detail.contains("BUSYGROUP") => Ok(()),
            made => made.map(drop),
        }
    }

    async fn run(&mut self, name: &'static str, command: &redis::Cmd) -> Result<Value, Fault> {
        let reply = self.link.run(name, command).await;
        reply.map_err(|fault| fault.of_key(&self.key))
    }
}
