//! The multiplexer: what a thousand tasks write, as whole lines, for everybody who reads along.
//!
//! ```text
//! pipe -> Writer -> lines -> Block -+-> waiting -> DurableReader: the event store, which gets everything
//!           ^                       +-> last lines, for readers to come
//!           |                       +-> queue -> LiveReader -> clean -> prefix: terminal, SSE, WebSocket, MCP
//!           +--- credit, when the store has it
//! ```
//!
//! A task that writes faster than the store stores gets no credit, so that nobody reads its pipe and it has to wait: it
//! alone. A live reader holds up nobody; it misses lines and is told which.
//!
//! # Memory
//! At most, with the names of [`Options`]:
//!
//! ```text
//! waiting_bytes_max + recent_bytes_max + readers_max * reader_bytes_max + tasks_max * 1 KiB
//! ```
//!
//! That counts a block once for everybody who holds it, although they share it. It does not count what a live reader has
//! taken and still holds, the task ids in subscriptions, and some 300 bytes for each task that ended before the store had
//! its lines.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod lines;

mod block;
mod budget;
mod durable;
mod hub;
mod live;
mod writer;

pub mod clean;
pub mod prefix;
pub mod terminal;

pub use block::{Block, Numbered, Stream};
pub use durable::{Batch, DurableReader};
pub use hub::{Hub, Options, TASK_BYTES, TASK_ID_BYTES_MAX, TooManyReaders, Usage, WriterError};
pub use live::{Lines, LiveReader, Missed, News, Subscription, Tasks};
pub use writer::Writer;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the state whole, so a poisoned lock is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
