//! The log as its users meet it.

mod find;
mod follow;
mod smoke;
