//! How tasks are, gathered again and again without asking a thousand shims each time.
//!
//! Of every task: its folder's files, and what its processes use, from one look at all processes of the machine. For that its command's
//! process has to be known: its shim is asked once. Of those on the screen: what their shims say, and the end of their output.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_core::{spawn, time};
use axiom_runtime::mux::clean::{Cleaner, Colours};
use axiom_runtime::mux::lines::Splitter;
use axiom_sandbox::exit::Exit as TaskExit;
use axiom_sandbox::handle::{Attached, End, found};
use axiom_sandbox::output::{Next, Reader, Source};
use axiom_sandbox::processes::{Processes, Usage};
use axiom_sandbox::spec::Spec;
use axiom_sandbox::wire::{Reply, Request, Status};

use super::super::ps::state;
use super::super::told;
use super::model::Row;

/// How long a shim may take to answer. One that does not is asked again with the next look.
const ANSWER_TIME: Duration = Duration::from_millis(300);
/// New tasks whose shims are asked at one look. A thousand are all known after some seconds.
const ASKED_MAX: usize = 100;
/// Of the output of a task on the screen, what is read for its last line.
const TAIL_BYTES: u64 = 128 << 10;
/// Of one whose last lines are looked at.
const LINES_TAIL_BYTES: u64 = 512 << 10;
/// A longer line is shown as several.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The folder of a task, which is in one of these.
pub(super) fn folder_of(places: &[PathBuf], id: &str) -> PathBuf {
    let mut folders = places.iter().map(|place| place.join(id));
    let first = folders.next().unwrap_or_default();
    match first.exists() {
        true => first,
        false => folders.find(|folder| folder.exists()).unwrap_or(first),
    }
}

/// What is known of each task.
#[derive(Debug)]
pub(super) struct Gatherer {
    /// Folders of tasks.
    places: Vec<PathBuf>,
    known: HashMap<String, Known>,
    /// Tasks on the screen.
    visible: Vec<String>,
    looked: Option<time::Instant>,
}

#[derive(Debug, Default)]
struct Known {
    command: String,
    executor: &'static str,
    status: Option<Status>,
    exit: Option<TaskExit>,
    /// Its shim did not answer when it was asked, and why.
    unknown: Option<String>,
    usage: Option<Usage>,
    cpu_percent: Option<f64>,
    output_bytes: u64,
    bytes_per_second: Option<f64>,
    last_line: String,
    /// Line breaks for each byte of the file, in its last output.
    breaks_per_byte: f64,
    /// The size of its output when that was read.
    read_at: u64,
}

impl Gatherer {
    pub(super) fn new(places: Vec<PathBuf>) -> Gatherer {
        Gatherer {
            places,
            known: HashMap::new(),
            visible: Vec::new(),
            looked: None,
        }
    }

    /// One look at all of them. It is given back together with what it found, so that whoever draws need not wait.
    ///
    /// # Errors
    /// When a folder of tasks cannot be read.
    pub(super) async fn look(mut self, visible: Vec<String>) -> (Gatherer, std::io::Result<Vec<Row>>) {
        self.visible = visible;
        let places = self.places.clone();
        let files = spawn::blocking(move || {
            let found = self.look_at_files();
            (self, found)
        });
        let Some((mut this, found)) = files.join().await else {
            let error = std::io::Error::other("what is in the folder of tasks cannot be looked at");
            return (Gatherer::new(places), Err(error));
        };
        if let Err(error) = found {
            return (this, Err(error));
        }
        this.ask().await;
        let rows = this.known.iter().map(|(id, known)| known.row(id)).collect();
        (this, Ok(rows))
    }

    fn look_at_files(&mut self) -> std::io::Result<()> {
        let mut ids = Vec::new();
        for place in &self.places {
            ids.extend(found(place)?.into_iter().map(|id| (place.join(&id), id)));
        }
        let now = time::now();
        let passed = self.looked.replace(now).map(|before| now - before);
        let processes = Processes::look();
        let mut known = std::mem::take(&mut self.known);
        for (folder, id) in ids {
            let mut task = known.remove(&id).unwrap_or_else(|| Known::read(&folder));
            task.look(&folder, &processes, passed);
            if self.visible.contains(&id) {
                task.read_tail(&folder);
            }
            self.known.insert(id, task);
        }
        Ok(())
    }

    /// Asks the shims of those on the screen, and of some that were never asked.
    async fn ask(&mut self) {
        let is_new =
            |known: &Known| known.status.is_none() && known.unknown.is_none() && known.exit.is_none();
        let new = self
            .known
            .iter()
            .filter(|(_, known)| is_new(known))
            .map(|(id, _)| id.clone());
        let mut asked: Vec<String> = new.take(ASKED_MAX).collect();
        asked.extend(
            self.visible
                .iter()
                .filter(|id| !asked.contains(id))
                .cloned()
                .collect::<Vec<_>>(),
        );
        for id in asked {
            let Some(task) = self.known.get_mut(&id).filter(|task| task.exit.is_none()) else {
                continue;
            };
            match time::timeout(ANSWER_TIME, status(&folder_of(&self.places, &id))).await {
                Ok(Ok(Some(status))) => {
                    task.status = Some(status);
                    task.unknown = None;
                }
                // The next look finds how it ended.
                Ok(Ok(None)) => task.unknown = Some(told(&End::Lost)),
                Ok(Err(error)) => task.unknown = Some(format!("unknown: {error}")),
                Err(_) => task.unknown = Some("unknown: it does not answer".to_owned()),
            }
        }
    }
}

async fn status(folder: &Path) -> std::io::Result<Option<Status>> {
    // Its output is nothing to be waited for.
    let reader = Reader::open(&folder.join("output"))?;
    let mut attached = Attached::open_from(folder, reader).await?;
    attached.ask(Request::Status).ok();
    match attached.reply().await? {
        Some(Reply::Status(status)) => Ok(Some(status)),
        Some(other) => Err(std::io::Error::other(format!("it answers {other:?}"))),
        None => Ok(None),
    }
}

impl Known {
    fn read(folder: &Path) -> Known {
        let spec = fs_err::read(folder.join("spec.json")).ok();
        let spec = spec.and_then(|json| serde_json::from_slice::<Spec>(&json).ok());
        let mut known = Known::default();
        if let Some(spec) = spec {
            known.executor = spec.executor.name();
            known.command = crate::import::preview::visible(&spec.argv.join(" "));
        }
        known
    }

    /// What everybody may see of it.
    fn look(&mut self, folder: &Path, processes: &Processes, passed: Option<Duration>) {
        if self.exit.is_none() {
            self.exit = TaskExit::read(&folder.join("exit.json")).ok().flatten();
        }
        let seconds = passed.map(|passed| passed.as_secs_f64().max(0.001));
        let len = std::fs::metadata(folder.join("output")).map_or(0, |output| output.len());
        let grown = len.saturating_sub(self.output_bytes);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let rate = seconds.map(|seconds| grown as f64 / seconds);
        (self.output_bytes, self.bytes_per_second) = (len, rate);
        let command = self.status.as_ref().filter(|_| self.exit.is_none());
        let usage = command.and_then(|status| processes.of_task(status.pid));
        self.cpu_percent = match (usage, self.usage, seconds) {
            (Some(now), Some(before), Some(seconds)) => {
                Some(now.cpu.saturating_sub(before.cpu).as_secs_f64() * 100.0 / seconds)
            }
            _ => None,
        };
        self.usage = usage;
    }

    /// Its last line, and how many lines its output has.
    fn read_tail(&mut self, folder: &Path) {
        if self.read_at == self.output_bytes {
            return;
        }
        self.read_at = self.output_bytes;
        let Ok((pieces, file_bytes)) = tail(folder, TAIL_BYTES) else {
            return;
        };
        let breaks = pieces
            .iter()
            .flat_map(|(_, piece)| piece)
            .filter(|byte| **byte == b'\n')
            .count();
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let each = breaks as f64 / file_bytes.max(1) as f64;
        self.breaks_per_byte = each;
        let lines = lines(&pieces);
        let last = lines.into_iter().rev().find(|line| !line.trim().is_empty());
        self.last_line = last.unwrap_or_default();
    }

    fn row(&self, id: &str) -> Row {
        let is_asked = self.status.is_some() && self.unknown.is_none();
        let state = match (&self.exit, &self.unknown, &self.status) {
            (Some(exit), _, _) => told(&End::Exit(exit.clone())),
            (None, Some(unknown), _) => unknown.clone(),
            (None, None, Some(status)) => state(status).to_owned(),
            (None, None, None) => String::new(),
        };
        let started = match (&self.exit, &self.status) {
            (Some(exit), _) => Some(exit.started),
            (None, status) => status.as_ref().map(|status| status.started),
        };
        let age = started.map(|started| time::unix_nanos().saturating_sub(started) / 1_000_000_000);
        let rate = self.bytes_per_second.filter(|_| self.read_at > 0);
        Row {
            id: id.to_owned(),
            state,
            lives: self.exit.is_none() && is_asked,
            is_frozen: self.status.as_ref().is_some_and(|status| status.is_frozen),
            command: self.command.clone(),
            executor: self.executor,
            age_seconds: age.and_then(|seconds| u64::try_from(seconds).ok()),
            cpu_percent: self.cpu_percent,
            memory_bytes: self.usage.map(|usage| usage.memory_bytes),
            processes: self.usage.map(|usage| usage.processes),
            lines_per_second: rate.map(|rate| rate * self.breaks_per_byte),
            output_bytes: self.output_bytes,
            last_line: self.last_line.clone(),
        }
    }
}

/// The last lines of a task, as a person may see them.
pub(super) fn last_lines(folder: &Path) -> std::io::Result<Vec<String>> {
    Ok(lines(&tail(folder, LINES_TAIL_BYTES)?.0))
}

type Piece = (Source, Vec<u8>);

/// The end of the output, and how many bytes of the file it takes.
fn tail(folder: &Path, bytes: u64) -> std::io::Result<(Vec<Piece>, u64)> {
    let mut reader = Reader::open_near_end(&folder.join("output"), bytes)?;
    let from = reader.position();
    let mut pieces = Vec::new();
    while let Next::Frame(frame) = reader.next(false)? {
        pieces.push((frame.source, frame.bytes.to_vec()));
    }
    let file_bytes = reader.position() - from;
    Ok((pieces, file_bytes))
}

/// Whole lines, in the order in which they ended, cleaned.
fn lines(pieces: &[Piece]) -> Vec<String> {
    let mut streams: HashMap<Source, (Splitter, Cleaner)> = HashMap::new();
    let mut lines = Vec::new();
    let fresh = || (Splitter::new(LINE_BYTES_MAX), Cleaner::new(Colours::Strip));
    for (source, bytes) in pieces {
        let (splitter, cleaner) = streams.entry(*source).or_insert_with(fresh);
        splitter.feed(bytes, |line| lines.push(cleaner.clean(line).into_owned()));
    }
    for (splitter, cleaner) in streams.values_mut() {
        splitter.finish(|line| lines.push(cleaner.clean(line).into_owned()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_steer_a_terminal() {
        let piece = |source, text: &str| (source, text.as_bytes().to_vec());
        let pieces = [
            piece(Source::Stdout, "a\n\x1b[2J\x1b[31mred\x1b[0m be"),
            piece(Source::Stderr, "err\x07\n"),
            piece(Source::Stdout, "gun\nlast"),
        ];
        assert_eq!(lines(&pieces), ["a", "err\\x07", "red begun", "last"]);
    }
}
