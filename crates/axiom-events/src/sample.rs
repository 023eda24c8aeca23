//! Sampling: of events that are like one another some are kept, the others are counted, and totals stay exact.
//!
//! A producer that may say the same thing a million times has a [`Sampler`] of its own, beside its batch, and puts events into
//! the batch through it:
//!
//! ```
//! # use axiom_events::{Batch, Event, Format};
//! # use axiom_events::sample::{Fate, Policy, Sampler};
//! let mut sampler = Sampler::new(Policy::default());
//! let mut batch = Batch::new();
//! let mut kept = 0;
//! for n in 0..1000 {
//!     let line = format!("Compiling crate-{n} v1.{n}.0");
//!     let event = Event {
//!         stream: "output.7",
//!         task: "7",
//!         kind: "task.output",
//!         format: Format::Text,
//!         body: line.as_bytes(),
//!         ..Event::default()
//!     };
//!     kept += usize::from(sampler.push(&mut batch, &event)? == Fate::Kept);
//! }
//! sampler.finish(&mut batch);
//! assert_eq!(kept, 11);
//! // Eleven events, and one that stands for the other 989.
//! assert_eq!(batch.len(), 12);
//! # Ok::<(), axiom_events::event::Unfit>(())
//! ```
//!
//! What an event is like is its [template](templates): its [words](tokens), without what differs. Which events may be skipped
//! and how many of them are is the [policy]'s. What was skipped is told by [counters](counter), events of kind `axiom.sampled`
//! that go into the same batch: so they are in the log together with what was kept, or neither is.
//! [`Reader::totals`](crate::Reader::totals) counts what they stand for.
//!
//! # What may be missing
//! A skipped event waits up to [`WAIT_TELLS`] calls of [`Sampler::tell`], whether its task fails, before it is counted, and a count waits for the
//! next call. With a call each second a reader's totals are complete after some six seconds. A process that is killed takes
//! what was not told with it, like all that it had not handed over.

pub mod counter;

mod counts;
mod lru;
mod policy;
mod returned;
mod tasks;
mod templates;
mod tokens;

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

pub use counter::{SAMPLED_KIND, Skipped};
pub use policy::Policy;
pub use templates::TEMPLATES_MAX;
pub use tokens::masked;

use crate::batch::Batch;
use crate::digest::SECOND;
use crate::event::{Event, Level, Unfit};
use counter::{Second, Whom, counters};
use counts::{Counts, Key, Untold};
use returned::Returned;
use tasks::{Held, Tasks, Whose};
use templates::Templates;
use tokens::Tokens;

/// A skipped event may still be kept, if its task fails, until what was skipped has been told so often.
pub const WAIT_TELLS: u64 = 5;
/// Bytes of a batch from which on no more counters are put into it; the others come with the next one.
const TELL_BYTES_MAX: usize = 1 << 20;

/// What a sampler may hold at least, and at most: what it gives back at once goes into one append, with an event of any size.
const BYTES_MIN: usize = 256 << 10;
const BYTES_MAX: usize = 32 << 20;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in the batch.
    Kept,
    /// It will be counted, or kept after all if its task fails soon.
    Skipped,
}

/// One producer's.
#[derive(Debug)]
pub struct Sampler {
    policy: Policy,
    window: i64,
    floor: u64,
    state: RandomState,
    tokens: Tokens,
    templates: Templates,
    tasks: Tasks,
    counts: Counts,
    returned: Returned,
    is_pressed: bool,
    told: u64,
    /// Memory for what leaves its place.
    left: Vec<Held>,
    untold: Vec<Untold>,
}

/// What events have in common that are counted together.
#[derive(Debug)]
struct Sort {
    key: Key,
    whose: Arc<Whose>,
    kind: Box<str>,
    level: Level,
    /// Where the template is.
    template: u32,
    /// How it read when the first of them came, in case that it is forgotten.
    text: Arc<str>,
}

impl Sampler {
    pub fn new(policy: Policy) -> Sampler {
        let bytes_max = policy.bytes_max.clamp(BYTES_MIN, BYTES_MAX);
        let state = RandomState::default();
        Sampler {
            window: nanos(policy.window).max(1),
            floor: nanos(policy.floor).unsigned_abs(),
            tokens: Tokens::default(),
            templates: Templates::new(state.clone(), bytes_max / 2),
            counts: Counts::new(bytes_max / 4),
            tasks: Tasks::new(bytes_max / 16 * 3),
            returned: Returned::new(bytes_max / 16),
            state,
            is_pressed: false,
            told: 0,
            left: Vec::new(),
            untold: Vec::new(),
            policy,
        }
    }

    /// Keeps an event as the batch's last, or skips it. An error brings what was skipped before it along.
    ///
    /// # Errors
    /// When the event exceeds a limit; nothing has changed.
    pub fn push(&mut self, batch: &mut Batch, event: &Event<'_>) -> Result<Fate, Unfit> {
        self.push_as(batch, event, event.task)
    }

    /// As [`Sampler::push`], of an event that is sampled together with those of another task, and counted as that one's if it is
    /// skipped: for events that are each about a task of their own, like calls.
    ///
    /// # Errors
    /// When the event exceeds a limit; nothing has changed.
    pub fn push_as(&mut self, batch: &mut Batch, event: &Event<'_>, task: &str) -> Result<Fate, Unfit> {
        event.fit()?;
        Event { task, ..*event }.fit()?;
        let fate = if self.policy.samples(event) {
            self.sample(event, task)
        } else {
            self.keep_around(batch, event, task);
            Fate::Kept
        };
        self.settle(batch);
        if fate == Fate::Kept {
            batch.push(event)?;
        }
        Ok(fate)
    }

    /// Puts counters of what was skipped into the batch. To be called about once a second: it is also what makes skipped
    /// events too old to be kept after all. False if the batch became full: the rest comes with the next call, which is due
    /// as soon as there is a new batch.
    pub fn tell(&mut self, batch: &mut Batch) -> bool {
        self.told += 1;
        let mut left = std::mem::take(&mut self.left);
        self.tasks
            .take_older(self.told.saturating_sub(WAIT_TELLS), &mut left);
        self.left = left;
        self.tell_counted(batch)
    }

    /// As [`Sampler::tell`], of everything: nothing is held back that might be kept after all. False if the batch became full.
    pub fn finish(&mut self, batch: &mut Batch) -> bool {
        let mut left = std::mem::take(&mut self.left);
        self.tasks.take_older(u64::MAX, &mut left);
        self.left = left;
        self.tell_counted(batch)
    }

    /// Whether there is something that a [`Sampler::tell`] would tell, now or later.
    pub fn has_untold(&self) -> bool {
        self.counts.has_untold() || self.tasks.has_waiting() || !self.returned.is_empty()
    }

    /// While it is pressed, everything is skipped that may be.
    pub fn press(&mut self, is_pressed: bool) {
        self.is_pressed = is_pressed;
    }

    /// Makes a batch that the log did not take smaller: what may be skipped is, and what was counted in it is counted here
    /// again. Says how many events can neither be kept nor counted, because there is no memory to remember even their number:
    /// they are missing.
    #[must_use = "what is missing must be told"]
    pub fn reduce(&mut self, batch: &mut Batch) -> u64 {
        let before = std::mem::take(batch);
        let was_pressed = std::mem::replace(&mut self.is_pressed, true);
        let mut lost = 0;
        for event in before.events() {
            if let Some(skipped) = Skipped::read(&event) {
                lost += self.returned.add(&event, &skipped).err().unwrap_or(0);
            } else if self.policy.samples(&event) {
                self.sample(&event, event.task);
                self.settle(batch);
            } else {
                batch.push(&event).expect("it was in a batch before");
            }
        }
        self.is_pressed = was_pressed;
        lost
    }

    /// Takes back what was counted in a batch that is given up, and says how many events of it are missing then.
    #[must_use = "what is missing must be told"]
    pub fn give_up(&mut self, batch: &Batch) -> u64 {
        let mut lost = 0;
        for event in batch.events() {
            lost += match Skipped::read(&event) {
                Some(skipped) => self.returned.add(&event, &skipped).err().unwrap_or(0),
                None => 1,
            };
        }
        lost
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Templates that it knows.
    pub fn templates(&self) -> usize {
        self.templates.len()
    }

    /// What it holds in memory, near enough for a limit; at most [`Policy::bytes_max`].
    pub fn bytes(&self) -> usize {
        self.templates.bytes() + self.counts.bytes() + self.tasks.bytes() + self.returned.bytes()
    }

    /// An event that may be skipped. It is not in the batch yet.
    fn sample(&mut self, event: &Event<'_>, task: &str) -> Fate {
        let task = self.tasks.find(event.tenant, task, &mut self.left);
        let pair = self.pair(task, event);
        let window = event.time.div_euclid(self.window);
        let known = self.counts.get_mut(pair);
        let count = known.see(window);
        let of_task = self.tasks.get_mut(task);
        let is_after_error = of_task.keep_next > 0;
        of_task.keep_next = of_task.keep_next.saturating_sub(1);
        let is_long_ago = || {
            known
                .kept
                .is_none_or(|kept| event.time.abs_diff(kept) >= self.floor)
        };
        let is_kept = !self.is_pressed
            && (is_after_error
                || count <= u64::from(self.policy.first)
                || count.is_power_of_two()
                || is_long_ago());
        if is_kept {
            known.kept = Some(event.time);
            return Fate::Kept;
        }
        if self.is_pressed {
            let second = Second::of(event.time, event.body.len() as u64);
            self.counts.skip(pair, second, &mut self.untold);
        } else {
            let held = Held::new(event, Arc::clone(&known.sort), self.told);
            self.tasks
                .hold(task, held, self.policy.before_error, &mut self.left);
        }
        Fate::Skipped
    }

    /// The place of the pair of an event's task and its template.
    fn pair(&mut self, task: u32, event: &Event<'_>) -> u32 {
        self.tokens.read(&self.state, event.format, event.body);
        let sort = self
            .state
            .hash_one((event.kind, event.level as u8, event.format as u8));
        let (template, id) = self.templates.find(sort, &self.tokens);
        let task = self.tasks.get(task);
        let key = (task.id, id);
        if let Some(pair) = self.counts.find(key) {
            return pair;
        }
        let sort = Sort {
            key,
            whose: Arc::clone(&task.whose),
            kind: event.kind.into(),
            level: event.level,
            template,
            text: self.templates.text(template, id).unwrap_or_default(),
        };
        self.counts.add(key, Arc::new(sort), &mut self.untold)
    }

    /// An event that is kept in any case: if it is an error, so is what is around it.
    fn keep_around(&mut self, batch: &mut Batch, event: &Event<'_>, task: &str) {
        let has_context = self.policy.before_error > 0 || self.policy.after_error > 0;
        if event.level < Level::Error || !has_context || self.is_pressed {
            return;
        }
        let task = self.tasks.find(event.tenant, task, &mut self.left);
        for held in self.tasks.take_waiting(task) {
            batch.push(&held.event()).expect("it kept to the limits before");
        }
        self.tasks.get_mut(task).keep_next = self.policy.after_error;
    }

    /// Counts what no longer waits, and tells what there is no room for.
    fn settle(&mut self, batch: &mut Batch) {
        while let Some(held) = self.left.pop() {
            let sort = &held.sort;
            let pair = match self.counts.find(sort.key) {
                Some(pair) => pair,
                None => self.counts.add(sort.key, Arc::clone(sort), &mut self.untold),
            };
            let second = Second::of(held.time, held.body_bytes());
            self.counts.skip(pair, second, &mut self.untold);
        }
        while let Some(untold) = self.untold.pop() {
            tell(&mut self.templates, &untold, batch);
        }
    }

    fn tell_counted(&mut self, batch: &mut Batch) -> bool {
        self.settle(batch);
        while batch.bytes() < TELL_BYTES_MAX {
            if let Some(untold) = self.counts.next_untold() {
                tell(&mut self.templates, &untold, batch);
            } else if !self
                .returned
                .take(|whom, seconds| push_counters(whom, seconds, batch))
            {
                return true;
            }
        }
        !self.counts.has_untold() && self.returned.is_empty()
    }
}

/// Puts counters into the batch.
fn tell(templates: &mut Templates, untold: &Untold, batch: &mut Batch) {
    let sort = &untold.sort;
    let (_, id) = sort.key;
    // It may have become more general since.
    let text = templates.text(sort.template, id);
    let whom = Whom {
        tenant: &sort.whose.tenant,
        task: &sort.whose.task,
        level: sort.level,
        kind: &sort.kind,
        template: text.as_ref().unwrap_or(&sort.text),
    };
    push_counters(whom, &untold.seconds, batch);
}

fn push_counters(whom: Whom<'_>, seconds: &[Second], batch: &mut Batch) {
    counters(whom, seconds, |event| {
        batch.push(event).expect("a counter keeps to the limits");
    });
}

impl Second {
    /// Of one event.
    fn of(time: i64, body_bytes: u64) -> Second {
        Second {
            second: time.div_euclid(SECOND),
            events: 1,
            body_bytes,
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
