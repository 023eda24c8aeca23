//! A folder of tasks, and one task as its supervisor has it.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, SpawnerOptions};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::spec::{Executor, Grants, Spec};
use axiom_sandbox::wire::{Reply, Request};
use tempfile::TempDir;

/// Enough for a slow program on a busy machine, and an end for what does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bed {
    pub(crate) tasks: TempDir,
    /// Where tasks run.
    pub(crate) work: TempDir,
    pub(crate) spawner: Spawner,
}

pub(crate) struct Task {
    attached: Attached,
    output: String,
    pub(crate) shim: i32,
}

/// The other role of this program, with so many slots.
pub(crate) fn serve(slots: &str) -> ExitCode {
    let teller = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    axiom_sandbox::spawner::serve_with(teller, slots.parse().unwrap()).unwrap();
    ExitCode::SUCCESS
}

/// Runs it as an async program.
pub(crate) fn block_on(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(case);
}

impl Bed {
    pub(crate) fn new() -> Bed {
        Bed::with_slots(0)
    }

    /// Whose spawner has so many sandboxes in store.
    pub(crate) fn with_slots(slots: usize) -> Bed {
        Bed {
            tasks: tempfile::tempdir().unwrap(),
            work: tempfile::tempdir().unwrap(),
            spawner: Spawner::new(SpawnerOptions {
                program: std::env::current_exe().unwrap(),
                arguments: vec!["--spawner".to_owned(), slots.to_string()],
            }),
        }
    }

    pub(crate) fn spec(&self, executor: Executor, argv: &[&str]) -> Spec {
        let nanos = time::unix_nanos();
        Spec {
            id: format!("t-{nanos:x}"),
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            env: environment(),
            folder: self.work.path().canonicalize().unwrap(),
            terminal: None,
            limits: Limits::default(),
            executor,
            grants: Grants::default(),
            spool_bytes: 64 << 20,
        }
    }

    pub(crate) async fn start(&self, spec: &Spec) -> Task {
        let running = self.spawner.start(self.tasks.path(), spec).await;
        let running = running.unwrap_or_else(|error| panic!("{error} {:?}", error.hint()));
        Task {
            shim: running.shim,
            ..self.found(&spec.id).await
        }
    }

    /// One that was started.
    pub(crate) async fn found(&self, id: &str) -> Task {
        Task {
            attached: Attached::open(&self.tasks.path().join(id)).await.unwrap(),
            output: String::new(),
            shim: 0,
        }
    }

    /// Why it is not started, with the way out.
    pub(crate) async fn refused(&self, spec: &Spec) -> String {
        let error = self.spawner.start(self.tasks.path(), spec).await.unwrap_err();
        format!("{error}; hint: {}", error.hint().unwrap_or_default())
    }
}

impl Task {
    pub(crate) fn put(&mut self, input: &str) {
        assert!(self.attached.put(input.as_bytes()));
        self.attached.ask(Request::EndInput).unwrap();
    }

    pub(crate) fn ask(&mut self, request: Request) {
        self.attached.ask(request).unwrap();
    }

    /// What is answered, past output.
    pub(crate) async fn reply(&mut self) -> Reply {
        let reply = time::timeout(PATIENCE, self.attached.reply()).await;
        reply.expect("no answer").unwrap().expect("it has ended")
    }

    /// Its output, as soon as that has this in it.
    pub(crate) async fn until(&mut self, text: &str) -> &str {
        while !self.output.contains(text) {
            if let Some(end) = self.event().await {
                panic!("it ended without {text:?}: {end:?} {}", self.output);
            }
        }
        &self.output
    }

    /// How it ended, and all it said.
    pub(crate) async fn end(mut self) -> (How, String) {
        loop {
            match self.event().await {
                Some(End::Exit(exit)) => {
                    assert_eq!(exit.output_bytes, self.output.len() as u64);
                    return (exit.how, self.output);
                }
                Some(End::Lost) => panic!("it is lost; {}", self.output),
                None => {}
            }
        }
    }

    /// Until its shim is gone, without an end.
    pub(crate) async fn lost(mut self) {
        loop {
            match self.event().await {
                Some(End::Lost) => return,
                Some(End::Exit(exit)) => panic!("{exit:?}"),
                None => {}
            }
        }
    }

    async fn event(&mut self) -> Option<End> {
        let event = time::timeout(PATIENCE, self.attached.next()).await;
        match event.expect("nothing happens").unwrap() {
            Event::Output { bytes, .. } => self.output.push_str(&String::from_utf8(bytes).unwrap()),
            Event::Ended(end) => return Some(end),
            Event::Damaged { at, why } => panic!("{at}: {why}"),
            Event::Room | Event::Reply(_) => {}
        }
        None
    }
}

pub(crate) fn environment() -> BTreeMap<String, String> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    [("PATH", path), ("LC_ALL", "C.UTF-8")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for it, with an end.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = time::now() + PATIENCE;
    while !is_so() {
        assert!(time::now() < until, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Code of Python that leaves a daemon behind: forked twice, in a session of its own. Prints its process's number.
pub(crate) const DAEMON: &str = "
import os, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, str(os.getpid()).encode())
        for fd in range(3):
            os.close(fd)
        time.sleep(1000)
    os._exit(0)
print(os.read(read, 20).decode(), flush=True)
";
