//! The corpus: what `corpus/gather.py` has taken from this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use axiom_events::{Event, Format, Level, Recorded, TraceId};
use serde::Deserialize;

use super::counted;
use crate::promises::Setup;
use crate::report;

#[derive(Debug, Deserialize)]
struct Line {
    class: String,
    kind: String,
    task: String,
    stream: String,
    level: String,
    format: String,
    /// Nanoseconds since 1970.
    time: i64,
    trace: Option<String>,
    body: String,
}

pub(super) struct Corpus {
    lines: Vec<Line>,
}

impl Corpus {
    /// From `$AXIOM_CORPUS`, or else gathered once and kept beside this program.
    pub(super) fn gathered(setup: &Setup) -> anyhow::Result<Corpus> {
        let path = match std::env::var_os("AXIOM_CORPUS") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe()?.with_file_name("axiom-corpus.ndjson"),
        };
        if !path.exists() {
            gather(setup, &path)?;
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let lines: Result<Vec<Line>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.with_context(|| format!("{} is no corpus", path.display()))?;
        anyhow::ensure!(!lines.is_empty(), "{} is empty", path.display());
        Ok(Corpus { lines })
    }

    /// As a log would number them.
    pub(super) fn events(&self) -> impl Iterator<Item = Recorded<'_>> {
        let mut versions: HashMap<&str, u64> = HashMap::new();
        self.lines.iter().zip(0..).map(move |(line, offset)| {
            let next = versions.entry(&line.stream).or_default();
            let version = *next;
            *next += 1;
            Recorded {
                offset,
                version,
                event: line.event(),
            }
        })
    }

    pub(super) fn classes(&self) -> Vec<&str> {
        let classes = counted(self.lines.iter().map(|line| (line.class.as_str(), 1)));
        classes.into_iter().map(|(class, _)| class).collect()
    }

    /// Which events are of this class.
    pub(super) fn of(&self, class: &str) -> Vec<usize> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| line.class == class)
            .map(|(index, _)| index)
            .collect()
    }

    /// What part of the bytes each class has.
    pub(super) fn shares(&self, bytes: &[u64]) -> String {
        let total = bytes.iter().sum::<u64>().max(1);
        let of_class = self
            .lines
            .iter()
            .zip(bytes)
            .map(|(line, bytes)| (line.class.as_str(), *bytes));
        let shares = counted(of_class).into_iter();
        let shares = shares.map(|(class, bytes)| format!("{class} {} %", (bytes * 100 + total / 2) / total));
        shares.collect::<Vec<_>>().join(", ")
    }
}

impl Line {
    fn event(&self) -> Event<'_> {
        let trace = self
            .trace
            .as_deref()
            .and_then(|trace| u128::from_str_radix(trace, 16).ok());
        Event {
            time: self.time,
            tenant: "default",
            stream: &self.stream,
            task: &self.task,
            kind: &self.kind,
            level: self.level.parse().unwrap_or(Level::Info),
            trace: trace.map(|trace| TraceId(trace.to_be_bytes())),
            id: None,
            format: match self.format.as_str() {
                "json" => Format::Json,
                "text" => Format::Text,
                _ => Format::Binary,
            },
            body: self.body.as_bytes(),
        }
    }
}

/// Gathers a corpus into this file. It takes some minutes: programs are built and tested.
pub(crate) fn gather(setup: &Setup, out: &Path) -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.join("../..");
    report::say("the corpus is gathered: that takes some minutes");
    let partial = out.with_extension("partial");
    let mut gather = Command::new("python3");
    gather.arg(here.join("corpus/gather.py")).arg(&partial);
    gather
        .arg("--workspace")
        .arg(&workspace)
        .arg("--axiom")
        .arg(&setup.axiom);
    gather.arg("--bed").arg(&setup.bed).stdin(Stdio::null());
    let status = gather.status().context("python3 does not start")?;
    anyhow::ensure!(
        status.success(),
        "the corpus was not gathered: python3 ended with {status}"
    );
    Ok(std::fs::rename(&partial, out)?)
}
