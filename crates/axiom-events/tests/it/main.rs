//! The log as its users meet it.

mod history;
mod sim;

mod beside;
mod bounds;
mod checkpoints;
mod faults;
mod find;
mod follow;
mod kill;
mod lifecycle;
mod memory;
mod model;
mod mutate;
mod outlet;
mod power;
mod sample;
mod smoke;
