//! A command of the page that goes on until it is stopped: started, its address awaited, asked, stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::page;

/// A debug build on a busy machine of two cores.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server drains for ten seconds; after that it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a server listens that is not told otherwise.
const DEFAULT: &str = "127.0.0.1:3000";

/// Starts what `command` builds, waits for the lines the page shows, and asks the printed endpoint to initialize.
///
/// The server takes its default port, as the page says; where something else has that port it is told another.
pub(crate) fn answers(command: impl Fn(&[&str]) -> Command, expected: &[String]) -> anyhow::Result<()> {
    let free = TcpListener::bind(DEFAULT).is_ok();
    let command = command(if free { &[] } else { &["--listen", "127.0.0.1:0"] });
    let mut running = first_answer(command, START_TIMEOUT)?;
    let Running { lines, seen, .. } = &mut running;
    for wanted in expected.iter().filter(|line| !line.is_empty() && *line != "...") {
        let wanted = if free {
            wanted.clone()
        } else {
            wanted.replace(":3000", ":[..]")
        };
        while !seen
            .iter()
            .any(|line| page::matches_line(&wanted, line.trim_end()))
        {
            let line = lines.recv_timeout(START_TIMEOUT);
            seen.push(
                line.with_context(|| {
                    format!("the page says\n{wanted}\nand it printed\n{}", seen.join("\n"))
                })?,
            );
        }
    }
    Ok(())
}

/// Starts `command`, waits for its endpoint as long as `timeout`, and returns once that has answered.
pub(crate) fn first_answer(mut command: Command, timeout: Duration) -> anyhow::Result<Running> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    loop {
        let line = running
            .lines
            .recv_timeout(timeout)
            .with_context(|| format!("no endpoint was printed:\n{}", running.seen.join("\n")))?;
        let endpoint = line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split_once("/mcp"));
        let address = endpoint.map(|(address, _)| address.parse());
        running.seen.push(line);
        if let Some(address) = address {
            initialize(address.context("the printed endpoint has no address")?)?;
            return Ok(running);
        }
    }
}

/// One real request: the endpoint on the page must be an MCP endpoint.
fn initialize(address: SocketAddr) -> anyhow::Result<()> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"readme","version":"1"}}}"#;
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("failed to connect to {address}"))?;
    stream.set_read_timeout(Some(START_TIMEOUT))?;
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("the endpoint closed the connection early")?;
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("serverInfo"),
        "not an MCP endpoint:\n{answer}"
    );
    Ok(())
}

/// A child that does not outlive the check, and what it has printed so far.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        // A group of its own: `cargo run` does not pass a signal on to what it runs.
        command.process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("failed to start {command:?}"))?;
        let (tx, lines) = mpsc::channel();
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().context("no stdout")?);
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().context("no stderr")?);
        for stream in [stdout, stderr] {
            let tx = tx.clone();
            std::thread::spawn(move || {
                let lines = BufReader::new(stream).lines().map_while(Result::ok);
                // A send fails when the check has seen enough; reading on keeps the child from blocking.
                lines.for_each(|line| drop(tx.send(line)));
            });
        }
        Ok(Running {
            child,
            lines,
            seen: Vec::new(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The whole group; it may have ended by itself, and then nothing is left to stop.
        let group = format!("-{}", self.child.id());
        drop(
            Command::new("kill")
                .args(["-TERM", "--", &group])
                .stderr(Stdio::null())
                .status(),
        );
        // Its streams close when it is gone.
        while self.lines.recv_timeout(STOP_TIMEOUT).is_ok() {}
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
