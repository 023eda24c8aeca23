//! Idle connections of this thread, by target. The one used last is taken first, so that a quiet pool shrinks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::task::{Context, Waker};
use std::time::Duration;

use axiom_core::time::Instant;

use super::connection::Connection;
use super::target::Target;

/// Idle connections kept per target and thread. More calls at once than this are possible; their connections close
/// afterwards, and every call beyond then pays for a new one: with 64 here, 256 busy clients on two threads cost 70 %
/// more CPU per call. An idle connection holds a small buffer, and its age is bounded.
const IDLE_MAX: usize = 1_024;

/// Older idle connections are closed: many servers and middle boxes drop them silently after a minute or so.
const IDLE_AGE_MAX: Duration = Duration::from_secs(60);

/// Every so many returns the whole pool is looked through, so that targets which are no longer called let go.
const SWEEP_EVERY: u32 = 256;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

#[derive(Default)]
struct Pool {
    idle: HashMap<u64, Vec<Idle>>,
    returns: u32,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

/// A live connection to `target`, if this thread has one.
pub(super) fn take(target: &Target) -> Option<Connection> {
    let now = axiom_core::time::now();
    let runtime = tokio::runtime::Handle::current().id();
    loop {
        let idle = POOL.with_borrow_mut(|pool| pool.idle.get_mut(&target.pool_key())?.pop())?;
        let Idle {
            mut connection,
            until,
        } = idle;
        // A thread may see several runtimes, one after the other.
        if connection.home == runtime && now < until && is_quiet(&mut connection) {
            return Some(connection);
        }
    }
}

/// Keeps a connection whose last answer is completely read. `idle_max` is what the server announced, if it did.
pub(super) fn give(target: &Target, mut connection: Connection, idle_max: Option<Duration>) {
    // An answer may have been handed to another worker thread: the connection does not stay there.
    let here = tokio::runtime::Handle::try_current().map(|runtime| runtime.id());
    if here.ok() != Some(connection.home) {
        return;
    }
    connection.rest();
    let now = axiom_core::time::now();
    let until = now + idle_max.unwrap_or(IDLE_AGE_MAX).min(IDLE_AGE_MAX);
    let idle = Idle { connection, until };
    // The thread may be ending, with its pool gone already: then the connection closes here.
    let _closed_with_the_thread = POOL.try_with(|pool| {
        let Ok(mut pool) = pool.try_borrow_mut() else {
            return;
        };
        pool.returns = pool.returns.wrapping_add(1);
        if pool.returns.is_multiple_of(SWEEP_EVERY) {
            pool.idle
                .values_mut()
                .for_each(|idle| idle.retain(|idle| now < idle.until));
            pool.idle.retain(|_, idle| !idle.is_empty());
        }
        let idles = pool.idle.entry(target.pool_key()).or_default();
        if idles.len() < IDLE_MAX {
            idles.push(idle);
        }
    });
}

/// An idle server says nothing. Anything to read means it closed, or sent what nobody asked for.
fn is_quiet(connection: &mut Connection) -> bool {
    connection
        .poll_fill(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}
