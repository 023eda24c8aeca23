//! Who sends a request, once that is known.

use std::sync::Arc;

use crate::role::{Deed, Role};

/// Somebody, or something, that sends requests.
///
/// Two requests are of the same principal if their [`identity`](Principal::identity) is the same: what is kept for one (sessions,
/// tasks, links of their own, what was cached in their name) is never for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// How people call it, unique within its tenant.
    pub name: Arc<str>,
    pub tenant: Arc<str>,
    pub role: Role,
    pub source: Source,
    /// Unix seconds at which what was shown is good no more.
    pub until: Option<u64>,
    identity: [u8; 16],
}

/// By what it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// It runs on this machine, and nobody is asked who they are.
    Local,
    /// It shows an API key.
    Key,
}

/// Whose requests are where nothing says otherwise.
pub const DEFAULT_TENANT: &str = "default";

impl Principal {
    /// Whoever may reach a gateway that asks nobody.
    pub fn local() -> Principal {
        Principal::new(Source::Local, DEFAULT_TENANT, "local", Role::Admin, None)
    }

    pub fn new(source: Source, tenant: &str, name: &str, role: Role, until: Option<u64>) -> Principal {
        let mut hasher = blake3::Hasher::new_derive_key("axiom principal 1");
        for part in [source.as_str(), tenant, name] {
            // Each with its length: no two triples have the same text.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut identity = [0; 16];
        hasher.finalize_xof().fill(&mut identity);
        Principal {
            name: name.into(),
            tenant: tenant.into(),
            role,
            source,
            until,
            identity,
        }
    }

    /// Names it where it must be short, the same in every process: a digest of source, tenant and name. A role that changes, or a
    /// key that replaces another of the same name, leaves it as it is.
    pub fn identity(&self) -> [u8; 16] {
        self.identity
    }

    pub fn may(&self, deed: Deed) -> bool {
        self.role.may(deed)
    }

    /// Whether what was shown is good no more at this time.
    pub fn is_over(&self, now_unix_s: u64) -> bool {
        self.until.is_some_and(|until| until <= now_unix_s)
    }
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Local => "local",
            Source::Key => "key",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_of_source_tenant_and_name() {
        let of = |source, tenant, name| Principal::new(source, tenant, name, Role::Viewer, None).identity();
        let one = of(Source::Key, "a", "bc");
        assert_eq!(
            one,
            Principal::new(Source::Key, "a", "bc", Role::Admin, Some(7)).identity()
        );
        for other in [
            of(Source::Local, "a", "bc"),
            of(Source::Key, "ab", "c"),
            of(Source::Key, "a", "b"),
            of(Source::Key, "", "abc"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_was_shown_ends_at_its_second() {
        let until = |until| Principal::new(Source::Key, "t", "n", Role::Viewer, until);
        assert!(!until(None).is_over(u64::MAX));
        assert!(!until(Some(10)).is_over(9));
        assert!(until(Some(10)).is_over(10));
    }
}
