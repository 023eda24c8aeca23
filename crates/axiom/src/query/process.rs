//! The query process: started when it is wanted, ended when it is not, started again when it died.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{Receiver, Sender, bounded, oneshot};
use axiom_core::time::{self, Instant};
use axiom_core::{Draining, spawn::blocking};
use axiom_gateway::options::EventsOptions;
use axiom_transport::child::{Child, ChildOptions, spawn_child};
use axiom_transport::pipe::Pipe;
use tokio::sync::Notify;

use super::{BUILD, program};

/// Requests that wait to be told where the process is. It takes a moment to start; then all are told at once.
const WAITING_MAX: usize = 256;
/// How long nobody asks until it is ended. A start takes some 100 ms, and an idle process some tens of MiB.
const IDLE: Duration = Duration::from_secs(300);
/// How long it may take to start: it looks through the newest segment of the log.
const START: Duration = Duration::from_secs(30);
/// A process that lived so long was no failure of starting.
const SOUND: Duration = Duration::from_secs(10);
/// The longest pause between two starts, of which none lasted.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether an answer is still on its way, at the end. The gateway's drain has a deadline, which ends us too.
const HELD_LOOK: Duration = Duration::from_millis(20);
/// Its one line on stdout says where it listens.
const LINE_BYTES_MAX: usize = 4096;

/// Keeps the process.
pub(super) struct Keeper {
    events: EventsOptions,
    /// How its process reaches the object store. Secrets may be in it.
    environment: BTreeMap<String, String>,
    waiting: Receiver<oneshot::Sender<Result<Lease, Reason>>>,
    /// Processes in a row that did not last.
    failures: u32,
    last_reason: Option<String>,
    not_before: Instant,
}

/// Asks where the process is.
#[derive(Debug, Clone)]
pub(super) struct Asking(Sender<oneshot::Sender<Result<Lease, Reason>>>);

/// The process is wanted as long as this is held.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    socket: Arc<Path>,
    held: Arc<Held>,
}

/// What all leases of one process hold.
#[derive(Debug, Default)]
struct Held {
    /// Whoever waited for an answer in vain says so.
    hangs: Notify,
}

/// Why there is no process, and what to do.
#[derive(Debug, Clone)]
pub(super) struct Reason {
    pub(super) message: String,
    pub(super) hint: String,
}

/// One that runs.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Its stdin: it ends when this does.
    _pipe: Pipe,
    socket: Arc<Path>,
    held: Arc<Held>,
    since: Instant,
    used: Instant,
    _folder: Folder,
}

/// A folder for its socket, which is removed with it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Asking {
    pub(super) async fn lease(&self) -> Result<Lease, Reason> {
        let (tx, rx) = oneshot::channel();
        let ending = || Reason {
            message: "the gateway is shutting down".to_owned(),
            hint: "ask again when it is up".to_owned(),
        };
        if self.0.try_send(tx).is_err() {
            return Err(Reason {
                message: format!("{WAITING_MAX} queries wait for the query process already"),
                hint: "try again later".to_owned(),
            });
        }
        rx.await.map_err(|_| ending())?
    }
}

impl Lease {
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    #[allow(clippy::unused_self, reason = "it is about the process of this lease")]
    pub(super) fn why_it_may_end(&self) -> &'static str {
        "a query that needs more memory than it may have ends it, and so does one that computes on when its time is over; ask \
         for less at once. The next query starts it again"
    }

    /// Has the process ended, which does not answer any more, and with it all that it still did. The next query starts another.
    pub(super) fn give_up(&self) {
        self.held.hangs.notify_one();
    }

    /// At this socket, of a process that nobody keeps.
    #[cfg(test)]
    pub(super) fn at(socket: &Path) -> Lease {
        Lease {
            socket: socket.into(),
            held: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(super) async fn given_up(&self) {
        self.held.hangs.notified().await;
    }
}

impl Running {
    /// Lets answers that are on their way come to their end, within the gateway's own limit for that, and ends it.
    async fn finish(self) {
        while Arc::strong_count(&self.held) > 1 {
            time::sleep(HELD_LOOK).await;
        }
        self.child.stop().await;
    }
}

impl Keeper {
    pub(super) fn new(events: &EventsOptions, mut environment: BTreeMap<String, String>) -> (Keeper, Asking) {
        let (tx, rx) = bounded(WAITING_MAX);
        // How it ends without memory is known; where it was then takes seconds to find out and says nothing.
        environment.insert("RUST_BACKTRACE".to_owned(), "0".to_owned());
        let keeper = Keeper {
            events: events.clone(),
            environment,
            waiting: rx,
            failures: 0,
            last_reason: None,
            not_before: time::now(),
        };
        (keeper, Asking(tx))
    }

    pub(super) async fn run(mut self, mut draining: Draining) {
        let mut running: Option<Running> = None;
        let is_kept = self.events.flight_sql.is_some();
        loop {
            if is_kept && running.is_none() {
                // Nobody asks for it here: its clients come to its own address.
                running = tokio::select! {
                    // Dropping it stops a child that is starting.
                    started = self.start_in_time() => started.ok(),
                    // cancel-safe: see Draining::asked.
                    () = draining.asked() => return,
                };
                if running.is_none() {
                    continue;
                }
            }
            tokio::select! {
                // cancel-safe: a message that was not taken stays.
                asked = self.waiting.recv() => {
                    let Some(asked) = asked else { break };
                    let lease = tokio::select! {
                        // Dropping it stops a child that is starting; whoever asked is told that we end.
                        lease = self.lease(&mut running) => lease,
                        // cancel-safe: see Draining::asked.
                        () = draining.asked() => break,
                    };
                    // Whoever asked may have left.
                    let _told = asked.send(lease).is_ok();
                }
                // cancel-safe: see turn.
                turn = turn(running.as_mut(), is_kept) => match (turn, running.take()) {
                    (Turn::Ended(status), Some(gone)) => self.ended(&gone, &status),
                    (Turn::Idle, Some(gone)) => {
                        tracing::info!("nobody asks for queries; their process is ended");
                        gone.child.stop().await;
                    }
                    (Turn::Hung, Some(gone)) => self.hung(gone).await,
                    (_, None) => {}
                },
                // cancel-safe: see Draining::asked.
                () = draining.asked() => break,
            }
        }
        if let Some(running) = running {
            running.finish().await;
        }
    }

    async fn lease(&mut self, running: &mut Option<Running>) -> Result<Lease, Reason> {
        if running.is_none() {
            *running = Some(self.start().await?);
        }
        let running = running.as_mut().expect("it was started");
        running.used = time::now();
        Ok(Lease {
            socket: Arc::clone(&running.socket),
            held: Arc::clone(&running.held),
        })
    }

    async fn start_in_time(&mut self) -> Result<Running, Reason> {
        time::sleep_until(self.not_before).await;
        self.start().await
    }

    async fn start(&mut self) -> Result<Running, Reason> {
        let now = time::now();
        if now < self.not_before {
            let wait = self.not_before - now;
            let why = self.last_reason.as_deref().unwrap_or("it ended");
            return Err(Reason {
                message: format!("the query process cannot be kept running: {why}"),
                hint: format!("it is started again in {} s", wait.as_secs().max(1)),
            });
        }
        match self.spawn().await {
            Ok(running) => Ok(running),
            Err(reason) => {
                tracing::warn!(reason = reason.message, "the query process does not start");
                self.failed(&reason.message);
                Err(reason)
            }
        }
    }

    async fn spawn(&self) -> Result<Running, Reason> {
        let program = program().map_err(|message| Reason {
            message,
            hint: format!("build it with `{BUILD}`"),
        })?;
        let broken = |message: String| Reason {
            message,
            hint: "the gateway's log says more; the files are read by `axiom events` all the same".to_owned(),
        };
        let folder = blocking(Folder::new).join().await;
        let folder = folder
            .ok_or_else(|| broken("making a folder for the query process failed".to_owned()))?
            .map_err(|error| broken(format!("cannot make a folder for the query process: {error}")))?;
        let socket: Arc<Path> = folder.0.join("socket").into();
        let mut command = vec![program.display().to_string(), "serve".to_owned()];
        let dir = self.events.dir.display().to_string();
        command.extend([
            "--dir".to_owned(),
            dir,
            "--socket".to_owned(),
            socket.display().to_string(),
        ]);
        command.extend(["--temp-dir".to_owned(), folder.0.display().to_string()]);
        if let Some(flight) = self.events.flight_sql {
            command.extend(["--flight".to_owned(), flight.to_string()]);
        }
        let options = ChildOptions {
            command,
            env: self.environment.clone(),
            cwd: None,
            message_bytes_max: LINE_BYTES_MAX,
            grace: Duration::from_secs(1),
        };
        let (mut pipe, child) = spawn_child(options)
            .map_err(|error| broken(format!("the query process does not start: {error}")))?;
        match time::timeout(START, pipe.rx.recv()).await {
            Ok(Ok(_listening)) => {}
            Ok(Err(closed)) => return Err(broken(format!("the query process does not start: {closed}"))),
            Err(_) => {
                let message = format!("the query process did not start within {} s", START.as_secs());
                return Err(broken(message));
            }
        }
        let now = time::now();
        Ok(Running {
            child,
            _pipe: pipe,
            socket,
            held: Arc::default(),
            since: now,
            used: now,
            _folder: folder,
        })
    }

    fn ended(&mut self, gone: &Running, status: &std::process::ExitStatus) {
        let words = gone.child.stderr();
        let last = words.iter().rev().find(|line| !line.trim().is_empty());
        let reason = match last {
            Some(line) => format!("it ended with {status}; its last words: {}", line.trim()),
            None => format!("it ended with {status}"),
        };
        tracing::warn!(%status, last_words = last, "the query process ended by itself; the next query starts it again");
        self.lost(gone, &reason);
    }

    /// Ends one that does not answer: by the end of its stdin, by a signal, and by one that nothing withstands.
    async fn hung(&mut self, gone: Running) {
        tracing::warn!("the query process does not answer and is ended; the next query starts it again");
        self.lost(&gone, "it did not answer");
        gone.child.stop().await;
    }

    fn lost(&mut self, gone: &Running, reason: &str) {
        if gone.since.elapsed() >= SOUND {
            self.failures = 0;
        }
        // One that dies once is started at once.
        self.failed(reason);
    }

    /// Puts off the next start, longer each time.
    fn failed(&mut self, reason: &str) {
        self.last_reason = Some(reason.to_owned());
        self.not_before = time::now() + pause(self.failures);
        self.failures = self.failures.saturating_add(1);
    }
}

/// After so many failures: nothing, then a second, doubled up to the longest.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(5)).min(PAUSE_MAX),
    }
}

/// What becomes of a running process by itself.
enum Turn {
    Ended(std::process::ExitStatus),
    /// It was not wanted for long enough.
    Idle,
    /// It does not answer.
    Hung,
}

/// Waits for what becomes of it; for ever if none runs.
///
/// # Cancel safety
/// Safe: the status stays known, and the time goes on.
async fn turn(running: Option<&mut Running>, is_kept: bool) -> Turn {
    let Some(running) = running else {
        return std::future::pending().await;
    };
    let idle = async {
        let mut until = running.used + IDLE;
        loop {
            time::sleep_until(until).await;
            if Arc::strong_count(&running.held) == 1 {
                return;
            }
            until = time::now() + IDLE;
        }
    };
    tokio::select! {
        // cancel-safe: see Child::exited.
        status = running.child.exited() => Turn::Ended(status),
        // cancel-safe: a notice that nobody took stays.
        () = running.held.hangs.notified() => Turn::Hung,
        // cancel-safe: timers.
        () = idle, if !is_kept => Turn::Idle,
    }
}

impl Folder {
    /// A path short enough for a socket, in a folder that nobody else may look into.
    fn new() -> std::io::Result<Folder> {
        use std::os::unix::fs::DirBuilderExt as _;
        let pid = std::process::id();
        for number in 0u32.. {
            let path = std::env::temp_dir().join(format!("axiom-query-{pid}-{number}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(Folder(path)),
            }
        }
        Err(std::io::Error::other("every name is taken"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0).is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let pauses: Vec<u64> = (0..9).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
    }

    /// A process that lives on, whatever is asked of it.
    #[tokio::test]
    async fn one_that_does_not_answer_is_noticed_by_whoever_says_so() {
        let options = ChildOptions {
            command: ["sleep", "600"].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            cwd: None,
            message_bytes_max: LINE_BYTES_MAX,
            grace: Duration::from_millis(10),
        };
        let (pipe, child) = spawn_child(options).unwrap();
        let now = time::now();
        let mut running = Running {
            child,
            _pipe: pipe,
            socket: Path::new("socket").into(),
            held: Arc::default(),
            since: now,
            used: now,
            _folder: Folder::new().unwrap(),
        };
        let lease = Lease {
            socket: Arc::clone(&running.socket),
            held: Arc::clone(&running.held),
        };
        let one = time::timeout(Duration::from_millis(50), turn(Some(&mut running), false)).await;
        assert!(one.is_err(), "nothing becomes of it by itself");
        // Whoever looks away in between does not miss it.
        lease.give_up();
        assert!(matches!(turn(Some(&mut running), false).await, Turn::Hung));
        let (mut keeper, _asking) = Keeper::new(&EventsOptions::new("none".into()), BTreeMap::new());
        keeper.hung(running).await;
        assert_eq!(keeper.last_reason.as_deref(), Some("it did not answer"));
    }
}
