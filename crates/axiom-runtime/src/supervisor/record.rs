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
//! `task.ended` comes behind its lines. After the death of a supervisor the lines of one batch may be there twice, if it died between
//! recording them and noting that down; none is missing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::time;
use axiom_events::sample::Sampler;
use axiom_events::{Ack, Append, AppendError, Batch, Event, Format, Level};
use axiom_sandbox::exit::How;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use super::ledger::Stored;
use super::options::Recording;
use super::{Shared, lock};
use crate::drive::Word;
use crate::mux::{self, DurableReader, Stream};
use crate::order::{Order, Who};

/// Bytes of one append: large enough for throughput, small enough to be acknowledged soon.
const APPEND_BYTES: usize = 4 << 20;
/// What happened and is not recorded yet, at most. It is little, unless the disk takes nothing for long.
const NOTES_BYTES_MAX: usize = 4 << 20;
/// Before an append that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often counters of what was not kept go into the log.
const TELL: Duration = Duration::from_secs(1);

/// What happened to tasks, on its way to the log.
#[derive(Debug, Default)]
pub(super) struct Notes {
    batch: Mutex<Batch>,
    news: Notify,
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
        let notes = std::mem::take(&mut *lock(&shared.notes.batch));
        if let Some(recording) = &shared.options.recording {
            for event in notes.events() {
                // It fitted into the notes.
                self.batch.push(&event).ok();
            }
            if recording.lines {
                self.put_lines();
            }
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
        true
    }

    fn put_lines(&mut self) {
        let Some(sampler) = &mut self.sampler else { return };
        for lines in &self.held {
            let task: &str = lines.task();
            let stream = format!("task.{task}.output");
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

    /// These lines are safe: whoever waits for that is told, and the task gets its room back.
    fn recorded(&self, lines: mux::Batch) {
        let id = Arc::clone(lines.task());
        let (mut stdout, mut stderr, mut count) = (0, 0, 0);
        for block in lines.blocks() {
            let bytes = block.raw().len() as u64;
            match block.stream() {
                Stream::Stdout => stdout += bytes,
                Stream::Stderr => stderr += bytes,
            }
            count += block.len() as u64;
        }
        lines.stored();
        let sender: Option<watch::Sender<Stored>> =
            self.table().tasks.get(&id).map(|entry| entry.stored.clone());
        let Some(sender) = sender else { return };
        let mut now = *sender.borrow();
        now.stdout += stdout;
        now.stderr += stderr;
        now.lines += count;
        if self.options.recording.is_some()
            && let Err(error) = self.ledger.set_stored(&id, &now)
        {
            tracing::warn!(task = %id, %error, "how much of a task is recorded cannot be noted; after a restart some may be there twice");
        }
        sender.send_replace(now);
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

    pub(super) fn ended(&self, id: &str, order: &Order, how: Option<&How>, again_in: Option<Duration>) {
        let level = match how {
            Some(How::Code(0)) => Level::Info,
            Some(How::Code(_) | How::Killed { .. }) => Level::Warn,
            _ => Level::Error,
        };
        let mut body = json!({"how": how, "code": how.map_or(1, How::code)});
        if let Some(pause) = again_in {
            body["again_in_ms"] = json!(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        }
        self.put(
            id,
            &order.owner.tenant,
            "task.ended",
            level,
            time::unix_nanos(),
            &body,
        );
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
        let stream = format!("task.{id}");
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
        let mut batch = lock(&self.batch);
        if batch.bytes() + text.len() > NOTES_BYTES_MAX {
            drop(batch);
            tracing::error!(
                task = id,
                kind,
                "the event log takes nothing; this is not recorded: {text}"
            );
            return;
        }
        if let Err(error) = batch.push(&event) {
            tracing::error!(task = id, kind, %error, "this cannot be recorded: {text}");
        }
        drop(batch);
        self.news.notify_one();
    }
}

fn add<const N: usize>(body: &mut Json, words: [(&str, Option<&str>); N]) {
    for (name, word) in words {
        if let Some(word) = word {
            body[name] = json!(word);
        }
    }
}
