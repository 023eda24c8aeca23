//! `axiom race`: several attempts at the same thing, each in a worktree of its own; the best one stays.
//!
//! A race makes worktrees and branches, and removes exactly those. The person's own working tree is only read, and written by
//! `--apply` alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{self, Receiver};
use axiom_core::{spawn, time};
use axiom_runtime::race::{Attempt, winner};
use axiom_sandbox::handle::StartError;
use tokio::sync::watch;

use crate::cli::Race;
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;

use super::print::Printer;
use super::run::{failed, new_id, spawner};

use attempt::{Course, Finished, Lane, News, What};
use git::{Repository, Worktree};
use outcome::{Outcome, Winner};

mod attempt;
mod git;
mod outcome;

/// Pieces of output on their way to the printer.
const PIECES_MAX: usize = 64;

/// # Errors
/// When the race cannot begin, or its result cannot be kept.
pub(super) async fn run(race: &Race, terminal: &Terminal) -> Result<Exit, Failed> {
    let mut signals = Signals::listen()?;
    let repository = Repository::find().await?;
    check(race, &repository).await?;
    let id: String = new_id().chars().take(8).collect();
    let tasks = std::path::absolute(race.folder.path()?)?;
    let course = Arc::new(Course::new(race, &repository, tasks.clone(), spawner()?)?);
    course.check().map_err(|bad| failed(&StartError::Spec(bad)))?;
    let mut worktrees = Worktrees {
        folder: tasks.join("races").join(&id),
        repository,
        made: Vec::new(),
        has_run: false,
    };
    let outcome = contest(race, &id, &course, &mut worktrees, terminal, &mut signals).await;
    let stays = match &outcome {
        Ok(outcome) => outcome.stays(race),
        // What was done before it failed may be missed.
        Err(_) => worktrees.numbers().filter(|_| worktrees.has_run).collect(),
    };
    worktrees.clear(&stays, terminal).await;
    let outcome = outcome.inspect_err(|_| worktrees.tell(terminal))?;
    outcome.tell(&worktrees, terminal)?;
    match (outcome.is_interrupted, &outcome.winner) {
        (true, _) => Ok(Exit::Interrupted),
        (false, None) => Ok(Exit::Failure),
        (false, Some(winner)) => {
            if race.apply {
                apply(&worktrees.repository, winner, terminal).await?;
            }
            Ok(Exit::Ok)
        }
    }
}

/// What is not committed is in no attempt: that should not be a surprise an hour later.
async fn check(race: &Race, repository: &Repository) -> Result<(), Failed> {
    let uncommitted = repository.uncommitted().await?;
    if race.apply && uncommitted.changed > 0 {
        let message = format!(
            "--apply needs a clean working tree, and here {} changes are not committed",
            uncommitted.changed
        );
        return Err(Failed::new(Exit::Usage, message).hint("commit or stash them first"));
    }
    if race.from_head || (uncommitted.changed == 0 && uncommitted.untracked == 0) {
        return Ok(());
    }
    let message = format!(
        "there are {} changes that are not committed, and {} files or folders that git does not know; attempts start from HEAD and would not have them",
        uncommitted.changed, uncommitted.untracked
    );
    Err(Failed::new(Exit::Usage, message)
        .hint("commit or stash them, or say --from-head: they stay where they are"))
}

/// The worktrees of this race.
struct Worktrees {
    repository: Repository,
    folder: PathBuf,
    made: Vec<(u32, Worktree)>,
    /// Attempts were begun: from here on there is something to lose.
    has_run: bool,
}

impl Worktrees {
    /// Says what is still there.
    fn tell(&self, terminal: &Terminal) {
        for (number, worktree) in &self.made {
            let path = worktree.path.display();
            terminal.say(format_args!(
                "[race-{number}] stays: branch {}, {path}",
                worktree.branch
            ));
        }
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.made.iter().map(|(number, _)| *number)
    }

    fn get(&self, number: u32) -> Option<&Worktree> {
        let found = self.made.iter().find(|(made, _)| *made == number);
        found.map(|(_, worktree)| worktree)
    }

    async fn add(&mut self, id: &str, number: u32) -> Result<(), Failed> {
        let path = self.folder.join(format!("race-{number}"));
        let branch = format!("axiom/race/{id}-{number}");
        let made = self.repository.add(&path, &branch).await?;
        self.made.push((number, made));
        Ok(())
    }

    /// Removes all but those.
    async fn clear(&mut self, stays: &[u32], terminal: &Terminal) {
        for (number, worktree) in &self.made {
            if stays.contains(number) {
                continue;
            }
            if let Err(left) = self.repository.remove(worktree).await {
                let path = worktree.path.display();
                terminal.say(format_args!(
                    "[race-{number}] not all of it is gone: {}",
                    left.message
                ));
                terminal.say(format_args!(
                    "hint: git worktree remove --force {path}; git branch -D {}",
                    worktree.branch
                ));
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
    }
}

async fn contest(
    race: &Race,
    id: &str,
    course: &Arc<Course>,
    worktrees: &mut Worktrees,
    terminal: &Terminal,
    signals: &mut Signals,
) -> Result<Outcome, Failed> {
    fs_err::create_dir_all(&worktrees.folder)?;
    for number in 1..=race.count {
        worktrees.add(id, number).await?;
        if time::timeout(Duration::ZERO, signals.interrupted()).await.is_ok() {
            return Ok(Outcome::interrupted(Vec::new()));
        }
    }
    worktrees.has_run = true;
    let (finished, is_interrupted) = watch(course, worktrees, terminal, signals).await?;
    if is_interrupted {
        return Ok(Outcome::interrupted(finished));
    }
    let attempts: Vec<Attempt> = finished.iter().filter_map(|finished| finished.attempt).collect();
    let mut outcome = Outcome {
        winner: None,
        finished,
        is_interrupted: false,
    };
    if let Some(best) = winner(&attempts)
        && let Some(worktree) = worktrees.get(best.number)
    {
        let tree = outcome
            .finished
            .iter()
            .find(|finished| finished.number == best.number);
        let tree = tree
            .and_then(|finished| finished.tree.as_deref())
            .unwrap_or_default();
        let command = race.command.join(" ");
        let message = format!(
            "axiom race {id}: attempt {} of {}\n\n{command}\n",
            best.number, race.count
        );
        outcome.winner = Some(Winner {
            number: best.number,
            branch: worktree.branch.clone(),
            commit: worktree.commit(tree, &message).await?,
        });
    }
    Ok(outcome)
}

/// Runs all of them and shows what they say, until the last one has ended. Interrupted, it ends them.
async fn watch(
    course: &Arc<Course>,
    worktrees: &Worktrees,
    terminal: &Terminal,
    signals: &mut Signals,
) -> Result<(Vec<Finished>, bool), Failed> {
    let (stop, stops) = watch::channel(false);
    let (news_tx, mut news): (_, Receiver<News>) = channel::bounded(PIECES_MAX);
    let labels: Vec<String> = worktrees
        .numbers()
        .map(|number| format!("race-{number}"))
        .collect();
    let mut printer = Printer::new(terminal, &labels);
    let mut running = Vec::new();
    for (number, worktree) in &worktrees.made {
        let lane = Lane {
            number: *number,
            worktree: worktree.clone(),
            news: news_tx.clone(),
            stops: stops.clone(),
        };
        running.push((*number, spawn("race", lane.run(Arc::clone(course)))));
    }
    drop((news_tx, stops));
    let mut shown = Ok(());
    loop {
        let told = tokio::select! {
            // cancel-safe: a signal that came is kept.
            () = signals.interrupted() => {
                stop.send_replace(true);
                continue;
            }
            // cancel-safe: what was not received stays in the channel.
            told = news.recv() => told,
        };
        let Some(News { number, what }) = told else { break };
        let label = format!("race-{number}");
        let put = match what {
            What::Output(source, bytes) => printer.put(&label, source, &bytes),
            What::Said(text) => {
                let flushed = printer.finish(&label);
                printer.say(&label, &text);
                flushed
            }
        };
        if printer.is_unread() || put.is_err() {
            // Nobody sees it any more; as a pipeline's program, it ends.
            stop.send_replace(true);
            shown = shown.and(put);
        }
    }
    let mut finished = Vec::new();
    for (number, task) in running {
        finished.push(task.join().await.unwrap_or_else(|| Finished::lost(number)));
    }
    shown?;
    Ok((finished, *stop.borrow()))
}

async fn apply(repository: &Repository, winner: &Winner, terminal: &Terminal) -> Result<(), Failed> {
    let branch = &winner.branch;
    let by_hand = format!("all of it is on its branch: git merge {branch}");
    if repository.uncommitted().await?.changed > 0 {
        let message = "the working tree has changed meanwhile; nothing was applied";
        return Err(Failed::new(Exit::Failure, message).hint(by_hand));
    }
    let applied = repository.apply(&winner.commit).await;
    applied.map_err(|failed| {
        let message = format!("the winner's changes do not fit here: {}", failed.message);
        Failed::new(Exit::Failure, message).hint(by_hand)
    })?;
    terminal.say("its changes are in this working tree and in its index, not committed");
    Ok(())
}
