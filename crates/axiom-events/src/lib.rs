//! The event store: a log of everything that happened, durable, compressed, verifiable.
//!
//! An event's path is the order of the modules. A producer says what happened ([`event`]) and gathers it with others
//! ([`batch`]), bodies that are alike but for numbers as what they are ([`form`]); they wait for their turn ([`append`]); one
//! thread gives them their places ([`streams`]) and packs them into blocks ([`writer`], [`block`]), another waits for the disk
//! ([`sync`]). Blocks lie in files ([`segment`]), and readers find them there ([`segments`], [`read`]).
//!
//! What stands on top uses the log as anybody else could: what it came to at a moment ([`temporal`]), reads of one's own
//! writes ([`at_least`]), subscriptions ([`follow`]), and what keeps its own state in the log: subscription [`group`]s
//! and [`projection`]s, and on these [`saga`]s.

pub mod event;

mod names;
mod task_id;

pub mod form;

pub mod batch;

pub mod sample;

pub mod append;
mod gap;
mod json;
pub mod streams;

mod sync;
pub mod writer;

pub mod block;
mod files;
pub mod merkle;
mod segment;
mod segments;

mod walk;

mod digest;
mod index;

mod checkpoint;
mod recover;

pub mod archive;

pub mod find;
pub mod read;
pub mod scan;

pub mod at_least;
pub mod temporal;

pub mod follow;

pub mod clock;
mod line;
mod lost;

pub mod group;
pub mod projection;

pub mod saga;

pub mod verify;

pub mod chain;
pub mod proof;
pub mod replica;

pub mod disk;
pub mod log;

pub mod outlet;

pub use append::{Ack, Append, AppendError, Appended, Full};
pub use archive::{Archive, Missing, Shelf, Summary};
pub use at_least::NotYet;
pub use batch::Batch;
pub use block::{Block, Hash};
pub use chain::{Chain, Refused};
pub use clock::Clock;
pub use digest::Count;
pub use event::{Event, EventId, Format, Level, Recorded, TraceId};
pub use find::{Hit, Totals};
pub use follow::{Delivery, Filter, Follow};
pub use form::{Filling, Form};
pub use gap::gap;
pub use group::{
    Consumer, Correlation, Group, GroupError, GroupOptions, GroupRunner, GroupStatus, Late, Message,
    ParkedMessage, Strategy,
};
pub use log::{Log, Options};
pub use outlet::Outlet;
pub use projection::{Emit, Projected, Projection, ProjectionError, ProjectionOptions, Runner, StateError};
pub use read::{Next, Raw, RawBlock, Reader};
pub use recover::{OpenError, Report, Torn};
pub use replica::{Piece, Replica, ReplicaError};
pub use saga::{Command, Saga, SagaError, SagaRunner, SagaStatus, Sagas, Steps};
pub use scan::{Scan, Wanted};
pub use segment::ReadError;
pub use segments::{End, Sealed};
pub use streams::{Conflict, Expected};
pub use temporal::{Moment, Page};
pub use walk::Damage;
