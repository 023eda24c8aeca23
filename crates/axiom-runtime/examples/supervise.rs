//! What a supervisor takes, with real tasks: lines a second from 100 of them into the event store; 1,000 of them at once beside 1,000
//! bare processes; the end of all of these; what is left after ten rounds; and what one takes that says nothing.
//!
//! ```sh
//! cargo run --release -p axiom-runtime --example supervise -- lines
//! cargo run --release -p axiom-runtime --example supervise -- crowd process
//! cargo run --release -p axiom-runtime --example supervise -- crowd sandbox
//! ```

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_events::disk::Machine;
use axiom_events::sample::Policy;
use axiom_events::{Log, Reader};
use axiom_runtime::order::{Order, Who};
use axiom_runtime::supervisor::{From, Options, Phase, Recording, Supervisor};
use axiom_sandbox::handle::SpawnerOptions;
use axiom_sandbox::spec::{Executor, Spec};

/// Those that write.
const WRITERS: usize = 100;
const LINES: usize = 40_000;
const ROUNDS: usize = 3;
/// Those that are alive at once.
const CROWD: usize = 1_000;
const CROWD_ROUNDS: usize = 10;
const SAYS: &str = "echo one; echo two; echo three; exec sleep 600";

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words == ["spawner"] {
        let teller = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        return Ok(axiom_sandbox::spawner::serve(teller)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match words[..] {
        ["lines"] => runtime.block_on(lines()),
        ["crowd", "process"] => runtime.block_on(crowd(Executor::Process)),
        ["crowd", "sandbox"] => runtime.block_on(crowd(Executor::Sandbox)),
        _ => Err("say `lines`, `crowd process` or `crowd sandbox`".into()),
    }
}

fn options(dir: &Path) -> Result<Options, Failed> {
    let spawner = SpawnerOptions {
        program: std::env::current_exe()?,
        arguments: vec!["spawner".to_owned()],
    };
    let mut options = Options::new(dir.join("tasks"), spawner);
    options.schedule.budget.tasks = 2 * CROWD;
    options.schedule.budget.memory_bytes = 1 << 50;
    options.schedule.group.running_max = 2 * CROWD;
    options.schedule.tenant.running_max = 2 * CROWD;
    Ok(options)
}

fn order(folder: &Path, executor: Executor, argv: &[&str]) -> Order {
    let spec = Spec {
        id: String::new(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        folder: folder.to_owned(),
        terminal: None,
        limits: Default::default(),
        executor,
        grants: Default::default(),
        spool_bytes: 64 << 20,
    };
    Order::new(spec, Who::new("a measurement", ""))
}

/// Each task prints a file; all of it is in the event store, synced, when it has ended.
async fn lines() -> Result<(), Failed> {
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir()?;
        let text = dir.path().join("text");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&text)?);
        for n in 0..LINES {
            writeln!(
                file,
                "   Compiling crate-{} v0.{}.0: a line as tasks write them, the one of number {n}",
                n % 97,
                n % 13
            )?;
        }
        drop(file);
        let log = Log::open(
            axiom_events::Options::new(dir.path().join("events")),
            Arc::new(Machine),
        )?;
        let recording = Recording {
            log: log.clone(),
            sample: Policy {
                kinds: Vec::new(),
                ..Policy::default()
            },
            lines: true,
        };
        let supervisor = Supervisor::start(Options {
            recording: Some(recording),
            ..options(dir.path())?
        })?;
        let name = text.to_string_lossy();
        let (began, cpu) = (time::now(), cpu_seconds()?);
        let mut ids = Vec::new();
        for _ in 0..WRITERS {
            ids.push(supervisor.submit(order(dir.path(), Executor::Process, &["cat", &name]))?);
        }
        for id in &ids {
            supervisor.wait(id).await?;
        }
        let (took, cpu) = (began.elapsed(), cpu_seconds()? - cpu);
        supervisor.close().await;
        log.close();
        check(&dir.path().join("events"), &ids)?;
        let count = (WRITERS * LINES) as f64;
        println!(
            "{WRITERS} tasks, {count} lines in the event store: {:.2} million lines/s; {:.2} us of CPU a line in the supervisor and the log",
            count / took.as_secs_f64() / 1e6,
            cpu * 1e6 / count
        );
    }
    Ok(())
}

/// Every line of every task is there, once, in its order.
fn check(events: &Path, ids: &[Arc<str>]) -> Result<(), Failed> {
    let reader = Reader::open(Arc::new(Machine), events)?;
    for id in ids {
        let hits = reader.stream(&format!("task.{id}.output"), 0, usize::MAX)?;
        if hits.len() != LINES {
            return Err(format!("task {id} has {} lines of {LINES}", hits.len()).into());
        }
        for (nth, hit) in hits.iter().enumerate() {
            let end = format!(" {nth}");
            if !hit.recorded().event.body.ends_with(end.as_bytes()) {
                return Err(format!("line {nth} of task {id} is another one").into());
            }
        }
    }
    Ok(())
}

/// A thousand at once, in rounds, in turns with a thousand bare ones.
async fn crowd(executor: Executor) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let supervisor = Supervisor::start(options(dir.path())?)?;
    // The spawner is there, and everything has been used once.
    round(&supervisor, dir.path(), &executor, 50).await?;
    let before = Usage::now()?;
    for nth in 0..CROWD_ROUNDS {
        let bare = bare(CROWD)?;
        let ours = round(&supervisor, dir.path(), &executor, CROWD).await?;
        let left = Usage::now()?;
        println!(
            "round {nth}: {CROWD} alive and heard in {:.0} ms, bare {:.0} ms: {:.2} x; killed in {:.0} ms; \
             an idle task takes {:.0} B here and {:.0} KiB in its shim; left: {} descriptors, {} KiB more than before",
            millis(ours.alive),
            millis(bare),
            ours.alive.as_secs_f64() / bare.as_secs_f64(),
            millis(ours.killed),
            ours.bytes_each,
            ours.shim_kib_each,
            left.descriptors.saturating_sub(before.descriptors),
            left.resident_kib.saturating_sub(before.resident_kib),
        );
    }
    supervisor.close().await;
    Ok(())
}

struct Round {
    alive: Duration,
    killed: Duration,
    bytes_each: f64,
    shim_kib_each: f64,
}

async fn round(
    supervisor: &Supervisor,
    dir: &Path,
    executor: &Executor,
    count: usize,
) -> Result<Round, Failed> {
    let before = Usage::now()?;
    let began = time::now();
    let mut ids: Vec<Arc<str>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut order = order(dir, executor.clone(), &["sh", "-c", SAYS]);
        order.parent = ids.first().map(ToString::to_string);
        ids.push(supervisor.submit(order)?);
    }
    for id in &ids {
        loop {
            let view = supervisor.view(id)?;
            if view.lines >= 3 {
                break;
            }
            if view.phase == Phase::Ended {
                return Err(format!("a task did not start: {:?}", view.ending).into());
            }
            time::sleep(Duration::from_millis(1)).await;
        }
    }
    let alive = began.elapsed();
    let usage = Usage::now()?;
    let shim_kib = shims_kib()?;
    let began = time::now();
    supervisor.kill(
        ids.first().ok_or("none was started")?,
        &Who::new("a measurement", "it is over"),
    )?;
    for id in &ids {
        supervisor.wait(id).await?;
    }
    let killed = began.elapsed();
    for id in &ids {
        let page = supervisor.output(id, From::Line(0), 10).await?;
        let said: Vec<&str> = page.lines.iter().map(|line| line.text.as_str()).collect();
        if said != ["one", "two", "three"] {
            return Err(format!("task {id} said {said:?}").into());
        }
        supervisor.remove(id)?;
    }
    Ok(Round {
        alive,
        killed,
        bytes_each: usage.resident_kib.saturating_sub(before.resident_kib) as f64 * 1024.0 / count as f64,
        shim_kib_each: shim_kib / count as f64,
    })
}

/// As many processes with nothing around them: started, heard and ended.
fn bare(count: usize) -> Result<Duration, Failed> {
    let began = time::now();
    let mut children: Vec<Child> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut command = Command::new("sh");
        command
            .args(["-c", SAYS])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        children.push(command.spawn()?);
    }
    for child in &mut children {
        let mut said = BufReader::new(child.stdout.as_mut().ok_or("it has an output")?).lines();
        for _ in 0..3 {
            said.next().ok_or("it ended early")??;
        }
    }
    let took = began.elapsed();
    for child in &mut children {
        child.kill()?;
        child.wait()?;
    }
    Ok(took)
}

struct Usage {
    resident_kib: u64,
    descriptors: usize,
}

impl Usage {
    fn now() -> Result<Usage, Failed> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        Ok(Usage {
            resident_kib: kib(&status, "VmRSS:").ok_or("there is no VmRSS")?,
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
        })
    }
}

/// What shims take that is theirs alone: a share of the pages that they have in common is counted for each.
fn shims_kib() -> Result<f64, Failed> {
    let ours = std::fs::read_link("/proc/self/exe")?;
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let is_shim = std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe == ours);
        if is_shim && entry.file_name().to_string_lossy() != std::process::id().to_string() {
            // It may have ended.
            let maps = std::fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
            sum += kib(&maps, "Pss:").unwrap_or(0);
        }
    }
    Ok(sum as f64)
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Of this process, all its threads.
fn cpu_seconds() -> Result<f64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit_once(") ").ok_or("no name")?.1;
    let mut fields = behind_name.split(' ').skip(11);
    let mut ticks = || Ok::<f64, Failed>(fields.next().ok_or("no times")?.parse::<f64>()?);
    Ok((ticks()? + ticks()?) / 100.0)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
