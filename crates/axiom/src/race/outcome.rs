//! How a race went: who wins, what stays, and the table that tells.

use axiom_runtime::race::{Attempt, Judged, winner};

use super::lane::Finished;
use super::worktrees::Worktrees;
use crate::outcome::Failed;
use crate::table::Table;

/// How the race went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) finished: Vec<Finished>,
    pub(crate) winner: Option<Winner>,
    pub(crate) is_interrupted: bool,
}

#[derive(Debug)]
pub(crate) struct Winner {
    pub(crate) number: u32,
    pub(crate) branch: String,
    pub(crate) commit: String,
}

impl Outcome {
    pub(crate) fn interrupted(finished: Vec<Finished>) -> Outcome {
        Outcome {
            finished,
            winner: None,
            is_interrupted: true,
        }
    }

    /// Compares all of them. The winner's files are committed on its branch.
    ///
    /// # Errors
    /// When git refuses.
    pub(crate) async fn of(
        finished: Vec<Finished>,
        worktrees: &Worktrees,
        message: impl FnOnce(u32) -> String,
    ) -> Result<Outcome, Failed> {
        let attempts: Vec<Attempt> = finished.iter().filter_map(|finished| finished.attempt).collect();
        let mut outcome = Outcome {
            winner: None,
            finished,
            is_interrupted: false,
        };
        if let Some(best) = winner(&attempts)
            && let Some(worktree) = worktrees.get(best.number)
        {
            let finished = &outcome.finished;
            let tree = finished.iter().find(|finished| finished.number == best.number);
            let tree = tree
                .and_then(|finished| finished.tree.as_deref())
                .unwrap_or_default();
            let message = message(best.number);
            outcome.winner = Some(Winner {
                number: best.number,
                branch: worktree.branch.clone(),
                commit: worktrees.repository.commit(worktree, tree, &message).await?,
            });
        }
        Ok(outcome)
    }

    /// Who is not removed.
    pub(crate) fn stays(&self, keeps_all: bool) -> Vec<u32> {
        let stays = |finished: &&Finished| match &self.winner {
            _ if keeps_all => true,
            Some(winner) => winner.number == finished.number,
            None => !self.is_interrupted && finished.may_have_changed(),
        };
        self.finished
            .iter()
            .filter(stays)
            .map(|finished| finished.number)
            .collect()
    }

    /// The best one first.
    pub(crate) fn ranked(&self) -> Vec<&Finished> {
        let mut rows: Vec<&Finished> = self.finished.iter().collect();
        rows.sort_by(|one, other| match (&one.attempt, &other.attempt) {
            (Some(one), Some(other)) => one.compare(other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        rows
    }

    /// The best one first.
    pub(crate) fn table(&self) -> Table<6> {
        let mut table = Table::new(["ATTEMPT", "EXIT", "TEST", "SCORE", "DIFF", "TIME"]);
        for finished in self.ranked() {
            let number = finished.number;
            let mark = match &self.winner {
                Some(winner) if winner.number == number => " (wins)",
                _ => "",
            };
            table.row(cells(finished, format!("race-{number}{mark}")));
        }
        table
    }
}

fn cells(finished: &Finished, name: String) -> [String; 6] {
    let mut cells = [const { String::new() }; 6];
    cells[0] = name;
    // Why it did not get that far was said when it happened.
    let Some(attempt) = &finished.attempt else {
        return cells;
    };
    let diff = attempt.diff;
    cells[1] = attempt.exit.to_string();
    cells[2] = attempt.test.map(|code| code.to_string()).unwrap_or_default();
    cells[3] = match attempt.judged {
        Judged::No => String::new(),
        Judged::Score(score) => score.to_string(),
        Judged::Failed => "none".to_owned(),
    };
    cells[4] = format!(
        "+{} -{} in {} files",
        diff.lines_added, diff.lines_removed, diff.files
    );
    cells[5] = format!("{:.1} s", attempt.took.as_secs_f64());
    cells
}
