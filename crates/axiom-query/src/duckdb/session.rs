//! DuckDB, told what it may do: read the files of one query, within its bounds, and nothing else.

use std::path::Path;

use axiom_duckdb::{Connection, Database, Kind, Library, Statement};

use super::place::{Place, plain};
use super::tables::{self, literal};
use crate::fault::{Code, Fault};
use crate::limits::Limits;

/// Threads of a query at most. Each has a stack and buffers that count in what the process may take.
const THREADS_MAX: u64 = 8;
/// What each should have to work in: with less, DuckDB gives up where it could use the disk.
const THREAD_BYTES: u64 = 128 << 20;

/// A connection whose tables are those of `place`. Nothing of its configuration can be changed by a query.
pub(super) fn open(library: &Library, limits: &Limits, place: &Place) -> Result<Connection, Fault> {
    let connection = Database::open(library)?.connect()?;
    let version = library.release();
    let told = connection.execute(&settings(limits, place.folder())?);
    told.map_err(|error| unsuited(version, &error))?;
    connection.execute(&tables::statements(&place.parts))?;
    let files = place.parts.iter().flat_map(|part| &part.files);
    let files: Vec<String> = files.map(|file| literal(file)).collect();
    let locked = connection.execute(&format!(
        "SET allowed_paths = [{}]; SET enable_external_access = false; SET lock_configuration = true;",
        files.join(", ")
    ));
    locked.map_err(|error| unsuited(version, &error))?;
    Ok(connection)
}

fn settings(limits: &Limits, folder: &Path) -> Result<String, Fault> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = cores
        .min(THREADS_MAX)
        .min(limits.memory_bytes / THREAD_BYTES)
        .max(1);
    let folder = plain(folder.join("spilled"))?;
    Ok(format!(
        "SET memory_limit = '{} MiB'; SET threads = {threads}; SET temp_directory = {}; \
         SET max_temp_directory_size = '{} MiB'; SET autoinstall_known_extensions = false; \
         SET autoload_known_extensions = false; SET allow_community_extensions = false; SET TimeZone = 'UTC';",
        limits.memory_bytes >> 20,
        literal(&folder),
        limits.temp_bytes >> 20,
    ))
}

/// A build of DuckDB without what is needed: Parquet, JSON and time zones are extensions that most builds have in them.
fn unsuited(version: &str, error: &axiom_duckdb::DuckDbError) -> Fault {
    Fault::new(
        Code::Absent,
        format!("this library of DuckDB {version} lacks something that is needed: {error}"),
    )
    .hint("DuckDB's own releases have it")
}

/// The one statement of a text, if it changes nothing.
pub(super) fn query(connection: &Connection, sql: &str) -> Result<Statement, Fault> {
    let statements = connection.statements(sql)?;
    match statements.count() {
        0 => {
            let fault = Fault::new(Code::Query, "there is no query");
            return Err(fault.hint("for example: SELECT count(*) FROM events"));
        }
        1 => {}
        _ => {
            let fault = Fault::new(
                Code::Query,
                "these are several statements; one is answered at a time",
            );
            return Err(fault.hint("send them one after the other; PIVOT is one where it names its values: ON level IN ('info', 'warn')"));
        }
    }
    let statement = statements.first()?;
    let is_answered = match statement.kind() {
        Kind::Select => true,
        Kind::Explain => explained(sql).is_some_and(|sql| is_select(connection, sql)),
        Kind::Other => false,
    };
    if is_answered {
        return Ok(statement);
    }
    Err(Fault::new(
        Code::Refused,
        "this would change something, and events are never changed by SQL",
    )
    .hint(
        "what is answered: SELECT, WITH, FROM, VALUES, EXPLAIN of these, SHOW TABLES, DESCRIBE and SUMMARIZE",
    ))
}

/// Whether a query may want bodies, by the words in it. One that wants them in a way that is not seen here fails with DuckDB's
/// words about their encoding, and a hint.
pub(super) fn may_take_bodies(sql: &str) -> bool {
    let sql = sql.to_lowercase().replace("count(*)", "");
    let words = ["body", "calls", "tasks", "*", "columns", "summarize", "table "];
    words.iter().any(|word| sql.contains(word)) || sql.trim_start().starts_with("from")
}

fn is_select(connection: &Connection, sql: &str) -> bool {
    let statement = connection
        .statements(sql)
        .and_then(|statements| statements.first());
    statement.is_ok_and(|statement| statement.kind() == Kind::Select)
}

/// What an EXPLAIN explains: with ANALYZE that is run, and it may be what writes a file. A text that begins in another way,
/// with a comment for instance, is not understood here and then refused: what is taken for the rest must be the rest.
fn explained(sql: &str) -> Option<&str> {
    let rest = word(sql.trim_start(), "EXPLAIN")?.trim_start();
    if let Some(options) = rest.strip_prefix('(') {
        let (options, rest) = options.split_once(')')?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ',' || c.is_ascii_whitespace();
        return options.chars().all(is_plain).then_some(rest);
    }
    Some(word(rest, "ANALYZE").unwrap_or(rest))
}

/// The rest behind a word.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (first, rest) = text.split_at_checked(word.len())?;
    let is_whole = rest.starts_with(|c: char| c.is_ascii_whitespace() || c == '(');
    (first.eq_ignore_ascii_case(word) && is_whole).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_take_bodies_is_seen_by_its_words() {
        for sql in [
            "SELECT * FROM events",
            "FROM events",
            "SELECT Body FROM events",
            "TABLE events",
            "SELECT call FROM calls",
        ] {
            assert!(may_take_bodies(sql), "{sql}");
        }
        assert!(!may_take_bodies(
            "SELECT kind, COUNT(*) FROM events WHERE severity > 3 GROUP BY kind"
        ));
    }

    #[test]
    fn what_is_explained_is_the_rest_or_not_understood() {
        for (sql, rest) in [
            ("EXPLAIN SELECT 1", Some("SELECT 1")),
            ("explain\n analyze  COPY x TO 'y'", Some("  COPY x TO 'y'")),
            ("EXPLAIN (ANALYZE, FORMAT json) SELECT 1", Some(" SELECT 1")),
            ("EXPLAIN (a /*) SELECT 1 -- */) COPY x TO 'y'", None),
            ("EXPLAIN (a ')') COPY x TO 'y'", None),
            ("/* */ EXPLAIN SELECT 1", None),
            ("EXPLAIN/**/ANALYZE SELECT 1", None),
            ("EXPLAINED SELECT 1", None),
        ] {
            assert_eq!(explained(sql), rest, "{sql}");
        }
    }
}
