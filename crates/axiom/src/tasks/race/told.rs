//! What a race came to, for whoever asked for it.

use axiom_core::time::unix_nanos;
use axiom_runtime::race::Judged;
use serde_json::{Value as Json, json};

use super::page::Page;
use super::{Race, RaceResult};
use crate::outcome::Failed;
use crate::race::lane::Finished;
use crate::race::outcome::Outcome;
use crate::race::worktrees::{Worktrees, by_hand};

impl Race {
    /// In words and for programs.
    pub(super) fn result(
        &self,
        outcome: &Result<Outcome, Failed>,
        worktrees: &Worktrees,
        applied: Option<Result<(), Failed>>,
        left: &[String],
    ) -> RaceResult {
        let page = self.page();
        let mut structured = json!({"race": self.id, "is_done": true});
        let mut text = String::new();
        let mut say = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let (mut is_stopped, mut is_error) = (false, false);
        match outcome {
            Err(failed) => {
                is_error = true;
                say(format!("the race failed: {}", failed.message));
            }
            Ok(outcome) => {
                is_stopped = outcome.is_interrupted;
                structured["is_interrupted"] = json!(outcome.is_interrupted);
                let attempts = outcome.ranked().into_iter();
                structured["attempts"] = attempts
                    .map(|finished| shown(finished, outcome, worktrees, &page))
                    .collect();
                match (&outcome.winner, outcome.is_interrupted) {
                    (_, true) => say("the race was ended: so were all attempts".to_owned()),
                    (None, _) => {
                        say(outcome.table().to_string());
                        say("nobody wins: no attempt exits with 0 and passes".to_owned());
                    }
                    (Some(winner), _) => {
                        say(outcome.table().to_string());
                        let folder = worktrees.get(winner.number).map(|worktree| &worktree.path);
                        structured["winner"] = json!({
                            "number": winner.number,
                            "task": page.tasks.get(&winner.number),
                            "branch": winner.branch,
                            "commit": winner.commit,
                            "folder": folder,
                        });
                        say(format!("race-{} wins: branch {}", winner.number, winner.branch));
                    }
                }
            }
        }
        match applied {
            None => {}
            Some(Ok(())) => {
                structured["is_applied"] = json!(true);
                say("its changes are in the working tree and in its index, not committed".to_owned());
            }
            Some(Err(failed)) => {
                structured["is_applied"] = json!(false);
                let hint = failed.hint.map(|hint| format!("; {hint}"));
                say(format!("{}{}", failed.message, hint.unwrap_or_default()));
            }
        }
        for (number, worktree) in &worktrees.made {
            let path = worktree.path.display();
            say(format!("race-{number} stays: branch {}, {path}", worktree.branch));
            say(format!(
                "when you are done with it: {}",
                by_hand(&worktree.path, &worktree.branch)
            ));
        }
        for line in left {
            say(format!("not all of it is gone: {line}"));
        }
        if !left.is_empty() {
            structured["left"] = json!(left);
        }
        RaceResult {
            structured,
            text,
            is_stopped,
            is_error,
            ended: unix_nanos(),
        }
    }
}

fn shown(finished: &Finished, outcome: &Outcome, worktrees: &Worktrees, page: &Page) -> Json {
    let number = finished.number;
    let mut shown = json!({
        "number": number,
        "how": finished.how,
        "wins": outcome.winner.as_ref().is_some_and(|winner| winner.number == number),
    });
    if let Some(task) = page.tasks.get(&number) {
        shown["task"] = json!(task);
    }
    if let Some(attempt) = &finished.attempt {
        shown["code"] = json!(attempt.exit);
        shown["took_s"] = json!(attempt.took.as_secs_f64());
        shown["files"] = json!(attempt.diff.files);
        shown["lines_added"] = json!(attempt.diff.lines_added);
        shown["lines_removed"] = json!(attempt.diff.lines_removed);
        if let Some(test) = attempt.test {
            shown["test"] = json!(test);
        }
        if let Judged::Score(score) = attempt.judged {
            shown["score"] = json!(score);
        }
    }
    if let Some(worktree) = worktrees.get(number) {
        shown["branch"] = json!(worktree.branch);
        shown["folder"] = json!(worktree.path);
    }
    shown
}
