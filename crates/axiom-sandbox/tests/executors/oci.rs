//! Containers.
use crate::cases::Case;
pub(crate) const CASES: &[(&str, Case)] = &[];
