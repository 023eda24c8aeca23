//! `axiom-query` as the gateway starts it: a process that answers at a Unix socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::process;
use crate::promises::Setup;

/// A running one. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Query {
    child: Child,
    socket: PathBuf,
}

/// The program, which is beside the gateway.
///
/// # Errors
/// Says how it is built.
pub(super) fn is_built(setup: &Setup) -> anyhow::Result<PathBuf> {
    let program = setup.axiom.with_file_name("axiom-query");
    anyhow::ensure!(
        program.is_file(),
        "there is no {}: cargo build --release -p axiom-query builds it",
        program.display()
    );
    Ok(program)
}

impl Query {
    pub(super) fn start(setup: &Setup, dir: &Path, socket: &Path) -> anyhow::Result<Query> {
        let program = is_built(setup)?;
        let child = Command::new(&program)
            .args(["serve", "--dir"])
            .arg(dir)
            .arg("--socket")
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let mut query = Query {
            child,
            socket: socket.to_owned(),
        };
        // It listens when it says so.
        let stdout = query.child.stdout.take().context("its stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "axiom-query ended before it listened");
        Ok(query)
    }

    /// The answer as CSV.
    ///
    /// # Errors
    /// It is refused, or the process is gone.
    pub(super) fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.socket).context("axiom-query is gone")?;
        // The connection's end is the answer's end.
        write!(
            stream,
            "POST /query?format=csv HTTP/1.0\r\ncontent-length: {}\r\n\r\n{sql}",
            sql.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("axiom-query gives no answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        anyhow::ensure!(status == "200", "axiom-query says {status} to {sql}: {body}");
        Ok(body.to_owned())
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        process::stop(&mut self.child, Duration::from_secs(3));
    }
}
