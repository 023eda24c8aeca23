//! `axiom race`: several attempts at the same thing, each in a worktree of its own; the best one stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{self, Receiver};
use axiom_core::{spawn, time};
use axiom_sandbox::handle::StartError;
use tokio::sync::watch;

use crate::cli::Race;
use crate::outcome::{Exit, Failed};
use crate::race::git::{Git, Repository};
use crate::race::lane::{Finished, Lane};
use crate::race::missing;
use crate::race::outcome::{Outcome, Winner};
use crate::race::worktrees::{Worktrees, by_hand};
use crate::signals::Signals;
use crate::terminal::Terminal;

use super::print::Printer;
use super::run::{failed, new_id, spawner};

use attempt::{Course, News, Runner, What};

mod attempt;

/// Pieces of output on their way to the printer.
const PIECES_MAX: usize = 64;

/// # Errors
/// When the race cannot begin, or its result cannot be kept.
pub(super) async fn run(race: &Race, terminal: &Terminal) -> Result<Exit, Failed> {
    let mut signals = Signals::listen()?;
    let repository = Repository::find(Git::Here, &std::env::current_dir()?).await?;
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
        Ok(outcome) => outcome.stays(race.keep),
        // What was done before it failed may be missed.
        Err(_) => worktrees.numbers().filter(|_| worktrees.has_run).collect(),
    };
    for left in worktrees.clear(&stays).await {
        terminal.say(format_args!(
            "[race-{}] not all of it is gone: {}",
            left.number, left.message
        ));
        terminal.say(format_args!("hint: {}", left.hint));
    }
    let outcome = outcome.inspect_err(|_| tell_what_stays(&worktrees, terminal))?;
    tell(&outcome, &worktrees, terminal)?;
    match (outcome.is_interrupted, &outcome.winner) {
        (true, _) => Ok(Exit::Interrupted),
        (false, None) => Ok(Exit::Failure),
        (false, Some(winner)) => {
            if race.apply {
                apply(&worktrees, winner, terminal).await?;
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
    match missing(uncommitted).filter(|_| !race.from_head) {
        None => Ok(()),
        Some(message) => Err(Failed::new(Exit::Usage, message)
            .hint("commit or stash them, or say --from-head: they stay where they are")),
    }
}

fn tell_what_stays(worktrees: &Worktrees, terminal: &Terminal) {
    for (number, worktree) in &worktrees.made {
        let path = worktree.path.display();
        terminal.say(format_args!(
            "[race-{number}] stays: branch {}, {path}",
            worktree.branch
        ));
    }
}

fn tell(outcome: &Outcome, worktrees: &Worktrees, terminal: &Terminal) -> Result<(), Failed> {
    if outcome.is_interrupted {
        terminal.say(match worktrees.made.is_empty() {
            true => "interrupted: all attempts were ended and removed",
            false => "interrupted: all attempts were ended; they stay where they are",
        });
        return Ok(());
    }
    terminal.data(outcome.table())?;
    match &outcome.winner {
        Some(winner) => {
            terminal.say(format_args!(
                "race-{} wins: branch {}",
                winner.number, winner.branch
            ));
            if let Some(worktree) = worktrees.get(winner.number) {
                terminal.data(worktree.path.display())?;
                terminal.say(format_args!(
                    "when you are done with it: {}",
                    by_hand(&worktree.path, &winner.branch)
                ));
            }
        }
        None => {
            terminal.say("nobody wins: no attempt exits with 0 and passes");
            tell_what_stays(worktrees, terminal);
        }
    }
    Ok(())
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
    let command = race.command.join(" ");
    Outcome::of(finished, worktrees, |best| {
        format!("axiom race {id}: attempt {best} of {}\n\n{command}\n", race.count)
    })
    .await
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
            has_test: course.test.is_some(),
            has_judge: course.judge.is_some(),
            runs: Runner {
                number: *number,
                course: Arc::clone(course),
                news: news_tx.clone(),
                stops: stops.clone(),
            },
        };
        let repository = worktrees.repository.clone();
        let running_lane = async move { lane.run(&repository).await };
        running.push((*number, spawn("race", running_lane)));
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
        finished.push(
            task.join()
                .await
                .unwrap_or_else(|| Finished::lost(number, "nobody knows")),
        );
    }
    shown?;
    Ok((finished, *stop.borrow()))
}

async fn apply(worktrees: &Worktrees, winner: &Winner, terminal: &Terminal) -> Result<(), Failed> {
    let repository = &worktrees.repository;
    let branch = &winner.branch;
    let by_hand = format!("all of it is on its branch: git merge {branch}");
    if repository.uncommitted().await?.changed > 0 {
        let message = "the working tree has changed meanwhile; nothing was applied";
        return Err(Failed::new(Exit::Failure, message).hint(by_hand));
    }
    let scratch: PathBuf = worktrees.folder.join("winner.diff");
    let applied = repository.apply(&winner.commit, &scratch).await;
    applied.map_err(|failed| {
        let message = format!("the winner's changes do not fit here: {}", failed.message);
        Failed::new(Exit::Failure, message).hint(by_hand)
    })?;
    terminal.say("its changes are in this working tree and in its index, not committed");
    Ok(())
}
