//! axiom-transport
pub mod pipe;
