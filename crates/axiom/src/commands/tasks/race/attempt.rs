//! One attempt, from its command to what somebody thinks of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::Sender;
use axiom_runtime::race::{Attempt, Judged};
use axiom_sandbox::exit::Exit as TaskExit;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, StartError};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::output::Source;
use axiom_sandbox::spec::{BadSpec, Executor, Grants, Spec};
use axiom_sandbox::wire::Request;
use tokio::sync::watch;

use crate::cli::Race;
use crate::outcome::Failed;

use super::super::run::{SPOOL_BYTES, absolute, failed, inherited, new_id};
use super::git::{ELSEWHERE, Repository, Worktree};

/// Of what a judge prints, the end. A number is shorter.
const JUDGEMENT_BYTES_MAX: usize = 4 << 10;

/// What all attempts of a race have in common.
pub(super) struct Course {
    tasks: PathBuf,
    spawner: Spawner,
    repository: Repository,
    command: Vec<String>,
    test: Option<String>,
    judge: Option<String>,
    executor: Executor,
    limits: Limits,
    grants: Grants,
    env: BTreeMap<String, String>,
}

/// One of them on its way.
pub(super) struct Lane {
    pub(super) number: u32,
    pub(super) worktree: Worktree,
    pub(super) news: Sender<News>,
    pub(super) stops: watch::Receiver<bool>,
}

pub(super) struct News {
    pub(super) number: u32,
    pub(super) what: What,
}

pub(super) enum What {
    Output(Source, Vec<u8>),
    Said(String),
}

/// What became of it.
pub(super) struct Finished {
    pub(super) number: u32,
    /// `None` if it did not get that far.
    pub(super) attempt: Option<Attempt>,
    /// Its files, as git names them.
    pub(super) tree: Option<String>,
    has_started: bool,
}

/// How far a task got.
enum Ran {
    Ended(TaskExit, Vec<u8>),
    /// Nothing of it ever ran.
    NotStarted,
    Stopped,
}

impl Course {
    pub(super) fn new(
        race: &Race,
        repository: &Repository,
        tasks: PathBuf,
        spawner: Spawner,
    ) -> Result<Course, Failed> {
        let mut grants = Grants {
            network: race.network,
            read: absolute(&race.read)?,
            write: absolute(&race.write)?,
            ..Grants::default()
        };
        if race.executor != Executor::Process {
            // So that git works in there, and changes nothing.
            grants.read.push(repository.common.clone());
        }
        let mut env = inherited();
        for name in ELSEWHERE {
            env.remove(name);
        }
        Ok(Course {
            tasks,
            spawner,
            repository: repository.clone(),
            command: race.command.clone(),
            test: race.test.clone(),
            judge: race.judge.clone(),
            executor: race.executor.clone(),
            limits: race.limits(),
            grants,
            env,
        })
    }

    /// Whether its tasks can be, before anything is made for them.
    ///
    /// # Errors
    /// Names the field.
    pub(super) fn check(&self) -> Result<(), BadSpec> {
        self.spec(&self.command, self.repository.top.clone(), 1).check()
    }

    fn spec(&self, argv: &[String], folder: PathBuf, number: u32) -> Spec {
        let id = new_id();
        let mut env = self.env.clone();
        env.insert("AXIOM_TASK_ID".to_owned(), id.clone());
        env.insert("AXIOM_RACE_NUMBER".to_owned(), number.to_string());
        Spec {
            id,
            argv: argv.to_vec(),
            env,
            folder,
            terminal: None,
            limits: self.limits.clone(),
            executor: self.executor.clone(),
            grants: self.grants.clone(),
            spool_bytes: SPOOL_BYTES,
        }
    }
}

impl Finished {
    pub(super) fn lost(number: u32) -> Finished {
        Finished {
            number,
            attempt: None,
            tree: None,
            has_started: true,
        }
    }

    /// Whether there may be something in its worktree that somebody would miss.
    pub(super) fn may_have_changed(&self) -> bool {
        match &self.attempt {
            Some(attempt) => !attempt.diff.is_empty(),
            None => self.has_started,
        }
    }
}

impl Lane {
    pub(super) async fn run(mut self, course: Arc<Course>) -> Finished {
        match self.race(&course).await {
            Ok(finished) => finished,
            Err(failed) => {
                self.say(failed.message).await;
                Finished::lost(self.number)
            }
        }
    }

    async fn race(&mut self, course: &Course) -> Result<Finished, Failed> {
        let exit = match self.task(course, &course.command).await? {
            Ran::Ended(exit, _) => exit,
            Ran::Stopped => return Ok(Finished::lost(self.number)),
            Ran::NotStarted => {
                return Ok(Finished {
                    has_started: false,
                    ..Finished::lost(self.number)
                });
            }
        };
        self.say(super::super::told(&End::Exit(exit.clone()))).await;
        // Before the tests: what they leave behind was not the attempt's.
        let (tree, diff) = self.worktree.take(&course.repository.start).await?;
        let mut test = None;
        if let Some(command) = &course.test {
            self.say(format!("test: {command}")).await;
            match self.task(course, &shell(command)).await? {
                Ran::Ended(exit, _) => {
                    self.say(format!("test: {}", super::super::told(&End::Exit(exit.clone()))))
                        .await;
                    test = Some(exit.how.code());
                }
                Ran::Stopped => return Ok(Finished::lost(self.number)),
                Ran::NotStarted => return Ok(Finished::lost(self.number)),
            }
        }
        let mut judged = Judged::No;
        if let Some(command) = &course.judge {
            judged = match self.task(course, &shell(command)).await? {
                Ran::Ended(exit, said) if exit.how.code() == 0 => judgement(&said),
                Ran::Ended(..) => Judged::Failed,
                Ran::Stopped => return Ok(Finished::lost(self.number)),
                Ran::NotStarted => return Ok(Finished::lost(self.number)),
            };
            if judged == Judged::Failed {
                self.say("the judge gives no number, so it cannot win".to_owned())
                    .await;
            }
        }
        let nanos = u64::try_from(exit.ended.saturating_sub(exit.started)).unwrap_or(0);
        Ok(Finished {
            number: self.number,
            attempt: Some(Attempt {
                number: self.number,
                exit: exit.how.code(),
                test,
                judged,
                diff,
                took: Duration::from_nanos(nanos),
            }),
            tree: Some(tree),
            has_started: true,
        })
    }

    async fn say(&self, text: String) {
        self.tell(What::Said(text)).await;
    }

    async fn tell(&self, what: What) {
        let number = self.number;
        // Nobody listens any more: the race is over.
        self.news.send(News { number, what }).await.ok();
    }

    /// Runs a task in the worktree to its end, and forgets it. Gives the end of what it said on stdout.
    async fn task(&mut self, course: &Course, argv: &[String]) -> Result<Ran, Failed> {
        if *self.stops.borrow() {
            return Ok(Ran::Stopped);
        }
        let folder = self.worktree.path.join(&course.repository.prefix);
        let spec = course.spec(argv, fs_err::canonicalize(folder)?, self.number);
        let place = course.tasks.join(&spec.id);
        match course.spawner.start(&course.tasks, &spec).await {
            Ok(_) => {}
            Err(StartError::NotStarted(not_started)) => {
                fs_err::remove_dir_all(&place)?;
                let hint = not_started.hint.as_deref().map(|hint| format!(" ({hint})"));
                let why = format!("not started: {not_started}{}", hint.unwrap_or_default());
                self.say(why).await;
                return Ok(Ran::NotStarted);
            }
            Err(error) => return Err(failed(&error)),
        }
        let mut attached = Attached::open(&place).await?;
        attached.ask(Request::EndInput).ok();
        let mut said = Vec::new();
        let end = loop {
            let event = tokio::select! {
                // cancel-safe: what was not returned comes with the next call.
                event = attached.next() => event?,
                // cancel-safe: a change that was not seen is seen by the next call.
                Ok(()) = self.stops.changed() => {
                    let why = "the race was interrupted".to_owned();
                    attached.ask(Request::Kill { why }).ok();
                    continue;
                }
            };
            match event {
                Event::Output { source, bytes, .. } => {
                    if source == Source::Stdout {
                        said.extend_from_slice(&bytes);
                        said.drain(..said.len().saturating_sub(JUDGEMENT_BYTES_MAX));
                    }
                    self.tell(What::Output(source, bytes)).await;
                    attached.ask(Request::Taken(attached.position())).ok();
                }
                Event::Damaged { at, why } => {
                    self.say(format!(
                        "some of what it said was lost on the disk, at byte {at}: {why}"
                    ))
                    .await;
                }
                Event::Room | Event::Reply(_) => {}
                Event::Ended(end) => break end,
            }
        };
        fs_err::remove_dir_all(&place)?;
        match end {
            _ if *self.stops.borrow() => Ok(Ran::Stopped),
            End::Exit(exit) => Ok(Ran::Ended(exit, said)),
            End::Lost => {
                Err(std::io::Error::other("its shim was killed before it could say how it ended").into())
            }
        }
    }
}

fn shell(command: &str) -> Vec<String> {
    ["sh", "-c", command].map(str::to_owned).to_vec()
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
