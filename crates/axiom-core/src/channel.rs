//! Bounded channels. A full queue gives the payload back; the caller decides what that means.

pub use tokio::sync::mpsc::{Receiver, Sender, error::TrySendError};
pub use tokio::sync::{oneshot, watch};

/// A queue of at most `len_max` items.
pub fn bounded<T>(len_max: usize) -> (Sender<T>, Receiver<T>) {
    tokio::sync::mpsc::channel(len_max)
}
