//! A real supervisor with real processes. What starts them is an example of this crate, since tests have too many threads.

mod crowd;
mod driven;
mod exact;
mod killed;
mod life;
mod restarts;
mod steering;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_events::disk::Machine;
use axiom_events::sample::Policy;
use axiom_events::{Log, Reader};
use axiom_sandbox::handle::SpawnerOptions;
use axiom_sandbox::spec::{Executor, Spec};

use super::{Options, Recording, Supervisor};
use crate::order::{Order, Who};

/// Folders of one test.
struct Bed {
    dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Bed {
        Bed {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn options(&self) -> Options {
        // Tests are in `deps`, and examples beside it: both are built together.
        let ours = std::env::current_exe().unwrap();
        let program = ours.parent().unwrap().with_file_name("examples").join("spawner");
        assert!(program.is_file(), "{} is not built", program.display());
        let spawner = SpawnerOptions {
            program,
            arguments: Vec::new(),
        };
        Options::new(self.dir.path().join("tasks"), spawner)
    }

    fn start(&self) -> Supervisor {
        Supervisor::start(self.options()).unwrap()
    }

    /// With everything recorded.
    fn start_recording(&self) -> (Supervisor, Log) {
        let log = Log::open(axiom_events::Options::new(self.events()), Arc::new(Machine)).unwrap();
        let recording = Recording {
            log: log.clone(),
            sample: Policy {
                kinds: Vec::new(),
                ..Policy::default()
            },
            lines: true,
        };
        let options = Options {
            recording: Some(recording),
            ..self.options()
        };
        (Supervisor::start(options).unwrap(), log)
    }

    fn events(&self) -> std::path::PathBuf {
        self.dir.path().join("events")
    }

    fn sh(&self, script: &str) -> Order {
        sh(self.dir.path(), script)
    }
}

fn sh(folder: &Path, script: &str) -> Order {
    let spec = Spec {
        id: String::new(),
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        folder: folder.to_owned(),
        terminal: None,
        limits: Default::default(),
        executor: Executor::Process,
        grants: Default::default(),
        spool_bytes: 1 << 20,
    };
    Order::new(spec, Who::new("a test", ""))
}

/// Ends within a time that is long for any machine.
async fn soon<F: Future>(future: F) -> F::Output {
    time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it should have happened long ago")
}

/// Waits until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// What is recorded of a task: kind and body of its events, in the log's order.
fn recorded(events: &Path, task: &str) -> Vec<(String, String)> {
    recorded_by(&Reader::open(Arc::new(Machine), events).unwrap(), task)
}

/// As [`recorded`], for one task of many.
fn recorded_by(reader: &Reader, task: &str) -> Vec<(String, String)> {
    let hits = reader.task_tail(task, usize::MAX).unwrap();
    let mut found: Vec<(u64, String, String)> = hits
        .iter()
        .map(|hit| {
            let recorded = hit.recorded();
            let body = String::from_utf8_lossy(recorded.event.body).into_owned();
            (recorded.offset, recorded.event.kind.to_owned(), body)
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, kind, body)| (kind, body)).collect()
}

fn lines(recorded: &[(String, String)]) -> Vec<String> {
    let lines = recorded
        .iter()
        .filter(|(kind, _)| kind.starts_with("task.output"));
    lines.map(|(_, body)| body.clone()).collect()
}

fn kinds(recorded: &[(String, String)]) -> Vec<&str> {
    recorded.iter().map(|(kind, _)| kind.as_str()).collect()
}
