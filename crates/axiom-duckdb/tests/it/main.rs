//! DuckDB's real library: what its rows become, that everything is freed in any order, and how a query is ended.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use axiom_duckdb::{Connection, Database, Kind, Library, Rows};

/// The library that `cargo xtask setup` installs, or the one that is named. Without it a test says so and ends.
fn library() -> Option<Library> {
    let named = std::env::var_os("AXIOM_DUCKDB_LIBRARY").map(PathBuf::from);
    let found = named.or_else(|| {
        let packages = PathBuf::from(std::env::var_os("AXIOM_BED")?).join("duckdb/node_modules/@duckdb");
        let mut packages = std::fs::read_dir(packages).ok()?.flatten();
        packages.find_map(|package| {
            let names = ["libduckdb.so", "libduckdb.dylib"].into_iter();
            names
                .map(|name| package.path().join(name))
                .find(|path| path.is_file())
        })
    });
    let Some(path) = found else {
        let told = "skipped: neither AXIOM_DUCKDB_LIBRARY nor the test bed has DuckDB's library; `cargo xtask setup` installs it";
        let _heard = writeln!(std::io::stderr().lock(), "{told}").is_ok();
        return None;
    };
    Some(Library::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn connect(library: &Library) -> Connection {
    let connection = Database::open(library).and_then(|database| database.connect());
    let connection = connection.expect("it opens");
    connection
        .execute("SET TimeZone = 'UTC'")
        .expect("it knows time zones");
    connection
}

fn rows(connection: &Connection, sql: &str) -> Rows {
    let statement = connection
        .statements(sql)
        .and_then(|statements| statements.first());
    let run = statement.and_then(|statement| statement.begin());
    run.and_then(|run| run.rows())
        .unwrap_or_else(|error| panic!("{error}: {sql}"))
}

fn batches(mut rows: Rows) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.next_batch().expect("there are rows") {
        batches.push(batch);
    }
    batches
}

/// The cells of a column, as texts.
fn cells(connection: &Connection, sql: &str) -> (DataType, Vec<Option<String>>) {
    let rows = rows(connection, sql);
    let kind = rows.schema().field(0).data_type().clone();
    let mut cells = Vec::new();
    for batch in batches(rows) {
        let column = batch.column(0);
        for row in 0..batch.num_rows() {
            let text = array_value_to_string(column, row).expect("it can be shown");
            cells.push(column.is_valid(row).then_some(text));
        }
    }
    (kind, cells)
}

#[test]
fn every_type_comes_as_arrow_has_it() {
    let Some(library) = library() else { return };
    let connection = connect(&library);
    for (value, text) in [
        ("true", "true"),
        ("-5::TINYINT", "-5"),
        ("250::UTINYINT", "250"),
        ("-300::SMALLINT", "-300"),
        ("60000::USMALLINT", "60000"),
        ("-70000::INTEGER", "-70000"),
        ("4000000000::UINTEGER", "4000000000"),
        ("-5000000000::BIGINT", "-5000000000"),
        ("18446744073709551615::UBIGINT", "18446744073709551615"),
        (
            "170141183460469231731687303715884105::HUGEINT",
            "170141183460469231731687303715884105",
        ),
        ("1.25::FLOAT", "1.25"),
        ("1.25::DOUBLE", "1.25"),
        ("12.34::DECIMAL(9, 2)", "12.34"),
        ("'short'", "short"),
        (
            "'a text that is longer than twelve bytes, with ä and a zero: ' || chr(0)",
            "a text that is longer than twelve bytes, with ä and a zero: \0",
        ),
        ("'\\x00\\xFF'::BLOB", "00ff"),
        ("DATE '2026-01-02'", "2026-01-02"),
        ("TIME '01:02:03.5'", "01:02:03.500"),
        ("TIMESTAMP '2026-01-02 03:04:05'", "2026-01-02T03:04:05"),
        ("TIMESTAMPTZ '2026-01-02 03:04:05Z'", "2026-01-02T03:04:05Z"),
        (
            "TIMESTAMP_NS '2026-01-02 03:04:05.000000001'",
            "2026-01-02T03:04:05.000000001",
        ),
        ("TIMESTAMP_S '2026-01-02 03:04:05'", "2026-01-02T03:04:05"),
        (
            "TIMESTAMP_MS '2026-01-02 03:04:05.001'",
            "2026-01-02T03:04:05.001",
        ),
        ("INTERVAL '1 month 2 days'", "1 mons 2 days"),
        (
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        ("'{\"a\": 1}'::JSON", "{\"a\": 1}"),
        ("[1, NULL, 3]", "[1, , 3]"),
        (
            "['x', 'a text that is longer than twelve bytes']",
            "[x, a text that is longer than twelve bytes]",
        ),
        ("[[1], [], NULL]::INTEGER[][]", "[[1], [], ]"),
        ("{'a': 1, 'b': 'x'}", "{a: 1, b: x}"),
        ("MAP {'k': 1, 'l': NULL}", "{k: 1, l: }"),
        ("'b'::ENUM('a', 'b')", "b"),
    ] {
        // One row, many, and many with nulls among them.
        let (_, one) = cells(&connection, &format!("SELECT {value} AS v"));
        assert_eq!(one, [Some(text.to_owned())], "{value}");
        let (kind, many) = cells(
            &connection,
            &format!("SELECT CASE WHEN range % 3 <> 0 THEN {value} END AS v FROM range(5000)"),
        );
        assert_eq!(many.len(), 5000, "{value}, which is {kind}");
        for (row, cell) in many.iter().enumerate() {
            let expected = (row % 3 != 0).then(|| text.to_owned());
            assert_eq!(*cell, expected, "{value}, which is {kind}, row {row}");
        }
    }
    // DuckDB's CASE does not take it.
    let (_, list) = cells(&connection, "SELECT [range, 2]::INTEGER[2] AS v FROM range(5000)");
    assert_eq!(list[4999].as_deref(), Some("[4999, 2]"));
    let (kind, none) = cells(&connection, "SELECT 1 AS v WHERE false");
    assert_eq!((kind, none.len()), (DataType::Int32, 0));
}

#[test]
fn a_type_that_cannot_be_handed_over_is_named() {
    let Some(library) = library() else { return };
    let connection = connect(&library);
    let statement = connection
        .statements("SELECT union_value(a := 1) AS odd")
        .and_then(|all| all.first());
    let error = statement
        .and_then(|one| one.begin())
        .and_then(|run| run.rows())
        .unwrap_err();
    assert!(
        error.0.contains("the column odd") && error.0.contains("cast it"),
        "{error}"
    );
}

#[test]
fn statements_are_counted_told_apart_and_refused_with_duckdbs_words() {
    let Some(library) = library() else { return };
    let connection = connect(&library);
    for (sql, count) in [
        ("", 0),
        ("-- nothing", 0),
        ("SELECT 1", 1),
        ("SELECT 1; SELECT 2;", 2),
    ] {
        assert_eq!(connection.statements(sql).unwrap().count(), count, "{sql}");
    }
    for (sql, kind) in [
        ("SELECT 1", Kind::Select),
        ("FROM range(3)", Kind::Select),
        ("EXPLAIN SELECT 1", Kind::Explain),
        ("CREATE TABLE x (a INTEGER)", Kind::Other),
        ("COPY (SELECT 1) TO 'x.csv'", Kind::Other),
        ("SET threads = 1", Kind::Other),
    ] {
        let statement = connection.statements(sql).unwrap().first().unwrap();
        assert_eq!(statement.kind(), kind, "{sql}");
    }
    assert!(
        connection
            .statements("SELEC 1")
            .unwrap_err()
            .0
            .starts_with("Parser Error"),
        "it is no SQL"
    );
    let unknown = connection
        .statements("SELECT * FROM nothing")
        .unwrap()
        .first()
        .unwrap_err();
    assert!(unknown.0.starts_with("Catalog Error"), "{unknown}");
    let zero = connection.statements("SELECT '\0'").unwrap_err();
    assert!(zero.0.contains("zero character"), "{zero}");
    // Before the first rows or behind some, as DuckDB sees fit.
    let late = "SELECT CASE WHEN range = 100000 THEN error('too far') ELSE range END FROM range(200000)";
    let run = connection
        .statements(late)
        .unwrap()
        .first()
        .unwrap()
        .begin()
        .unwrap();
    let error = match run.rows() {
        Err(error) => error,
        Ok(mut rows) => loop {
            match rows.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the error came not"),
                Err(error) => break error,
            }
        },
    };
    assert!(error.0.contains("too far"), "{error}");
}

/// What is dropped early, late and in another order than it was made; a checker of memory has nothing to say about it.
#[test]
fn everything_is_freed_whatever_is_dropped_first() {
    let Some(library) = library() else { return };
    let long = "SELECT range AS n, repeat('x', 100) || range AS t, [range, NULL] AS l FROM range(100000)";
    for round in 0..120 {
        let connection = connect(&library);
        let statements = connection.statements(long).unwrap();
        let statement = statements.first().unwrap();
        match round % 6 {
            0 => drop(statement),
            1 => drop(statement.begin().unwrap()),
            2 => drop(statement.begin().unwrap().rows().unwrap()),
            3 => {
                drop(statements);
                let mut rows = statement.begin().unwrap().rows().unwrap();
                drop(connection);
                let first = rows.next_batch().unwrap().unwrap();
                drop(rows);
                assert_eq!(
                    array_value_to_string(first.column(0), 7).unwrap(),
                    "7",
                    "a batch stands by itself"
                );
            }
            4 => {
                let mut rows = statement.begin().unwrap().rows().unwrap();
                assert!(rows.next_batch().unwrap().is_some());
                // Another query on the same connection ends the first; from DuckDB 2.0 on it is refused.
                if let Err(error) = connection.execute("SELECT 1") {
                    assert!(error.0.contains("open result"), "{error}");
                }
                while let Ok(Some(_)) = rows.next_batch() {}
            }
            _ => {
                let interrupt = connection.interrupt();
                drop(connection);
                let rows = statement.begin().unwrap().rows().unwrap();
                interrupt.interrupt();
                drop(rows);
                interrupt.interrupt();
            }
        }
    }
    assert_eq!(
        batches(rows(&connect(&library), long))
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        100_000
    );
}

/// Long enough for any test's patience.
const ENDLESS: &str = "SELECT sum(hash(a.range, b.range)) FROM range(1000000) a, range(1000000) b";

#[test]
fn a_query_is_interrupted_while_it_runs_and_the_next_one_is_not() {
    let Some(library) = library() else { return };
    let connection = connect(&library);
    for _ in 0..20 {
        // One that is given up before it ran is ended, too.
        drop(
            connection
                .statements(ENDLESS)
                .unwrap()
                .first()
                .unwrap()
                .begin()
                .unwrap(),
        );
        let interrupt = connection.interrupt();
        let run = connection
            .statements(ENDLESS)
            .unwrap()
            .first()
            .unwrap()
            .begin()
            .unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        // It may come before the query really runs, or in the midst of it: it ends in any case.
        let other = std::thread::spawn(move || {
            flag.store(true, Ordering::SeqCst);
            interrupt.interrupt();
        });
        // DuckDB 2.0 begins with the first rows that are taken.
        let error = run.rows().and_then(|mut rows| rows.next_batch()).unwrap_err();
        assert!(error.0.starts_with("INTERRUPT"), "{error}");
        other.join().unwrap();
        assert!(is_over.load(Ordering::SeqCst), "it did not end by itself");
        assert_eq!(cells(&connection, "SELECT 1 AS v").1.len(), 1);
    }
}
