//! What the service remembers about single objects from one look to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use axiom_core::time::{self, Instant};

use super::Notes;
use crate::manifest::{Hold, Object};
use crate::plan::Verdict;
use crate::workshop::WorkError;

/// An object with which something fails again and again is tried again after so long at most. Each try reads all of it, and
/// may upload it.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// How long an object is left alone in which nothing may go. The newest events of streams of state stay, and by then others may
/// be the newest.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Objects in which everything that is over is held, or stands for something. They need not be looked through again for a
/// while, until there are other holds, or something else in them is over.
#[derive(Debug, Default)]
pub(super) struct Held {
    by: Vec<Hold>,
    objects: Vec<(String, Verdict, Instant)>,
}

/// Objects with which something failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pause_first: Duration,
    of: BTreeMap<String, Failure>,
}

#[derive(Debug)]
struct Failure {
    /// What was told, so that it is told once.
    text: String,
    pause: Duration,
    /// It is not tried again before.
    until: Instant,
}

impl Notes {
    /// What fails with an object is tried again after this, then after twice as long, and so on.
    pub(super) fn wait_at_first(&mut self, pause: Duration) {
        for failures in [&mut self.merging, &mut self.placing, &mut self.retiring] {
            failures.pause_first = pause;
        }
    }

    /// Forgets what is not there any more.
    pub(super) fn forget_all_but(&mut self, objects: &[Object]) {
        let is_there = |location: &String| objects.iter().any(|object| object.location == *location);
        for failures in [&mut self.merging, &mut self.placing, &mut self.retiring] {
            failures.of.retain(|location, _| is_there(location));
        }
        self.held.objects.retain(|(location, ..)| is_there(location));
    }
}

impl Held {
    pub(super) fn has(&mut self, object: &Object, holds: &[Hold], verdict: &Verdict) -> bool {
        if self.by != holds {
            self.by = holds.to_vec();
            self.objects.clear();
        }
        let mut objects = self.objects.iter();
        objects.any(|(location, known, when)| {
            *location == object.location && known == verdict && when.elapsed() < LOOK_AGAIN
        })
    }

    /// By the holds that were asked for last.
    pub(super) fn add(&mut self, object: &Object, verdict: Verdict) {
        self.objects
            .retain(|(location, known, _)| *location != object.location || *known != verdict);
        self.objects.push((object.location.clone(), verdict, time::now()));
    }
}

impl Failures {
    /// Something is wrong with this object, and nothing with the others: it is left alone for a while.
    pub(super) fn wait(&mut self, object: &Object, error: &WorkError) {
        let text = error.to_string();
        let before = self.of.get(&object.location);
        if before.is_none_or(|before| before.text != text) {
            tracing::warn!(location = %object.location, %error, "these events stay in their tier for now; it is tried again");
        }
        let pause = before.map_or(self.pause_first, |before| {
            (before.pause * 2).clamp(self.pause_first, PAUSE_MAX.max(self.pause_first))
        });
        let until = time::now() + pause;
        self.of
            .insert(object.location.clone(), Failure { text, pause, until });
    }

    /// Something failed, and it may have been this object's fault: others come first.
    pub(super) fn postpone(&mut self, object: &Object) {
        let failure = self.of.entry(object.location.clone());
        let failure = failure.or_insert_with(|| Failure {
            text: String::new(),
            pause: Duration::ZERO,
            until: time::now(),
        });
        failure.until = time::now();
    }

    pub(super) fn is_waiting(&self, object: &Object) -> bool {
        let failure = self.of.get(&object.location);
        failure.is_some_and(|failure| time::now() < failure.until)
    }

    /// The objects that may be tried now, in this order; those with which something failed come last.
    pub(super) fn line_up<'a>(&self, objects: Vec<&'a Object>) -> Vec<&'a Object> {
        self.line_up_by(objects, |object| *object)
    }

    pub(super) fn line_up_by<T>(&self, mut items: Vec<T>, object: impl Fn(&T) -> &Object) -> Vec<T> {
        items.retain(|item| !self.is_waiting(object(item)));
        items.sort_by_key(|item| self.of.contains_key(&object(item).location));
        items
    }
}
