//! Event stores to be asked, made from a seed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_events::disk::Machine;
use axiom_events::{Append, Batch, Event, EventId, Format, Level, Log, Options, Recorded, TraceId};
use axiom_query::engine::{Answer, Engine, cancel};
use axiom_query::fault::Fault;
use axiom_query::limits::Limits;
use axiom_query::output::{End, Format as Output, Writer};
use axiom_tiers::file;
use axiom_tiers::manifest::{Change, Manifest, Object, Tier};
use serde_json::Value;

use crate::random::Random;

/// 2026-01-01T00:00:00Z
pub(crate) const BEGIN: i64 = 1_767_225_600_000_000_000;
const TENANTS: [&str; 2] = ["default", "other"];
const STREAMS: [&str; 5] = [
    "gateway",
    "gateway.files",
    "gateway.demo",
    "agent.output",
    "axiom.log",
];
const KINDS: [&str; 4] = ["gateway.call", "output.line", "gateway.server", "axiom.gap"];

/// An event that owns its parts.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub time: i64,
    pub tenant: &'static str,
    pub stream: &'static str,
    pub task: String,
    pub kind: &'static str,
    pub level: Level,
    pub trace: Option<TraceId>,
    pub id: Option<EventId>,
    pub format: Format,
    pub body: Vec<u8>,
}

pub(crate) fn models(seed: u64, count: usize) -> Vec<Model> {
    let mut random = Random::new(seed);
    let mut number = 0;
    let models = (0..count).map(|_| {
        number += 1;
        let kind = random.one(&KINDS);
        let task = match random.below(60) {
            0 => String::new(),
            task => format!("task-{task:04}-with-a-name-longer-than-a-view"),
        };
        let micros = i64::try_from(random.below(7_200_000_000)).expect("two hours");
        let format = random.one(&Format::ALL);
        Model {
            time: BEGIN + micros * 1_000,
            tenant: random.one(&TENANTS),
            stream: random.one(&STREAMS),
            task,
            kind,
            level: random.one(&Level::ALL),
            trace: random
                .is(2)
                .then(|| TraceId(u128::from(random.below(1000)).to_be_bytes())),
            id: random.is(3).then_some(EventId(number)),
            format: if kind == "gateway.call" {
                Format::Json
            } else {
                format
            },
            body: body(&mut random, kind),
        }
    });
    models.collect()
}

fn body(random: &mut Random, kind: &str) -> Vec<u8> {
    match kind {
        "gateway.call" => {
            let server = random.one(&["files", "demo", "everything"]);
            let outcome = random.one(&["result", "error", "tool_error"]);
            let micros = random.below(2_000_000);
            format!(r#"{{"method":"tools/call","server":"{server}","outcome":"{outcome}","duration_us":{micros},"n":{{"deep":[1,2]}}}}"#)
                .into_bytes()
        }
        _ if random.is(20) => vec![0xff, 0xfe, 0],
        _ => format!(
            "line {} of a task\n\"quoted\", {}",
            random.below(500),
            random.below(9)
        )
        .into_bytes(),
    }
}

impl Model {
    pub(crate) fn event(&self) -> Event<'_> {
        Event {
            time: self.time,
            tenant: self.tenant,
            stream: self.stream,
            task: &self.task,
            kind: self.kind,
            level: self.level,
            trace: self.trace,
            id: self.id,
            format: self.format,
            body: &self.body,
        }
    }
}

/// Records the events in the store's first shard, some hundreds in each block.
pub(crate) fn record(dir: &Path, models: &[Model]) -> Log {
    let mut options = Options::new(dir.join("shard-00000"));
    options.segment_bytes = 1 << 20;
    fs_err::create_dir_all(dir.join("shard-00000")).expect("the disk is well");
    let log = Log::open(options, Arc::new(Machine)).expect("it opens");
    append(&log, models);
    log
}

pub(crate) fn append(log: &Log, models: &[Model]) {
    for some in models.chunks(700) {
        let mut batch = Batch::new();
        for model in some {
            batch.push(&model.event()).expect("it keeps to the limits");
        }
        let append = Append {
            batch,
            ..Append::default()
        };
        // A runtime may not be dropped within another one.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .expect("a runtime");
                runtime.block_on(log.append(append)).expect("it is recorded");
            });
        });
    }
}

pub(crate) fn engine(dir: &Path) -> Engine {
    Engine::open(dir, Limits::default()).expect("there is a store")
}

/// The rows of a query, as JSON objects.
pub(crate) async fn rows(engine: &Engine, sql: &str) -> Result<Vec<Value>, Fault> {
    let (_cancel, cancelled) = cancel();
    rows_of(engine.run(sql, cancelled).await?).await
}

pub(crate) async fn rows_of(mut answer: Answer) -> Result<Vec<Value>, Fault> {
    let mut writer = Writer::new(Output::Ndjson, &answer.schema()).expect("JSON takes every type");
    let mut out = Vec::new();
    while let Some(batch) = answer.next().await? {
        out.extend(writer.rows(&batch).expect("JSON takes every type"));
    }
    assert_eq!(answer.warnings(), Vec::<String>::new(), "nothing is damaged");
    out.extend(writer.end(&End::default()).expect("JSON takes every type"));
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines
        .map(|line| serde_json::from_slice(line).expect("it is JSON"))
        .collect())
}

/// The events as the warm tier has them: several files, disjoint by offset, and the manifest that names them.
pub(crate) fn seal(dir: &Path, models: &[Model]) -> Vec<PathBuf> {
    seal_and_move(dir, models, None)
}

/// As [`seal`], and the first file is an object of the cold tier then, at the address that is made of its path.
pub(crate) fn seal_and_move(
    dir: &Path,
    models: &[Model],
    cold: Option<&dyn Fn(&Path) -> String>,
) -> Vec<PathBuf> {
    let shard = dir.join("shard-00000");
    let warm = shard.join("warm");
    fs_err::create_dir_all(&warm).expect("the disk is well");
    let manifest = Manifest::open(Arc::new(Machine), &shard, 0).expect("there is none yet");
    let mut versions: HashMap<&str, u64> = HashMap::new();
    let mut files = Vec::new();
    let step = models.len().div_ceil(3);
    for (part, models) in models.chunks(step).enumerate() {
        let first = (part * step) as u64;
        let end = first + models.len() as u64;
        let name = format!("{first:020}-{end:020}.parquet");
        let path = warm.join(&name);
        let file = fs_err::File::create(&path).expect("the disk is well");
        let mut writer = file::Writer::new(file, 0, &file::WriteOptions::default()).expect("it begins");
        for (offset, model) in (first..).zip(models) {
            let version = versions.entry(model.stream).or_default();
            let event = model.event();
            let recorded = Recorded {
                offset,
                version: *version,
                event,
            };
            *version += 1;
            writer.push(&recorded).expect("it is written");
        }
        let (_, written) = writer.finish().expect("it is finished");
        let object = Object {
            tier: Tier::Warm,
            location: name,
            offsets: written.offsets,
            rows: written.rows,
            bytes: written.bytes,
            time_min: written.time_min,
            time_max: written.time_max,
            events_hash: written.events_hash,
            bytes_hash: [0; 32],
            began: BEGIN,
            hot_bytes: 0,
            lost: Vec::new(),
        };
        let moved = cold.filter(|_| part == 0).map(|address| Change::Replace {
            removed: vec![object.location.clone()],
            added: vec![Object {
                tier: Tier::Cold,
                location: address(&path),
                ..object.clone()
            }],
            retired: 0,
            why: "a test".to_owned(),
        });
        for change in [Some(Change::Seal(Box::new(object))), moved]
            .into_iter()
            .flatten()
        {
            manifest
                .change("a test", |_| Some(change))
                .expect("the disk is well");
        }
        files.push(path);
    }
    files
}
