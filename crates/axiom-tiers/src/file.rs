//! Events as a Parquet file: the form that they have in the warm and the cold tier.
//!
//! It is an ordinary Parquet file that DuckDB, pyarrow and everything else that reads Parquet opens. Its columns:
//!
//! | column | type | what |
//! |---|---|---|
//! | `offset` | UINT_64 | place in the shard |
//! | `version` | UINT_64 | place in the stream |
//! | `time` | TIMESTAMP(ns, UTC) | by the producer's clock |
//! | `tenant` `stream` `task` `kind` | STRING | names; a task may be empty |
//! | `level` | STRING | `trace` `debug` `info` `warn` `error` `critical` |
//! | `severity` | UINT_8 | 0 to 5: the level as something that can be compared |
//! | `trace` | FIXED[16], null | big-endian, as W3C trace ids are written |
//! | `id` | FIXED[16], null | the producer's id, big-endian |
//! | `format` | STRING | `binary` `text` `json`: what the body's bytes are |
//! | `body` `body_template` `body_ints` `body_words` | | the body, in one piece or in several: see `bodies` |
//!
//! A row group covers a contiguous range of offsets that is disjoint from the others', at most 131,072 events, and about
//! 64 MiB of bodies. Within it rows are sorted by task and then offset, so what belongs to one task lies together. Pages
//! have 8,192 rows at most, zstd, statistics and an index; tasks and streams have bloom filters.
//!
//! In the footer's key-value metadata stand `axiom.format` = `1`, `axiom.shard`, `axiom.first_offset`,
//! `axiom.end_offset` (the range that the file answers for, even where events of it are gone) and `axiom.events_hash`
//! ([`EventsHash`]). Parquet itself has no checksum that covers everything, so there are ours, see `check`: whatever byte
//! of a file changes, opening or reading it fails, and it never gives other events than were written.
//!
//! Not supported: another `axiom.format`. A reader says so; it does not guess.

mod hash;
mod names;
mod rows;

mod bodies;
mod schema;

mod check;
mod footer;
mod source;

mod events;
mod read;
mod write;

pub use bodies::{BODY_COLUMNS, bodies, fields as body_fields};
pub use check::{Ending, Tail};
pub use events::Events;
pub use footer::Footer;
pub use hash::EventsHash;
pub use read::{File, FileError, Group, Order};
pub use source::{Local, Source};
pub use write::{WriteError, WriteOptions, Writer, Written};

/// Events that a row group may have.
pub const GROUP_ROWS_MAX: usize = 131_072;

#[cfg(test)]
mod tests;
