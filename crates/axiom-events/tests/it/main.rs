//! The log as its users meet it.

mod history;
mod sim;

mod bounds;
mod faults;
mod find;
mod model;
mod mutate;
mod power;
mod smoke;
