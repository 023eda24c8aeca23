//! The event store: a log of everything that happened, durable, compressed, verifiable.
//!
//! An event's path is the order of the modules. A producer says what happened ([`event`]) and gathers it with others
//! ([`batch`]); they wait for their turn ([`append`]); one thread gives them their places ([`streams`]) and packs them into
//! blocks ([`writer`], [`block`]), another waits for the disk ([`sync`]). Blocks lie in files ([`segment`]), and readers find
//! them there ([`segments`], [`read`]).

pub mod event;

mod task_id;

pub mod batch;

pub mod append;
pub mod streams;

mod sync;
pub mod writer;

pub mod block;
pub mod merkle;
mod segment;
mod segments;

mod walk;

mod digest;
mod index;

mod checkpoint;
mod recover;

pub mod find;
pub mod read;

pub mod follow;

pub mod verify;

pub mod disk;
pub mod log;

pub use append::{Ack, Append, AppendError, Appended, Full};
pub use batch::Batch;
pub use block::Block;
pub use digest::Count;
pub use event::{Event, EventId, Format, Level, Recorded, TraceId};
pub use find::{Hit, Totals};
pub use follow::{Delivery, Filter, Follow};
pub use log::{Log, Options};
pub use read::{Next, Reader};
pub use recover::{OpenError, Report, Torn};
pub use segment::ReadError;
pub use segments::End;
pub use streams::{Conflict, Expected};
pub use walk::Damage;
