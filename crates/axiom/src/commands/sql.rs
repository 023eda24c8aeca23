//! `axiom sql`: hands the query to the program that can answer it.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use super::events::place;
use crate::cli::{Sql, SqlEngine};
use crate::outcome::{Exit, Failed};
use crate::query::{BUILD, program, store_environment};
use crate::terminal::Terminal;

/// The signal by which a program ends itself.
const ABORTED: i32 = 6;

pub fn run(sql: &Sql, terminal: &Terminal) -> Result<Exit, Failed> {
    let (dir, store) = place(&sql.at, terminal)?;
    let program = program().map_err(|message| {
        Failed::new(Exit::NotFound, message)
            .hint(format!("build it with `{BUILD}`, which takes some minutes, once"))
    })?;
    let mut command = Command::new(&program);
    command.arg("sql").arg("--dir").arg(&dir);
    command.envs(store_environment(store.as_ref()));
    command.args(options(sql));
    command.args(duckdb(sql)?);
    if sql.schema {
        command.arg("--schema");
    } else if !sql.print_setup {
        // After `--` nothing in a query is taken for an option.
        command.arg("--").arg(query(sql)?);
    }
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        // How it ends without memory is known; where it was then says nothing.
        command.env("RUST_BACKTRACE", "0");
    }
    let status = command.status().map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!("cannot start {}: {error}", program.display()),
        )
    })?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(Exit::from_code(code)),
        (None, Some(ABORTED)) => Err(Failed::new(
            Exit::Failure,
            "the query needed more memory than it may have, and its process ended",
        )
        .hint("ask for less at once, or give it more with --memory")),
        _ => Err(Failed::new(
            Exit::Failure,
            format!("the query's process ended early: {status}"),
        )),
    }
}

fn options(sql: &Sql) -> Vec<String> {
    let mut options = Vec::new();
    let format = if sql.json {
        Some("json")
    } else {
        sql.format.map(|format| format.name())
    };
    if let Some(format) = format {
        options.extend(["--format".to_owned(), format.to_owned()]);
    }
    let numbers = [
        ("--rows", sql.rows.map(|rows| rows.to_string())),
        ("--timeout", sql.timeout.map(|timeout| timeout.to_string())),
        ("--memory", sql.memory.map(|memory| memory.to_string())),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            options.extend([name.to_owned(), value]);
        }
    }
    options
}

/// What concerns DuckDB alone.
fn duckdb(sql: &Sql) -> Result<Vec<OsString>, Failed> {
    let mut options: Vec<OsString> = Vec::new();
    if sql.engine == Some(SqlEngine::Duckdb) {
        options.extend(["--engine".into(), "duckdb".into()]);
    } else if sql.duckdb_library.is_some() || sql.copy_cold || sql.print_setup {
        let failed = Failed::new(
            Exit::Usage,
            "--duckdb-library, --copy-cold and --print-setup concern DuckDB, which was not asked for",
        );
        return Err(failed.hint("add --engine duckdb"));
    }
    if let Some(library) = &sql.duckdb_library {
        options.extend(["--duckdb-library".into(), library.into()]);
    }
    for (name, is_set) in [("--copy-cold", sql.copy_cold), ("--print-setup", sql.print_setup)] {
        options.extend(is_set.then(|| name.into()));
    }
    Ok(options)
}

/// From the command line, else from stdin.
fn query(sql: &Sql) -> Result<String, Failed> {
    if let Some(query) = &sql.query {
        return Ok(query.clone());
    }
    if std::io::stdin().is_terminal() {
        let failed = Failed::new(Exit::Usage, "there is no query");
        return Err(failed.hint(
            "for example: axiom sql 'SELECT * FROM calls LIMIT 10'; --schema lists tables and columns",
        ));
    }
    let mut query = String::new();
    std::io::stdin().lock().read_to_string(&mut query)?;
    Ok(query)
}
