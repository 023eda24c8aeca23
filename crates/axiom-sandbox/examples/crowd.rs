//! A thousand tasks in sandboxes at once, beside as many bare processes: started, heard to the last line, killed; and what their
//! supervisor keeps of them.
//!
//! ```sh
//! cargo run --release -p axiom-sandbox --example crowd -- [ROUNDS] [TASKS]
//! ```
//!
//! Each task says lines with numbers and waits. All of them live when the last line of the last has been read; a line that is
//! missing, doubled or out of order is counted as wrong. Then each shim is asked to kill, and the round ends with the last end.
//! One JSON line is printed for each round, one for sandboxes that were killed without shims, and one for what was left.

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::error::Error;
use std::ffi::CString;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::{spawn, time};
use axiom_sandbox::confine::{self, Mount, Network, Plan, RootView, System};
use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, SpawnerOptions};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::spawner::{self, Running};
use axiom_sandbox::spec::{Executor, Grants, Spec};
use axiom_sandbox::wire::Request;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

type Fault = Box<dyn Error + Send + Sync>;

const LINES: u32 = 10;
/// Says its lines, and lives until it is killed or nobody is there to say anything.
const SCRIPT: &str = "n=0; while [ $n -lt 10 ]; do echo \"$0 $n\"; n=$((n+1)); done; read wait";
/// Tasks that are being started at the same time.
const STARTERS: usize = 8;

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("--spawner") {
        // In a process with a single thread: before there is a runtime.
        let teller = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        return Ok(spawner::serve(UnixStream::from(teller))?);
    }
    let rounds: u32 = first.map_or(Ok(5), |rounds| rounds.parse())?;
    let tasks: u32 = arguments.next().map_or(Ok(1000), |tasks| tasks.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(rounds, tasks))
}

async fn measure(rounds: u32, tasks: u32) -> Result<(), Fault> {
    let folder = tempfile::tempdir()?;
    let spawner = Arc::new(Spawner::new(SpawnerOptions {
        program: std::env::current_exe()?,
        arguments: vec!["--spawner".to_owned()],
    }));
    // Buffers and tables reach their size first.
    round(&spawner, &folder.path().join("first"), tasks).await?;
    let before = Held::now()?;
    for number in 0..rounds {
        let bare = bare(tasks)?;
        let round = round(&spawner, &folder.path().join(number.to_string()), tasks).await?;
        let line = serde_json::json!({
            "tasks": tasks,
            "bare_ready_ms": millis(bare.ready),
            "bare_kill_ms": millis(bare.kill),
            "ready_ms": millis(round.ready),
            "kill_ms": millis(round.kill),
            "wrong": round.wrong,
        });
        println!("{line}");
    }
    let after = Held::now()?;
    // Last, because the kernel takes their networks apart for a while after.
    println!(
        "{}",
        serde_json::json!({ "walls_kill_ms": millis(walls(tasks)?) })
    );
    let line = serde_json::json!({
        "rounds": rounds,
        "descriptors_grown": i64::from(after.descriptors) - i64::from(before.descriptors),
        "resident_grown_bytes": (after.resident_bytes - before.resident_bytes).max(0),
        "resident_bytes": after.resident_bytes,
    });
    println!("{line}");
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// As many processes with pipes of their own; their lines are read and then they are killed.
fn bare(tasks: u32) -> Result<Bare, Fault> {
    let began = time::now();
    let mut children = Vec::new();
    for number in 0..tasks {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        children.push(child);
    }
    for child in &mut children {
        read(child)?;
    }
    let ready = began.elapsed();
    let began = time::now();
    for child in &mut children {
        child.kill()?;
    }
    for child in &mut children {
        child.wait()?;
    }
    let kill = began.elapsed();
    Ok(Bare { ready, kill })
}

/// As many sandboxes, with nobody who holds them or hears of them: what the kernel takes to end them, one request after the other
/// and then one end after the other.
fn walls(tasks: u32) -> Result<Duration, Fault> {
    let system = System::standard()?;
    system.lay_out()?;
    let mut root = RootView::new(system);
    let folder = PathBuf::from("/var/tmp");
    root.mounts.push(Mount {
        source: folder.clone(),
        target: folder,
        writable: true,
    });
    let mut plan = Plan::new(root);
    (plan.network, plan.ends_with_parent) = (Network::None, true);
    let mut children = Vec::new();
    for _ in 0..tasks {
        let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let stderr = stdout.try_clone()?;
        let argv = ["/bin/sh", "-c", "read wait"].map(CString::new);
        let argv = argv.into_iter().collect::<Result<_, _>>()?;
        let command = confine::Command::new(argv, [stdin, stdout, stderr]);
        children.push((confine::spawn(&plan, &command)?, input, output));
    }
    let began = time::now();
    for (child, ..) in &children {
        rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL)?;
    }
    for (child, ..) in &children {
        child.wait()?;
    }
    Ok(began.elapsed())
}

struct Bare {
    ready: Duration,
    kill: Duration,
}

fn read(child: &mut Child) -> Result<(), Fault> {
    let output = child.stdout.as_mut().ok_or("no output")?;
    let lines = BufReader::new(output).lines().take(LINES as usize);
    match lines.filter(Result::is_ok).count() {
        10 => Ok(()),
        count => Err(format!("a bare process said {count} lines").into()),
    }
}

struct Round {
    /// From the first start to the last line of the last task.
    ready: Duration,
    kill: Duration,
    wrong: u32,
}

/// A task that is watched, and what it has said.
struct Watched {
    number: u32,
    running: Running,
    attached: Attached,
    said: Vec<u8>,
}

async fn round(spawner: &Arc<Spawner>, folder: &Path, tasks: u32) -> Result<Round, Fault> {
    let began = time::now();
    let starters: Vec<_> = (0..STARTERS)
        .map(|first| {
            let (spawner, folder) = (Arc::clone(spawner), folder.to_owned());
            let numbers = (0..tasks).skip(first).step_by(STARTERS);
            spawn("starter", async move { start(&spawner, &folder, numbers).await })
        })
        .collect();
    let mut watched = Vec::new();
    for starter in starters {
        watched.extend(starter.join().await.ok_or("a starter panicked")??);
    }
    let mut wrong = 0;
    for task in &mut watched {
        wrong += u32::from(!task.hear().await?);
    }
    let ready = began.elapsed();

    let began = time::now();
    for task in &mut watched {
        let why = "the round is over".to_owned();
        task.attached
            .ask(Request::Kill { why })
            .map_err(|_| "a shim takes no request")?;
    }
    for task in &mut watched {
        wrong += u32::from(!task.is_killed().await?);
    }
    let kill = began.elapsed();
    // Folders stay until the end: ext4 looks at each file that was just removed before it makes another.
    Ok(Round { ready, kill, wrong })
}

async fn start(
    spawner: &Spawner,
    folder: &Path,
    numbers: impl Iterator<Item = u32>,
) -> Result<Vec<Watched>, Fault> {
    let mut watched = Vec::new();
    for number in numbers {
        let spec = spec(number);
        let running = spawner.start(folder, &spec).await?;
        watched.push(Watched {
            number,
            running,
            attached: Attached::open(&folder.join(&spec.id)).await?,
            said: Vec::new(),
        });
    }
    Ok(watched)
}

fn spec(number: u32) -> Spec {
    let argv = ["/bin/sh", "-c", SCRIPT].map(str::to_owned);
    Spec {
        id: format!("t{number}"),
        argv: argv.into_iter().chain([number.to_string()]).collect(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        folder: PathBuf::from("/var/tmp"),
        terminal: None,
        limits: Limits::default(),
        executor: Executor::Sandbox,
        grants: Grants::default(),
        spool_bytes: 1 << 20,
    }
}

impl Watched {
    /// Until it has said all its lines; whether they were the right ones.
    async fn hear(&mut self) -> Result<bool, Fault> {
        while self.said.iter().filter(|byte| **byte == b'\n').count() < LINES as usize {
            match self.attached.next().await? {
                Event::Output { bytes, .. } => self.said.extend_from_slice(&bytes),
                Event::Ended(_) | Event::Damaged { .. } => return Ok(false),
                Event::Reply(_) | Event::Room => {}
            }
        }
        let expected: String = (0..LINES)
            .map(|line| format!("{} {line}\n", self.number))
            .collect();
        Ok(self.said == expected.as_bytes())
    }

    /// Until its end is told; whether it was our kill, and its first process is gone.
    async fn is_killed(&mut self) -> Result<bool, Fault> {
        loop {
            if let Event::Ended(end) = self.attached.next().await? {
                let killed = matches!(end, End::Exit(exit) if matches!(exit.how, How::Killed { .. }));
                return Ok(killed && !Path::new(&format!("/proc/{}", self.running.command)).exists());
            }
        }
    }
}

/// What this process holds.
struct Held {
    descriptors: u32,
    resident_bytes: i64,
}

impl Held {
    fn now() -> Result<Held, Fault> {
        let pages = fs_err::read_to_string("/proc/self/statm")?;
        let pages: i64 = pages.split_whitespace().nth(1).ok_or("no statm")?.parse()?;
        Ok(Held {
            descriptors: u32::try_from(fs_err::read_dir("/proc/self/fd")?.count())?,
            resident_bytes: pages * 4096,
        })
    }
}
