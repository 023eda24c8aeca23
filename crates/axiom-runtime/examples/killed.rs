//! A supervisor that is there to be killed, for the test of that. It takes orders on its input, a line each, and answers with a line
//! each:
//!
//! ```text
//! order KEY RESTARTS SCRIPT      task KEY ID       the same key is the same task, whoever asks
//! list                           state ID PHASE CODE ATTEMPT, one for each task, and then: listed
//! close                          it ends, and leaves what runs
//! ```

#![allow(clippy::print_stdout, reason = "it answers on its output")]

use std::error::Error;
use std::io::BufRead as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axiom_events::disk::Machine;
use axiom_events::sample::Policy;
use axiom_events::{Log, Options as LogOptions};
use axiom_runtime::order::{Order, Pause, Restart, Times, When, Who};
use axiom_runtime::supervisor::{Options, Recording, Supervisor};
use axiom_sandbox::handle::SpawnerOptions;
use axiom_sandbox::spec::{Executor, Spec};

/// Fewer than there are orders, so that some wait.
const RUNNING_MAX: usize = 120;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let word = std::env::args().nth(1).ok_or("say where, or `spawner`")?;
    if word == "spawner" {
        let teller = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        return Ok(axiom_sandbox::spawner::serve(teller)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(Path::new(&word)))
}

async fn serve(dir: &Path) -> Result<(), Failed> {
    let log = Log::open(LogOptions::new(dir.join("events")), Arc::new(Machine))?;
    let spawner = SpawnerOptions {
        program: std::env::current_exe()?,
        arguments: vec!["spawner".to_owned()],
    };
    let mut options = Options::new(dir.join("tasks"), spawner);
    options.schedule.budget.tasks = RUNNING_MAX;
    options.schedule.budget.memory_bytes = 1 << 50;
    options.schedule.group.running_max = RUNNING_MAX;
    options.schedule.tenant.running_max = RUNNING_MAX;
    options.recording = Some(Recording {
        log: log.clone(),
        sample: Policy {
            kinds: Vec::new(),
            ..Policy::default()
        },
        lines: true,
    });
    let supervisor = Supervisor::start(options)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["order", key, restarts, script] => {
                let id = supervisor.submit(order(dir, key, restarts.parse()?, script))?;
                println!("task {key} {id}");
            }
            ["list"] => {
                for view in supervisor.list() {
                    let code = view.ending.as_ref().map_or(-1, |ending| i32::from(ending.code()));
                    println!("state {} {} {code} {}", view.id, view.phase.name(), view.attempt);
                }
                println!("listed");
            }
            _ => break,
        }
    }
    supervisor.close().await;
    log.close();
    Ok(())
}

fn order(dir: &Path, key: &str, restarts: u32, script: &str) -> Order {
    let spec = Spec {
        id: String::new(),
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        folder: dir.to_owned(),
        terminal: None,
        limits: Default::default(),
        executor: Executor::Process,
        grants: Default::default(),
        spool_bytes: 1 << 20,
    };
    Order {
        key: Some(key.to_owned()),
        restart: Restart {
            when: if restarts > 0 {
                When::OnFailure
            } else {
                When::Never
            },
            times: Times(restarts),
            pause: Pause(Duration::from_millis(50)),
            ..Restart::default()
        },
        ..Order::new(spec, Who::new("a test", ""))
    }
}
