//! Waiting for the kernel, with an end.

use std::time::Duration;

use axiom_core::time::now;

/// Freezing and dying take a millisecond or less when nothing is wrong, so the first looks come fast.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
/// Later ones are rare enough to cost nothing, and soon enough for a person.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Looks until `done` says yes. False if it did not within `limit`.
pub(crate) fn until<E>(limit: Duration, mut done: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
    let deadline = now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        if done()? {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(false);
        }
        // Waking early only means another look.
        std::thread::park_timeout(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
