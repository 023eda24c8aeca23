//! What becomes of events when they are no longer hot.
//!
//! The log (`axiom-events`) gives its oldest segments away. They become a Parquet file on the same disk ([`file`], [`make`]),
//! later a larger one, later an object in an object store ([`store`]), and at some time they are deleted. What is due is a
//! pure decision ([`plan`]); a thread carries it out ([`service`], [`workshop`]); and each change of hands is one record of
//! the [`manifest`], so that an event is in one tier at every moment. The log's readers go on as before ([`shelves`]).

pub mod template;

pub mod file;

pub mod manifest;
pub mod redis;

pub mod make;
pub mod shelves;
pub mod store;

pub mod plan;
pub mod service;
mod standing;
pub mod workshop;

pub use manifest::Snapshot;
pub use plan::{Limits, Retention};
pub use service::Service;
pub use shelves::Shelves;
pub use store::{Store, StoreOptions};
pub use workshop::Workshop;
