//! What the tables show is what was recorded.

use std::collections::BTreeMap;

use axiom_query::fault::Code;
use serde_json::{Value, json};

use crate::store::{BEGIN, append, engine, models, record, rows};

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_every_event_is_what_was_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let models = models(1, 2_000);
    let _log = record(dir.path(), &models);
    let engine = engine(dir.path());
    let sql = r#"SELECT *, CAST("time" AS BIGINT) AS nanos FROM events ORDER BY "offset""#;
    let found = rows(&engine, sql).await.unwrap();
    assert_eq!(found.len(), models.len());
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for ((offset, model), row) in (0u64..).zip(&models).zip(&found) {
        let version = versions.entry(model.stream).or_default();
        let body = std::str::from_utf8(&model.body).ok();
        let expected = [
            ("shard", json!(0)),
            ("offset", json!(offset)),
            ("version", json!(*version)),
            ("nanos", json!(model.time)),
            ("tenant", json!(model.tenant)),
            ("stream", json!(model.stream)),
            ("task", json!(model.task)),
            ("kind", json!(model.kind)),
            ("level", json!(model.level.name())),
            ("severity", json!(model.level as u8)),
            ("trace", json!(model.trace.map(|trace| trace.to_string()))),
            ("id", json!(model.id.map(|id| id.to_string()))),
            ("body", json!(body)),
            ("body_bytes", json!(hex(&model.body))),
            ("tier", json!("hot")),
        ];
        *version += 1;
        for (column, value) in expected {
            assert_eq!(row[column], value, "{column} of event {offset}");
        }
    }
    let first = found[0]["time"].as_str().unwrap();
    assert!(
        first.starts_with("2026-01-01T0") && first.ends_with('Z'),
        "{first}"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_tasks_are_views_over_events() {
    let dir = tempfile::tempdir().unwrap();
    let models = models(2, 3_000);
    let _log = record(dir.path(), &models);
    let engine = engine(dir.path());

    let body = |n: usize| serde_json::from_slice::<Value>(&models[n].body).unwrap();
    let calls: Vec<usize> = (0..models.len())
        .filter(|n| models[*n].kind == "gateway.call")
        .collect();
    let sql = r#"SELECT "offset", "call", server, outcome, duration_us FROM calls ORDER BY "offset""#;
    let found = rows(&engine, sql).await.unwrap();
    let expected = calls.iter().map(|n| {
        let body = body(*n);
        json!({"offset": n, "call": models[*n].task, "server": body["server"], "outcome": body["outcome"], "duration_us": body["duration_us"]})
    });
    assert_eq!(found, expected.collect::<Vec<_>>());

    let sql = "SELECT tenant, task, events, errors, kinds, bytes FROM tasks ORDER BY tenant, task";
    let found = rows(&engine, sql).await.unwrap();
    /// Events, errors, kinds, and bytes of bodies.
    type Task<'a> = (u64, u64, std::collections::BTreeSet<&'a str>, usize);
    let mut tasks: BTreeMap<(&str, &str), Task<'_>> = BTreeMap::new();
    for model in models.iter().filter(|model| !model.task.is_empty()) {
        let task = tasks.entry((model.tenant, &model.task)).or_default();
        task.0 += 1;
        task.1 += u64::from(model.level as u8 >= 4);
        task.2.insert(model.kind);
        task.3 += model.body.len();
    }
    let expected = tasks.into_iter().map(|((tenant, task), (events, errors, kinds, bytes))| {
        json!({"tenant": tenant, "task": task, "events": events, "errors": errors, "kinds": kinds.len(), "bytes": bytes})
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_asked_by_key_and_new_events_are_seen_by_the_next_query() {
    let dir = tempfile::tempdir().unwrap();
    let models = models(3, 1_400);
    let log = record(dir.path(), &models[..700]);
    let engine = engine(dir.path());
    let count = |sql: &'static str| {
        let engine = engine.clone();
        async move { rows(&engine, sql).await.unwrap()[0]["n"].as_u64().unwrap() }
    };
    let slow = "SELECT count(*) AS n FROM events WHERE kind = 'gateway.call' AND (body ->> 'duration_us')::bigint >= 1000000 \
                AND json_get_int(body, 'n', 'deep', 1) = 2";
    let expected = |models: &[crate::store::Model]| {
        let calls = models.iter().filter(|model| model.kind == "gateway.call");
        let bodies = calls.map(|model| serde_json::from_slice::<Value>(&model.body).unwrap());
        bodies
            .filter(|body| body["duration_us"].as_u64() >= Some(1_000_000))
            .count() as u64
    };
    assert_eq!(count(slow).await, expected(&models[..700]));
    // What was looked up by the index before is looked up again after.
    const TASK: &str =
        "SELECT count(*) AS n FROM events WHERE task = 'task-0007-with-a-name-longer-than-a-view'";
    let of_task = |models: &[crate::store::Model]| {
        let of_task = models.iter().filter(|model| model.task.starts_with("task-0007"));
        of_task.count() as u64
    };
    assert_eq!(count(TASK).await, of_task(&models[..700]));
    append(&log, &models[700..]);
    assert_eq!(count("SELECT count(*) AS n FROM events").await, 1_400);
    assert_eq!(count(slow).await, expected(&models));
    assert_eq!(count(TASK).await, of_task(&models));
    let hour = BEGIN + 3_600_000_000_000;
    let late = models.iter().filter(|model| model.time >= hour).count() as u64;
    assert_eq!(
        count("SELECT count(*) AS n FROM events WHERE \"time\" >= '2026-01-01T01:00:00Z'").await,
        late
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_say_where_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(4, 10));
    let engine = engine(dir.path());
    for (sql, code, at, words) in [
        ("SELEC 1", Code::Query, Some((1, 1)), "SELEC"),
        ("SELECT *\nFROM events WHERE", Code::Query, None, "Expected"),
        ("SELECT kin FROM events", Code::Query, Some((1, 8)), "kind"),
        ("SELECT 1 FROM evnts", Code::Query, Some((1, 15)), "evnts"),
        ("", Code::Query, None, "no query"),
        ("SELECT 1; SELECT 2", Code::Query, None, "several"),
        ("CREATE TABLE x AS SELECT 1", Code::Refused, None, "never changed"),
        (
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
            Code::Refused,
            None,
            "never changed",
        ),
        (
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            Code::Refused,
            None,
            "never changed",
        ),
        (
            "INSERT INTO events SELECT * FROM events",
            Code::Refused,
            None,
            "never changed",
        ),
        ("DROP TABLE events", Code::Refused, None, "never changed"),
        (
            "SET datafusion.execution.batch_size = 1",
            Code::Refused,
            None,
            "never changed",
        ),
        ("SELECT * FROM '/etc/passwd'", Code::Query, None, "/etc/passwd"),
    ] {
        let fault = rows(&engine, sql).await.expect_err(sql);
        assert_eq!(fault.code, code, "{sql}: {fault}");
        assert!(fault.message.contains(words), "{sql}: {fault}");
        if at.is_some() {
            assert_eq!(fault.at, at, "{sql}: {fault}");
        }
    }
    let all: Vec<Value> = rows(&engine, "SHOW TABLES").await.unwrap();
    let names: Vec<&str> = all.iter().filter_map(|row| row["table_name"].as_str()).collect();
    for name in ["events", "calls", "tasks"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_beside_the_rows() {
    use axiom_query::engine::cancel;
    use std::os::unix::fs::FileExt as _;
    let dir = tempfile::tempdir().unwrap();
    let models = models(5, 2_100);
    record(dir.path(), &models).close();
    let shard = dir.path().join("shard-00000");
    let path = shard.join("00000000000000000000.seg");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    // Within the first block's columns.
    file.write_all_at(&[0; 16], 1_000).unwrap();
    let engine = engine(dir.path());
    let (_cancel, cancelled) = cancel();
    let mut answer = engine
        .run(
            "SELECT \"offset\" FROM events WHERE kind = 'gateway.call'",
            cancelled,
        )
        .await
        .unwrap();
    let mut found = 0;
    while let Some(batch) = answer.next().await.unwrap() {
        found += batch.num_rows();
    }
    let sound = models
        .iter()
        .skip(700)
        .filter(|model| model.kind == "gateway.call")
        .count();
    assert_eq!(found, sound, "the first block is gone and nothing else");
    let warnings = answer.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("events 0 to 699 of shard 0"), "{warnings:?}");
    // What a condition leaves out is not even read.
    for condition in [
        "\"offset\" >= 700",
        "699 < \"offset\" AND kind = 'gateway.call'",
        "\"offset\" BETWEEN 700 AND 900",
        "\"offset\" = 1000",
        "tier = 'warm'",
        "shard = 1",
    ] {
        rows(&engine, &format!("SELECT body FROM events WHERE {condition}"))
            .await
            .unwrap();
    }
}
