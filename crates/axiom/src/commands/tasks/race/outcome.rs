//! How a race went, and what is said about it.

use axiom_runtime::race::Judged;

use crate::cli::Race;
use crate::outcome::Failed;
use crate::table::Table;
use crate::terminal::Terminal;

use super::Worktrees;
use super::attempt::Finished;

/// How the race went.
pub(super) struct Outcome {
    pub(super) finished: Vec<Finished>,
    pub(super) winner: Option<Winner>,
    pub(super) is_interrupted: bool,
}

pub(super) struct Winner {
    pub(super) number: u32,
    pub(super) branch: String,
    pub(super) commit: String,
}

impl Outcome {
    pub(super) fn interrupted(finished: Vec<Finished>) -> Outcome {
        Outcome {
            finished,
            winner: None,
            is_interrupted: true,
        }
    }

    /// Who is not removed.
    pub(super) fn stays(&self, race: &Race) -> Vec<u32> {
        let stays = |finished: &&Finished| match &self.winner {
            _ if race.keep => true,
            Some(winner) => winner.number == finished.number,
            None => !self.is_interrupted && finished.may_have_changed(),
        };
        self.finished
            .iter()
            .filter(stays)
            .map(|finished| finished.number)
            .collect()
    }

    pub(super) fn tell(&self, worktrees: &Worktrees, terminal: &Terminal) -> Result<(), Failed> {
        if self.is_interrupted {
            terminal.say(match worktrees.made.is_empty() {
                true => "interrupted: all attempts were ended and removed",
                false => "interrupted: all attempts were ended; they stay where they are",
            });
            return Ok(());
        }
        terminal.data(self.table())?;
        match &self.winner {
            Some(winner) => {
                terminal.say(format_args!(
                    "race-{} wins: branch {}",
                    winner.number, winner.branch
                ));
                if let Some(worktree) = worktrees.get(winner.number) {
                    let path = worktree.path.display();
                    terminal.data(&path)?;
                    terminal.say(format_args!(
                        "when you are done with it: git worktree remove --force {path}; git branch -D {}",
                        winner.branch
                    ));
                }
            }
            None => {
                terminal.say("nobody wins: no attempt exits with 0 and passes");
                worktrees.tell(terminal);
            }
        }
        Ok(())
    }

    /// The best one first.
    fn table(&self) -> Table<6> {
        let mut rows: Vec<&Finished> = self.finished.iter().collect();
        rows.sort_by(|one, other| match (&one.attempt, &other.attempt) {
            (Some(one), Some(other)) => one.compare(other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        let mut table = Table::new(["ATTEMPT", "EXIT", "TEST", "SCORE", "DIFF", "TIME"]);
        for finished in rows {
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
