//! Several attempts at the same thing, each in a worktree of its own; the best one stays. For `axiom race` and for the tool `race`.
//!
//! A race makes worktrees and branches, and removes exactly those. The repository's own working tree is only read, and written by
//! [`git::Repository::apply`] alone. Who runs what is in the worktrees is not known here: see [`lane::Runs`].

pub(crate) mod apart;
pub(crate) mod git;
pub(crate) mod lane;
pub(crate) mod outcome;
pub(crate) mod worktrees;

use std::hash::{BuildHasher as _, RandomState};

use git::Uncommitted;

/// Twelve digits, chosen by chance: the first eight tell races and tasks apart.
pub(crate) fn new_id() -> String {
    let chance = RandomState::new().hash_one(axiom_core::time::unix_nanos());
    format!("{:012x}", chance >> 16)
}

/// What no attempt would have, in words; `None` if everything is committed. Nobody should be surprised by it an hour later.
pub(crate) fn missing(uncommitted: Uncommitted) -> Option<String> {
    (uncommitted.changed > 0 || uncommitted.untracked > 0).then(|| {
        format!(
            "there are {} changes that are not committed, and {} files or folders that git does not know; attempts start from HEAD and would not have them",
            uncommitted.changed, uncommitted.untracked
        )
    })
}
