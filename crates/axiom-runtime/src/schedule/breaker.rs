//! A circuit breaker: a backend that keeps failing is left alone for a while, then tried with a few tasks.
//!
//! ```text
//!  closed --(failures_max of the last `recent_max` verdicts)--> open --(pause)--> half-open
//!    ^                                                            ^                  |
//!    |                                                            +---(one fails)----+
//!    +------------------------(probes_to_close succeed)------------------------------+
//! ```
//!
//! The pause doubles each time that the breaker opens again, up to a limit, and half of it is random: many that fail together
//! should not all come back together. A task on trial that is never heard of again keeps its place on trial: whoever starts tasks
//! sets a limit to how long a start takes. Each change begins a new *era*; what was placed in an earlier one has no say any more.

use std::time::Duration;

/// How easily it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// The verdicts that are looked at, 64 at most.
    pub recent_max: u32,
    /// It opens when so many of them are failures.
    pub failures_max: u32,
    /// The first pause.
    pub pause: Duration,
    pub pause_max: Duration,
    /// Tasks that may be on trial at once while it is half-open.
    pub probes_max: usize,
    /// So many must succeed before it closes.
    pub probes_to_close: u32,
}

impl Default for BreakerOptions {
    fn default() -> BreakerOptions {
        BreakerOptions {
            recent_max: 20,
            failures_max: 10,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            probes_max: 2,
            probes_to_close: 3,
        }
    }
}

/// What a breaker does just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open { until: Duration },
    HalfOpen { on_trial: usize, succeeded: u32 },
}

/// The span between two changes of a breaker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(u64);

#[derive(Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    state: BreakerState,
    era: Era,
    /// One bit for each verdict, the last one lowest; 1 is a failure.
    recent: u64,
    /// How often it opened since it was last closed.
    opened: u32,
}

impl Breaker {
    pub(super) fn new(options: BreakerOptions) -> Breaker {
        Breaker {
            options,
            state: BreakerState::Closed,
            era: Era(0),
            recent: 0,
            opened: 0,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a task placed in this era still has a say.
    pub(super) fn is_now(&self, era: Era) -> bool {
        self.era == era
    }

    /// Lets time pass: a pause may be over.
    pub(super) fn advance(&mut self, now: Duration) {
        if let BreakerState::Open { until } = self.state
            && until <= now
        {
            self.change(BreakerState::HalfOpen {
                on_trial: 0,
                succeeded: 0,
            });
        }
    }

    /// Whether one more task may be placed.
    pub(super) fn lets(&self) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen { on_trial, .. } => on_trial < self.options.probes_max.max(1),
        }
    }

    /// One more task is placed, and a verdict will come: `succeeded`, `failed` or `no_verdict`, once.
    pub(super) fn placed(&mut self) -> Era {
        if let BreakerState::HalfOpen { on_trial, .. } = &mut self.state {
            *on_trial += 1;
        }
        self.era
    }

    pub(super) fn succeeded(&mut self, era: Era) {
        if era != self.era {
            return;
        }
        self.remember(false);
        if let BreakerState::HalfOpen { on_trial, succeeded } = &mut self.state {
            *on_trial = on_trial.saturating_sub(1);
            *succeeded += 1;
            if *succeeded >= self.options.probes_to_close {
                self.opened = 0;
                self.change(BreakerState::Closed);
            }
        }
    }

    /// Also for a task that was a success at first, and then was lost.
    pub(super) fn failed(&mut self, now: Duration, era: Era, dice: &mut Dice) {
        if era != self.era {
            return;
        }
        self.remember(true);
        let too_many = self.recent.count_ones() >= self.options.failures_max.max(1);
        let on_trial = matches!(self.state, BreakerState::HalfOpen { .. });
        if too_many || on_trial {
            let until = now.saturating_add(self.pause(dice));
            self.opened = self.opened.saturating_add(1);
            self.change(BreakerState::Open { until });
        }
    }

    pub(super) fn no_verdict(&mut self, era: Era) {
        if era == self.era
            && let BreakerState::HalfOpen { on_trial, .. } = &mut self.state
        {
            *on_trial = on_trial.saturating_sub(1);
        }
    }

    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.era = Era(self.era.0 + 1);
        self.recent = 0;
    }

    fn remember(&mut self, failure: bool) {
        let kept = u64::MAX >> (64 - self.options.recent_max.clamp(1, 64));
        self.recent = (self.recent << 1 | u64::from(failure)) & kept;
    }

    /// Between half of the present pause and all of it.
    fn pause(&self, dice: &mut Dice) -> Duration {
        let doubled = 1u32.checked_shl(self.opened).unwrap_or(u32::MAX);
        let pause = self
            .options
            .pause
            .saturating_mul(doubled)
            .min(self.options.pause_max);
        let half = pause / 2;
        half + half.mul_f64(dice.part())
    }
}

/// Random numbers from a seed, so that a schedule can be repeated (SplitMix64).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// At least 0 and less than 1.
    fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 32 bits are enough, and a float holds them exactly.
        u32::try_from(mixed >> 32).map_or(0.0, f64::from) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// `s` and `f` are a success and a failure, `p` a task on its way, `n` one without a verdict, `.` a second that passes.
    fn check(story: &str, expected: &str) {
        let mut breaker = Breaker::new(BreakerOptions {
            recent_max: 4,
            failures_max: 3,
            pause: secs(2),
            pause_max: secs(4),
            probes_max: 2,
            probes_to_close: 2,
        });
        let (mut dice, mut now, mut era) = (Dice::new(7), secs(0), Era(0));
        for letter in story.chars() {
            match letter {
                'p' => era = breaker.placed(),
                's' => breaker.succeeded(era),
                'f' => breaker.failed(now, era, &mut dice),
                'n' => breaker.no_verdict(era),
                _ => now += secs(1),
            }
            breaker.advance(now);
        }
        let shown = match breaker.state() {
            BreakerState::Closed => "closed".to_owned(),
            BreakerState::Open { until } => {
                let pause = until - now;
                assert!(pause <= secs(4), "{pause:?}");
                let at_least = if pause >= secs(2) { 2 } else { 1 };
                format!("open for {at_least} s at least")
            }
            BreakerState::HalfOpen { on_trial, .. } => format!("half-open with {on_trial}"),
        };
        assert_eq!(format!("{shown}, lets: {}", breaker.lets()), expected, "{story}");
    }

    #[test]
    fn opens_when_too_many_of_the_last_fail() {
        check("pfff", "open for 1 s at least, lets: false");
        check("pffsf", "open for 1 s at least, lets: false");
        check("pffssf", "closed, lets: true");
    }

    #[test]
    fn tries_a_few_after_the_pause() {
        check("pfff..", "half-open with 0, lets: true");
        check("pfff..pp", "half-open with 2, lets: false");
        check("pfff..ppn", "half-open with 1, lets: true");
        check("pfff..psps", "closed, lets: true");
    }

    #[test]
    fn one_failure_on_trial_opens_it_for_longer() {
        check("pfff..pf", "open for 2 s at least, lets: false");
        check("pfff..pf....pf", "open for 2 s at least, lets: false");
    }

    #[test]
    fn what_was_placed_before_it_opened_has_no_say() {
        check("pfff..fffs", "half-open with 0, lets: true");
    }
}
