//! What a query may take, and what becomes of one that takes more.

use std::process::Command;
use std::time::Duration;

use axiom_query::engine::{Engine, cancel};
use axiom_query::fault::Code;
use axiom_query::limits::Limits;

use crate::store::{models, record, rows};

/// A query that would run for hours, without memory.
const ENDLESS: &str = "SELECT sum(value % 7) AS n FROM generate_series(1, 100000000000000)";

/// Rows come at once and would come for hours.
pub(crate) const LONG: &str = "SELECT value FROM generate_series(1, 100000000000000)";

/// A query that takes sixteen gigabytes before anybody counts them.
pub(crate) const GREEDY: &str = "SELECT cardinality(array_repeat(1, 2000000000)) AS n";

fn engine(dir: &std::path::Path, limits: Limits) -> Engine {
    Engine::open(dir, limits).expect("the folder is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_its_time_is_over_and_when_it_is_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let limits = Limits {
        timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let fault = rows(&engine(dir.path(), limits), ENDLESS).await.unwrap_err();
    assert_eq!(fault.code, Code::Timeout, "{fault}");
    assert!(fault.message.contains("0.3 s"), "{fault}");

    let engine = engine(dir.path(), Limits::default());
    let (cancel, cancelled) = cancel();
    let mut answer = engine.run(ENDLESS, cancelled).await.unwrap();
    let next = axiom_core::spawn("next", async move { answer.next().await });
    cancel.cancel();
    let fault = next.join().await.unwrap().unwrap_err();
    assert_eq!(fault.code, Code::Cancelled);
    assert_eq!(
        rows(&engine, "SELECT 1 AS n").await.unwrap().len(),
        1,
        "the next one is answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_beyond_the_bound_wait_and_are_then_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let limits = Limits {
        queries_max: 1,
        wait: Duration::from_millis(500),
        ..Limits::default()
    };
    let engine = engine(dir.path(), limits);
    let (_cancel, cancelled) = cancel();
    let running = engine.run(LONG, cancelled).await.unwrap();
    let fault = rows(&engine, "SELECT 1").await.unwrap_err();
    assert_eq!(fault.code, Code::Busy, "{fault}");
    drop(running);
    rows(&engine, "SELECT 1").await.unwrap();
}

/// Nobody takes its rows and nobody leaves: its time is over all the same, and its place is free for the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_in_time_whether_its_rows_are_taken_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let limits = Limits {
        queries_max: 1,
        timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let engine = engine(dir.path(), limits);
    let (_cancel, cancelled) = cancel();
    let mut left_lying = engine.run(LONG, cancelled).await.unwrap();
    left_lying.next().await.unwrap().expect("it has begun");
    assert_eq!(rows(&engine, "SELECT 1 AS n").await.unwrap().len(), 1);
    // Whoever comes back later hears what became of it.
    let fault = loop {
        match left_lying.next().await {
            Ok(rows) => rows.expect("it did not come to its end"),
            Err(fault) => break fault,
        };
    };
    assert_eq!(fault.code, Code::Timeout, "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_goes_to_the_disk_or_ends_with_words() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let small = |temp_bytes| Limits {
        memory_bytes: 64 << 20,
        temp_bytes,
        ..Limits::default()
    };
    // Some 200 MB of texts, each of which must be told from the others.
    let distinct = "SELECT count(*) AS n FROM (SELECT DISTINCT repeat('x', 400) || value FROM generate_series(1, 500000))";
    let found = rows(&engine(dir.path(), small(1 << 30)), distinct).await.unwrap();
    assert_eq!(found[0]["n"], 500_000);
    let fault = rows(&engine(dir.path(), small(1 << 20)), distinct)
        .await
        .unwrap_err();
    assert_eq!(fault.code, Code::Memory, "{fault}");
    assert!(fault.hint.is_some_and(|hint| hint.contains("ask for less")));
}

/// A list is made in one piece, which nobody counts beforehand: the process ends, and nothing else.
#[test]
fn a_query_that_eats_all_memory_ends_its_process() {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGABRT: i32 = 6;
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let output = Command::new(env!("CARGO_BIN_EXE_axiom-query"))
        .args(["sql", "--memory", "64", "--format", "ndjson", "--dir"])
        .arg(dir.path())
        .arg(GREEDY)
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}
