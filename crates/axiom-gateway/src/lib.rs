//! One request, client to server and back. The modules stand in the order in which a request meets them.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod options;
