//! The log as its users meet it.

mod history;
mod sim;

mod beside;
mod bounds;
mod checkpoints;
mod faults;
mod find;
mod follow;
mod groups;
mod kill;
mod lifecycle;
mod model;
mod mutate;
mod power;
mod projections;
mod sagas;
mod smoke;
mod temporal;
