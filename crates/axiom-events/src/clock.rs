//! What time it is, for what is written into the log and for what waits until a time that the log names.

use axiom_core::time::{self, Instant};

/// A clock in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub enum Clock {
    /// The machine's, with its jumps.
    #[default]
    Wall,
    /// One that goes as tokio's does, so that a test can pause it.
    Runtime { began: Instant, began_at: i64 },
}

impl Clock {
    /// A clock that shows `began_at` now and goes on as tokio's does.
    pub fn runtime(began_at: i64) -> Clock {
        let began = time::now();
        Clock::Runtime { began, began_at }
    }

    pub fn now(&self) -> i64 {
        match self {
            Clock::Wall => time::unix_nanos(),
            Clock::Runtime { began, began_at } => {
                let passed = time::now().duration_since(*began).as_nanos();
                began_at.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
            }
        }
    }
}
