//! The one clock. Tokio's, so that tests can pause it; wall time only where a person or another machine reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use tokio::time::{Instant, Sleep, error::Elapsed, interval, sleep, sleep_until, timeout, timeout_at};

/// Monotonic now.
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for stamps that leave this process.
pub fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

/// Nanoseconds since 1970; until the year 2262.
pub fn unix_nanos() -> i64 {
    i64::try_from(since_1970().as_nanos()).unwrap_or(i64::MAX)
}

fn since_1970() -> Duration {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}
