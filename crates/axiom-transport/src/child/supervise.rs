//! One task per child: it waits for the child's end or brings it about, and sees to it that nothing is left.

use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::Duration;

use axiom_core::channel::{oneshot, watch};
use axiom_core::time;
use tokio::process::Child as Process;

use super::stderr::{LastLines, Stderr};
use super::tree::{Signal, Tree};
use crate::lines::Cause;
use crate::pipe::{CloseReason, Closed};

/// How long after its end a child's last words may still arrive. Only something that inherited its stderr makes us wait.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(50);

/// How long SIGKILL may take. The kernel needs a millisecond, unless a process hangs in a device or a network disk.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The first and the longest pause between two looks at a tree that is ending.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// How often orphans that ended while their server runs on are collected.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// What is known about a child's end. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    phase: watch::Receiver<Phase>,
    last_lines: LastLines,
}

#[derive(Debug, Clone, Copy, Default)]
struct Phase {
    /// We ended it; otherwise it ended by itself.
    stopped: bool,
    status: Option<ExitStatus>,
    /// Nothing of its tree is left.
    gone: bool,
}

impl Fate {
    pub(super) fn new(last_lines: LastLines) -> (Fate, Verdict) {
        let (verdict, phase) = watch::channel(Phase::default());
        (Fate { phase, last_lines }, Verdict(verdict))
    }

    pub(super) fn stderr(&self) -> Vec<String> {
        self.last_lines.get()
    }

    pub(super) async fn exited(&self) -> ExitStatus {
        self.wait(|phase| phase.status.is_some())
            .await
            .status
            .unwrap_or_else(killed)
    }

    pub(super) async fn gone(&self) {
        self.wait(|phase| phase.gone).await;
    }

    /// A supervisor that ended without a verdict was dropped with its runtime, and killed the tree while dropping.
    async fn wait(&self, is_reached: impl Fn(&Phase) -> bool) -> Phase {
        let mut phase = self.phase.clone();
        let reached = phase.wait_for(is_reached).await.map(|phase| *phase);
        reached.unwrap_or(Phase {
            stopped: true,
            status: Some(killed()),
            gone: true,
        })
    }
}

fn killed() -> ExitStatus {
    ExitStatus::from_raw(Signal::Kill.number())
}

impl Cause for Fate {
    fn ended(&self) -> Pin<Box<dyn Future<Output = Closed> + Send>> {
        let fate = self.clone();
        Box::pin(async move {
            let phase = fate.wait(|phase| phase.status.is_some()).await;
            let status = phase.status.unwrap_or_else(killed);
            let (code, signal) = (status.code(), status.signal());
            let (reason, detail) = match (phase.stopped, code, signal) {
                (true, ..) => (CloseReason::Stopped, "the server was stopped".to_owned()),
                (false, Some(code), _) => (
                    CloseReason::Exited {
                        code: Some(code),
                        signal,
                    },
                    format!("the server exited with code {code}"),
                ),
                (false, None, _) => (
                    CloseReason::Exited { code, signal },
                    format!("the server was ended by signal {}", signal.unwrap_or_default()),
                ),
            };
            Closed {
                reason,
                detail,
                stderr: fate.stderr(),
            }
        })
    }
}

/// The supervisor's side of a [`Fate`].
#[derive(Debug)]
pub(super) struct Verdict(watch::Sender<Phase>);

/// Owns the process and its tree until both are gone. Dropped before that, it kills the tree at once.
#[derive(Debug)]
pub(super) struct Supervisor {
    // Before the process: a dropped tree kills, and the dropped process then collects.
    tree: Tree,
    process: Process,
    grace: Duration,
    stderr: Stderr,
    verdict: Verdict,
}

impl Supervisor {
    pub(super) fn new(
        process: Process,
        tree: Tree,
        grace: Duration,
        stderr: Stderr,
        verdict: Verdict,
    ) -> Self {
        Supervisor {
            process,
            tree,
            grace,
            stderr,
            verdict,
        }
    }

    /// Starts supervising; dropping what it returns asks to stop the child.
    pub(super) fn start(self, close_stdin: impl Fn() + Send + Sync + 'static) -> oneshot::Sender<()> {
        let (stop, asked) = oneshot::channel();
        axiom_core::spawn("supervise child", self.run(asked, Box::new(close_stdin)));
        stop
    }

    async fn run(mut self, asked: oneshot::Receiver<()>, close_stdin: Box<dyn Fn() + Send + Sync>) {
        if self.runs_until(asked).await {
            self.verdict.0.send_modify(|phase| phase.stopped = true);
            // Who descends from whom is known best while all are alive.
            self.tree.remember().await;
            close_stdin();
            self.exits_within(self.grace).await;
        }
        for (signal, wait) in [(Signal::Term, self.grace), (Signal::Kill, KILL_WAIT)] {
            if self.is_gone_after(signal, wait).await {
                break;
            }
        }
        self.tree.close();
        self.verdict.0.send_modify(|phase| phase.gone = true);
    }

    /// Waits for the child's end or the request to stop; true for the latter.
    async fn runs_until(&mut self, mut asked: oneshot::Receiver<()>) -> bool {
        loop {
            tokio::select! {
                // cancel-safe: the status stays with the process.
                status = self.process.wait() => {
                    self.publish(status).await;
                    return false;
                }
                // cancel-safe: a dropped sender stays dropped.
                _dropped = &mut asked => return true,
                // cancel-safe: a pause holds nothing.
                () = time::sleep(SWEEP_PERIOD) => self.tree.sweep().await,
            }
        }
    }

    async fn exits_within(&mut self, limit: Duration) {
        if let Ok(status) = time::timeout(limit, self.process.wait()).await {
            self.publish(status).await;
        }
    }

    async fn publish(&mut self, status: std::io::Result<ExitStatus>) {
        if self.verdict.0.borrow().status.is_some() {
            return;
        }
        let status = status.unwrap_or_else(|error| {
            tracing::error!(pid = self.tree.pid(), %error, "failed to wait for a child");
            killed()
        });
        self.tree.root_ended();
        let _complete = time::timeout(LAST_WORDS_WAIT, self.stderr.ended()).await.is_ok();
        tracing::info!(pid = self.tree.pid(), %status, "child ended");
        self.verdict.0.send_modify(|phase| phase.status = Some(status));
    }

    /// Signals whatever is left of the tree, and looks again until nothing is left or the time is over.
    async fn is_gone_after(&mut self, signal: Signal, limit: Duration) -> bool {
        let deadline = time::now() + limit;
        let mut pause = LOOK_PAUSE_MIN;
        loop {
            // Each time: a process may have started another one since.
            let left = self.tree.signal(signal).await;
            if left == 0 && self.verdict.0.borrow().status.is_some() {
                return true;
            }
            if time::now() >= deadline {
                let pid = self.tree.pid();
                tracing::warn!(pid, left, signal = ?signal, limit_ms = limit.as_millis(), "processes outlive it");
                return false;
            }
            self.exits_within(pause).await;
            if self.verdict.0.borrow().status.is_some() {
                time::sleep(pause).await;
            }
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
    }
}
