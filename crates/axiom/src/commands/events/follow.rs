//! `axiom events follow`: a copy of another gateway's log, block by block, each checked before it is kept.
//!
//! The source need not be trusted: what it sends is the next block of the copied history, or it is refused. A connection
//! that breaks is opened again, and goes on where the copy ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time::{self, timeout};
use axiom_events::disk::Machine;
use axiom_events::{Piece, Refused, Replica, ReplicaError};
use axiom_transport::http_client::{Answer, Target};
use http::StatusCode;
use serde_json::Value as Json;

use crate::cli::Follow;
use crate::compose::shard_folder;
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// How long the source is asked to wait for something new.
const WAIT_S: u64 = 25;
/// A source that says nothing for so long has gone, whatever the connection says.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pauses before a source that is away is asked again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A refusal is a few words, or an object with a few numbers.
const REFUSAL_BYTES_MAX: usize = 16 << 10;

pub async fn run(follow: &Follow, terminal: &Terminal) -> Result<Exit, Failed> {
    let mut signals = Signals::listen()?;
    let mut copier = tokio::select! {
        copier = Copier::open(follow, terminal) => copier?,
        // cancel-safe: nothing has been written yet.
        () = signals.interrupted() => return Ok(Exit::Interrupted),
    };
    loop {
        let round = tokio::select! {
            // Dropped, the copy ends with a block that was taken; what was not synced is synced below.
            round = copier.round() => round,
            // cancel-safe: a signal that was not taken is still there.
            () = signals.interrupted() => Ok(Round::Stopped),
        };
        // Also after a failure: what came before it is good.
        copier.sync()?;
        let exit = match round? {
            Round::More => continue,
            Round::CaughtUp if !follow.once => continue,
            Round::CaughtUp => Exit::Ok,
            Round::Stopped => Exit::Interrupted,
        };
        terminal.data(copier.summary())?;
        return Ok(exit);
    }
}

/// What one request came to.
enum Round {
    More,
    /// The source has nothing new.
    CaughtUp,
    Stopped,
}

struct Copier<'a> {
    follow: &'a Follow,
    terminal: &'a Terminal,
    base: String,
    shard: u16,
    replica: Replica,
    /// The oldest offset of the copy, and the one that comes next.
    first: u64,
    next: u64,
    pause: Duration,
}

impl<'a> Copier<'a> {
    async fn open(follow: &'a Follow, terminal: &'a Terminal) -> Result<Copier<'a>, Failed> {
        let base = follow.url.trim_end_matches('/').to_owned();
        let target = target(&base, "shard")?;
        let mut pause = PAUSE_MIN;
        let shard = loop {
            match ask(&target).await {
                Ok(answer) if answer.status == StatusCode::OK => break read_json(answer).await?,
                Ok(answer) => return Err(refusal(answer).await),
                Err(error) => wait_for_source(&error.to_string(), follow, &mut pause, terminal).await?,
            }
        };
        let number = |key: &str| shard.get(key).and_then(Json::as_u64);
        let (Some(source_first), Some(source_end), Some(shard)) = (
            number("first_offset"),
            number("end_offset"),
            number("shard").and_then(|shard| u16::try_from(shard).ok()),
        ) else {
            return Err(Failed::new(
                Exit::Failure,
                format!("{} is no gateway that gives events", target.at()),
            ));
        };
        let folder = shard_folder(&follow.dir, shard);
        let replica = Replica::open(&folder, Arc::new(Machine)).map_err(|error| cannot_keep(&error))?;
        let first = axiom_events::Reader::open(Arc::new(Machine), &folder)
            .map_err(|error| super::unreadable(&error))?
            .first();
        let next = replica.next();
        terminal.say(format_args!(
            "shard {shard} of {} has events {source_first} to {}; going on with {} in {}",
            target.at(),
            source_end.saturating_sub(1),
            next.unwrap_or(source_first),
            folder.display()
        ));
        Ok(Copier {
            follow,
            terminal,
            base,
            shard,
            first: if next.is_some() { first } else { source_first },
            next: next.unwrap_or(source_first),
            replica,
            pause: PAUSE_MIN,
        })
    }

    /// Asks for what comes next, and takes it.
    async fn round(&mut self) -> Result<Round, Failed> {
        let wait = if self.follow.once { 0 } else { WAIT_S };
        let (shard, next) = (self.shard, self.next);
        let target = target(
            &self.base,
            &format!("blocks?shard={shard}&from={next}&wait={wait}"),
        )?;
        let answer = match ask(&target).await {
            Ok(answer) => answer,
            Err(error) => return self.try_again(&error).await,
        };
        match answer.status {
            StatusCode::OK => match self.take(answer).await? {
                Some(error) => self.try_again(&error).await,
                None => Ok(Round::More),
            },
            StatusCode::NO_CONTENT => {
                self.pause = PAUSE_MIN;
                Ok(Round::CaughtUp)
            }
            StatusCode::GONE => {
                let gone = read_json(answer).await?;
                self.behind_gap(&gone, &target)
            }
            status if status.is_server_error() => {
                let said = words(answer).await;
                self.try_again(&format!("{} says {status}: {said}", target.at()))
                    .await
            }
            StatusCode::CONFLICT => {
                let elsewhere = read_json(answer).await?;
                let why = elsewhere
                    .get("why")
                    .and_then(Json::as_str)
                    .unwrap_or("it does not say why");
                let failed = Failed::new(
                    Exit::Failure,
                    format!(
                        "{} has no block that begins with event {next}: {why}, so its history is not the one that is copied here",
                        target.at()
                    ),
                );
                Err(failed.hint("its log was replaced, or this is another node; copy it into another --dir"))
            }
            _ => Err(refusal(answer).await),
        }
    }

    /// Takes blocks and seals as they arrive; says what ended it too early, if something did.
    async fn take(&mut self, answer: Answer) -> Result<Option<String>, Failed> {
        let began = self.next;
        let mut body = answer.body;
        let mut here = Vec::new();
        loop {
            let chunk = match timeout(SILENCE_MAX, body.chunk()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => return Ok(Some(error.to_string())),
                Ok(None) if here.is_empty() && self.next > began => return Ok(None),
                // What was cut comes again.
                Ok(None) => return Ok(Some(format!("{} sent no whole block", self.base_shown()))),
                Err(_) => return Ok(Some(format!("{} has stopped in the middle", self.base_shown()))),
            };
            here.extend_from_slice(&chunk);
            let mut at = 0;
            while let Some(piece) = self.piece(&here[at..])? {
                let bytes = &here[at..at + piece.bytes()];
                // Writes to the disk; nobody else waits in this process.
                let taken = match piece {
                    Piece::Block { .. } => self.replica.block(bytes).map(|offsets| self.next = offsets.end),
                    Piece::Seal { .. } => self.replica.seal(bytes),
                };
                taken.map_err(|error| self.not_taken(&error))?;
                at += piece.bytes();
                self.pause = PAUSE_MIN;
            }
            here.drain(..at);
        }
    }

    /// The piece that `bytes` begin with, if all of it is here.
    fn piece(&self, bytes: &[u8]) -> Result<Option<Piece>, Failed> {
        let piece = Piece::of(bytes).map_err(|unsound| {
            let refused = Refused {
                offset: self.next,
                reason: unsound.into(),
            };
            self.not_taken(&refused.into())
        })?;
        Ok(piece.filter(|piece| piece.bytes() <= bytes.len()))
    }

    fn not_taken(&self, error: &ReplicaError) -> Failed {
        let ReplicaError::Refused(refused) = error else {
            return cannot_keep(error);
        };
        let failed = Failed::new(Exit::Failure, format!("{}: {refused}", self.base_shown()));
        failed.hint(format!(
            "nothing of it was kept, and events up to {} stay as they are; `axiom events verify` proves them. Ask whoever \
             runs the source, or copy another one into another --dir",
            self.next
        ))
    }

    /// The source does not have what comes next.
    fn behind_gap(&mut self, gone: &Json, target: &Target) -> Result<Round, Failed> {
        let at = target.at();
        let Some(first) = gone
            .get("first_offset")
            .and_then(Json::as_u64)
            .filter(|first| *first > self.next)
        else {
            return Err(Failed::new(
                Exit::Failure,
                format!("{at} does not say where its events go on"),
            ));
        };
        let why = match gone.get("why").and_then(Json::as_str) {
            Some("retired") => "they were retired",
            _ => "they are damaged there",
        };
        let (from, last) = (self.next, first - 1);
        let what =
            format!("{at} does not have events {from} to {last} any more: {why}; it goes on with {first}");
        if !self.follow.skip_gaps {
            return Err(Failed::new(Exit::NotFound, what)
                .hint("with --skip-gaps the copy goes on there, and shows a gap where they were"));
        }
        self.terminal
            .say(format_args!("{} {what}", self.terminal.yellow("warning:")));
        self.replica.skip(first).map_err(|error| cannot_keep(&error))?;
        self.next = first;
        Ok(Round::More)
    }

    async fn try_again(&mut self, error: &impl ToString) -> Result<Round, Failed> {
        let mut pause = self.pause;
        wait_for_source(&error.to_string(), self.follow, &mut pause, self.terminal).await?;
        self.pause = pause;
        Ok(Round::More)
    }

    fn summary(&self) -> String {
        let Copier {
            shard, first, next, ..
        } = self;
        match next.checked_sub(1).filter(|last| last >= first) {
            Some(last) => format!("shard {shard}: events {first} to {last} are here"),
            None => format!("shard {shard}: there are no events yet"),
        }
    }

    fn sync(&mut self) -> Result<(), Failed> {
        self.replica.sync().map_err(|error| cannot_keep(&error))
    }

    /// The source, without what stands before an `@` in its URL.
    fn base_shown(&self) -> String {
        target(&self.base, "").map_or_else(|_| "the source".to_owned(), |target| target.at().to_string())
    }
}

/// Says once what is the matter, and waits a little; longer each time.
async fn wait_for_source(
    what: &str,
    follow: &Follow,
    pause: &mut Duration,
    terminal: &Terminal,
) -> Result<(), Failed> {
    if follow.once {
        let failed = Failed::new(Exit::Unavailable, what.to_owned());
        return Err(failed.hint("what is here stays; the next run goes on where this one ended"));
    }
    if *pause == PAUSE_MIN {
        terminal.say(format_args!(
            "{} {what}; trying again",
            terminal.yellow("warning:")
        ));
    }
    time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSE_MAX);
    Ok(())
}

fn target(base: &str, path: &str) -> Result<Target, Failed> {
    Target::parse(&format!("{base}/api/v1/events/{path}"), &BTreeMap::new())
        .map_err(|error| Failed::new(Exit::Usage, error.to_string()))
}

async fn ask(target: &Target) -> Result<Answer, String> {
    match timeout(SILENCE_MAX, target.get(&[])).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{} does not answer", target.at())),
    }
}

async fn read_json(answer: Answer) -> Result<Json, Failed> {
    let body = answer.body.collect(REFUSAL_BYTES_MAX).await;
    let body = body.map_err(|error| Failed::new(Exit::Unavailable, error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!("the answer is not what a gateway says: {error}"),
        )
    })
}

/// An answer in words, on one line.
async fn words(answer: Answer) -> String {
    match answer.body.collect(REFUSAL_BYTES_MAX).await {
        Ok(body) => String::from_utf8_lossy(&body).trim().replace('\n', " "),
        Err(error) => error.to_string(),
    }
}

async fn refusal(answer: Answer) -> Failed {
    let status = answer.status;
    let exit = match status {
        StatusCode::FORBIDDEN => Exit::Denied,
        StatusCode::NOT_FOUND => Exit::NotFound,
        _ => Exit::Failure,
    };
    Failed::new(exit, format!("the source says {status}: {}", words(answer).await))
}

fn cannot_keep(error: &ReplicaError) -> Failed {
    let (exit, hint) = match error {
        ReplicaError::Locked { .. } => (Exit::Unavailable, "another `axiom events follow` writes there"),
        ReplicaError::Own { .. } => (Exit::Failure, "name a folder of its own for the copy with --dir"),
        ReplicaError::TooNew { .. } => (
            Exit::Failure,
            "go on with it by the version of Axiom that wrote it, or a newer one",
        ),
        ReplicaError::Disk { .. } | ReplicaError::Read(_) | ReplicaError::Refused(_) => (
            Exit::Failure,
            "see whether the folder can be written; the next run goes on where this one ended",
        ),
    };
    Failed::new(exit, format!("cannot keep the copy: {error}")).hint(hint)
}
