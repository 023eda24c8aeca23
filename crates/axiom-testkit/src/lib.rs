//! axiom-testkit
