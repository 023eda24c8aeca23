//! A projection at work: events in, states and emitted events out, and what of it is committed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::append::{Ack, Append};
use crate::archive::Missing;
use crate::event::{Event, Format, Level, NAME_BYTES_MAX, Recorded, Unfit};
use crate::follow::{Delivered, Filter};
use crate::line::{Line, Said};
use crate::read::{Next, Reader};
use crate::streams::Expected;

use super::{
    At, CHECKPOINT_KIND, Emit, Held, Projection, ProjectionError, ProjectionOptions, STATE_KIND, Shared,
};

/// Events in which there was nothing for it, after which a projection commits its position all the same: so many are read
/// again after a restart.
const IDLE_EVENTS: u64 = 1 << 20;

/// What a projection has in the log.
#[derive(Debug)]
pub(super) struct Store<P> {
    pub(super) reader: Reader,
    pub(super) projection: P,
}

/// How far a projection is, as it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) version: u32,
    pub(super) position: u64,
    /// The offset at which this version began; `None` if that is this checkpoint's own.
    pub(super) began: Option<u64>,
    /// Before this offset nothing is emitted.
    pub(super) silent_until: u64,
    pub(super) lost: u64,
}

/// A projection, as far as it has come.
#[derive(Debug)]
pub(super) struct Machine<P: Projection> {
    shared: Arc<Shared<P>>,
    options: ProjectionOptions,
    filter: Filter,
    /// As it will be committed.
    checkpoint: Checkpoint,
    committed: u64,
    /// Events that were lost before that.
    committed_lost: u64,
    /// It has gone back to what is committed.
    has_gone_back: bool,
    /// The version of the last checkpoint in its stream; `None` if there is none.
    last: Option<u64>,
    emit: Emit,
    dirty: BTreeSet<Arc<str>>,
    /// Events that count since the last commit.
    events: u64,
}

/// A commit on its way.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) append: Append,
    checkpoint: Checkpoint,
}

impl<P: Projection> Store<P> {
    pub(super) fn stream(&self) -> String {
        format!("$projection.{}", self.projection.name())
    }

    fn stream_of(&self, partition: &str) -> String {
        let named = format!("$projection.{}.{partition}", self.projection.name());
        if named.len() <= NAME_BYTES_MAX {
            return named;
        }
        let hash = blake3::hash(partition.as_bytes());
        format!("$projection.{}.#{hash}", self.projection.name())
    }

    /// The last checkpoint, its offset and its version.
    fn checkpoint(&self) -> Result<Option<(Checkpoint, u64, u64)>, ProjectionError> {
        let Some(hit) = self.reader.last_before(&self.stream(), u64::MAX)? else {
            return Ok(None);
        };
        let Recorded {
            offset,
            version,
            event,
        } = hit.recorded();
        let checkpoint = Checkpoint::read(event.body).ok_or_else(|| self.not_understood("", offset))?;
        Ok(Some((checkpoint, offset, version)))
    }

    /// The last state of a partition among these offsets.
    pub(super) fn state(
        &self,
        partition: &str,
        kept: Range<u64>,
    ) -> Result<Option<P::State>, ProjectionError> {
        let hit = self.reader.last_before(&self.stream_of(partition), kept.end)?;
        let Some(hit) = hit.filter(|hit| hit.recorded().offset >= kept.start) else {
            return Ok(None);
        };
        let Recorded { offset, event, .. } = hit.recorded();
        match self.projection.load(event.body) {
            Some(state) => Ok(Some(state)),
            None => Err(self.not_understood(partition, offset)),
        }
    }

    fn not_understood(&self, partition: &str, offset: u64) -> ProjectionError {
        ProjectionError::State {
            name: self.projection.name().to_owned(),
            partition: partition.to_owned(),
            offset,
        }
    }
}

impl<P: Projection> Machine<P> {
    /// Goes on where the last commit ended, or begins. Blocks on the disk.
    pub(super) fn open(
        shared: Arc<Shared<P>>,
        options: ProjectionOptions,
    ) -> Result<Machine<P>, ProjectionError> {
        let store = &shared.store;
        let name = store.projection.name();
        if name.is_empty() || name.len() > super::NAME_BYTES_MAX || name.contains('.') {
            let name = name.to_owned();
            return Err(ProjectionError::Name { name });
        }
        let version = store.projection.version();
        let first = store.reader.first();
        let mut checkpoint = Checkpoint {
            version,
            position: first,
            began: None,
            silent_until: 0,
            lost: 0,
        };
        let mut last = None;
        // A version that has not begun has no states in the log.
        let mut kept = 0..0;
        if let Some((found, offset, version_in_stream)) = store.checkpoint()? {
            last = Some(version_in_stream);
            if found.version == version {
                let began = found.began.unwrap_or(offset);
                kept = began..offset + 1;
                checkpoint = Checkpoint {
                    began: Some(began),
                    ..found
                };
            } else {
                checkpoint.silent_until = found.silent_until.max(found.position);
            }
        }
        shared.states().kept = kept;
        let machine = Machine {
            filter: store.projection.filter(),
            emit: Emit::default(),
            committed: checkpoint.position,
            committed_lost: checkpoint.lost,
            has_gone_back: false,
            dirty: BTreeSet::new(),
            events: 0,
            shared: Arc::clone(&shared),
            options,
            checkpoint,
            last,
        };
        machine.publish();
        Ok(machine)
    }

    pub(super) fn position(&self) -> u64 {
        self.checkpoint.position
    }

    /// The version of the last checkpoint in its stream; `None` if there is none.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Checkpoints up to this version are lost.
    pub(super) fn go_on_behind(&mut self, last: u64) {
        self.last = Some(last);
    }

    pub(super) fn filter(&self) -> Filter {
        self.filter.clone()
    }

    pub(super) fn needs_beginning(&self) -> bool {
        self.checkpoint.began.is_none()
    }

    /// Whether there is anything to be committed.
    pub(super) fn has_changed(&self) -> bool {
        self.events > 0 || self.position() - self.committed >= IDLE_EVENTS
    }

    /// Whether nothing more may be taken in before it is committed.
    pub(super) fn must_commit(&self) -> bool {
        self.events >= self.options.commit_events
            || self.dirty.len() >= self.options.commit_partitions
            || self.emit.batch.bytes() >= crate::append::APPEND_BYTES_MAX / 4
            || self.position() - self.committed >= IDLE_EVENTS
    }

    /// Takes in events, until all are or something must be committed first: then it says false, and is to be given them again.
    pub(super) fn take(&mut self, delivered: &Delivered) -> Result<bool, ProjectionError> {
        self.emit.now = self.options.clock.now();
        for recorded in delivered.events() {
            if recorded.offset < self.position() {
                continue;
            }
            if self.must_commit() {
                return Ok(false);
            }
            self.apply(&recorded)?;
        }
        self.pass(delivered.end());
        Ok(true)
    }

    /// Nothing before this offset is of interest.
    pub(super) fn pass(&mut self, position: u64) {
        self.checkpoint.position = self.checkpoint.position.max(position);
        self.publish();
    }

    /// Events of this range are not there. Those that were kept as long as they were meant to be are not missed. Blocks on the
    /// disk.
    pub(super) fn miss(&mut self, gap: &Range<u64>) {
        let reader = &self.shared.store.reader;
        if reader
            .why_missing(gap)
            .is_ok_and(|missing| missing == Missing::Retired)
        {
            return self.pass(gap.end);
        }
        let lost = gap.end.saturating_sub(gap.start.max(self.position()));
        if lost > 0 {
            let projection = self.shared.store.projection.name();
            tracing::warn!(
                projection,
                from_offset = gap.start,
                lost,
                "events cannot be read; a projection goes on without them"
            );
            self.checkpoint.lost += lost;
            self.events += 1;
        }
        self.pass(gap.end);
    }

    fn apply(&mut self, recorded: &Recorded<'_>) -> Result<(), ProjectionError> {
        let Machine {
            shared,
            filter,
            checkpoint,
            emit,
            dirty,
            ..
        } = self;
        let projection = &shared.store.projection;
        let is_own = recorded.event.stream.starts_with('$') && !filter.stream_prefix.starts_with('$');
        let partition = match is_own {
            true => None,
            false => projection.partition(recorded),
        };
        if let Some(partition) = partition {
            emit.is_silent = recorded.offset < checkpoint.silent_until;
            let mut states = shared.states();
            if !states.held.contains_key(&*partition) {
                drop(states);
                let held = Held {
                    state: shared.stored(&partition)?.unwrap_or_default(),
                    used: 0,
                    is_dirty: false,
                };
                states = shared.states();
                states.held.insert(partition.as_ref().into(), held);
            }
            states.clock += 1;
            let used = states.clock;
            let held = states.held.get_mut(&*partition).expect("it was put there");
            projection.apply(&mut held.state, recorded, emit);
            held.used = used;
            if !held.is_dirty {
                held.is_dirty = true;
                dirty.insert(partition.as_ref().into());
            }
            self.events += 1;
        }
        if let Some(source) = self.emit.refused.take() {
            return Err(self.unfit(recorded.offset, source));
        }
        self.checkpoint.position = recorded.offset + 1;
        Ok(())
    }

    fn unfit(&self, offset: u64, source: Unfit) -> ProjectionError {
        ProjectionError::Unfit {
            name: self.shared.store.projection.name().to_owned(),
            offset,
            source,
        }
    }

    /// Reads to the end of the log. Blocks on the disk.
    pub(super) fn catch_up(&mut self) -> Result<(), ProjectionError> {
        let reader = self.shared.store.reader.clone();
        loop {
            match reader.at(self.position())? {
                Next::Block(block) => {
                    let from = self.position();
                    for recorded in block.events().filter(|recorded| recorded.offset >= from) {
                        if self.filter.wants(&recorded) {
                            self.apply(&recorded)?;
                        }
                    }
                    // Nothing is ever committed.
                    self.emit.batch.clear();
                    self.pass(block.offsets().end);
                }
                Next::Gap(gap) => self.miss(&gap),
                Next::End => return Ok(()),
            }
        }
    }

    /// Everything since the last commit as one append.
    pub(super) fn commit(&self) -> Result<Commit, ProjectionError> {
        let store = &self.shared.store;
        let mut batch = self.emit.batch.clone();
        let time = self.options.clock.now();
        let mut push = |stream: &str, kind: &str, format: Format, body: &[u8]| {
            let event = Event {
                time,
                stream,
                kind,
                level: Level::Trace,
                format,
                body,
                ..Event::default()
            };
            let pushed = batch.push(&event);
            pushed.map_err(|source| self.unfit(self.position().saturating_sub(1), source))
        };
        for partition in &self.dirty {
            let saved = {
                let states = self.shared.states();
                let held = states.held.get(partition).expect("what is dirty is in memory");
                store.projection.save(&held.state)
            };
            push(&store.stream_of(partition), STATE_KIND, Format::Binary, &saved)?;
        }
        let stream = store.stream();
        let line = self.checkpoint.line();
        push(&stream, CHECKPOINT_KIND, Format::Text, line.bytes())?;
        let expected = self.last.map_or(Expected::NoStream, Expected::Exact);
        Ok(Commit {
            append: Append {
                batch,
                expected: vec![(stream, expected)],
                ack: Ack::Group,
            },
            checkpoint: self.checkpoint,
        })
    }

    /// A commit is in the log, with its checkpoint as the last event of it.
    pub(super) fn committed(&mut self, commit: &Commit, position: u64) {
        self.last = Some(self.last.map_or(0, |last| last + 1));
        self.committed = commit.checkpoint.position;
        self.committed_lost = commit.checkpoint.lost;
        let began = *self.checkpoint.began.get_or_insert(position - 1);
        self.emit.batch.clear();
        self.events = 0;
        let mut states = self.shared.states();
        states.kept = began..position;
        for partition in std::mem::take(&mut self.dirty) {
            if let Some(held) = states.held.get_mut(&partition) {
                held.is_dirty = false;
            }
        }
        // All of them are clean now: those that were not used for long go, a quarter at once.
        let (held, max) = (states.held.len(), self.options.partitions_max);
        if held > max {
            let mut used: Vec<u64> = states.held.values().map(|held| held.used).collect();
            used.sort_unstable();
            let oldest_kept = used.get(held - max * 3 / 4).copied().unwrap_or(u64::MAX);
            states.held.retain(|_, held| held.used >= oldest_kept);
        }
        drop(states);
        self.publish();
    }

    /// Goes back to what is committed, and from there on commits when half as many partitions have changed. False if there
    /// is no more than one.
    pub(super) fn go_back(&mut self) -> bool {
        if self.dirty.len() < 2 {
            return false;
        }
        self.options.commit_partitions = self.dirty.len() / 2;
        self.has_gone_back = true;
        self.emit.batch.clear();
        self.events = 0;
        self.checkpoint.position = self.committed;
        self.checkpoint.lost = self.committed_lost;
        let shared = Arc::clone(&self.shared);
        let mut states = shared.states();
        for partition in std::mem::take(&mut self.dirty) {
            states.held.remove(&partition);
        }
        // Whoever reads a state reads its position with it.
        self.publish();
        true
    }

    pub(super) fn has_gone_back(&self) -> bool {
        self.has_gone_back
    }

    /// Where it is to be given events from, if it has gone back since this was asked.
    pub(super) fn again_from(&mut self) -> Option<u64> {
        std::mem::take(&mut self.has_gone_back).then(|| self.position())
    }

    /// What is in memory is not to be trusted any more.
    pub(super) fn forget(shared: &Shared<P>) {
        shared.states().held.clear();
        shared.at.send_modify(|at| at.position = at.committed);
    }

    fn publish(&self) {
        let at = At {
            position: self.position(),
            committed: self.committed,
            lost: self.checkpoint.lost,
            is_closed: false,
        };
        self.shared.at.send_replace(at);
    }
}

impl Checkpoint {
    fn line(&self) -> Line {
        let line = Line::default()
            .with("version", self.version)
            .with("position", self.position)
            .with("silent_until", self.silent_until)
            .with("lost", self.lost);
        match self.began {
            Some(began) => line.with("began", began),
            None => line,
        }
    }

    fn read(body: &[u8]) -> Option<Checkpoint> {
        let said = Said::of(body)?;
        Some(Checkpoint {
            version: u32::try_from(said.number("version")?).ok()?,
            position: said.number("position")?,
            began: said.number("began"),
            silent_until: said.number("silent_until")?,
            lost: said.number("lost")?,
        })
    }
}
