//! The log as its users meet it.

mod smoke;
