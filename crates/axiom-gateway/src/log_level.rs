//! Log levels: those of RFC 5424, by their names in the protocol.

/// From the least severe to the most.
pub(crate) const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// How severe a level is; an unknown one counts as the least severe, so that its lines are not lost.
pub(crate) fn severity(level: &str) -> usize {
    LEVELS.iter().position(|known| *known == level).unwrap_or(0)
}

pub(crate) fn is_level(level: &str) -> bool {
    LEVELS.contains(&level)
}
