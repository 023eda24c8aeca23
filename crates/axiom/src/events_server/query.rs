//! The tool `query`: SQL over everything that was recorded, by the query engine, which is a program of its own.
//!
//! One process answers one query. What a query does to it, it does to that process alone; a query that nobody waits for any
//! more ends with it. All conversations together have a few such processes at a time.

use std::process::Stdio;
use std::time::Duration;

use axiom_core::time::timeout;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::log::Log;
use crate::builtin::arguments::{Arguments, Complaint};
use crate::query::{BUILD, program, store_environment};

pub(super) const ARGUMENTS: &[&str] = &["sql", "count"];
pub(super) const COUNT: usize = 100;
pub(super) const COUNT_MAX: usize = 1_000;

/// Bytes of rows; a model has to read them.
const ROWS_BYTES_MAX: usize = 256 << 10;
/// Bytes of an explanation, or of warnings.
const SAID_BYTES_MAX: usize = 64 << 10;
/// A query that takes longer ends. The program has a shorter limit of its own, and can say more about it.
const QUERY_TIMEOUT: Duration = Duration::from_secs(90);

/// Queries at once. Two, because each has to sort and to group in its own share of the memory.
const RUNNING_MAX: usize = 2;
/// MiB that all of them together may hold, and put on the disk meanwhile; what `axiom-query` has for all queries of its own.
const MEMORY_MIB: usize = 512;
const TEMP_MIB: usize = 2048;
/// How long the others wait for their turn.
const WAIT: Duration = Duration::from_secs(10);

/// Places for queries. A reload makes another server, on the same machine: these are for all of them.
static PLACES: Semaphore = Semaphore::const_new(RUNNING_MAX);

pub(super) async fn run(log: &Log, arguments: &Arguments<'_>) -> Result<Json, Complaint> {
    let Some(sql) = arguments.text("sql")?.filter(|sql| !sql.trim().is_empty()) else {
        return Err(Complaint::new(
            "`sql` is missing: give a SELECT over the table `events` or the views `calls` and `tasks`",
        ));
    };
    let count = arguments.count("count", COUNT, COUNT_MAX)?;
    let program = program().map_err(|message| {
        Complaint(format!(
            "{message}: build it with `{BUILD}`. Until then `stats` counts events and `tail` finds them"
        ))
    })?;
    let mut command = Command::new(program);
    command
        .envs(store_environment(log.store.as_ref()))
        .env("RUST_BACKTRACE", "0")
        .arg("sql")
        .arg("--dir")
        .arg(&log.dir)
        .args(["--format", "ndjson"])
        .args(["--memory", &(MEMORY_MIB / RUNNING_MAX).to_string()])
        .args(["--temp", &(TEMP_MIB / RUNNING_MAX).to_string()])
        // One more tells whether there are more.
        .args(["--rows", &(count + 1).to_string()])
        // What begins with a dash is no option.
        .args(["--", sql])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Held until the process has ended, or is being killed.
    let _place = place(&PLACES).await?;
    let answered = timeout(QUERY_TIMEOUT, answer(command)).await;
    let answer = answered.map_err(|_| Complaint::new("the query took too long: ask for less"))??;
    let Answer {
        mut rows,
        is_cut,
        warnings,
    } = answer;
    let is_end = !is_cut && rows.len() <= count;
    rows.truncate(count);
    let mut found = json!({"rows": rows, "is_end": is_end});
    if !warnings.is_empty() {
        found["warnings"] = warnings.into();
    }
    Ok(found)
}

/// Waits for a place.
///
/// # Cancel safety
/// Safe: whoever leaves the queue has no place.
async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Complaint> {
    match timeout(WAIT, places.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(Complaint(format!(
            "{RUNNING_MAX} queries run already, and none of them ended within {} s: try again later, or ask `stats` or `tail`",
            WAIT.as_secs()
        ))),
    }
}

/// What the program said.
struct Answer {
    rows: Vec<Json>,
    /// There were more bytes of rows than are read.
    is_cut: bool,
    /// Events that are missing.
    warnings: Vec<String>,
}

async fn answer(mut command: Command) -> Result<Answer, Complaint> {
    let failed = |error: std::io::Error| Complaint(format!("the query engine cannot be run: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // A process that writes more than is read waits, and is ended when it is dropped.
    let (rows, said) = tokio::join!(
        beginning(stdout, ROWS_BYTES_MAX),
        beginning(stderr, SAID_BYTES_MAX)
    );
    let rows = rows.map_err(failed)?;
    let is_cut = rows.len() > ROWS_BYTES_MAX;
    let said = String::from_utf8_lossy(&said.map_err(failed)?).into_owned();
    let warnings = said.lines().filter_map(|line| line.strip_prefix("warning: "));
    let warnings: Vec<String> = warnings.map(str::to_owned).collect();
    // With warnings alone it fails because events are missing, and there are rows.
    let is_warned = !warnings.is_empty() && !said.lines().any(|line| line.starts_with("error: "));
    if !is_cut {
        let status = child.wait().await.map_err(failed)?;
        if status.code().is_none() {
            // What the allocator says of it is of no use to whoever asked.
            return Err(Complaint::new(
                "the query needed more memory than it may have, and ended: ask for less at once",
            ));
        }
        if !status.success() && !is_warned {
            return Err(refused(&said));
        }
    }
    let mut lines: Vec<&[u8]> = rows.split(|byte| *byte == b'\n').collect();
    // What is behind the last newline is nothing, or half a row.
    lines.pop();
    let rows = lines.iter().map(|line| serde_json::from_slice(line));
    let rows = rows
        .collect::<Result<_, _>>()
        .map_err(|error| Complaint(format!("the query engine answered no JSON: {error}")))?;
    Ok(Answer {
        rows,
        is_cut,
        warnings,
    })
}

/// What the program said when it gave no answer.
fn refused(said: &str) -> Complaint {
    match said.trim().trim_start_matches("error: ") {
        "" => Complaint::new("the query engine ended without a word"),
        said => Complaint(said.to_owned()),
    }
}

/// Up to one byte more than `bytes_max`.
async fn beginning(from: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
