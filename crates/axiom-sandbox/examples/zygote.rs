//! What a job of a zygote takes beside a Python of its own: CPU and time, each as a whole task with its shim and its folder.
//!
//! ```sh
//! cargo run --release -p axiom-sandbox --example zygote [PYTHON [ROUNDS]]
//! ```
//!
//! One JSON line for each program is printed. Both are measured in turns, so that what else runs on the machine slows both. Their CPU is that of a control group each, with a
//! spawner, its shims, and the jobs (and the zygote, when it has started) in it.

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::collections::BTreeMap;
use std::error::Error;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::cgroup::{Allowance, Class, Group, Options, Tree};
use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, SpawnerOptions};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::pool::{ZygoteOptions, Zygotes};
use axiom_sandbox::spec::{Executor, Grants, Spec};

/// What is run.
struct Program {
    name: &'static str,
    code: &'static str,
    /// What the zygote has imported already.
    modules: &'static [&'static str],
}

/// Nothing at all, and what many small programs begin with.
const PROGRAMS: [Program; 2] = [
    Program {
        name: "nothing",
        code: "pass",
        modules: &[],
    },
    Program {
        name: "imports",
        code: "import argparse, asyncio, json, logging, urllib.request",
        modules: &["argparse", "asyncio", "json", "logging", "urllib.request"],
    },
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One way to run the same program.
struct Side {
    group: Group,
    spawner: Spawner,
    times: Vec<Duration>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--spawner") {
        axiom_sandbox::spawner::serve(UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?))?;
        return Ok(());
    }
    let python = arguments.first().map_or("/usr/bin/python3", String::as_str);
    let rounds = arguments.get(1).map_or(Ok(100), |rounds| rounds.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for program in &PROGRAMS {
        runtime.block_on(measure(python, rounds, program))?;
    }
    Ok(())
}

async fn measure(python: &str, rounds: u32, program: &Program) -> Result<()> {
    let Program { name, code, modules } = program;
    let tasks = tempfile::tempdir()?;
    let tree = Tree::find(&Options {
        name: format!("measure-{}-{name}", std::process::id()),
        parent: None,
    })?;
    let (mut cold, mut forked) = (Side::new(&tree, "cold")?, Side::new(&tree, "forked")?);
    let mut options = ZygoteOptions::new(python, environment());
    options.modules = modules.iter().map(|module| (*module).to_owned()).collect();
    let zygotes = Zygotes::new(tasks.path(), options);
    let this = rustix::process::getpid();
    // A group has whatever is started in it, so this program is in it for as long as it starts something.
    cold.group.add(this)?;
    cold.run(tasks.path(), [python, "-c", code], Executor::Process)
        .await?;
    forked.group.add(this)?;
    let executor = zygotes.place(&forked.spawner).await?;
    forked.run(tasks.path(), [python, "-c", code], executor).await?;
    // In none of them it has an own one, which ends with it.
    let own = Side::new(&tree, "own")?;
    own.group.add(this)?;
    let before = (cold.cpu()?, forked.cpu()?);
    cold.times.clear();
    forked.times.clear();
    for _ in 0..rounds {
        cold.run(tasks.path(), [python, "-c", code], Executor::Process)
            .await?;
        let executor = zygotes.place(&forked.spawner).await?;
        forked.run(tasks.path(), [python, "-c", code], executor).await?;
    }
    let cpu = (
        (cold.cpu()? - before.0) / rounds,
        (forked.cpu()? - before.1) / rounds,
    );
    let times = (cold.median(), forked.median());
    zygotes.end().await;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let line = serde_json::json!({
        "subject": name,
        "rounds": rounds,
        "x_cold_cpu": millis(cpu.1) / millis(cpu.0),
        "cold_cpu_ms": millis(cpu.0),
        "zygote_cpu_ms": millis(cpu.1),
        "cold_ms": millis(times.0),
        "zygote_ms": millis(times.1),
    });
    println!("{line}");
    Ok(())
}

fn group(tree: &Tree, name: &str) -> Result<Group> {
    let allowance = Allowance {
        limits: Limits::default(),
        class: Class::Normal,
        folder: None,
    };
    Ok(tree.make(name, &allowance)?)
}

fn environment() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())])
}

impl Side {
    fn new(tree: &Tree, name: &str) -> Result<Side> {
        Ok(Side {
            group: group(tree, name)?,
            spawner: Spawner::new(SpawnerOptions {
                program: std::env::current_exe()?,
                arguments: vec!["--spawner".to_owned()],
            }),
            times: Vec::new(),
        })
    }

    /// From before the start until the end is heard of.
    async fn run(&mut self, tasks: &Path, argv: [&str; 3], executor: Executor) -> Result<()> {
        let spec = Spec {
            id: "job".to_owned(),
            argv: argv.map(str::to_owned).to_vec(),
            env: environment(),
            folder: "/".into(),
            terminal: None,
            limits: Limits::default(),
            executor,
            grants: Grants::default(),
            spool_bytes: 1 << 20,
        };
        let began = time::now();
        self.spawner.start(tasks, &spec).await?;
        let folder = tasks.join(&spec.id);
        let mut attached = Attached::open(&folder).await?;
        loop {
            match attached.next().await? {
                Event::Ended(End::Exit(exit)) if exit.how == How::Code(0) => break,
                Event::Ended(end) => return Err(format!("{end:?}").into()),
                _ => {}
            }
        }
        self.times.push(began.elapsed());
        fs_err::remove_dir_all(folder)?;
        Ok(())
    }

    fn cpu(&self) -> Result<Duration> {
        let time = self.group.stats()?.cpu_time;
        Ok(time.ok_or("no control group counts CPU here")?)
    }

    fn median(&mut self) -> Duration {
        self.times.sort();
        self.times.get(self.times.len() / 2).copied().unwrap_or_default()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // We may be in it ourselves, and then it stays until we have ended.
        self.group.remove().ok();
    }
}
