//! SQL over all tiers of the event store, in a process of its own.
//!
//! A query's path is the order of the modules: what is on the disk is pinned ([`store`]), is one table ([`columns`], `table`)
//! with views over it ([`views`]); a query is planned and run within its bounds ([`limits`], [`engine`]; or
//! [`duckdb`] if that was asked for) on threads of its own (`workers`), and its rows are handed over (`rows`) and
//! written ([`output`]), once ([`sql`]) or for as long as somebody asks ([`serve`], [`flight`]).

pub mod store;

pub mod columns;
mod functions;
mod json;
pub mod notes;
mod table;
pub mod views;

pub mod limits;

pub mod fault;

pub mod engine;
mod rows;
mod workers;

pub mod duckdb;

pub mod output;

pub mod cli;
pub mod sql;

pub mod flight;
pub mod serve;
