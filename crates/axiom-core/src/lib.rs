//! axiom-core
