//! The log as its users meet it.

mod history;
mod sim;

mod beside;
mod bounds;
mod checkpoints;
mod disk;
mod faults;
mod find;
mod follow;
mod kill;
mod lifecycle;
mod model;
mod mutate;
mod power;
mod smoke;
