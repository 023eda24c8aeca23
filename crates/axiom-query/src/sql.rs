//! `axiom-query sql`: one query, answered on stdout.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axiom_core::spawn::blocking;
use axiom_core::time;

use crate::cli::{self, Sql};
use crate::columns::MEANINGS;
use crate::duckdb::{self, Ended};
use crate::engine::{Answer, Engine, cancel};
use crate::fault::{Code, Fault};
use crate::output::{End, Format, Writer};
use crate::views::VIEWS;

/// Rows of a table that are shown when nobody says how many.
const TABLE_ROWS: u64 = 1_000;

/// How long an interrupted query of DuckDB's may take to end. It looks between some thousands of rows.
const SETTLE: Duration = Duration::from_secs(5);

/// Who answers.
enum Answering {
    DataFusion(Engine),
    DuckDb(duckdb::Engine),
}

impl Answering {
    async fn run(&self, sql: &str) -> Result<Answer, Fault> {
        // Nobody else cancels it: an interruption drops it.
        let (_cancel, cancelled) = cancel();
        match self {
            Answering::DataFusion(engine) => engine.run(sql, cancelled).await,
            Answering::DuckDb(engine) => engine.run(sql, cancelled).await,
        }
    }

    async fn describe(&self, sql: &str) -> Result<SchemaRef, Fault> {
        match self {
            Answering::DataFusion(engine) => engine.describe(sql).await,
            Answering::DuckDb(engine) => engine.describe(sql).await,
        }
    }
}

pub async fn run(sql: &Sql) -> ExitCode {
    let mut ended = None;
    let answered = tokio::select! {
        // Dropping it ends the query.
        answered = answer(sql, &mut ended) => answered,
        // cancel-safe: the process ends here.
        _ = tokio::signal::ctrl_c() => Err(Fault::new(Code::Cancelled, "interrupted")),
    };
    if let Some(ended) = &mut ended {
        // One that does not settle ends with the process.
        let _settled = time::timeout(SETTLE, ended.wait()).await.is_ok();
    }
    match answered {
        Ok(Whole(true)) => ExitCode::SUCCESS,
        // A script that takes the rows without looking at stderr learns of it by this.
        Ok(Whole(false)) => ExitCode::FAILURE,
        Err(fault) => {
            tell(sql.query.as_deref(), &fault);
            exit(&fault)
        }
    }
}

/// Whether an answer has all that it should have.
struct Whole(bool);

/// The exit codes are those of `axiom`.
fn exit(fault: &Fault) -> ExitCode {
    ExitCode::from(match fault.code {
        Code::Absent => 3,
        Code::Refused => 4,
        Code::Busy | Code::Timeout => 5,
        Code::Cancelled => 130,
        Code::Query | Code::Memory | Code::TooLarge | Code::Incomplete | Code::Failed => 1,
    })
}

/// Opens the store, for who is to answer.
async fn open(sql: &Sql, ended: &mut Option<Ended>) -> Result<Answering, Fault> {
    let (dir, limits) = (sql.dir.clone(), sql.bounds.limits());
    let failed = || Fault::new(Code::Failed, "opening the event store failed");
    if sql.engine == cli::Engine::Datafusion {
        let opened = blocking(move || Engine::open(&dir, limits)).join().await;
        return Ok(Answering::DataFusion(opened.ok_or_else(failed)??));
    }
    let (named, copies_cold) = (sql.duckdb.duckdb_library.clone(), sql.duckdb.copy_cold);
    let opened = blocking(move || {
        let from_environment = std::env::var_os(duckdb::library::VARIABLE).map(PathBuf::from);
        let library = duckdb::library::load(named.as_deref(), from_environment)?;
        duckdb::Engine::open(library, &dir, limits, copies_cold)
    });
    let (engine, last) = opened.join().await.ok_or_else(failed)??;
    *ended = Some(last);
    Ok(Answering::DuckDb(engine))
}

async fn print_setup(sql: &Sql) -> Result<Whole, Fault> {
    let dir = sql.dir.clone();
    let made = blocking(move || duckdb::setup::text(&dir)).join().await;
    let text = made.ok_or_else(|| Fault::new(Code::Failed, "looking into the event store failed"))??;
    write(text.as_bytes())?;
    Ok(Whole(true))
}

async fn answer(sql: &Sql, ended: &mut Option<Ended>) -> Result<Whole, Fault> {
    if sql.duckdb.print_setup {
        return print_setup(sql).await;
    }
    let engine = open(sql, ended).await?;
    let format = sql.format.unwrap_or(if std::io::stdout().is_terminal() {
        Format::Table
    } else {
        Format::Ndjson
    });
    if sql.schema {
        return list_tables(&engine, format).await.map(|()| Whole(true));
    }
    let query = sql.query.as_deref().unwrap_or_default();
    let rows_max = sql.rows.or((format == Format::Table).then_some(TABLE_ROWS));
    let mut answer = engine.run(query).await?;
    let schema = answer.schema();
    let mut writer = Writer::new(format, &schema).map_err(unwritable)?;
    let mut end = End::default();
    let mut left = rows_max.unwrap_or(u64::MAX);
    let mut is_wanted = write(&writer.begin(&schema).map_err(unwritable)?)?;
    while is_wanted {
        let batch = match answer.next().await {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(fault) => {
                end.fault = Some(fault);
                break;
            }
        };
        let batch = first_rows(batch, &mut left, &mut end);
        is_wanted = write(&writer.rows(&batch).map_err(unwritable)?)?;
        if end.truncated.is_some() {
            break;
        }
    }
    end.warnings = answer.warnings();
    if is_wanted {
        write(&writer.end(&end).map_err(unwritable)?)?;
    }
    for line in &end.warnings {
        say(&format!("warning: {line}"));
    }
    if let Some(line) = &end.truncated {
        say(&format!("note: {line}"));
    }
    let whole = Whole(end.warnings.is_empty());
    end.fault.map_or(Ok(whole), Err)
}

/// As many rows as may still come.
pub(crate) fn first_rows(batch: RecordBatch, left: &mut u64, end: &mut End) -> RecordBatch {
    let rows = batch.num_rows() as u64;
    if rows <= *left {
        *left -= rows;
        return batch;
    }
    let kept = usize::try_from(*left).unwrap_or(usize::MAX);
    *left = 0;
    end.truncated = Some("there are more rows than were asked for; these are the first".to_owned());
    batch.slice(0, kept)
}

async fn list_tables(engine: &Answering, format: Format) -> Result<(), Fault> {
    let mut out = String::new();
    let mut tables = vec![("events", "one row for each event, in all tiers")];
    tables.extend(VIEWS.map(|view| (view.name, view.about)));
    let mut listed = Vec::new();
    for (table, about) in tables {
        let schema = engine.describe(&format!("SELECT * FROM {table}")).await?;
        out.push_str(&format!("{table}: {about}\n"));
        let mut columns = Vec::new();
        for field in schema.fields() {
            let (name, kind) = (field.name(), field.data_type().to_string());
            let meaning = MEANINGS.iter().find(|(column, _)| column == name);
            let meaning = meaning.map_or("", |(_, meaning)| meaning);
            out.push_str(format!("  {name:<16} {kind:<24} {meaning}").trim_end());
            out.push('\n');
            columns.push(serde_json::json!({"name": name, "type": kind, "about": meaning}));
        }
        out.push('\n');
        listed.push(serde_json::json!({"table": table, "about": about, "columns": columns}));
    }
    if format != Format::Table && !std::io::stdout().is_terminal() || format == Format::Json {
        out = format!("{}\n", serde_json::Value::from(listed));
    }
    write(out.trim_end_matches('\n').as_bytes())?;
    write(b"\n").map(drop)
}

fn unwritable(error: arrow::error::ArrowError) -> Fault {
    Fault::new(
        Code::Failed,
        format!("the answer cannot be written in this format: {error}"),
    )
    .hint("try another --format")
}

/// False when the reader has had enough.
#[allow(clippy::print_stdout, reason = "this command's answer")]
fn write(bytes: &[u8]) -> Result<bool, Fault> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fault::new(
            Code::Failed,
            format!("cannot write to stdout: {error}"),
        )),
    }
}

/// A line of talk. A closed stderr is nobody's failure.
fn say(line: &str) {
    let _heard = writeln!(std::io::stderr().lock(), "{line}").is_ok();
}

/// The fault, under the place in the query that it is about.
fn tell(query: Option<&str>, fault: &Fault) {
    if let (Some((line, column)), Some(query)) = (fault.at, query)
        && let Some(text) = usize::try_from(line)
            .ok()
            .and_then(|line| query.lines().nth(line.checked_sub(1)?))
        && let Ok(column) = usize::try_from(column)
    {
        say(&format!("  {text}"));
        say(&format!("  {:>column$}", "^"));
    }
    say(&format!("error: {fault}"));
    if let Some(hint) = &fault.hint {
        say(&format!("hint: {hint}"));
    }
}
