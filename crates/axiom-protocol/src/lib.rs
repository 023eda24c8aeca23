//! axiom-protocol
