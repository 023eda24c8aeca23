//! The log as its users meet it.

mod history;
mod sim;

mod faults;
mod find;
mod power;
mod smoke;
