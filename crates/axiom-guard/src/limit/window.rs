//! What was let through of one key lately, in slices of time.

use std::time::Duration;

use super::Rate;

/// Slices of a span. More are more exact and take more memory: four bytes each, for each key.
const SLICES: usize = 16;
/// All that may touch a span of which the last slice is the current one, wherever in it the span ends.
const KEPT: usize = SLICES + 1;

/// One key's.
#[derive(Debug, Clone)]
pub struct Window {
    rate: Rate,
    /// By the slice's number, modulo [`KEPT`].
    counts: [u32; KEPT],
    total: u32,
    /// The number of the current slice.
    slice: u64,
}

impl Window {
    pub fn new(rate: Rate) -> Window {
        Window {
            rate,
            counts: [0; KEPT],
            total: 0,
            slice: 0,
        }
    }

    /// Takes one. A time before the last one is taken for the last one: clocks of threads may differ a little.
    ///
    /// # Errors
    /// When there is none: how long until there is one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.turn_to(now);
        if self.total >= self.rate.count() {
            return Err(self.room_in(now));
        }
        self.total += 1;
        if let Some(count) = self.counts.get_mut(place(self.slice)) {
            *count += 1;
        }
        Ok(())
    }

    /// The begin of the slice of the last one that still counts.
    pub(super) fn last(&mut self, now: Duration) -> Option<Duration> {
        self.turn_to(now);
        let counts = (0..KEPT as u64).filter_map(|back| self.slice.checked_sub(back));
        let mut slices =
            counts.filter(|slice| self.counts.get(place(*slice)).is_some_and(|count| *count > 0));
        slices.next().map(|slice| self.begin_of(slice))
    }

    /// Forgets what is over at this time.
    fn turn_to(&mut self, now: Duration) {
        let slice = self.slice_of(now);
        // After a long time all are over, and each is cleared once.
        let over = slice.saturating_sub(self.slice).min(KEPT as u64);
        for ahead in 1..=over {
            let at = place(slice - (over - ahead));
            if let Some(count) = self.counts.get_mut(at) {
                self.total -= std::mem::take(count);
            }
        }
        self.slice = self.slice.max(slice);
    }

    /// How long until the oldest that counts is over.
    fn room_in(&self, now: Duration) -> Duration {
        let oldest = (0..KEPT as u64)
            .rev()
            .filter_map(|back| self.slice.checked_sub(back))
            .find(|slice| self.counts.get(place(*slice)).is_some_and(|count| *count > 0));
        let over = oldest.map_or(now, |slice| self.begin_of(slice + KEPT as u64));
        over.saturating_sub(now)
    }

    fn slice_of(&self, now: Duration) -> u64 {
        let slice = now.as_nanos() * SLICES as u128 / self.rate.span().as_nanos();
        u64::try_from(slice).unwrap_or(u64::MAX)
    }

    /// The first moment that is in this slice.
    fn begin_of(&self, slice: u64) -> Duration {
        let nanos = (u128::from(slice) * self.rate.span().as_nanos()).div_ceil(SLICES as u128);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn place(slice: u64) -> usize {
    usize::try_from(slice % KEPT as u64).unwrap_or_default()
}
