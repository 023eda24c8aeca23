//! The log as its users meet it.

mod history;
mod sim;

mod beside;
mod bounds;
mod checkpoints;
mod descriptors;
mod disk;
mod faults;
mod find;
mod follow;
mod group_faults;
mod groups;
mod kill;
mod lifecycle;
mod memory;
mod model;
mod moments;
mod mutate;
mod outlet;
mod power;
mod projections;
mod quiet;
mod replica;
mod sagas;
mod sample;
mod smoke;
mod temporal;
