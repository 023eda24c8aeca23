//! Which class goes next: the highest, unless one below it was passed over for too long.
//!
//! A class is *due* when its oldest task has waited `age` and `passes` tasks of other classes were placed since it had its
//! turn. A due class goes first, with one task; then it is counted anew. So the lower classes have a part of the places that
//! does not depend on how much they wait for, and a person waits behind a bounded part of speculation.
//!
//! The bound: while a class has a task that may be placed, and its oldest has waited `age`, at most `passes + 2` tasks of
//! other classes are placed between two of its own. Two, because the other two that can be due may go first, each once.
//! The highest class is never due; at most 3 others are placed between two of its own.
//! Time alone would not do as a bound: how soon places come free is for the running tasks to say.

use std::time::Duration;

use super::{Class, PerClass};

/// How long a class lets others pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Tasks of other classes. Less than 3 counts as 3.
    pub passes: u32,
    /// The wait of its oldest task before passes matter at all.
    pub age: Duration,
}

/// With less, the three lower classes could be due by turns for ever, and nothing critical would be placed.
const PASSES_MIN: u32 = 3;

#[derive(Debug)]
pub(super) struct Aging {
    patience: PerClass<Patience>,
    /// Tasks of other classes placed while it had one waiting, since its own turn.
    passed: PerClass<u32>,
}

impl Aging {
    pub(super) fn new(patience: PerClass<Patience>) -> Aging {
        Aging {
            patience,
            passed: PerClass::default(),
        }
    }

    /// The classes in the order in which they may go, given for how long the oldest of each has waited.
    pub(super) fn order(&self, waited: PerClass<Option<Duration>>) -> impl Iterator<Item = Class> {
        let due = Class::ALL.map(|class| (class, self.is_due(class, waited[class])));
        let first = due.into_iter().filter(|(_, due)| *due);
        let then = due.into_iter().filter(|(_, due)| !*due);
        first.chain(then).map(|(class, _)| class)
    }

    /// One of `class` was placed, while these classes had something waiting.
    pub(super) fn placed(&mut self, class: Class, waited: PerClass<Option<Duration>>) {
        for other in Class::ALL {
            let waits = other != class && waited[other].is_some();
            self.passed[other] = if waits {
                self.passed[other].saturating_add(1)
            } else {
                0
            };
        }
    }

    fn is_due(&self, class: Class, waited: Option<Duration>) -> bool {
        let patience = self.patience[class];
        let aged = waited.is_some_and(|waited| waited >= patience.age);
        aged && class != Class::Critical && self.passed[class] >= patience.passes.max(PASSES_MIN)
    }
}
