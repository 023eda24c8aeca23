//! The log as its users meet it.

mod history;
mod sim;

mod beside;
mod bounds;
mod checkpoints;
mod descriptors;
mod faults;
mod find;
mod follow;
mod kill;
mod lifecycle;
mod model;
mod mutate;
mod power;
mod replica;
mod smoke;
