//! The load client: closed loop (each connection sends when it has its answer) and open loop (a clock decides).
//!
//! In an open loop the latency of a request counts from the moment the clock meant it to be sent, so that a server
//! that stalls cannot hide the requests that had to wait for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;

use crate::{
    connection::Connection,
    measured::{Measured, empty_histogram},
    process,
    request::{self, Dialect, Request, Work},
};

/// One measurement.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    pub(crate) work: Work,
    pub(crate) connections: usize,
    /// Requests per second over all connections; `None` for a closed loop.
    pub(crate) rate: Option<f64>,
    /// Load before the window: pools fill, caches warm, allocators grow.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// The processes whose CPU time and memory are read.
    pub(crate) pids: Vec<u32>,
}

/// Runs the load and waits for its end.
///
/// # Errors
/// No session could be opened, or a measured process is gone.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Measured> {
    // One thread: a second one would take the core of the server that is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(drive(plan))
}

async fn drive(plan: &Plan) -> anyhow::Result<Measured> {
    let shared = Arc::new(Shared::new());
    let intended = plan.rate.map(|rate| Intended::start(rate, Arc::clone(&shared)));
    let mut clients = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let client = Client::open(plan).await.context("failed to open a session")?;
        clients.push(tokio::spawn(client.work(
            plan.clone(),
            Arc::clone(&shared),
            intended.clone(),
        )));
    }

    tokio::time::sleep(plan.warm_up).await;
    let (cpu_before, start) = (process::cpu(&plan.pids)?, Instant::now());
    shared.set(Phase::Measure);
    tokio::time::sleep(plan.window).await;
    shared.set(Phase::End);
    let (cpu_after, window) = (process::cpu(&plan.pids)?, start.elapsed());
    let rss_bytes = process::rss_bytes(&plan.pids)?;

    let unanswered = end(clients).await;
    let mut tally = shared
        .tally
        .lock()
        .expect("no client panics while it holds the tally")
        .clone();
    tally.errors += unanswered + intended.map_or(0, |intended| intended.missed());
    Ok(Measured {
        requests: tally.requests,
        errors: tally.errors,
        window,
        latency: tally.latency,
        cpu: cpu_after.saturating_sub(cpu_before),
        rss_bytes,
    })
}

/// How many clients still waited for an answer after a generous time.
async fn end(clients: Vec<tokio::task::JoinHandle<()>>) -> u64 {
    const PATIENCE: Duration = Duration::from_secs(10);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut unanswered = 0;
    for mut client in clients {
        if tokio::time::timeout_at(deadline, &mut client).await.is_err() {
            client.abort();
            unanswered += 1;
        }
    }
    unanswered
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    WarmUp,
    Measure,
    End,
}

#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    tally: Mutex<Tally>,
}

#[derive(Debug, Clone)]
struct Tally {
    requests: u64,
    errors: u64,
    latency: Histogram<u64>,
}

impl Shared {
    fn new() -> Shared {
        let tally = Tally {
            requests: 0,
            errors: 0,
            latency: empty_histogram(),
        };
        Shared {
            phase: AtomicU8::new(Phase::WarmUp as u8),
            tally: Mutex::new(tally),
        }
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// Right answers count within the window, wrong ones always.
    fn count(&self, right: bool, latency: Duration) {
        let mut tally = self
            .tally
            .lock()
            .expect("no client panics while it holds the tally");
        if !right {
            tally.errors += 1;
        } else if self.is(Phase::Measure) {
            tally.requests += 1;
            tally
                .latency
                .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// One connection with its session.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    request: Request,
}

impl Client {
    /// Connects, and for a legacy server opens a session.
    pub(crate) async fn open(plan: &Plan) -> anyhow::Result<Client> {
        let mut connection = Connection::open(plan.address).await?;
        let host = plan.address.to_string();
        let session = if plan.dialect.modern {
            None
        } else {
            handshake(&mut connection, &plan.dialect, &host).await?
        };
        let request = Request::new(plan.work, &plan.dialect, &host, session.as_deref());
        Ok(Client { connection, request })
    }

    async fn work(mut self, plan: Plan, shared: Arc<Shared>, intended: Option<Intended>) {
        while !shared.is(Phase::End) {
            let sent = match &intended {
                None => Instant::now(),
                Some(intended) => match intended.next().await {
                    Some(instant) => instant,
                    None => return,
                },
            };
            let right = self.call().await;
            shared.count(right == Some(true), sent.elapsed());
            if right.is_none() {
                match Client::open(&plan).await {
                    Ok(client) => self = client,
                    Err(_) => return,
                }
            }
        }
    }

    /// Whether the answer was right; `None` if the connection broke.
    async fn call(&mut self) -> Option<bool> {
        let response = self.connection.call(self.request.next()).await.ok()?;
        Some(response.status == 200 && self.request.is_answered_by(response.body))
    }
}

/// Opens a legacy session and returns its id, if the server minted one.
///
/// # Errors
/// The connection broke, or an answer was not a success.
pub(crate) async fn handshake(
    connection: &mut Connection,
    dialect: &Dialect,
    host: &str,
) -> anyhow::Result<Option<String>> {
    let answer = connection.call(&request::initialize(dialect, host)).await?;
    let body = String::from_utf8_lossy(answer.body);
    anyhow::ensure!(
        answer.status == 200,
        "initialize was answered with {}: {body}",
        answer.status
    );
    anyhow::ensure!(
        body.contains("\"protocolVersion\""),
        "initialize was answered with {body}"
    );
    let session = answer.header("mcp-session-id");
    let answer = connection
        .call(&request::initialized(dialect, host, session.as_deref()))
        .await?;
    anyhow::ensure!(
        answer.status == 202,
        "notifications/initialized was answered with {}",
        answer.status
    );
    Ok(session)
}

/// The clock of an open loop: a thread of its own, because a sleeping thread wakes up within 60 us and tokio's timers
/// within a millisecond.
#[derive(Debug, Clone)]
struct Intended {
    instants: Arc<tokio::sync::Mutex<mpsc::Receiver<Instant>>>,
    missed: Arc<std::sync::atomic::AtomicU64>,
}

impl Intended {
    /// Requests that wait for a free connection. More than this, and the rest counts as errors.
    const WAITING_MAX: usize = 1_000_000;

    fn start(rate: f64, shared: Arc<Shared>) -> Intended {
        let (tx, rx) = mpsc::channel(Intended::WAITING_MAX);
        let missed = Arc::default();
        let intended = Intended {
            instants: Arc::new(rx.into()),
            missed: Arc::clone(&missed),
        };
        std::thread::spawn(move || {
            let start = Instant::now();
            let mut number = 0_u32;
            while !shared.is(Phase::End) {
                let instant = start + Duration::from_secs_f64(1.0 / rate) * number;
                number += 1;
                std::thread::sleep(instant.saturating_duration_since(Instant::now()));
                if tx.try_send(instant).is_err() {
                    missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        intended
    }

    /// When the next request should be sent; it may be long ago.
    async fn next(&self) -> Option<Instant> {
        self.instants.lock().await.recv().await
    }

    fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "load/tests.rs"]
mod tests;
