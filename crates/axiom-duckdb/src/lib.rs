//! DuckDB, if there is one: its library is looked for when it is asked for, and nothing is built or linked with it.
//!
//! A [`Library`] is loaded, opens a [`Database`] in memory, which gives a [`Connection`]; a text becomes a [`Statement`] and that a
//! [`Run`], whose [`Rows`] come as Arrow record batches. All `unsafe` of this repository is here: in `api`, the functions as
//! DuckDB's header declares them, in `library` and `session`, which call them, and in `import`, which copies what they give.
//! Whoever uses this crate has nothing to keep to: each part holds what it is made of, so the order of their ends is right.

mod api;

mod library;

mod session;

mod import;

pub use library::{Library, LoadError, VERSION_MIN, Version};
pub use session::{Connection, Database, DuckDbError, Interrupt, Kind, Rows, Run, Statement, Statements};
