//! One attempt, from its command to what somebody thinks of it.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use axiom_runtime::race::{Attempt, Diff, Judged};
use serde::{Deserialize, Serialize};

use super::git::{Repository, Worktree};
use crate::outcome::Failed;

/// Of what a judge prints, the end. A number is shorter.
pub(crate) const JUDGEMENT_BYTES_MAX: usize = 4 << 10;

/// Which of an attempt's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Attempt,
    Test,
    Judge,
}

/// How one of them ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: u8,
    /// In words.
    pub(crate) how: String,
    pub(crate) took: Duration,
    /// The end of what it said on stdout, [`JUDGEMENT_BYTES_MAX`] of it.
    pub(crate) said: Vec<u8>,
}

/// How far one of them got.
#[derive(Debug)]
pub(crate) enum Ran {
    Ended(Ended),
    /// Nothing of it ever ran; why.
    NotStarted(String),
    /// The race is over.
    Stopped,
}

/// What git says of an attempt: its files as a tree, and what is new in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) tree: String,
    pub(crate) files: u64,
    pub(crate) lines_added: u64,
    pub(crate) lines_removed: u64,
}

/// Whoever runs the commands of one attempt.
pub(crate) trait Runs: Send {
    /// Runs one of them in this folder of its worktree, to its end.
    ///
    /// # Errors
    /// When nobody knows what became of it.
    fn run(&mut self, step: Step, folder: PathBuf) -> impl Future<Output = Result<Ran, Failed>> + Send;

    /// Tells whoever looks on.
    fn say(&mut self, text: String) -> impl Future<Output = ()> + Send;

    /// What was taken of it in an earlier life of this race.
    fn taken(&self) -> Option<Taken> {
        None
    }

    /// Keeps what was taken of it.
    fn keep(&mut self, _: &Taken) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// What became of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) number: u32,
    /// `None` if it did not get that far.
    pub(crate) attempt: Option<Attempt>,
    /// Its files, as git names them.
    pub(crate) tree: Option<String>,
    /// How its command ended, or why it got no further, in words.
    pub(crate) how: String,
    has_started: bool,
}

impl Taken {
    fn new(tree: String, diff: Diff) -> Taken {
        Taken {
            tree,
            files: diff.files,
            lines_added: diff.lines_added,
            lines_removed: diff.lines_removed,
        }
    }

    fn diff(&self) -> Diff {
        Diff {
            files: self.files,
            lines_added: self.lines_added,
            lines_removed: self.lines_removed,
        }
    }
}

impl Finished {
    /// It began, and nobody can say how good it is.
    pub(crate) fn lost(number: u32, how: impl Into<String>) -> Finished {
        Finished {
            number,
            attempt: None,
            tree: None,
            how: how.into(),
            has_started: true,
        }
    }

    /// Whether there may be something in its worktree that somebody would miss.
    pub(crate) fn may_have_changed(&self) -> bool {
        match &self.attempt {
            Some(attempt) => !attempt.diff.is_empty(),
            None => self.has_started,
        }
    }
}

/// An attempt on its way.
pub(crate) struct Lane<R> {
    pub(crate) number: u32,
    pub(crate) worktree: Worktree,
    pub(crate) has_test: bool,
    pub(crate) has_judge: bool,
    pub(crate) runs: R,
}

impl<R: Runs> Lane<R> {
    /// All of it.
    pub(crate) async fn run(mut self, repository: &Repository) -> Finished {
        match self.race(repository).await {
            Ok(finished) => finished,
            Err(failed) => {
                self.runs.say(failed.message.clone()).await;
                Finished::lost(self.number, failed.message)
            }
        }
    }

    async fn race(&mut self, repository: &Repository) -> Result<Finished, Failed> {
        let number = self.number;
        let stopped = || Ok(Finished::lost(number, "the race was ended before"));
        let folder = self.worktree.path.join(&repository.prefix);
        let ended = match self.runs.run(Step::Attempt, folder.clone()).await? {
            Ran::Ended(ended) => ended,
            Ran::Stopped => return stopped(),
            Ran::NotStarted(why) => {
                return Ok(Finished {
                    has_started: false,
                    ..Finished::lost(self.number, why)
                });
            }
        };
        self.runs.say(ended.how.clone()).await;
        // Before the tests: what they leave behind was not the attempt's.
        let taken = match self.runs.taken() {
            Some(taken) => taken,
            None => {
                let (tree, diff) = repository.take(&self.worktree).await?;
                let taken = Taken::new(tree, diff);
                self.runs.keep(&taken).await;
                taken
            }
        };
        let mut test = None;
        if self.has_test {
            match self.runs.run(Step::Test, folder.clone()).await? {
                Ran::Ended(ended) => {
                    self.runs.say(format!("test: {}", ended.how)).await;
                    test = Some(ended.code);
                }
                Ran::Stopped => return stopped(),
                Ran::NotStarted(why) => {
                    return Ok(Finished::lost(
                        self.number,
                        format!("its test did not run: {why}"),
                    ));
                }
            }
        }
        let mut judged = Judged::No;
        if self.has_judge {
            judged = match self.runs.run(Step::Judge, folder).await? {
                Ran::Ended(ended) if ended.code == 0 => judgement(&ended.said),
                Ran::Ended(_) => Judged::Failed,
                Ran::Stopped => return stopped(),
                Ran::NotStarted(why) => {
                    return Ok(Finished::lost(
                        self.number,
                        format!("its judge did not run: {why}"),
                    ));
                }
            };
            if judged == Judged::Failed {
                let text = "the judge gives no number, so it cannot win";
                self.runs.say(text.to_owned()).await;
            }
        }
        Ok(Finished {
            number: self.number,
            attempt: Some(Attempt {
                number: self.number,
                exit: ended.code,
                test,
                judged,
                diff: taken.diff(),
                took: ended.took,
            }),
            tree: Some(taken.tree),
            how: ended.how,
            has_started: true,
        })
    }
}

/// The number on the last line that has anything on it.
fn judgement(said: &[u8]) -> Judged {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let score = line.and_then(|line| line.trim().parse::<f64>().ok());
    score
        .filter(|score| !score.is_nan())
        .map_or(Judged::Failed, Judged::Score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judgement_is_the_last_number() {
        let check =
            |said: &str, expected: Judged| assert_eq!(judgement(said.as_bytes()), expected, "{said:?}");
        check("3\n", Judged::Score(3.0));
        check("thinking...\n -1.5e3 \n\n", Judged::Score(-1500.0));
        check("", Judged::Failed);
        check("3\nnone\n", Judged::Failed);
        check("NaN\n", Judged::Failed);
    }
}
