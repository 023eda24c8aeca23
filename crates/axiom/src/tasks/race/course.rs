//! How a race goes: worktrees, attempts at once, and what becomes of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_runtime::order::{Input, Who};
use axiom_sandbox::exit::How;
use futures_util::future::join_all;

use super::super::{Desk, Look};
use super::{Race, RaceResult, Refusal};
use crate::outcome::{Exit, Failed};
use crate::race::lane::{Ended, JUDGEMENT_BYTES_MAX, Lane, Ran, Runs, Step, Taken};
use crate::race::outcome::Outcome;
use crate::race::worktrees::Worktrees;

/// Lines of a judge that are looked at for its number.
const JUDGE_LINES: usize = 50;

impl Race {
    /// From its worktrees to its end.
    pub(super) async fn run(self: &Arc<Race>, desk: &Arc<Desk>) -> RaceResult {
        let mut worktrees = self.page().worktrees(desk);
        // If it goes on with one that had nothing there.
        fs_err::create_dir_all(&worktrees.folder).ok();
        let outcome = self.contest(desk, &mut worktrees).await;
        let (keeps, applies) = {
            let page = self.page();
            (page.keeps, page.applies)
        };
        let stays = match &outcome {
            Ok(outcome) => outcome.stays(keeps),
            // What was done before it failed may be missed.
            Err(_) => worktrees.numbers().filter(|_| worktrees.has_run).collect(),
        };
        let left = worktrees.clear(&stays).await;
        let mut applied = None;
        if let Ok(Outcome {
            winner: Some(winner), ..
        }) = &outcome
            && applies
        {
            applied = Some(apply(&worktrees, &winner.commit).await);
        }
        let left: Vec<String> = left
            .into_iter()
            .map(|left| format!("race-{}: {}; by hand: {}", left.number, left.message, left.hint))
            .collect();
        self.result(&outcome, &worktrees, applied, &left)
    }

    async fn contest(
        self: &Arc<Race>,
        desk: &Arc<Desk>,
        worktrees: &mut Worktrees,
    ) -> Result<Outcome, Failed> {
        let count = self.page().count;
        for number in 1..=count {
            if worktrees.get(number).is_none() {
                if self.stop.borrow().is_some() {
                    return Ok(Outcome::interrupted(Vec::new()));
                }
                worktrees.add(&self.id, number).await?;
                let made = worktrees.made.clone();
                check_worktree(worktrees, number)?;
                self.note(desk, |page| page.made = made);
            }
        }
        worktrees.has_run = true;
        self.note(desk, |page| page.has_run = true);
        let (has_test, has_judge) = {
            let page = self.page();
            (page.test.is_some(), page.judge.is_some())
        };
        let repository = &worktrees.repository;
        let lanes = worktrees.made.iter().map(|(number, worktree)| {
            let lane = Lane {
                number: *number,
                worktree: worktree.clone(),
                has_test,
                has_judge,
                runs: Runner {
                    number: *number,
                    worktree: worktree.path.clone(),
                    desk: Arc::clone(desk),
                    race: Arc::clone(self),
                    stop: self.stop.subscribe(),
                },
            };
            let race = Arc::clone(self);
            async move {
                let finished = lane.run(repository).await;
                race.stage.send_modify(|stage| stage.ended += 1);
                finished
            }
        });
        let finished = join_all(lanes).await;
        if self.stop.borrow().is_some() {
            return Ok(Outcome::interrupted(finished));
        }
        let command = {
            let page = self.page();
            match page.order.agent.clone() {
                Some(agent) => format!("{agent}: {}", page.order.prompt),
                None => page.order.spec.argv.join(" "),
            }
        };
        Outcome::of(finished, worktrees, |best| {
            format!("axiom race {}: attempt {best} of {count}\n\n{command}\n", self.id)
        })
        .await
    }
}

/// What git says about a worktree was said by whoever may do no more than a task: what it keeps about it lies in the repository.
fn check_worktree(worktrees: &Worktrees, number: u32) -> Result<(), Failed> {
    let common = &worktrees.repository.common;
    let is_within = worktrees
        .get(number)
        .is_some_and(|worktree| worktree.git_dir().starts_with(common));
    match is_within {
        true => Ok(()),
        false => Err(Failed::new(
            Exit::Failure,
            format!("git keeps a worktree elsewhere than in {}", common.display()),
        )),
    }
}

async fn apply(worktrees: &Worktrees, commit: &str) -> Result<(), Failed> {
    let repository = &worktrees.repository;
    let hint = "all of it is on the winner's branch";
    if repository.uncommitted().await?.changed > 0 {
        let message = "the working tree has changed meanwhile; nothing was applied";
        return Err(Failed::new(Exit::Failure, message).hint(hint));
    }
    let applied = repository
        .apply(commit, &worktrees.folder.join("winner.diff"))
        .await;
    applied.map_err(|failed| {
        let message = format!("the winner's changes do not fit: {}", failed.message);
        Failed::new(Exit::Failure, message).hint(hint)
    })
}

/// Runs what one attempt wants as tasks of the gateway.
struct Runner {
    number: u32,
    /// Its folder.
    worktree: PathBuf,
    desk: Arc<Desk>,
    race: Arc<Race>,
    stop: watch::Receiver<Option<String>>,
}

impl Runs for Runner {
    async fn run(&mut self, step: Step, folder: PathBuf) -> Result<Ran, Failed> {
        if self.stop.borrow().is_some() {
            return Ok(Ran::Stopped);
        }
        // Git has made it behind walls, and in there a link in place of a folder could be made as well.
        let real = fs_err::canonicalize(&folder)?;
        if real.components().ne(folder.components()) {
            let message = format!(
                "{} leads out of the worktree {}",
                folder.display(),
                self.worktree.display()
            );
            return Err(Failed::new(Exit::Failure, message));
        }
        let mut order = self.race.page().order_of(step, self.number, real);
        let by = order.by.clone();
        if order.agent.is_none() {
            // Nobody is there to type.
            order.input = Some(Input {
                bytes: Vec::new(),
                ends: true,
            });
        }
        let id = match self.desk.supervisor.submit(order) {
            Ok(id) => id,
            Err(error) => {
                let why = Refusal::from(error).message;
                self.say(format!("not started: {why}")).await;
                return Ok(Ran::NotStarted(why));
            }
        };
        if step == Step::Attempt {
            let (number, task) = (self.number, id.to_string());
            self.race.note(&self.desk, |page| {
                page.tasks.insert(number, task);
            });
        }
        let ending = tokio::select! {
            // cancel-safe: it only waits.
            ending = self.desk.supervisor.wait(&id) => ending.map_err(|error| gone(&error))?,
            // cancel-safe: the value stays.
            why = stopped(&mut self.stop) => {
                let by = Who::new(by.who, why);
                // One that is gone has ended.
                self.desk.kill(&[id], &by).await.ok();
                return Ok(Ran::Stopped);
            }
        };
        let code = ending.code();
        match &ending.how {
            None => {
                let message = "its shim was killed before it could say how it ended";
                return Err(Failed::new(Exit::Failure, message));
            }
            Some(How::NotStarted { why }) => {
                self.say(format!("not started: {why}")).await;
                return Ok(Ran::NotStarted(why.clone()));
            }
            Some(_) => {}
        }
        let view = self.desk.supervisor.view(&id).map_err(|error| gone(&error))?;
        let nanos = ending.ended.saturating_sub(view.started.unwrap_or(ending.ended));
        Ok(Ran::Ended(Ended {
            code,
            how: ending.words(),
            took: Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            said: match step {
                Step::Judge => self.desk.last_words(&id).await?,
                Step::Attempt | Step::Test => Vec::new(),
            },
        }))
    }

    async fn say(&mut self, text: String) {
        let said = format!("[race-{}] {text}", self.number);
        self.race.stage.send_modify(|stage| stage.said = said);
    }

    fn taken(&self) -> Option<Taken> {
        self.race.page().taken.get(&self.number).cloned()
    }

    async fn keep(&mut self, taken: &Taken) {
        let (number, taken) = (self.number, taken.clone());
        self.race.note(&self.desk, |page| {
            page.taken.insert(number, taken);
        });
    }
}

/// Until a race is to end; why.
async fn stopped(stop: &mut watch::Receiver<Option<String>>) -> String {
    let why = stop.wait_for(Option::is_some).await;
    let why = why.ok().and_then(|why| why.clone());
    match why {
        Some(why) => why,
        // Nobody can say so any more.
        None => std::future::pending().await,
    }
}

fn gone(error: &axiom_runtime::supervisor::Unknown) -> Failed {
    Failed::new(Exit::Failure, format!("its task is gone: {error}"))
}

impl Desk {
    /// The end of what a task has said on stdout.
    async fn last_words(&self, id: &str) -> Result<Vec<u8>, Failed> {
        let look = Look {
            from: None,
            count: JUDGE_LINES,
            stream: Some(axiom_runtime::mux::Stream::Stdout),
        };
        let lines = self.lines(id, look).await;
        let lines = lines.map_err(|refusal| Failed::new(Exit::Failure, refusal.message))?;
        let mut said = lines.text().into_bytes();
        said.drain(..said.len().saturating_sub(JUDGEMENT_BYTES_MAX));
        Ok(said)
    }
}
