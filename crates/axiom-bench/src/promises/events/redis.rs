//! The peer: a Redis of our own that writes nothing to the disk, and a client that does not wait between requests.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::measured::as_f64;
use crate::process;
use crate::promises::agents::Corpus;

/// Requests on their way: a client that pipelines more does not get faster.
const PIPELINED: u64 = 1000;

/// Events a second, each an XADD of its own.
pub(super) fn xadd(events: u64) -> anyhow::Result<f64> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("redis-server does not start; cargo xtask setup installs it")?;
    let rate = measure(&mut server, port, events);
    process::stop(&mut server, Duration::from_secs(3));
    rate
}

fn measure(server: &mut Child, port: u16, events: u64) -> anyhow::Result<f64> {
    let mut stream = connect(server, port)?;
    stream.set_nodelay(true)?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let requests = requests(events)?;
    let mut reply = String::new();
    let start = Instant::now();
    for pipelined in &requests {
        stream.write_all(&pipelined.bytes)?;
        // Two lines each: the length of the new id, and the id.
        for _ in 0..pipelined.requests * 2 {
            reply.clear();
            replies.read_line(&mut reply)?;
            anyhow::ensure!(!reply.starts_with('-'), "Redis says {reply}");
        }
    }
    Ok(as_f64(events) / start.elapsed().as_secs_f64())
}

struct Pipelined {
    requests: u64,
    bytes: Vec<u8>,
}

/// Made beforehand: only Redis is measured, not this client.
fn requests(events: u64) -> anyhow::Result<Vec<Pipelined>> {
    let mut corpus = Corpus::new(0);
    let mut left = events;
    let mut all = Vec::new();
    while left > 0 {
        let requests = left.min(PIPELINED);
        left -= requests;
        let mut bytes = Vec::new();
        for event in corpus.batch(requests)?.events() {
            let time = event.time.to_string();
            let fields: [&[u8]; 13] = [
                b"XADD",
                b"events",
                b"*",
                b"time",
                time.as_bytes(),
                b"task",
                event.task.as_bytes(),
                b"kind",
                event.kind.as_bytes(),
                b"level",
                event.level.name().as_bytes(),
                b"body",
                event.body,
            ];
            write!(bytes, "*{}\r\n", fields.len())?;
            for field in fields {
                write!(bytes, "${}\r\n", field.len())?;
                bytes.extend_from_slice(field);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        all.push(Pipelined { requests, bytes });
    }
    Ok(all)
}

/// It listens some milliseconds after it was started.
fn connect(server: &mut Child, port: u16) -> anyhow::Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline || server.try_wait()?.is_some() => {
                return Err(error).context("redis-server does not listen");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
