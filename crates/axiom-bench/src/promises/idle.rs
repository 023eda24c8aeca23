//! P9: how fast the gateway starts, and what it holds while nothing happens.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use axiom_testkit::echo::Eras;

use super::{Finding, Setup, path::http};
use crate::{
    connection::Connection,
    load::{self, Plan, handshake},
    measured::{as_f64, median},
    process,
    request::Work,
    subject::{self, Folder, Subject},
};

/// Idle sessions whose memory is measured.
const SESSIONS: u32 = 10_000;
/// Connections that open them; each is closed again before the memory is read.
const CONNECTIONS: u32 = 32;

pub(super) fn start_and_memory(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let direct = subject::echo(&folder, Eras::Legacy)?;
    let starts = (0..setup.effort.starts).map(|_| start_ms(setup, &folder, &direct));
    let starts = starts.collect::<anyhow::Result<Vec<f64>>>()?;
    let fastest = starts.iter().copied().fold(f64::INFINITY, f64::min);
    let start = Finding {
        id: "P9-start",
        value: median(starts),
        errors: 0,
        detail: format!(
            "median of {} starts, fastest {fastest:.1} ms",
            setup.effort.starts
        ),
    };
    let (rss, session) = memory(setup, &folder, &direct)?;
    Ok(vec![start, rss, session])
}

/// Milliseconds from the start of the process to its answer to `initialize`.
fn start_ms(setup: &Setup, folder: &Folder, upstream: &Subject) -> anyhow::Result<f64> {
    let mut command = subject::axiom_command(folder, &setup.axiom, &http(upstream))?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let answered = subject::listening_url(&mut child).and_then(|url| first_answer(&url));
    let elapsed = start.elapsed();
    process::stop(&mut child, Duration::from_secs(3));
    answered?;
    Ok(elapsed.as_secs_f64() * 1000.0)
}

fn first_answer(url: &str) -> anyhow::Result<()> {
    let (address, path) = subject::parse_url(url)?;
    let dialect = crate::request::Dialect {
        modern: false,
        path,
        prefix: String::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let answer = connection
            .call(&crate::request::initialize(&dialect, &address.to_string()))
            .await?;
        anyhow::ensure!(
            answer.status == 200,
            "initialize was answered with {}",
            answer.status
        );
        Ok(())
    })
}

fn memory(setup: &Setup, folder: &Folder, upstream: &Subject) -> anyhow::Result<(Finding, Finding)> {
    let axiom = subject::axiom(folder, &setup.axiom, &http(upstream))?;
    open_sessions(&axiom, 1, 1)?;
    let idle = settled_rss(&axiom)?;
    let detail = "resident, after one session, nothing in flight".to_owned();
    let rss = Finding {
        id: "P9-rss",
        value: as_f64(idle) / 1e6,
        errors: 0,
        detail,
    };

    // Buffers, arenas and pools reach their size first, so that only the sessions are new.
    let warm_up = Plan {
        address: axiom.address,
        dialect: axiom.dialect(false),
        work: Work::Echo,
        connections: usize::try_from(CONNECTIONS)?,
        rate: None,
        warm_up: Duration::ZERO,
        window: Duration::from_millis(500),
        pids: axiom.pids(),
    };
    let errors = load::run(&warm_up)?.errors;
    let before = settled_rss(&axiom)?;
    open_sessions(&axiom, SESSIONS, CONNECTIONS)?;
    let after = settled_rss(&axiom)?;
    let grown = after.saturating_sub(before);
    let detail = format!(
        "{SESSIONS} sessions, {:.1} MB to {:.1} MB",
        as_f64(before) / 1e6,
        as_f64(after) / 1e6
    );
    let session = Finding {
        id: "P9-session",
        value: as_f64(grown) / f64::from(SESSIONS),
        errors,
        detail,
    };
    Ok((rss, session))
}

/// Opens sessions and leaves them open, while their connections are closed.
fn open_sessions(axiom: &Subject, sessions: u32, connections: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for client in 0..connections {
            let share = sessions / connections + u32::from(client < sessions % connections);
            let (dialect, address) = (axiom.dialect(false), axiom.address);
            clients.push(tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                for _ in 0..share {
                    handshake(&mut connection, &dialect, &address.to_string()).await?;
                }
                anyhow::Ok(())
            }));
        }
        for client in clients {
            client.await??;
        }
        Ok(())
    })
}

/// Resident memory once it has not changed for half a second, or after five.
fn settled_rss(axiom: &Subject) -> anyhow::Result<u64> {
    const STEP: Duration = Duration::from_millis(100);
    let mut last = process::rss_bytes(&axiom.pids())?;
    let mut unchanged = 0;
    for _ in 0..50 {
        std::thread::sleep(STEP);
        let now = process::rss_bytes(&axiom.pids())?;
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        if unchanged == 5 {
            break;
        }
    }
    Ok(last)
}
