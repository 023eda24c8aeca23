//! The worktrees of a race.

use std::path::{Path, PathBuf};

use super::git::{Repository, Worktree};
use crate::outcome::Failed;

#[derive(Debug)]
pub(crate) struct Worktrees {
    pub(crate) repository: Repository,
    pub(crate) folder: PathBuf,
    pub(crate) made: Vec<(u32, Worktree)>,
    /// Attempts were begun: from here on there is something to lose.
    pub(crate) has_run: bool,
}

/// Something of a worktree that could not be removed.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) number: u32,
    /// Why.
    pub(crate) message: String,
    /// How to do it by hand.
    pub(crate) hint: String,
}

impl Worktrees {
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.made.iter().map(|(number, _)| *number)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Worktree> {
        let found = self.made.iter().find(|(made, _)| *made == number);
        found.map(|(_, worktree)| worktree)
    }

    /// # Errors
    /// When git refuses. What was made before is kept in mind.
    pub(crate) async fn add(&mut self, id: &str, number: u32) -> Result<(), Failed> {
        let path = self.folder.join(format!("race-{number}"));
        let branch = format!("axiom/race/{id}-{number}");
        let made = self.repository.add(&path, &branch).await?;
        self.made.push((number, made));
        Ok(())
    }

    /// Removes all but those. Gives what could not be removed.
    pub(crate) async fn clear(&mut self, stays: &[u32]) -> Vec<Left> {
        let mut left = Vec::new();
        for (number, worktree) in &self.made {
            if stays.contains(number) {
                continue;
            }
            if let Err(failed) = self.repository.remove(worktree).await {
                left.push(Left {
                    number: *number,
                    message: failed.message,
                    hint: by_hand(&worktree.path, &worktree.branch),
                });
            }
        }
        self.made.retain(|(number, _)| stays.contains(number));
        if self.made.is_empty() {
            // Both only if nothing else is in them.
            std::fs::remove_dir(&self.folder).ok();
            self.folder
                .parent()
                .and_then(|races| std::fs::remove_dir(races).ok());
        }
        left
    }
}

/// How to remove a worktree that stays.
pub(crate) fn by_hand(path: &Path, branch: &str) -> String {
    format!(
        "git worktree remove --force {}; git branch -D {branch}",
        path.display()
    )
}
