//! A thousand random queries have the same answers, whoever reads the events: DataFusion over the hot log and over Parquet,
//! DuckDB as the second engine over both, and Python's DuckDB and pyarrow over the same Parquet.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_query::engine::Engine;
use serde_json::{Value, json};

use crate::duckdb;
use crate::random::Random;
use crate::store::{BEGIN, engine, models, record, rows, seal};

const EVENTS: usize = 20_000;
const QUERIES: usize = 1_000;
const SEED: u64 = 7;

/// A condition on one column.
#[derive(Debug, Clone)]
enum Condition {
    Number {
        column: &'static str,
        op: &'static str,
        value: u64,
    },
    /// Microseconds after the first event.
    Time { op: &'static str, micros: u64 },
    Text {
        column: &'static str,
        values: Vec<String>,
        is_not: bool,
    },
    Starts {
        column: &'static str,
        with: &'static str,
    },
}

/// What a query gives.
#[derive(Debug, Clone)]
enum Shape {
    /// The first offsets, by a column and then by offset.
    Rows {
        by: &'static str,
        descending: bool,
        limit: u64,
    },
    /// Aggregates by columns; none is all together.
    Groups { by: Vec<&'static str> },
}

#[derive(Debug, Clone)]
struct Query {
    conditions: Vec<Condition>,
    shape: Shape,
}

/// What other engines cannot read in the files, or only with help.
const BODIES: &str =
    ", sum(byte_count(body_bytes)) AS bytes, max(body) AS body, max(trace) AS trace, min(id) AS id";

const OPS: [&str; 5] = ["=", "<", "<=", ">", ">="];

fn query(random: &mut Random) -> Query {
    let conditions = (0..random.below(4)).map(|_| condition(random)).collect();
    let shape = if random.is(2) {
        Shape::Rows {
            by: random.one(&["offset", "version", "time", "task", "severity"]),
            descending: random.is(2),
            limit: random.below(50) + 1,
        }
    } else {
        let all = ["tenant", "stream", "task", "kind", "level", "severity", "format"];
        Shape::Groups {
            by: all.into_iter().filter(|_| random.is(4)).collect(),
        }
    };
    Query { conditions, shape }
}

fn condition(random: &mut Random) -> Condition {
    let op = random.one(&OPS);
    match random.below(8) {
        0 => Condition::Number {
            column: "offset",
            op,
            value: random.below(EVENTS as u64),
        },
        1 => Condition::Number {
            column: "version",
            op,
            value: random.below(EVENTS as u64 / 5),
        },
        2 => Condition::Number {
            column: "severity",
            op,
            value: random.below(6),
        },
        3 => Condition::Time {
            op,
            micros: random.below(7_200_000_000),
        },
        4 => Condition::Starts {
            column: "stream",
            with: random.one(&["gateway", "agent.", "none"]),
        },
        5 => {
            let values = (0..=random.below(5)).map(|_| match random.below(62) {
                0 => String::new(),
                task => format!("task-{task:04}-with-a-name-longer-than-a-view"),
            });
            Condition::Text {
                column: "task",
                values: values.collect(),
                is_not: random.is(4),
            }
        }
        n => {
            let (column, all): (_, &[&str]) = match n {
                6 => ("kind", &["gateway.call", "output.line", "axiom.gap", "nothing"]),
                _ => ("level", &["trace", "info", "warn", "critical", "INFO"]),
            };
            let values = (0..=random.below(2)).map(|_| (random.one(all)).to_owned());
            Condition::Text {
                column,
                values: values.collect(),
                is_not: random.is(3),
            }
        }
    }
}

impl Query {
    /// In a dialect: how a column is named, and how a time is written.
    fn sql(&self, table: &str, time: impl Fn(u64) -> String, body: &str) -> String {
        let mut sql = String::from("SELECT ");
        match &self.shape {
            Shape::Rows { .. } => sql.push_str("\"offset\""),
            Shape::Groups { by } => {
                for column in by {
                    write!(sql, "\"{column}\", ").expect("a text takes everything");
                }
                sql.push_str("count(*) AS n, min(\"offset\") AS low, max(\"version\") AS high, sum(CAST(severity AS BIGINT)) AS severities");
                sql.push_str(body);
            }
        }
        write!(sql, " FROM {table}").expect("a text takes everything");
        let conditions: Vec<String> = self
            .conditions
            .iter()
            .map(|condition| condition.sql(&time))
            .collect();
        if !conditions.is_empty() {
            write!(sql, " WHERE {}", conditions.join(" AND ")).expect("a text takes everything");
        }
        match &self.shape {
            Shape::Rows {
                by,
                descending,
                limit,
            } => {
                let direction = if *descending { "DESC" } else { "ASC" };
                write!(sql, " ORDER BY \"{by}\" {direction}, \"offset\" LIMIT {limit}")
                    .expect("a text takes everything");
            }
            Shape::Groups { by } if !by.is_empty() => {
                let by: Vec<String> = by.iter().map(|column| format!("\"{column}\"")).collect();
                let by = by.join(", ");
                write!(sql, " GROUP BY {by} ORDER BY {by}").expect("a text takes everything");
            }
            Shape::Groups { .. } => {}
        }
        sql
    }

    /// For DataFusion; with `body`, what no other engine can read counts too.
    fn ours(&self) -> String {
        let time = |micros| format!("'{}'", instant(micros));
        self.sql("events", time, "")
    }

    fn ours_with_bodies(&self) -> String {
        let time = |micros| format!("'{}'", instant(micros));
        self.sql("events", time, BODIES)
    }

    fn duckdb(&self) -> String {
        let time = |micros| format!("TIMESTAMPTZ '{}'", instant(micros));
        self.sql("events", time, "")
    }

    fn duckdb_with_bodies(&self) -> String {
        let time = |micros| format!("TIMESTAMPTZ '{}'", instant(micros));
        self.sql("events", time, BODIES)
    }

    /// For a program that builds the same of pyarrow's parts.
    fn json(&self) -> Value {
        let conditions = self.conditions.iter().map(Condition::json);
        let shape = match &self.shape {
            Shape::Rows {
                by,
                descending,
                limit,
            } => json!({"by": by, "descending": descending, "limit": limit}),
            Shape::Groups { by } => json!({ "groups": by }),
        };
        json!({"sql": self.duckdb(), "conditions": conditions.collect::<Vec<_>>(), "shape": shape})
    }
}

impl Condition {
    fn sql(&self, time: &impl Fn(u64) -> String) -> String {
        match self {
            Condition::Number { column, op, value } => format!("\"{column}\" {op} {value}"),
            Condition::Time { op, micros } => format!("\"time\" {op} {}", time(*micros)),
            Condition::Text {
                column,
                values,
                is_not,
            } => {
                let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
                let not = if *is_not { " NOT" } else { "" };
                format!("\"{column}\"{not} IN ({})", values.join(", "))
            }
            Condition::Starts { column, with } => format!("\"{column}\" LIKE '{with}%'"),
        }
    }

    fn json(&self) -> Value {
        match self {
            Condition::Number { column, op, value } => json!({"column": column, "op": op, "value": value}),
            Condition::Time { op, micros } => {
                json!({"column": "time", "op": op, "micros": BEGIN / 1_000 + i64::try_from(*micros).expect("a small number")})
            }
            Condition::Text {
                column,
                values,
                is_not,
            } => json!({"column": column, "in": values, "not": is_not}),
            Condition::Starts { column, with } => json!({"column": column, "starts": with}),
        }
    }
}

/// So many microseconds after the first event.
fn instant(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "2026-01-01T{hour:02}:{minute:02}:{second:02}.{:06}Z",
        micros % 1_000_000
    )
}

/// The Python that has DuckDB, pyarrow and the Flight SQL driver: `cargo xtask setup` makes it, and `cargo xtask test` says where.
pub(crate) fn python() -> Option<PathBuf> {
    let bed = PathBuf::from(std::env::var_os("AXIOM_BED")?);
    let python = bed.join("python-data/bin/python");
    assert!(
        python.is_file(),
        "{} is missing; run: cargo xtask setup",
        python.display()
    );
    Some(python)
}

async fn answers(engine: &Engine, queries: &[String]) -> Vec<Vec<Value>> {
    let mut answers = Vec::new();
    for sql in queries {
        answers.push(
            rows(engine, sql)
                .await
                .unwrap_or_else(|fault| panic!("{fault}: {sql}")),
        );
    }
    answers
}

fn compare(name: &str, queries: &[String], expected: &[Vec<Value>], found: &[Vec<Value>]) {
    assert_eq!(expected.len(), found.len(), "{name}");
    for ((sql, expected), found) in queries.iter().zip(expected).zip(found) {
        assert_eq!(found, expected, "{name}, seed {SEED}: {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_queries_have_the_same_answers_everywhere() {
    let models = models(SEED, EVENTS);
    let mut random = Random::new(SEED);
    let queries: Vec<Query> = (0..QUERIES).map(|_| query(&mut random)).collect();

    let (hot, warm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _log = record(hot.path(), &models);
    let files = seal(warm.path(), &models);

    let sql: Vec<String> = queries.iter().map(Query::ours).collect();
    let by_log = answers(&engine(hot.path()), &sql).await;
    let is_telling = by_log.iter().filter(|rows| rows.len() > 1).count();
    assert!(is_telling > QUERIES / 3, "only {is_telling} answers have rows");
    let by_files = engine(warm.path());
    compare("Parquet", &sql, &by_log, &answers(&by_files, &sql).await);
    // What is in no column of its own in the files, but is made of several.
    let some: Vec<String> = queries.iter().step_by(10).map(Query::ours_with_bodies).collect();
    let by_log_with_bodies = answers(&engine(hot.path()), &some).await;
    compare(
        "Parquet with bodies",
        &some,
        &by_log_with_bodies,
        &answers(&by_files, &some).await,
    );

    if let Some(library) = duckdb::library() {
        // Some of them: each opens DuckDB anew, and over the log it first makes a file of that. Python's answers all below.
        for (name, dir, step) in [
            ("DuckDB over the log", hot.path(), 25),
            ("DuckDB over Parquet", warm.path(), 10),
        ] {
            let engine = duckdb::engine(&library, dir);
            let asked: Vec<String> = queries.iter().step_by(step).map(Query::duckdb).collect();
            let expected: Vec<_> = by_log.iter().step_by(step).cloned().collect();
            compare(name, &asked, &expected, &duckdb::answers(&engine, &asked).await);
            let queries = queries.iter().step_by(10);
            let asked: Vec<String> = queries.step_by(step).map(Query::duckdb_with_bodies).collect();
            let expected: Vec<_> = by_log_with_bodies.iter().step_by(step).cloned().collect();
            compare(name, &asked, &expected, &duckdb::answers(&engine, &asked).await);
        }
    }

    let Some(python) = python() else {
        eprintln!("AXIOM_BED is not set: Python's DuckDB and pyarrow were not asked");
        return;
    };
    let asked = warm.path().join("queries.json");
    let asking = Value::from_iter(queries.iter().map(Query::json));
    fs_err::write(&asked, asking.to_string()).unwrap();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/equal.py"))
        .arg(&asked)
        .args(&files)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["duckdb", "pyarrow"] {
        let found = said[name].as_array().unwrap().iter();
        let found: Vec<Vec<Value>> = found.map(|rows| rows.as_array().unwrap().clone()).collect();
        compare(name, &sql, &by_log, &found);
    }
}
