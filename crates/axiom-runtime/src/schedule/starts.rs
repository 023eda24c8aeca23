//! How many tasks may be starting at a backend at once, found out from how long their starts take.
//!
//! Starts are what backends are slow at, and they are slow together: a container runtime takes locks, a sandbox forks, a pool
//! makes workers. Up to some number at once (the knee) each takes the same time; above it they wait for each other, and more
//! at once gains nothing. The knee differs from machine to machine, so it is looked for, in the manner of TCP Vegas:
//!
//! - `floor` is what a start takes when hardly any others are going on.
//! - After each `window` starts, with `mean` their mean time and `limit` what was allowed at once, the number of them that
//!   only stood in line is `queue = limit * (mean - floor) / mean`.
//! - With `step = 1 + limit / 16`: the limit grows by `step` if `queue < step` and all of it was used, and shrinks by `step`
//!   if `queue > 3 * step`. Until a queue is first seen it doubles instead.
//! - If a tenth of the starts failed, it shrinks by a quarter.
//! - `floor` is the lowest mean of a window. As a backend may become slower for good, it is forgotten every `windows_to_probe`
//!   windows; the next window then runs with a quarter of the limit, so that the new floor is measured without a queue.
//!
//! For a backend whose starts take `t * max(1, n / knee)` with `n` at once, `queue` is `limit - knee`, so the limit settles
//! between the knee and `(knee + 3) * 16 / 13`, give or take a step, or two above: right after a probe the line is still
//! growing, and the first starts are faster than those to come.
//!
//! A start counts only if it began in the present window: the ones before had another limit.

use std::time::Duration;

/// The bounds of the limit, and how long it looks before it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimits {
    pub at_first: u32,
    pub min: u32,
    pub max: u32,
    /// Starts that are looked at before the limit moves.
    pub window: u32,
    pub windows_to_probe: u32,
}

impl Default for StartLimits {
    fn default() -> StartLimits {
        StartLimits {
            at_first: 8,
            min: 1,
            max: 256,
            window: 16,
            windows_to_probe: 64,
        }
    }
}

#[derive(Debug)]
pub(super) struct Starts {
    options: StartLimits,
    limit: u32,
    floor: Option<Duration>,
    /// No queue was seen yet: the limit doubles.
    is_new: bool,
    window: Window,
    /// What the limit was before the present window, which measures the floor.
    probing: Option<u32>,
    windows: u32,
}

/// The starts that are looked at.
#[derive(Debug, Default)]
struct Window {
    began: Duration,
    succeeded: u32,
    failed: u32,
    took: Duration,
    /// The most that were starting at once.
    at_once: u32,
}

impl Starts {
    pub(super) fn new(options: StartLimits) -> Starts {
        let min = options.min.max(1);
        let options = StartLimits {
            min,
            max: options.max.max(min),
            window: options.window.max(1),
            ..options
        };
        Starts {
            options,
            limit: options.at_first.clamp(options.min, options.max),
            floor: None,
            is_new: true,
            window: Window::default(),
            probing: None,
            windows: 0,
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// One more began, and so many are starting now.
    pub(super) fn placed(&mut self, starting: usize) {
        let starting = u32::try_from(starting).unwrap_or(u32::MAX);
        self.window.at_once = self.window.at_once.max(starting);
    }

    pub(super) fn succeeded(&mut self, now: Duration, began: Duration, took: Duration) {
        if began >= self.window.began {
            self.window.succeeded += 1;
            self.window.took = self.window.took.saturating_add(took);
            self.move_after_window(now);
        }
    }

    pub(super) fn failed(&mut self, now: Duration, began: Duration) {
        if began >= self.window.began {
            self.window.failed += 1;
            self.move_after_window(now);
        }
    }

    fn move_after_window(&mut self, now: Duration) {
        if self.window.succeeded + self.window.failed < self.options.window {
            return;
        }
        let next = Window {
            began: now,
            ..Window::default()
        };
        let window = std::mem::replace(&mut self.window, next);
        // What it was before, if this window only measured.
        let was_probing = self.probing.take();
        let limit = was_probing.unwrap_or(self.limit);
        let moved = match window.mean() {
            _ if window.failed.saturating_mul(10) >= self.options.window => limit - limit.div_ceil(4),
            Some(mean) if was_probing.is_some() => {
                self.floor = Some(mean);
                limit
            }
            Some(mean) => self.moved(limit, mean, window.at_once),
            None => limit,
        };
        self.limit = moved.clamp(self.options.min, self.options.max);
        self.windows += 1;
        if self.windows >= self.options.windows_to_probe && was_probing.is_none() {
            self.probe();
        }
    }

    /// The limit after a window of starts that took `mean`, `at_once` of them at the same time.
    fn moved(&mut self, limit: u32, mean: Duration, at_once: u32) -> u32 {
        let floor = self.floor.map_or(mean, |floor| floor.min(mean));
        self.floor = Some(floor);
        let queue = part_of(limit, mean.saturating_sub(floor), mean);
        let step = 1 + limit / 16;
        self.is_new &= queue < step;
        if queue > 3 * step {
            limit.saturating_sub(step)
        } else if queue < step && at_once >= limit {
            // A limit that holds nobody back says nothing about what would happen above it.
            limit.saturating_add(if self.is_new { limit } else { step })
        } else {
            limit
        }
    }

    fn probe(&mut self) {
        self.windows = 0;
        self.floor = None;
        self.probing = Some(self.limit);
        self.limit = (self.limit / 4).max(self.options.min);
    }
}

impl Window {
    fn mean(&self) -> Option<Duration> {
        self.took.checked_div(self.succeeded)
    }
}

/// `limit * part / whole`, which is at most `limit`.
fn part_of(limit: u32, part: Duration, whole: Duration) -> u32 {
    let share = u128::from(limit) * part.as_nanos() / whole.as_nanos().max(1);
    u32::try_from(share).unwrap_or(limit)
}

#[cfg(test)]
mod tests;
