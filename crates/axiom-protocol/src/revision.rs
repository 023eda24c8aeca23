//! The five revisions of MCP and the two eras they fall into.

/// How a conversation begins and where its state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// `initialize`, then a session.
    Legacy,
    /// No session: every request carries its version and capabilities in `params._meta`.
    Modern,
}

/// A published revision; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    non_camel_case_types,
    reason = "a revision is a date; the underscores are its dashes"
)]
pub enum Revision {
    /// HTTP+SSE and stdio.
    V2024_11_05,
    /// Streamable HTTP, and the only one with JSON-RPC batches.
    V2025_03_26,
    /// The `MCP-Protocol-Version` header, structured content, elicitation.
    V2025_06_18,
    /// URL elicitation, experimental tasks, resumable polling.
    V2025_11_25,
    /// Stateless.
    V2026_07_28,
}

impl Revision {
    /// Oldest first.
    pub const ALL: [Revision; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];
    /// The revisions negotiated by `initialize`, newest first.
    pub const LEGACY: [Revision; 4] = [
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
        Self::V2024_11_05,
    ];
    /// What `initialize` is answered with when the client names a version we do not know.
    pub const LATEST_LEGACY: Revision = Self::V2025_11_25;
    /// The stateless revision.
    pub const MODERN: Revision = Self::V2026_07_28;

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Only exact names: a version is an opaque string, not a date to compare.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == name)
    }

    /// The era this revision belongs to.
    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Modern,
            _ => Era::Legacy,
        }
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
