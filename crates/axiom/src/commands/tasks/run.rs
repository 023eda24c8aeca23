//! `axiom run`: starts tasks, shows what they say, and ends as they do.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axiom_core::channel::{self, Receiver, Sender};
use axiom_core::spawn;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, SpawnerOptions, StartError};
use axiom_sandbox::output::Source;
use axiom_sandbox::pool::Lease;
use axiom_sandbox::spec::{Access, Executor, Grants, Spec};
use axiom_sandbox::wire::Request;
use tokio::sync::watch;

use crate::cli::{DetachKey, Run};
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;

use super::agent;
use super::attach::session::Gone;
use super::attach::{Inside, from_its_start, own_size};
use super::executor::Executors;
use super::input::{next_input, read_input};
use super::print::Printer;

/// Pieces of output on their way to the printer. It is slow only if whoever reads us is; then tasks wait as well.
const PIECES_MAX: usize = 64;
/// A task's output may lie unread on the disk up to this before the task waits.
pub(super) const SPOOL_BYTES: u64 = 64 << 20;

/// What a task that is watched tells.
struct News {
    task: usize,
    what: What,
}

enum What {
    Output(Source, Vec<u8>),
    Damaged(String),
    Ended(End),
    Failed(std::io::Error),
}

/// What all tasks are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Run,
    Interrupt,
    Kill,
}

/// # Errors
/// When nothing could be started, or what tasks say cannot be shown.
pub(super) async fn run(run: &Run, terminal: &Terminal) -> Result<ExitCode, Failed> {
    if let (Some(name), Some(prompt)) = (&run.agent, &run.prompt) {
        return agent::run(run, name, prompt, terminal).await;
    }
    let tasks = run.folder.path()?;
    let ids: Vec<String> = (0..run.count).map(|_| new_id()).collect();
    let mut signals = Signals::listen()?;
    let spawner = spawner()?;
    let executors = Executors::new(run, &tasks, inherited(), terminal)?;
    let mut codes = Vec::new();
    let mut started = Vec::new();
    let mut leases = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let mut spec = spec(run, id, number, executors.like())?;
        // Nothing is started for a task that cannot be.
        spec.check().map_err(|bad| failed(&bad.into()))?;
        let place = tokio::select! {
            place = executors.next(&spawner) => place,
            // cancel-safe: a signal that came is kept. What was begun for the next task ends when it was idle for a while.
            () = signals.interrupted() => {
                terminal.say(format_args!("interrupted: no more tasks are started, {} were", started.len()));
                break;
            }
        };
        let place = match place {
            Ok(place) => place,
            Err(error) if started.is_empty() => return Err(error),
            Err(error) => {
                error.tell(terminal);
                codes.push(1);
                break;
            }
        };
        spec.executor = place.executor;
        match spawner.start(&tasks, &spec).await {
            Ok(_) => {
                if let Some(lease) = place.lease {
                    let attached = Attached::open(&tasks.join(id)).await?;
                    leases.push(spawn(
                        "have a worker until a task has ended",
                        keep(lease, attached),
                    ));
                }
                started.push(id.clone());
            }
            Err(StartError::NotStarted(not_started)) => {
                terminal.say(format_args!("[{id}] not started: {not_started}"));
                if let Some(hint) = &not_started.hint {
                    terminal.say(format_args!("hint: {hint}"));
                }
                codes.push(127);
                // Nothing of it ever ran, and why was said.
                fs_err::remove_dir_all(tasks.join(id))?;
                // The others are the same command.
                break;
            }
            Err(error) if started.is_empty() => return Err(failed(&error)),
            // Those that run are not left alone for the sake of one that does not.
            Err(error) => {
                failed(&error).tell(terminal);
                codes.push(1);
                break;
            }
        }
    }
    if run.detach {
        started.iter().try_for_each(|id| terminal.data(id))?;
    } else if let Some(id) = started.first().filter(|_| is_inside(run)) {
        return inside(&tasks, id, terminal, &mut signals).await;
    } else {
        let is_alone = run.count == 1;
        let shown = show(&tasks, &started, is_alone, terminal, &mut signals).await;
        codes.extend(
            shown.map_err(|failed| failed.hint("tasks that have not ended go on; `axiom ps` shows them"))?,
        );
        for lease in leases {
            lease.join().await;
        }
        executors.end().await;
    }
    Ok(ExitCode::from(codes.into_iter().max().unwrap_or_default()))
}

/// Gives a worker back when the task that has it has ended.
async fn keep(lease: Lease, mut attached: Attached) {
    while !matches!(attached.next().await, Ok(Event::Ended(_)) | Err(_)) {}
    drop(lease);
}

/// A task alone with a terminal has ours, if we have one: what is typed would be shown twice otherwise, by both.
fn is_inside(run: &Run) -> bool {
    run.terminal && run.count == 1 && std::io::stdin().is_terminal()
}

/// As [`show`], from inside.
async fn inside(
    tasks: &Path,
    id: &str,
    terminal: &Terminal,
    signals: &mut Signals,
) -> Result<ExitCode, Failed> {
    let folder = tasks.join(id);
    let inside = Inside {
        id,
        has_terminal: true,
        key: DetachKey::default(),
        is_read_only: false,
    };
    let attached = from_its_start(&folder).await?;
    let gone = inside.stay(attached, Vec::new(), terminal, signals).await?;
    if let Gone::Ended(_) = &gone {
        fs_err::remove_dir_all(&folder)?;
    }
    Ok(inside.tell(gone, terminal))
}

/// Starts tasks by this very program.
pub(super) fn spawner() -> std::io::Result<Spawner> {
    Ok(Spawner::new(SpawnerOptions {
        program: std::env::current_exe()?,
        arguments: vec!["task-spawner".to_owned()],
    }))
}

pub(super) fn failed(error: &StartError) -> Failed {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let message = format!("{error}{}", cause.unwrap_or_default());
    let failed = Failed::new(
        match error {
            StartError::Spec(_) => Exit::Usage,
            _ => Exit::Failure,
        },
        message,
    );
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

pub(super) fn spec(run: &Run, id: &str, number: usize, executor: Executor) -> Result<Spec, Failed> {
    let mut env = inherited();
    env.insert("AXIOM_TASK_ID".to_owned(), id.to_owned());
    env.insert("AXIOM_TASK_NUMBER".to_owned(), number.to_string());
    if matches!(executor, Executor::Worker(_)) {
        // It has an environment already.
        env.clear();
    }
    Ok(Spec {
        id: id.to_owned(),
        argv: run.command.clone(),
        env,
        folder: fs_err::canonicalize(std::env::current_dir()?)?,
        terminal: run.terminal.then(own_size),
        limits: run.limits(),
        executor,
        grants: Grants {
            network: run.network,
            read: absolute(&run.read)?,
            write: absolute(&run.write)?,
            folder: match run.read_only {
                true => Access::Read,
                false => Access::Write,
            },
        },
        spool_bytes: SPOOL_BYTES,
    })
}

/// Our own environment. A variable that is no text cannot be written down; it is left out.
pub(super) fn inherited() -> BTreeMap<String, String> {
    let texts = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        Some((name, value))
    });
    texts.collect()
}

/// Where they really are: a sandbox follows no link on the way.
pub(super) fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failed> {
    paths.iter().map(|path| Ok(fs_err::canonicalize(path)?)).collect()
}

/// Twelve digits, chosen by chance: the first eight tell tasks apart.
pub(super) fn new_id() -> String {
    let chance = RandomState::new().hash_one(axiom_core::time::unix_nanos());
    format!("{:012x}", chance >> 16)
}

/// Shows what tasks say until all have ended, and forgets them then: everything was shown. Gives their codes.
async fn show(
    tasks: &Path,
    ids: &[String],
    is_alone: bool,
    terminal: &Terminal,
    signals: &mut Signals,
) -> Result<Vec<u8>, Failed> {
    let (wish, wishes) = watch::channel(Wish::Run);
    let (news_tx, mut news): (Sender<News>, Receiver<News>) = channel::bounded(PIECES_MAX);
    for (task, id) in ids.iter().enumerate() {
        let watcher = Watcher {
            task,
            folder: tasks.join(id),
            news: news_tx.clone(),
            wishes: wishes.clone(),
            has_input: is_alone,
        };
        spawn("watch a task", watcher.watch());
    }
    drop(news_tx);
    let mut printer = Printer::new(terminal, ids);
    let mut codes = Vec::new();
    loop {
        let told = tokio::select! {
            // cancel-safe: a signal that came is kept.
            () = signals.interrupted() => {
                wish.send_modify(|wish| *wish = if *wish == Wish::Run { Wish::Interrupt } else { Wish::Kill });
                continue;
            }
            // cancel-safe: what was not received stays in the channel.
            told = news.recv() => told,
        };
        let Some(News { task, what }) = told else { break };
        let id = &ids[task];
        match what {
            What::Output(source, bytes) => printer.put(id, source, &bytes)?,
            What::Damaged(why) => {
                printer.say(id, &format!("some of what it said was lost on the disk: {why}"))
            }
            What::Failed(error) => {
                // The others are shown all the same, and this one's folder stays.
                printer.say(id, &format!("cannot be watched any more: {error}"));
                codes.push(1);
            }
            What::Ended(end) => {
                printer.finish(id)?;
                let code = match &end {
                    End::Exit(exit) => exit.how.code(),
                    End::Lost => 1,
                };
                if code != 0 {
                    printer.say(id, &super::told(&end));
                }
                codes.push(code);
                fs_err::remove_dir_all(tasks.join(id))?;
            }
        }
        if printer.is_unread() && *wish.borrow() == Wish::Run {
            // As a program of a pipeline whose reader has had enough.
            wish.send_replace(Wish::Kill);
        }
    }
    Ok(codes)
}

/// Watches one task.
struct Watcher {
    task: usize,
    folder: PathBuf,
    news: Sender<News>,
    wishes: watch::Receiver<Wish>,
    /// It reads what we read.
    has_input: bool,
}

impl Watcher {
    async fn watch(mut self) {
        if let Err(error) = self.follow().await {
            self.tell(What::Failed(error)).await;
        }
    }

    async fn tell(&self, what: What) -> bool {
        let task = self.task;
        self.news.send(News { task, what }).await.is_ok()
    }

    async fn follow(&mut self) -> std::io::Result<()> {
        let mut attached = Attached::open(&self.folder).await?;
        let mut input = match self.has_input {
            true => Some(read_input()),
            false => {
                attached.ask(Request::EndInput).ok();
                None
            }
        };
        // What there was no room for.
        let mut kept: Option<Vec<u8>> = None;
        loop {
            let event = tokio::select! {
                // cancel-safe: what was not returned comes with the next call.
                event = attached.next() => event?,
                // cancel-safe: a wish that was not seen is seen by the next call.
                Ok(()) = self.wishes.changed() => {
                    let wish = *self.wishes.borrow_and_update();
                    let request = match wish {
                        Wish::Kill => Request::Kill {
                            why: "axiom run was interrupted twice, or nobody reads it".to_owned(),
                        },
                        _ => Request::Signal(2),
                    };
                    attached.ask(request).ok();
                    continue;
                }
                // cancel-safe: what was not received stays in the channel.
                piece = next_input(&mut input), if kept.is_none() => {
                    match piece {
                        Some(bytes) => kept = (!attached.put(&bytes)).then_some(bytes),
                        None => {
                            input = None;
                            attached.ask(Request::EndInput).ok();
                        }
                    }
                    continue;
                }
            };
            match event {
                Event::Output { source, bytes, .. } => {
                    if !self.tell(What::Output(source, bytes)).await {
                        return Ok(());
                    }
                    // The printer has it, or will: the task may go on.
                    attached.ask(Request::Taken(attached.position())).ok();
                }
                Event::Room => {
                    kept = kept.filter(|bytes| !attached.put(bytes));
                }
                Event::Reply(_) => {}
                Event::Damaged { at, why } => {
                    self.tell(What::Damaged(format!("at byte {at}, {why}"))).await;
                }
                Event::Ended(end) => {
                    self.tell(What::Ended(end)).await;
                    return Ok(());
                }
            }
        }
    }
}
