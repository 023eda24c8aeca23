//! Buffers of this thread, to be used again.
//!
//! An idle connection should hold no memory, a call in flight little, and an answer of 64 KiB should neither be read in
//! eight pieces nor cost a fresh allocation, which the kernel has to fill with zeros page by page. So buffers belong to the
//! thread: a handful, whatever the number of connections, and what was used a moment ago is still in the caches.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;

use bytes::BytesMut;

/// Buffers kept per thread: at most this many times 128 KiB.
const SPARE_MAX: usize = 16;

/// Room for one read of an answer that is likely small.
pub(super) const LANDING_BYTES: usize = 8 * 1024;

/// A rendered request larger than this is rare, and its memory is not kept.
const REQUEST_BYTES_MAX: usize = 32 * 1024;

thread_local! {
    static LANDING: RefCell<[MaybeUninit<u8>; LANDING_BYTES]> = const { RefCell::new([MaybeUninit::uninit(); LANDING_BYTES]) };
    static REQUEST: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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

/// Lends the room for one read to `read`, which copies what it wants to keep.
pub(super) fn with_landing<T>(read: impl FnOnce(&mut [MaybeUninit<u8>]) -> T) -> T {
    LANDING.with_borrow_mut(|landing| read(landing))
}

/// An empty buffer to render a request into.
pub(super) fn take_request() -> Vec<u8> {
    REQUEST.take()
}

/// Keeps the memory of a request that was sent.
pub(super) fn give_request(mut request: Vec<u8>) {
    if request.capacity() <= REQUEST_BYTES_MAX {
        request.clear();
        REQUEST.set(request);
    }
}
