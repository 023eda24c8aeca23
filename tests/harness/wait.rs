//! Waiting for a state of the world outside this process, which nothing announces.

use std::time::{Duration, Instant};

/// How long anything may take on a busy two-core machine before a test gives up. Python servers need 5 s to start.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks. Small against anything we wait for, large against a look.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something, and panics with `what` when there is nothing by the deadline.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, look).unwrap_or_else(|| panic!("waited {DEADLINE:?} in vain until {what}"))
}

/// Looks until there is something, or until the time is over.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > time {
            return None;
        }
        std::thread::park_timeout(PAUSE);
    }
}
