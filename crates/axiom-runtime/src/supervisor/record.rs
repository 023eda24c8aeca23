//! Records what happens to tasks, and what they say: events in the log, and then room for the tasks to say more.
//!
//! | kind | stream | body |
//! |---|---|---|
//! | `task.queued` | `task.ID` | name, program, executor, pool, class, parent, who and why |
//! | `task.started` | `task.ID` | attempt, process |
//! | `task.steered` | `task.ID` | what was done, who, why, and what came of it |
//! | `task.rule` | `task.ID` | a rule's name, what it does about the task, and why |
//! | `task.agent` | `task.ID` | what an agent asked, and what the profile answered |
//! | `task.killed` | `task.ID` | who, why, and the task at which it began |
//! | `task.damaged` | `task.ID` | where some of its output was lost on the disk |
//! | `task.ended` | `task.ID` | how, and whether it is started again |
//! | `task.forgotten` | `task.ID` | it ended long ago: its folder was removed |
//! | `task.output`, `task.output.stderr` | `task.ID.output` | a line, as text |
//!
//! Arguments and environment are not recorded: secrets are among them. A task that ended has said everything before: its
//! `task.ended` comes behind its lines. Lines and ends are there once, also when a supervisor is killed at any moment: the next one
//! asks the log how far the last append came (see `ledger::At`). What else had happened just before it was killed may be missing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axiom_core::time;
use axiom_events::sample::Sampler;
use axiom_events::{Ack, Append, AppendError, Batch, Event, Format, Level};
use axiom_sandbox::exit::How;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use super::ledger::{At, Stored, Told};
use super::options::Recording;
use super::steer::Steer;
use super::table::Progress;
use super::{Shared, lock};
use crate::drive::Word;
use crate::mux::{self, DurableReader, Stream};
use crate::order::{Order, Who};

/// Bytes of one append: large enough for throughput, small enough to be acknowledged soon.
const APPEND_BYTES: usize = 4 << 20;
/// What happened and is not recorded yet, at most. It is little, unless the disk takes nothing for long.
const NOTES_BYTES_MAX: usize = 4 << 20;
/// An attempt of a task is over.
pub(super) const ENDED: &str = "task.ended";
/// Before an append that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often counters of what was not kept go into the log.
const TELL: Duration = Duration::from_secs(1);

/// What happened to tasks, on its way to the log.
#[derive(Debug, Default)]
pub(super) struct Notes {
    untold: Mutex<Untold>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Untold {
    batch: Batch,
    /// The ends among them.
    ends: Vec<(Arc<str>, Told)>,
}

/// Records until the supervisor is closed and nothing is left.
pub(super) async fn run(shared: Arc<Shared>, mut durable: DurableReader) {
    let mut recorder = Recorder {
        sampler: shared
            .options
            .recording
            .as_ref()
            .map(|recording| Sampler::new(recording.sample.clone())),
        shared,
        held: Vec::new(),
        batch: Batch::new(),
    };
    let mut tell = time::interval(TELL);
    loop {
        tokio::select! {
            // cancel-safe: a batch is taken only when it is returned.
            batch = durable.next() => match batch {
                Some(batch) => recorder.gather(batch, &mut durable),
                // Nobody writes any more, nor ever will.
                None => break,
            },
            // cancel-safe: a permit that was given stays.
            () = recorder.shared.notes.news.notified() => {}
            // cancel-safe: a tick that was not taken comes with the next call.
            _ = tell.tick() => recorder.tell(),
        }
        if !recorder.record().await {
            return;
        }
    }
    recorder.finish().await;
}

struct Recorder {
    shared: Arc<Shared>,
    /// `None`: nothing is recorded.
    sampler: Option<Sampler>,
    /// Lines that are in the batch.
    held: Vec<mux::Batch>,
    batch: Batch,
}

impl Recorder {
    /// Takes what waits, as much as one append has room for.
    fn gather(&mut self, first: mux::Batch, durable: &mut DurableReader) {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(lines) = next {
            bytes += lines.bytes();
            self.held.push(lines);
            next = if bytes < APPEND_BYTES {
                durable.next_now()
            } else {
                None
            };
        }
    }

    fn tell(&mut self) {
        if let Some(sampler) = &mut self.sampler {
            // What has no room now comes with the next one.
            sampler.tell(&mut self.batch);
        }
    }

    /// Records everything that is held, and gives the tasks their room back. Tries for as long as it takes: tasks wait meanwhile.
    /// False if the log is closed.
    async fn record(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let Untold { batch, ends } = std::mem::take(&mut *lock(&shared.notes.untold));
        if let Some(recording) = &shared.options.recording {
            for event in batch.events() {
                // It fitted into the notes.
                self.batch.push(&event).ok();
            }
            if recording.lines {
                self.put_lines();
            }
            // All appends of ours are behind us, and synced: what comes is at this offset or behind it.
            let floor = recording.log.reader().end();
            self.held.iter().for_each(|lines| shared.recording(lines, floor));
            if !self.batch.is_empty() && !self.append(recording).await {
                // The log is closed: what is not recorded is read again by the next supervisor.
                self.held.clear();
                tracing::error!(
                    "the event log was closed before its tasks were: nothing more of them is recorded"
                );
                return false;
            }
        }
        for lines in self.held.drain(..) {
            shared.recorded(lines);
        }
        for (id, told) in ends {
            shared.told(&id, told);
        }
        true
    }

    fn put_lines(&mut self) {
        let Some(sampler) = &mut self.sampler else { return };
        for lines in &self.held {
            let task: &str = lines.task();
            let stream = said(task);
            let tenant = self.shared.tenant(task);
            for block in lines.blocks() {
                let kind = match block.stream() {
                    Stream::Stdout => "task.output",
                    Stream::Stderr => "task.output.stderr",
                };
                for numbered in block.lines() {
                    let body = numbered.line.text();
                    let event = Event {
                        time: block.time_ns(),
                        tenant: &tenant,
                        stream: &stream,
                        task,
                        kind,
                        level: Level::Info,
                        format: match std::str::from_utf8(body) {
                            Ok(_) => Format::Text,
                            Err(_) => Format::Binary,
                        },
                        body,
                        ..Event::default()
                    };
                    if let Err(error) = sampler.push(&mut self.batch, &event) {
                        tracing::error!(task, %error, "a line of a task cannot be recorded");
                    }
                }
            }
        }
    }

    /// False if the log is closed.
    async fn append(&mut self, recording: &Recording) -> bool {
        let mut is_told = false;
        loop {
            let append = Append {
                batch: self.batch.clone(),
                expected: Vec::new(),
                ack: Ack::Group,
            };
            match recording.log.append(append).await {
                Ok(_) => break,
                Err(AppendError::Closed) => return false,
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::error!(%error, "what tasks say cannot be recorded; it is tried again, and they wait");
                }
                Err(_) => {}
            }
            time::sleep(AGAIN).await;
        }
        self.batch.clear();
        true
    }

    async fn finish(&mut self) {
        let mut is_all = false;
        while !is_all {
            is_all = self
                .sampler
                .as_mut()
                .is_none_or(|sampler| sampler.finish(&mut self.batch));
            if !self.record().await {
                return;
            }
        }
    }
}

impl Shared {
    pub(super) fn tenant(&self, id: &str) -> String {
        let table = self.table();
        table
            .tasks
            .get(id)
            .map(|entry| entry.order.owner.tenant.clone())
            .unwrap_or_default()
    }

    /// These lines are handed to the log now: notes down what will be recorded if it takes them.
    fn recording(&self, lines: &mux::Batch, floor: u64) {
        let Some(progress) = self.progress(lines.task()) else {
            return;
        };
        let kept = progress.kept();
        let at = At {
            stored: kept.stored,
            next: kept.stored.with(lines),
            floor,
            told: kept.told,
        };
        match self.ledger.set_at(lines.task(), &at) {
            Ok(()) => drop(progress.change(|kept| kept.has_file = true)),
            Err(error) => {
                tracing::warn!(task = %lines.task(), %error, "how much of a task is recorded cannot be noted; after a restart some may be there twice");
            }
        }
    }

    /// These lines are safe: whoever waits for that is told, and the task gets its room back.
    fn recorded(&self, lines: mux::Batch) {
        let progress: Option<Arc<Progress>> = self.progress(lines.task());
        let stored = progress.as_ref().map(|progress| progress.stored().with(&lines));
        lines.stored();
        if let (Some(progress), Some(stored)) = (progress, stored) {
            progress.change(|kept| kept.stored = stored);
        }
    }

    /// A task has its first input, which is not kept any longer.
    pub(super) fn given(&self, id: &str) {
        let order = self.table().tasks.get(id).map(|entry| Arc::clone(&entry.order));
        if let (Ok(Some(input)), Some(order)) = (self.ledger.input(id), order) {
            let by = Who::new(order.by.who.clone(), "its first input");
            let what = Steer::Input(input.bytes).record();
            self.notes.steered(id, &order.owner.tenant, &what, &by, Ok(()));
        }
        self.ledger.drop_input(id);
    }

    /// An end is in the log.
    fn told(&self, id: &str, told: Told) {
        let Some(progress) = self.progress(id) else { return };
        let kept = progress.change(|kept| kept.told = kept.told.max(told));
        if self.options.recording.is_some()
            && let Err(error) = self.ledger.change_at(id, &At::settled(kept.stored, kept.told))
        {
            tracing::warn!(task = %id, %error, "that a task's end is recorded cannot be noted; the next start asks the event log");
        }
    }
}

impl Stored {
    /// With these lines as well.
    fn with(mut self, lines: &mux::Batch) -> Stored {
        for block in lines.blocks() {
            let bytes = block.raw().len() as u64;
            match block.stream() {
                Stream::Stdout => self.stdout += bytes,
                Stream::Stderr => self.stderr += bytes,
            }
            self.lines += block.len() as u64;
        }
        self
    }
}

impl Notes {
    pub(super) fn queued(&self, id: &str, order: &Order, time: i64) {
        let spec = &order.spec;
        let mut body = json!({
            "program": spec.argv.first(),
            "executor": spec.executor.name(),
            "class": order.class.name(),
            "who": order.by.who,
        });
        let words = [
            ("name", Some(order.name.as_str()).filter(|name| !name.is_empty())),
            ("why", Some(order.by.why.as_str()).filter(|why| !why.is_empty())),
            ("parent", order.parent.as_deref()),
            ("key", order.key.as_deref()),
            ("pool", order.pool.as_deref()),
        ];
        add(&mut body, words);
        self.put(id, &order.owner.tenant, "task.queued", Level::Info, time, &body);
    }

    pub(super) fn started(&self, id: &str, order: &Order, attempt: u32, pid: Option<i32>, time: i64) {
        let body = json!({"attempt": attempt, "pid": pid});
        self.put(id, &order.owner.tenant, "task.started", Level::Info, time, &body);
    }

    pub(super) fn steered(&self, id: &str, tenant: &str, what: &Json, by: &Who, outcome: Result<(), &str>) {
        let mut body = json!({"what": what, "who": by.who});
        let words = [
            ("why", Some(by.why.as_str()).filter(|why| !why.is_empty())),
            ("refused", outcome.err()),
        ];
        add(&mut body, words);
        self.put(id, tenant, "task.steered", Level::Info, time::unix_nanos(), &body);
    }

    pub(super) fn word(&self, id: &str, tenant: &str, word: &Word) {
        let (kind, level, body) = match word {
            Word::Rule { rule, does, why } => (
                "task.rule",
                Level::Warn,
                json!({"rule": rule, "does": does, "why": why}),
            ),
            Word::Answered { question, answer } => (
                "task.agent",
                Level::Info,
                json!({"question": question, "answer": answer}),
            ),
            Word::Asked { question } => ("task.agent", Level::Warn, json!({"asks": question})),
            Word::Withdrawn { why } => ("task.agent", Level::Info, json!({"withdrawn": why})),
        };
        self.put(id, tenant, kind, level, time::unix_nanos(), &body);
    }

    pub(super) fn killed(&self, id: &str, tenant: &str, root: &str, by: &Who) {
        let mut body = json!({"who": by.who});
        let words = [
            ("why", Some(by.why.as_str()).filter(|why| !why.is_empty())),
            ("with", Some(root).filter(|root| *root != id)),
        ];
        add(&mut body, words);
        self.put(id, tenant, "task.killed", Level::Warn, time::unix_nanos(), &body);
    }

    pub(super) fn ended(
        &self,
        id: &Arc<str>,
        order: &Order,
        how: Option<&How>,
        attempt: u32,
        again_in: Option<Duration>,
        told: Told,
    ) {
        let level = match how {
            Some(How::Code(0)) => Level::Info,
            Some(How::Code(_) | How::Killed { .. }) => Level::Warn,
            _ => Level::Error,
        };
        let mut body = json!({"how": how, "code": how.map_or(1, How::code), "attempt": attempt});
        if let Some(pause) = again_in {
            body["again_in_ms"] = json!(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        }
        let tenant = &order.owner.tenant;
        let end = Some((id, told));
        self.put_with(id, tenant, ENDED, level, time::unix_nanos(), &body, end);
    }

    pub(super) fn damaged(&self, id: &str, at: u64, why: &str) {
        let body = json!({"at": at, "why": why});
        self.put(id, "", "task.damaged", Level::Error, time::unix_nanos(), &body);
    }

    pub(super) fn forgotten(&self, id: &str) {
        self.put(
            id,
            "",
            "task.forgotten",
            Level::Info,
            time::unix_nanos(),
            &json!({}),
        );
    }

    fn put(&self, id: &str, tenant: &str, kind: &str, level: Level, time: i64, body: &Json) {
        self.put_with(id, tenant, kind, level, time, body, None);
    }

    #[allow(clippy::too_many_arguments, reason = "they are the fields of one event")]
    fn put_with(
        &self,
        id: &str,
        tenant: &str,
        kind: &str,
        level: Level,
        time: i64,
        body: &Json,
        end: Option<(&Arc<str>, Told)>,
    ) {
        let stream = happened(id);
        let text = body.to_string();
        let event = Event {
            time,
            tenant,
            stream: &stream,
            task: id,
            kind,
            level,
            format: Format::Json,
            body: text.as_bytes(),
            ..Event::default()
        };
        let mut untold = lock(&self.untold);
        if untold.batch.bytes() + text.len() > NOTES_BYTES_MAX {
            drop(untold);
            tracing::error!(
                task = id,
                kind,
                "the event log takes nothing; this is not recorded: {text}"
            );
            return;
        }
        match untold.batch.push(&event) {
            Ok(()) => untold.ends.extend(end.map(|(id, told)| (Arc::clone(id), told))),
            Err(error) => tracing::error!(task = id, kind, %error, "this cannot be recorded: {text}"),
        }
        drop(untold);
        self.news.notify_one();
    }
}

/// The stream of what happened to a task.
pub(super) fn happened(id: &str) -> String {
    format!("task.{id}")
}

/// The stream of what it said.
pub(super) fn said(id: &str) -> String {
    format!("task.{id}.output")
}

fn add<const N: usize>(body: &mut Json, words: [(&str, Option<&str>); N]) {
    for (name, word) in words {
        if let Some(word) = word {
            body[name] = json!(word);
        }
    }
}
