//! How long a task of each executor takes to its first byte, as whoever started it hears it: from the request to the spawner, by its
//! shim and its folder.
//!
//! ```sh
//! cargo run --release -p axiom-sandbox --example first_byte -- [STARTS]
//! ```
//!
//! All take turns, so that what else runs on the machine slows all. One JSON line for each is printed. `cold` begins with nothing: a
//! pool is made for it, and what that holds is started. `warm` is there before.

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::collections::BTreeMap;
use std::error::Error;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, SpawnerOptions};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::pool::{Lease, WorkerOptions, Workers, ZygoteOptions, Zygotes};
use axiom_sandbox::spec::{Executor, Grants, Oci, Protocol, Spec};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Answers a line with itself.
const WORKER: &str =
    "require('readline').createInterface({input: process.stdin}).on('line', line => console.log(line))";
const PYTHON: &str = "/usr/bin/python3";

/// What is measured, and whether what it needs is there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Process,
    Sandbox,
    Oci,
    ZygoteCold,
    ZygoteWarm,
    NodeCold,
    NodeWarm,
    Z3Cold,
    Z3Warm,
}

const SUBJECTS: [(&str, Subject); 9] = [
    ("process", Subject::Process),
    ("sandbox", Subject::Sandbox),
    ("oci", Subject::Oci),
    ("zygote-cold", Subject::ZygoteCold),
    ("zygote-warm", Subject::ZygoteWarm),
    ("node-cold", Subject::NodeCold),
    ("node-warm", Subject::NodeWarm),
    ("z3-cold", Subject::Z3Cold),
    ("z3-warm", Subject::Z3Warm),
];

/// Where tasks are, who starts them, and what is warm.
struct Bed {
    tasks: tempfile::TempDir,
    work: tempfile::TempDir,
    spawner: Spawner,
    zygotes: Zygotes,
    node: Workers,
    z3: Workers,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--spawner") {
        axiom_sandbox::spawner::serve(UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?))?;
        return Ok(());
    }
    let starts = arguments.first().map_or(Ok(100), |starts| starts.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(starts))
}

async fn measure(starts: usize) -> Result<()> {
    let bed = Bed::new()?;
    let mut measured = Vec::new();
    for (name, subject) in SUBJECTS {
        // What has been started once has its files in memory.
        match bed.start(subject).await {
            Ok(_) => measured.push((name, subject, Vec::new())),
            Err(error) => say(&serde_json::json!({ "subject": name, "skipped": error.to_string() })),
        }
    }
    for _ in 0..starts {
        for (_, subject, times) in &mut measured {
            times.push(bed.start(*subject).await?);
        }
    }
    for (name, _, mut times) in measured {
        times.sort();
        let millis = |hundredth: usize| {
            let at = (times.len() * hundredth / 100).min(times.len().saturating_sub(1));
            times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        say(&serde_json::json!({
            "subject": name, "p50_ms": millis(50), "p99_ms": millis(99), "starts": times.len(),
        }));
    }
    bed.zygotes.end().await;
    bed.node.end().await;
    bed.z3.end().await;
    Ok(())
}

fn say(line: &serde_json::Value) {
    println!("{line}");
}

impl Bed {
    fn new() -> Result<Bed> {
        let tasks = tempfile::tempdir()?;
        let folder = tasks.path();
        Ok(Bed {
            zygotes: zygotes(folder),
            node: node(folder),
            z3: z3(folder),
            work: tempfile::tempdir()?,
            spawner: Spawner::new(SpawnerOptions {
                program: std::env::current_exe()?,
                arguments: vec!["--spawner".to_owned()],
            }),
            tasks,
        })
    }

    async fn start(&self, subject: Subject) -> Result<Duration> {
        let echo = ["echo", "x"];
        let print = [PYTHON, "-c", "print('x')"];
        let folder = self.tasks.path();
        let began = time::now();
        match subject {
            Subject::Process => self.task(began, &echo, Executor::Process).await,
            Subject::Sandbox => self.task(began, &echo, Executor::Sandbox).await,
            Subject::Oci => {
                let runc = Oci {
                    runtime: "runc".to_owned(),
                    arguments: Vec::new(),
                    root: None,
                };
                self.task(began, &echo, Executor::Oci(runc)).await
            }
            Subject::ZygoteWarm => {
                self.task(began, &print, self.zygotes.place(&self.spawner).await?)
                    .await
            }
            Subject::ZygoteCold => {
                let zygotes = zygotes(folder);
                let took = self
                    .task(began, &print, zygotes.place(&self.spawner).await?)
                    .await;
                zygotes.end().await;
                took
            }
            Subject::NodeWarm => self.ask(began, &self.node, "{}").await,
            Subject::NodeCold => self.ask_once(began, node(folder), "{}").await,
            Subject::Z3Warm => self.ask(began, &self.z3, "(check-sat)").await,
            Subject::Z3Cold => self.ask_once(began, z3(folder), "(check-sat)").await,
        }
    }

    async fn ask_once(&self, began: time::Instant, workers: Workers, request: &str) -> Result<Duration> {
        let took = self.ask(began, &workers, request).await;
        workers.end().await;
        took
    }

    async fn ask(&self, began: time::Instant, workers: &Workers, request: &str) -> Result<Duration> {
        let lease: Lease = workers.lease(&self.spawner).await?;
        self.task(began, &[request], lease.executor()).await
    }

    /// Until its first byte is heard. It is waited for and removed before the next one.
    async fn task(&self, began: time::Instant, argv: &[&str], executor: Executor) -> Result<Duration> {
        let spec = Spec {
            id: "job".to_owned(),
            argv: argv.iter().map(|text| (*text).to_owned()).collect(),
            env: match executor {
                Executor::Worker(_) => BTreeMap::new(),
                _ => environment(),
            },
            folder: fs_err::canonicalize(self.work.path())?,
            terminal: None,
            limits: Limits::default(),
            executor,
            grants: Grants::default(),
            spool_bytes: 1 << 20,
        };
        self.spawner.start(self.tasks.path(), &spec).await?;
        let folder = self.tasks.path().join(&spec.id);
        let first = first_byte(&folder, began).await;
        fs_err::remove_dir_all(folder)?;
        first
    }
}

async fn first_byte(folder: &Path, began: time::Instant) -> Result<Duration> {
    let mut attached = Attached::open(folder).await?;
    let mut first = None;
    loop {
        match attached.next().await? {
            Event::Output { .. } => first = first.or_else(|| Some(began.elapsed())),
            Event::Ended(End::Exit(exit)) if exit.how == How::Code(0) => {
                return first.ok_or_else(|| "it said nothing".into());
            }
            Event::Ended(end) => return Err(format!("{end:?}").into()),
            _ => {}
        }
    }
}

fn zygotes(tasks: &Path) -> Zygotes {
    Zygotes::new(tasks, ZygoteOptions::new(PYTHON, environment()))
}

fn node(tasks: &Path) -> Workers {
    let argv = ["node", "-e", WORKER].map(str::to_owned).to_vec();
    Workers::new(tasks, WorkerOptions::new(argv, environment(), Protocol::Lines))
}

fn z3(tasks: &Path) -> Workers {
    let argv = ["z3", "-in"].map(str::to_owned).to_vec();
    Workers::new(tasks, WorkerOptions::new(argv, environment(), Protocol::Smt))
}

fn environment() -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    BTreeMap::from([("PATH".to_owned(), path)])
}
