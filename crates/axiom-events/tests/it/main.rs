//! The log as its users meet it.

mod history;
mod sim;

mod faults;
mod find;
mod mutate;
mod power;
mod smoke;
