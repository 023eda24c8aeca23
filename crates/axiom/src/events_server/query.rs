//! The tool `query`: SQL over everything that was recorded, by the query engine, which is a program of its own.
//!
//! One process answers one query. What a query does to it, it does to that process alone; a query that nobody waits for any
//! more ends with it.

use std::process::Stdio;
use std::time::Duration;

use axiom_core::time::timeout;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::arguments::{Arguments, Complaint};
use super::log::Log;
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
        // One more tells whether there are more.
        .args(["--rows", &(count + 1).to_string()])
        // What begins with a dash is no option.
        .args(["--", sql])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
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
