//! What processes have used, for which rustix has no function.

#![allow(unsafe_code, reason = "the C library's function writes where it is told")]

/// Of this process, or of its children that it has waited for: `RUSAGE_SELF`, `RUSAGE_CHILDREN`.
pub(crate) fn usage(who: i32) -> libc::rusage {
    // SAFETY: zero bytes are a value of this struct of plain numbers.
    let mut found = unsafe { std::mem::zeroed() };
    // SAFETY: it lives over the call, which writes into it alone.
    unsafe { libc::getrusage(who, &raw mut found) };
    found
}
