//! From a node's log to Redis: what is recorded is added there, block by block, and what is old goes.
//!
//! It reads the log as any reader does. When Redis is away, slow or full, the log notices nothing; what was missed is added
//! when it is back, as far as it would still be kept, and what is left out is marked as a gap.
//!
//! Adding is one script: it looks whether the stream still ends with what was added last, and only then adds. So nothing is
//! added twice, and not to another node's history either.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use axiom_core::time::{self, timeout};
use axiom_core::{Draining, channel, spawn};
use axiom_events::{Hash, Raw, RawBlock, ReadError, Reader};
use redis::Value;

use super::entry::{Content, Entry, Fault, bytes, entries, id, items, key};
use super::link::{Address, Link};

/// Adds if the stream ends with an entry of this id and hash; both are empty for a stream that is empty. One that somebody has
/// emptied remembers the last id, and takes none before it unless it is told to forget that.
const ADD: &str = "\
local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local id, hash = '', ''
if top[1] then
  id = top[1][1]
  for n = 1, #top[1][2], 2 do
    if top[1][2][n] == 'hash' then hash = top[1][2][n + 1] end
  end
end
if id ~= ARGV[1] or hash ~= ARGV[2] then return 'moved' end
if id == '' then redis.pcall('XSETID', KEYS[1], '0-0') end
if ARGV[4] == 'block' then
  redis.call('XADD', KEYS[1], ARGV[3], 'block', ARGV[5], 'hash', ARGV[6])
else
  redis.call('XADD', KEYS[1], ARGV[3], 'gap', ARGV[5])
end
if ARGV[7] ~= '' then redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[7]) end
return 'added'";

/// Pauses before Redis is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often it is looked for what is too old, and whether all is there still, where nothing new comes.
const IDLE_PAUSE: Duration = Duration::from_secs(15);
/// How long what is left may take at the end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What is shared, and where.
#[derive(Debug, Clone)]
pub struct Options {
    pub address: Address,
    pub shard: u16,
    /// Of blocks. The newest one is kept whatever it has.
    pub keep_bytes: u64,
    pub keep_age: Duration,
}

/// How it is with Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Starting,
    /// Everything before this offset is there.
    Shared(u64),
    /// It comes back by itself, or somebody must do something; the text says what it is.
    Away(String),
    /// Another node's history is there. Nothing is added as long as that is so.
    Conflict(String),
}

/// The service.
#[derive(Debug)]
pub struct Push {
    options: Options,
    key: String,
    reader: Reader,
    link: Link,
    state: channel::watch::Sender<State>,
    /// With what the stream ends: the id, and the hash of a block.
    top: Option<(String, Option<Hash>)>,
    kept: Kept,
}

/// What of the shard is in Redis, oldest first.
#[derive(Debug, Default)]
struct Kept {
    blocks: VecDeque<Block>,
    bytes: u64,
    /// Less than is asked for where Redis is too small for it. It grows again bit by bit.
    bytes_max: u64,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    first: u64,
    bytes: u64,
    time_max: i64,
}

impl Push {
    /// Shares what `reader` reads, once it [runs](Push::run).
    pub fn new(options: Options, reader: Reader) -> (Push, channel::watch::Receiver<State>) {
        let (state, states) = channel::watch::channel(State::Starting);
        let push = Push {
            key: key(options.shard),
            link: Link::new(options.address.clone()),
            kept: Kept {
                bytes_max: options.keep_bytes,
                ..Kept::default()
            },
            options,
            reader,
            state,
            top: None,
        };
        (push, states)
    }

    /// Runs until the log is closed and everything is there, or until it is asked to finish and has had a moment for it.
    pub async fn run(mut self, mut draining: Draining) {
        let at_last = async move {
            draining.asked().await;
            time::sleep(DRAIN_MAX).await;
        };
        tokio::select! {
            // Dropped, Redis may have what was not acknowledged: the next start looks.
            () = self.share_for_ever() => {}
            () = at_last => {
                tracing::warn!(key = %self.key, "Redis does not have the newest events yet; the next start adds them");
            }
        }
    }

    async fn share_for_ever(&mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let Err(fault) = self.share(&mut pause).await else {
                return;
            };
            if !matches!(fault, Fault::Moved { .. }) {
                self.tell(&fault);
            }
            if matches!(fault, Fault::Full { .. }) {
                self.make_room().await;
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Catches up, and adds what comes. Returns when the log is closed and everything is there.
    async fn share(&mut self, pause: &mut Duration) -> Result<(), Fault> {
        let mut at = self.catch_up().await?;
        let mut end = self.reader.watch_end();
        loop {
            match self.look(at).await? {
                Raw::Block(block) => {
                    self.add_block(&block).await?;
                    at = block.offsets.end;
                }
                Raw::Gap(gap) => {
                    self.add_gap(gap.clone()).await?;
                    at = gap.end;
                }
                Raw::End => {
                    self.now(State::Shared(at));
                    // cancel-safe: it only waits.
                    let more = end.wait_for(|end| end.offset > at || end.is_closed);
                    let more = timeout(IDLE_PAUSE, more).await;
                    match more.map(|end| end.is_ok_and(|end| end.offset > at)) {
                        Ok(true) => {}
                        Ok(false) => return Ok(()),
                        Err(_) => {
                            self.look_after().await?;
                            self.trim().await?;
                        }
                    }
                }
            }
            *pause = PAUSE_MIN;
        }
    }

    /// Finds out what Redis has, and from where on it is to be added.
    async fn catch_up(&mut self) -> Result<u64, Fault> {
        let top = self.last_entry().await?;
        // Where nothing is to be kept, all that comes after this look is added: the end is of the same moment.
        let end = self.reader.end();
        let window = self.window(end).await?;
        let begin = window.front().map_or(end, |block| block.first);
        let Some(top) = top else {
            (self.top, self.kept.blocks, self.kept.bytes) = (None, VecDeque::new(), 0);
            return Ok(begin);
        };
        let hash = match &top.content {
            Content::Block { hash, .. } => Some(*hash),
            _ => None,
        };
        let there = match &top.content {
            Content::Gap(gap) => gap.end,
            _ => {
                let block = top.block(&self.key, self.options.shard)?;
                self.compare(&block, hash).await?;
                block.offsets().end
            }
        };
        if there > end {
            let what = format!("it goes up to event {there}, and the log here to {end}");
            return Err(self.conflict(what));
        }
        self.top = Some((top.id, hash));
        self.kept.blocks = window.into_iter().filter(|block| block.first < there).collect();
        self.kept.bytes = self.kept.blocks.iter().map(|block| block.bytes).sum();
        if there < begin {
            self.add_gap(there..begin).await?;
        }
        Ok(there.max(begin))
    }

    async fn last_entry(&mut self) -> Result<Option<Entry>, Fault> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        let reply = self.link.run("XREVRANGE", &command).await;
        let reply = reply.map_err(|fault| fault.of_key(&self.key))?;
        Ok(entries(&reply).into_iter().next())
    }

    /// Whether the stream is as it was left: a Redis that was emptied is given everything again.
    async fn look_after(&mut self) -> Result<(), Fault> {
        let there = self.last_entry().await?.map(|entry| entry.id);
        if there.as_ref() == self.top.as_ref().map(|(id, _)| id) {
            return Ok(());
        }
        let key = self.key.clone();
        Err(Fault::Moved { key })
    }

    /// Whether the log here has the same block.
    async fn compare(&self, block: &axiom_events::Block, hash: Option<Hash>) -> Result<(), Fault> {
        let first = block.offsets().start;
        let what = match self.look(first).await? {
            Raw::Block(ours) if ours.offsets.start == first && Some(ours.hash()) == hash => return Ok(()),
            // Nobody can compare what was retired here.
            Raw::Gap(_) => return Ok(()),
            Raw::Block(_) => format!("event {first} is another one there than here"),
            Raw::End => format!(
                "it has event {first}, and the log here ends with {}",
                self.reader.end()
            ),
        };
        Err(self.conflict(what))
    }

    fn conflict(&self, what: String) -> Fault {
        let key = self.key.clone();
        Fault::Conflict { key, what }
    }

    /// The newest blocks of the log before `end` that are to be kept in Redis, oldest first.
    async fn window(&self, end: u64) -> Result<VecDeque<Block>, Fault> {
        let (reader, limits) = (self.reader.clone(), self.limits());
        let looking = spawn::blocking(move || {
            let mut window = VecDeque::new();
            let (first, mut at) = (reader.first(), end);
            let mut bytes = 0;
            while at > first {
                let Raw::Block(block) = reader.raw(at - 1)? else {
                    break;
                };
                bytes += block.bytes.len() as u64;
                if !limits.keeps(bytes, block.time_max) && !window.is_empty() {
                    break;
                }
                at = block.offsets.start;
                window.push_front(Block::of(&block));
            }
            Ok(window)
        });
        looking.join().await.unwrap_or(Err(ReadError::Panicked.into()))
    }

    async fn add_block(&mut self, block: &RawBlock) -> Result<(), Fault> {
        let hash = block.hash();
        self.kept.add(Block::of(block));
        let oldest = self.kept.trim(&self.limits());
        let outcome = self
            .add(block.offsets.start, "block", &block.bytes, Some(hash), oldest)
            .await;
        match &outcome {
            Ok(()) => {
                // Where Redis was too small it may have more room now.
                let grown = self.kept.bytes_max.saturating_add(block.bytes.len() as u64 / 8);
                self.kept.bytes_max = grown.min(self.options.keep_bytes);
            }
            Err(_) => self.kept.take_back(),
        }
        outcome
    }

    async fn add_gap(&mut self, gap: Range<u64>) -> Result<(), Fault> {
        let end = gap.end.to_string();
        self.add(gap.start, "gap", end.as_bytes(), None, None).await
    }

    async fn add(
        &mut self,
        first: u64,
        field: &'static str,
        value: &[u8],
        hash: Option<Hash>,
        oldest: Option<u64>,
    ) -> Result<(), Fault> {
        let (top, top_hash) = match &self.top {
            Some((id, hash)) => (id.as_str(), hash.map_or(Vec::new(), |hash| hash.0.to_vec())),
            None => ("", Vec::new()),
        };
        let id = id(first);
        let mut command = redis::cmd("EVAL");
        command.arg(ADD).arg(1).arg(&self.key);
        command.arg(top).arg(top_hash).arg(&id).arg(field).arg(value);
        command.arg(hash.map_or(Vec::new(), |hash| hash.0.to_vec()));
        command.arg(oldest.map(self::id).unwrap_or_default());
        let reply = self.link.run("XADD", &command).await;
        let reply = reply.map_err(|fault| fault.of_key(&self.key))?;
        if bytes(&reply) != b"added" {
            let key = self.key.clone();
            return Err(Fault::Moved { key });
        }
        self.top = Some((id, hash));
        Ok(())
    }

    /// Removes what has become too old.
    async fn trim(&mut self) -> Result<(), Fault> {
        let before = self.kept.blocks.len();
        if let Some(oldest) = self.kept.trim(&self.limits())
            && self.kept.blocks.len() < before
        {
            self.trim_to(oldest).await?;
        }
        Ok(())
    }

    async fn trim_to(&mut self, oldest: u64) -> Result<(), Fault> {
        let mut command = redis::cmd("XTRIM");
        command.arg(&self.key).arg("MINID").arg("=").arg(id(oldest));
        let reply: Value = self.link.run("XTRIM", &command).await?;
        tracing::debug!(key = %self.key, oldest, removed = ?items(&reply).first(), "trimmed");
        Ok(())
    }

    /// Redis has no room: half of what is kept goes, and for now no more is kept.
    async fn make_room(&mut self) {
        self.kept.bytes_max = (self.kept.bytes / 2).max(1);
        if let Some(oldest) = self.kept.trim(&self.limits())
            && let Err(error) = self.trim_to(oldest).await
        {
            tracing::debug!(%error, "no room was made");
        }
    }

    fn limits(&self) -> Limits {
        let age = i64::try_from(self.options.keep_age.as_nanos()).unwrap_or(i64::MAX);
        Limits {
            bytes: self.kept.bytes_max,
            time_min: time::unix_nanos().saturating_sub(age),
        }
    }

    async fn look(&self, at: u64) -> Result<Raw, Fault> {
        let reader = self.reader.clone();
        let looking = spawn::blocking(move || reader.raw(at));
        Ok(looking.join().await.unwrap_or(Err(ReadError::Panicked))?)
    }

    /// Says once what is the matter, loudly where it does not pass by itself.
    fn tell(&self, fault: &Fault) {
        let what = fault.to_string();
        let state = match fault {
            Fault::Conflict { .. } | Fault::Unsound { .. } => State::Conflict(what.clone()),
            _ => State::Away(what.clone()),
        };
        let is_new = *self.state.borrow() != state;
        let waits_for_a_person = matches!(
            fault,
            Fault::Conflict { .. } | Fault::Unsound { .. } | Fault::Foreign { .. } | Fault::Denied { .. }
        );
        match (is_new, waits_for_a_person) {
            (true, true) => tracing::error!(key = %self.key, reason = %what, "events are not shared"),
            (true, false) => tracing::warn!(key = %self.key, reason = %what, "events are not shared for now"),
            (false, _) => {}
        }
        self.now(state);
    }

    fn now(&self, state: State) {
        let was_away = matches!(*self.state.borrow(), State::Away(_) | State::Conflict(_));
        if was_away && matches!(state, State::Shared(_)) {
            tracing::info!(key = %self.key, "events are shared again");
        }
        self.state.send_replace(state);
    }
}

/// What is kept.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    /// Nanoseconds since 1970.
    time_min: i64,
}

impl Limits {
    fn keeps(&self, bytes: u64, time_max: i64) -> bool {
        bytes <= self.bytes && time_max >= self.time_min
    }
}

impl Block {
    fn of(raw: &RawBlock) -> Block {
        Block {
            first: raw.offsets.start,
            bytes: raw.bytes.len() as u64,
            time_max: raw.time_max,
        }
    }
}

impl Kept {
    fn add(&mut self, block: Block) {
        self.bytes += block.bytes;
        self.blocks.push_back(block);
    }

    fn take_back(&mut self) {
        if let Some(block) = self.blocks.pop_back() {
            self.bytes -= block.bytes;
        }
    }

    /// Forgets what is too much; says where what is left begins.
    fn trim(&mut self, limits: &Limits) -> Option<u64> {
        while self.blocks.len() > 1
            && let Some(oldest) = self.blocks.front()
            && !limits.keeps(self.bytes, oldest.time_max)
        {
            self.bytes -= oldest.bytes;
            self.blocks.pop_front();
        }
        self.blocks.front().map(|oldest| oldest.first)
    }
}
