//! Counts that were told in a batch that the log did not take: they are told again.

use std::collections::BTreeMap;

use super::counter::{Second, Skipped, Whom};
use crate::event::{Event, Level};

/// What a sort takes beside its names, and what a second takes.
const SORT_EXTRA_BYTES: usize = 160;
const SECOND_BYTES: usize = 2 * size_of::<Second>();

#[derive(Debug)]
pub(super) struct Returned {
    counts: BTreeMap<Key, Vec<Second>>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: Box<str>,
    task: Box<str>,
    level: Level,
    kind: Box<str>,
    template: Box<str>,
}

impl Returned {
    pub(super) fn new(bytes_max: usize) -> Returned {
        Returned {
            counts: BTreeMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes what a counter says. Gives how many events it stood for if there is no memory for it.
    pub(super) fn add(&mut self, counter: &Event<'_>, skipped: &Skipped<'_>) -> Result<(), u64> {
        let key = Key {
            tenant: counter.tenant.into(),
            task: counter.task.into(),
            level: counter.level,
            kind: skipped.kind.as_ref().into(),
            template: skipped.template.as_ref().into(),
        };
        let bytes_max = key.bytes() + skipped.seconds.len() * SECOND_BYTES;
        if self.bytes + bytes_max > self.bytes_max {
            return Err(skipped.events());
        }
        let key_bytes = key.bytes();
        let seconds = self.counts.entry(key).or_default();
        if seconds.is_empty() {
            self.bytes += key_bytes;
        }
        let before = seconds.len();
        for second in &skipped.seconds {
            second.add_to(seconds);
        }
        self.bytes += (seconds.len() - before) * SECOND_BYTES;
        Ok(())
    }

    /// Takes the next one out.
    pub(super) fn take(&mut self, tell: impl FnOnce(Whom<'_>, &[Second])) -> bool {
        let Some((key, seconds)) = self.counts.pop_first() else {
            return false;
        };
        self.bytes -= key.bytes() + seconds.len() * SECOND_BYTES;
        let whom = Whom {
            tenant: &key.tenant,
            task: &key.task,
            level: key.level,
            kind: &key.kind,
            template: &key.template,
        };
        tell(whom, &seconds);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// What they take in memory, near enough for a limit.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Key {
    fn bytes(&self) -> usize {
        let names = [&self.tenant, &self.task, &self.kind, &self.template];
        names.into_iter().map(|name| name.len()).sum::<usize>() + SORT_EXTRA_BYTES
    }
}
