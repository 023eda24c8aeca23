//! Large read buffers of this thread, to be used again.
//!
//! An idle connection should hold little memory, and an answer of 64 KiB should neither be read in eight pieces nor cost
//! a fresh allocation, which the kernel has to fill with zeros page by page. So large buffers belong to the thread: a
//! handful, whatever the number of connections.

use std::cell::RefCell;

use bytes::BytesMut;

/// Buffers kept per thread: at most this many times 128 KiB.
const SPARE_MAX: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for `bytes`.
pub(super) fn take(bytes: usize) -> BytesMut {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    // Pieces of it may still be on their way to a client: then it is left to them.
    let reclaimed = spare.and_then(|mut spare| spare.try_reclaim(bytes).then_some(spare));
    reclaimed.unwrap_or_else(|| BytesMut::with_capacity(bytes))
}

/// Keeps the memory behind an empty `buffer`, even if slices of it are still in use.
pub(super) fn give(buffer: BytesMut) {
    debug_assert!(buffer.is_empty(), "what was received belongs to an exchange");
    // The thread may be ending: then the memory is simply freed.
    let _freed_with_the_thread = SPARE.try_with(|spare| {
        let Ok(mut spare) = spare.try_borrow_mut() else {
            return;
        };
        if spare.len() < SPARE_MAX {
            // Behind those that were given later, its slices have time to be dropped.
            spare.insert(0, buffer);
        }
    });
}
