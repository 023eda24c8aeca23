//! Events as agents make them: a thousand tasks at once, lines of text that are like one another and never the same.

use std::fmt::Write as _;

use axiom_events::{Batch, Event, Format, Level};

/// Tasks that run at the same time.
pub(super) const TASKS: u64 = 1000;
/// Ten million events are ten hours.
pub(super) const APART_NS: i64 = 3_600_000;
/// When the first one happened.
pub(super) const FIRST_NS: i64 = 1_700_000_000_000_000_000;

/// An endless sequence of events, the same for the same seed.
pub(super) struct Corpus {
    random: Random,
    tasks: Vec<String>,
    body: String,
    made: i64,
}

/// A linear congruential generator: the same numbers on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

impl Corpus {
    pub(super) fn new(seed: u64) -> Corpus {
        Corpus {
            random: Random::new(seed),
            tasks: (0..TASKS).map(task).collect(),
            body: String::new(),
            made: 0,
        }
    }

    /// So many events, so many of them in each batch.
    pub(super) fn batches(mut self, events: u64, each: u64) -> impl Iterator<Item = anyhow::Result<Batch>> {
        let starts = (0..events).step_by(usize::try_from(each.max(1)).unwrap_or(usize::MAX));
        starts.map(move |start| self.batch(each.min(events - start)))
    }

    pub(super) fn batch(&mut self, events: u64) -> anyhow::Result<Batch> {
        let mut batch = Batch::new();
        for _ in 0..events {
            self.push(&mut batch)?;
        }
        Ok(batch)
    }

    fn push(&mut self, batch: &mut Batch) -> anyhow::Result<()> {
        let mut one_of = |limit: u64| self.random.below(limit);
        let (task, kind, level) = (one_of(TASKS), one_of(3), one_of(20));
        let (module, file, bytes, took) = (one_of(97), one_of(1013), one_of(65_536), one_of(10_007));
        let cache = if took % 2 == 0 { "hit" } else { "miss" };
        self.body.clear();
        write!(
            self.body,
            "step {}: read /srv/app/src/module_{module}/file_{file}.rs ({bytes} bytes) in {took} us, cache {cache}, worker {}",
            self.made,
            task % 16
        )?;
        let task = self.tasks.get(usize::try_from(task)?).map_or("", String::as_str);
        batch.push(&Event {
            time: FIRST_NS + self.made * APART_NS,
            tenant: "default",
            stream: task,
            task,
            kind: ["task.output", "tool.call", "task.state"][usize::try_from(kind)?],
            level: match level {
                0 => Level::Error,
                1 | 2 => Level::Warn,
                _ => Level::Info,
            },
            format: Format::Text,
            body: self.body.as_bytes(),
            ..Event::default()
        })?;
        self.made += 1;
        Ok(())
    }
}

pub(super) fn task(number: u64) -> String {
    format!("task-{number:06}")
}
