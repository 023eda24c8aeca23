//! What `axiom race` runs for an attempt: tasks of its own, each shown while it runs and forgotten when it has ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::Sender;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, StartError};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::output::Source;
use axiom_sandbox::spec::{BadSpec, Executor, Grants, Spec};
use axiom_sandbox::wire::Request;
use tokio::sync::watch;

use crate::cli::Race;
use crate::outcome::Failed;
use crate::race::git::{ELSEWHERE, Repository};
use crate::race::lane::{Ended, JUDGEMENT_BYTES_MAX, Ran, Runs, Step};

use super::super::run::{SPOOL_BYTES, absolute, failed, inherited, new_id};
use super::super::told;

/// What all attempts of a race have in common.
pub(super) struct Course {
    tasks: PathBuf,
    spawner: Spawner,
    top: PathBuf,
    command: Vec<String>,
    pub(super) test: Option<String>,
    pub(super) judge: Option<String>,
    executor: Executor,
    limits: Limits,
    grants: Grants,
    env: BTreeMap<String, String>,
}

/// Runs what one attempt wants.
pub(super) struct Runner {
    pub(super) number: u32,
    pub(super) course: Arc<Course>,
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
            top: repository.top.clone(),
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
        self.spec(&self.command, self.top.clone(), 1).check()
    }

    fn argv(&self, step: Step) -> Vec<String> {
        let script = match step {
            Step::Attempt => return self.command.clone(),
            Step::Test => &self.test,
            Step::Judge => &self.judge,
        };
        let script = script.as_deref().unwrap_or("true");
        ["sh", "-c", script].map(str::to_owned).to_vec()
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

impl Runs for Runner {
    async fn say(&mut self, text: String) {
        self.tell(What::Said(text)).await;
    }

    /// Runs a task in the worktree to its end, and forgets it.
    async fn run(&mut self, step: Step, folder: PathBuf) -> Result<Ran, Failed> {
        if *self.stops.borrow() {
            return Ok(Ran::Stopped);
        }
        let course = Arc::clone(&self.course);
        if let (Step::Test, Some(test)) = (step, &course.test) {
            self.say(format!("test: {test}")).await;
        }
        let spec = course.spec(&course.argv(step), fs_err::canonicalize(folder)?, self.number);
        let place = course.tasks.join(&spec.id);
        match course.spawner.start(&course.tasks, &spec).await {
            Ok(_) => {}
            Err(StartError::NotStarted(not_started)) => {
                fs_err::remove_dir_all(&place)?;
                let hint = not_started.hint.as_deref().map(|hint| format!(" ({hint})"));
                let why = format!("not started: {not_started}{}", hint.unwrap_or_default());
                self.say(why.clone()).await;
                return Ok(Ran::NotStarted(why));
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
            End::Exit(exit) => {
                let nanos = u64::try_from(exit.ended.saturating_sub(exit.started)).unwrap_or(0);
                Ok(Ran::Ended(Ended {
                    code: exit.how.code(),
                    took: Duration::from_nanos(nanos),
                    how: told(&End::Exit(exit)),
                    said,
                }))
            }
            End::Lost => {
                Err(std::io::Error::other("its shim was killed before it could say how it ended").into())
            }
        }
    }
}

impl Runner {
    async fn tell(&self, what: What) {
        let number = self.number;
        // Nobody listens any more: the race is over.
        self.news.send(News { number, what }).await.ok();
    }
}
