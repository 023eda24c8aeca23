//! DuckDB as the engine: the same rows as DataFusion in all tiers, the same words about what is missing, and nothing that it
//! can read or write but what it should. Without its library these tests say so and end.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use axiom_duckdb::Library;
use axiom_query::duckdb::{Ended, Engine};
use axiom_query::engine::cancel;
use axiom_query::fault::{Code, Fault};
use axiom_query::limits::Limits;
use serde_json::{Value, json};

use crate::store::{self, Model, models, record, rows_of, seal, seal_and_move};

/// The file of the library: the one that is named, or that `cargo xtask setup` installed.
fn file() -> Option<PathBuf> {
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
    if found.is_none() {
        let told = "skipped: neither AXIOM_DUCKDB_LIBRARY nor the test bed has DuckDB's library; `cargo xtask setup` installs it";
        let _heard = writeln!(std::io::stderr().lock(), "{told}").is_ok();
    }
    found
}

pub(crate) fn library() -> Option<Library> {
    let path = file()?;
    Some(Library::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

pub(crate) fn engine(library: &Library, dir: &Path) -> Engine {
    bounded(library, dir, Limits::default()).0
}

fn bounded(library: &Library, dir: &Path, limits: Limits) -> (Engine, Ended) {
    Engine::open(library.clone(), dir, limits, false).expect("there is a store")
}

async fn rows(engine: &Engine, sql: &str) -> Result<Vec<Value>, Fault> {
    let (_cancel, cancelled) = cancel();
    rows_of(engine.run(sql, cancelled).await?).await
}

pub(crate) async fn answers(engine: &Engine, queries: &[String]) -> Vec<Vec<Value>> {
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

/// A store with events in all tiers: a cold and two warm files, and the rest in the log.
fn all_tiers(dir: &Path, models: &[Model]) -> Vec<PathBuf> {
    record(dir, models).close();
    let sealed = models.len() * 3 / 4;
    let address = |path: &Path| format!("file://{}", path.display());
    seal_and_move(dir, models.get(..sealed).expect("a part"), Some(&address))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_all_tiers_are_the_same_as_in_datafusion() {
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(11, 4_000);
    all_tiers(dir.path(), &models);
    let (ours, duckdb) = (store::engine(dir.path()), engine(&library, dir.path()));

    // Every column; a body of any bytes, as text where it is one.
    let columns = "shard, \"offset\", version, tenant, stream, task, kind, level, severity, trace, id, format, body, body_bytes, tier";
    let sql = |nanos: &str| format!("SELECT {columns}, {nanos} AS nanos FROM events ORDER BY \"offset\"");
    let expected = store::rows(&ours, &sql("CAST(\"time\" AS BIGINT)"))
        .await
        .unwrap();
    let found = rows(&duckdb, &sql("epoch_ns(\"time\")")).await.unwrap();
    assert_eq!(found.len(), models.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    let tiers: Vec<&str> = ["cold", "warm", "hot"]
        .into_iter()
        .filter(|tier| found.iter().any(|row| row["tier"] == *tier))
        .collect();
    assert_eq!(tiers, ["cold", "warm", "hot"]);
    for (model, row) in models.iter().zip(&found) {
        let bytes: String = model.body.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row["body_bytes"], bytes, "bodies are what was recorded");
    }

    // The views, and the functions that both engines have.
    let calls = "call, tenant, server, method, name, outcome, code, level, duration_us, request_bytes, endpoint, request, trace";
    for sql in [
        format!("SELECT {calls}, stream, shard, \"offset\" FROM calls ORDER BY \"offset\""),
        "SELECT tenant, task, events, errors, kinds, bytes FROM tasks ORDER BY tenant, task".to_owned(),
        "SELECT \"offset\", json_get_int(body, 'n', 'deep', 1) AS two, json_get_str(body, 'outcome') AS outcome, \
         json_get_str(body, 'duration_us') AS none, byte_count(body_bytes) AS bytes FROM events ORDER BY \"offset\""
            .to_owned(),
        "SELECT tier, count(*) AS n FROM events WHERE kind = 'gateway.call' AND (body ->> 'duration_us')::bigint > 1000000 \
         GROUP BY tier ORDER BY tier"
            .to_owned(),
    ] {
        let expected = store::rows(&ours, &sql).await.unwrap();
        assert!(!expected.is_empty(), "{sql}");
        assert_eq!(rows(&duckdb, &sql).await.unwrap(), expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_columns_are_those_of_datafusion() {
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    all_tiers(dir.path(), &models(12, 400));
    let (ours, duckdb) = (store::engine(dir.path()), engine(&library, dir.path()));
    let empty = tempfile::tempdir().unwrap();
    let _log = record(empty.path(), &[]);
    let nothing = engine(&library, empty.path());
    for table in ["events", "calls", "tasks"] {
        let sql = format!("SELECT * FROM {table}");
        // Times have microseconds in DuckDB 1.x, which has no type for less with a zone.
        let named = |schema: arrow::datatypes::SchemaRef| {
            let fields = schema.fields().iter().map(|field| {
                (
                    field.name().clone(),
                    field.data_type().to_string().replace("µs", "ns"),
                )
            });
            fields.collect::<Vec<_>>()
        };
        let expected = named(ours.describe(&sql).await.unwrap());
        assert_eq!(named(duckdb.describe(&sql).await.unwrap()), expected, "{table}");
        assert_eq!(
            named(nothing.describe(&sql).await.unwrap()),
            expected,
            "{table} without events"
        );
        assert_eq!(rows(&nothing, &sql).await.unwrap(), Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_query_is_refused_with_words_and_changes_nothing() {
    let Some(library) = library() else { return };
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let models = models(13, 400);
    let files = all_tiers(dir.path(), &models);
    let engine = engine(&library, dir.path());
    let file = files[1].display();
    let before = fs_err::read(&files[1]).unwrap();
    let secret = elsewhere.path().join("secret.csv");
    fs_err::write(&secret, "a\n1\n").unwrap();
    let (secret, new) = (secret.display(), elsewhere.path().join("new"));
    let new = new.display();
    for (sql, code, at, words) in [
        ("SELEC 1".to_owned(), Code::Query, Some((1, 1)), "syntax error"),
        (
            "SELECT\n  kin FROM events".to_owned(),
            Code::Query,
            Some((2, 3)),
            "kin",
        ),
        (
            "SELECT 1 FROM evnts".to_owned(),
            Code::Query,
            Some((1, 15)),
            "evnts",
        ),
        (String::new(), Code::Query, None, "no query"),
        ("SELECT 1; SELECT 2".to_owned(), Code::Query, None, "several"),
        (
            "CREATE TABLE x AS SELECT 1".to_owned(),
            Code::Refused,
            None,
            "never changed",
        ),
        (
            "DROP VIEW events".to_owned(),
            Code::Refused,
            None,
            "never changed",
        ),
        ("SET threads = 1".to_owned(), Code::Refused, None, "never changed"),
        (
            format!("COPY (SELECT 1) TO '{new}'"),
            Code::Refused,
            None,
            "disabled by configuration",
        ),
        (
            format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)"),
            Code::Refused,
            None,
            "never changed",
        ),
        (
            format!("EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)"),
            Code::Refused,
            None,
            "never changed",
        ),
        (
            format!("/* */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)"),
            Code::Refused,
            None,
            "",
        ),
        (format!("ATTACH '{new}'"), Code::Refused, None, "never changed"),
        ("INSTALL httpfs".to_owned(), Code::Refused, None, "never changed"),
        ("LOAD httpfs".to_owned(), Code::Refused, None, "never changed"),
        (
            format!("SELECT * FROM '{secret}'"),
            Code::Refused,
            None,
            "disabled by configuration",
        ),
        (
            format!("SELECT * FROM read_text('{secret}')"),
            Code::Refused,
            None,
            "disabled by configuration",
        ),
        (
            format!("SELECT * FROM glob('{}/*')", elsewhere.path().display()),
            Code::Refused,
            None,
            "disabled by configuration",
        ),
        (
            "SELECT * FROM 'https://127.0.0.1:1/x.parquet'".to_owned(),
            Code::Refused,
            None,
            "disabled by configuration",
        ),
    ] {
        let fault = rows(&engine, &sql).await.expect_err(&sql);
        assert!(fault.message.contains(words), "{sql}: {fault:?}");
        assert_eq!(fault.code, code, "{sql}: {fault:?}");
        if at.is_some() {
            assert_eq!(fault.at, at, "{sql}: {fault:?}");
        }
    }
    assert_eq!(
        fs_err::read(&files[1]).unwrap(),
        before,
        "the events are as they were"
    );
    assert_eq!(fs_err::read_dir(elsewhere.path()).unwrap().count(), 1);
    for sql in [
        "SHOW TABLES",
        "DESCRIBE calls",
        "SUMMARIZE tasks",
        "FROM events LIMIT 3",
        "EXPLAIN SELECT 1",
        "explain analyze FROM tasks",
    ] {
        assert!(!rows(&engine, sql).await.unwrap().is_empty(), "{sql}");
    }
}

/// As the other engine tells it.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_beside_the_rows() {
    use std::os::unix::fs::FileExt as _;
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &models(5, 2_100)).close();
    let path = dir.path().join("shard-00000/00000000000000000000.seg");
    let log = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    // Within the first block's columns.
    log.write_all_at(&[0; 16], 1_000).unwrap();
    let (_cancel, cancelled) = cancel();
    let engine = engine(&library, dir.path());
    let mut answer = engine
        .run("SELECT \"offset\" FROM events", cancelled)
        .await
        .unwrap();
    let mut found = 0;
    while let Some(batch) = answer.next().await.unwrap() {
        found += batch.num_rows();
    }
    assert_eq!(found, 1_400, "the first block is gone and nothing else");
    let (_cancel, cancelled) = cancel();
    let ours = store::engine(dir.path());
    let mut by_ours = ours
        .run("SELECT \"offset\" FROM events", cancelled)
        .await
        .unwrap();
    while by_ours.next().await.unwrap().is_some() {}
    assert_eq!(answer.warnings(), by_ours.warnings());
    assert_eq!(answer.warnings().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_an_error_and_no_smaller_answer() {
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    let files = seal(dir.path(), &models(14, 600));
    let _log = record(dir.path(), &[]);
    fs_err::write(&files[1], "not what it was").unwrap();
    let fault = rows(&engine(&library, dir.path()), "SELECT count(*) AS n FROM events")
        .await
        .unwrap_err();
    assert_eq!(fault.code, Code::Failed, "{fault:?}");
    assert!(
        fault
            .hint
            .is_some_and(|hint| hint.contains("axiom events verify"))
    );
    fs_err::remove_file(&files[1]).unwrap();
    let fault = rows(&engine(&library, dir.path()), "SELECT count(*) AS n FROM events")
        .await
        .unwrap_err();
    assert_eq!(fault.code, Code::Failed, "{fault:?}");
}

/// A query that would run for hours, without memory.
const ENDLESS: &str = "SELECT sum(hash(a.range, b.range)) AS n FROM range(1000000) a, range(1000000) b";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_its_time_is_over_when_it_is_cancelled_and_when_nobody_wants_it() {
    let Some(library) = library() else { return };
    let (dir, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    all_tiers(dir.path(), &models(15, 4_000));
    let limits = |timeout| Limits {
        timeout,
        temp_dir: temp.path().to_owned(),
        ..Limits::default()
    };
    let (engine, mut ended) = bounded(&library, dir.path(), limits(Duration::from_millis(300)));
    let fault = rows(&engine, ENDLESS).await.unwrap_err();
    assert_eq!(fault.code, Code::Timeout, "{fault}");
    drop(engine);
    ended.wait().await;

    let (engine, mut ended) = bounded(&library, dir.path(), limits(Duration::from_secs(600)));
    for _ in 0..5 {
        let (cancel, cancelled) = cancel();
        let asking = engine.clone();
        let asked = axiom_core::spawn(
            "asked",
            async move { asking.run(ENDLESS, cancelled).await.map(drop) },
        );
        // While it is being prepared, or while it runs.
        tokio::task::yield_now().await;
        cancel.cancel();
        assert_eq!(asked.join().await.unwrap().unwrap_err().code, Code::Cancelled);
    }
    for batches in 0..20 {
        let (_cancel, cancelled) = cancel();
        let mut answer = engine
            .run("SELECT a.* FROM events a, range(1000)", cancelled)
            .await
            .unwrap();
        for _ in 0..batches % 3 {
            assert!(answer.next().await.unwrap().is_some());
        }
    }
    assert_eq!(
        rows(&engine, "SELECT 1 AS n").await.unwrap(),
        [json!({"n": 1})],
        "the next one is answered"
    );
    drop(engine);
    ended.wait().await;
    assert_eq!(
        fs_err::read_dir(temp.path()).unwrap().count(),
        0,
        "nothing is left on the disk"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_goes_to_the_disk_or_ends_with_words() {
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let small = |temp_bytes| Limits {
        memory_bytes: 256 << 20,
        temp_bytes,
        ..Limits::default()
    };
    // Some 600 MB of texts, each of which must be told from the others.
    let distinct =
        "SELECT count(*) AS n FROM (SELECT DISTINCT repeat('x', 400) || range FROM range(1500000))";
    let (engine, _ended) = bounded(&library, dir.path(), small(1 << 30));
    assert_eq!(rows(&engine, distinct).await.unwrap()[0]["n"], 1_500_000);
    let (engine, _ended) = bounded(&library, dir.path(), small(1 << 20));
    let fault = rows(&engine, distinct).await.unwrap_err();
    assert_eq!(fault.code, Code::Memory, "{fault}");
    assert!(fault.hint.is_some_and(|hint| hint.contains("ask for less")));
}

fn program(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_axiom-query"));
    command
        .args(["sql", "--engine", "duckdb", "--format", "ndjson", "--dir"])
        .arg(dir)
        .args(arguments);
    command
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Of the process, not only of what DuckDB counts: it is told, and ends with words instead of a signal.
#[test]
fn a_query_that_eats_all_memory_is_refused_it() {
    let Some(file) = file() else { return };
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    for sql in [
        "SELECT len(repeat('x', 2000000000)) AS n",
        "SELECT len(list(range)) AS n FROM range(1000000000)",
    ] {
        let output = program(dir.path(), &["--memory", "64", "--duckdb-library"])
            .arg(&file)
            .arg(sql)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(talk(&output).contains("--memory"), "{output:?}");
    }
}

#[test]
fn without_a_library_it_says_where_it_looked_and_how_to_come_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let named = program(
        dir.path(),
        &["--duckdb-library", "/nowhere/libduckdb.so", "SELECT 1"],
    )
    .output()
    .unwrap();
    assert_eq!(named.status.code(), Some(3), "{named:?}");
    let words = talk(&named);
    assert!(
        words.contains("/nowhere/libduckdb.so (--duckdb-library)") && words.contains("hint: "),
        "{words}"
    );
    let by_variable = program(dir.path(), &["SELECT 1"])
        .env("AXIOM_DUCKDB_LIBRARY", dir.path())
        .output()
        .unwrap();
    assert!(
        talk(&by_variable).contains("AXIOM_DUCKDB_LIBRARY"),
        "{by_variable:?}"
    );
    let nothing = program(dir.path(), &["SELECT 1"])
        .env_remove("AXIOM_DUCKDB_LIBRARY")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    // Where the system has one, it is used.
    if nothing.status.code() != Some(0) {
        assert_eq!(nothing.status.code(), Some(3), "{nothing:?}");
        let words = talk(&nothing);
        assert!(
            words.contains("neither in") && words.contains("libduckdb-linux-amd64.zip"),
            "{words}"
        );
    }
}

#[test]
fn an_interrupted_query_ends_at_once_and_leaves_nothing_behind() {
    let Some(file) = file() else { return };
    let (dir, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _log = record(dir.path(), &models(1, 100));
    let mut command = program(dir.path(), &["--timeout", "600", "--temp-dir"]);
    command
        .arg(temp.path())
        .arg("--duckdb-library")
        .arg(&file)
        .arg(ENDLESS);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun when its folder is there.
    let deadline = axiom_core::time::now() + Duration::from_secs(60);
    while fs_err::read_dir(temp.path()).unwrap().count() == 0 {
        assert!(axiom_core::time::now() < deadline, "it did not begin");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(130),
        "{:?} {}",
        output.status.signal(),
        talk(&output)
    );
    assert_eq!(fs_err::read_dir(temp.path()).unwrap().count(), 0);
}

/// A store of one object that speaks as much S3 as is asked of it.
fn object_store(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    let serve = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut asked: Vec<u8> = Vec::new();
            let mut some = [0; 4_096];
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut some) {
                    Ok(count) if count > 0 => asked.extend(some.iter().take(count)),
                    _ => break,
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                 Connection: close\r\n\r\n",
                bytes.len()
            );
            let sent = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&bytes));
            drop(sent);
        }
    };
    drop(axiom_core::spawn::thread("an object store", serve).expect("a thread"));
    format!("http://{address}")
}

#[test]
fn an_object_store_is_not_asked_unless_that_is_wanted() {
    let Some(file) = file() else { return };
    let (dir, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let models = models(16, 900);
    record(dir.path(), &models).close();
    let files = seal_and_move(
        dir.path(),
        &models[..600],
        Some(&|_| "s3://bucket/00/a.parquet".to_owned()),
    );
    let endpoint = object_store(fs_err::read(&files[0]).unwrap());
    fs_err::remove_file(&files[0]).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = program(dir.path(), &["--temp-dir"]);
        command
            .arg(temp.path())
            .arg("--duckdb-library")
            .arg(&file)
            .args(arguments);
        command
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1");
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        command
            .arg("SELECT tier, count(*) AS n FROM events GROUP BY tier ORDER BY tier")
            .output()
            .unwrap()
    };
    let refused = ask(&[]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let words = talk(&refused);
    for part in [
        "events 0 to 199 of shard 0",
        "1 objects",
        "1 MiB",
        "s3://bucket/00/a.parquet",
        "--copy-cold",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
    let copied = ask(&["--copy-cold"]);
    assert_eq!(copied.status.code(), Some(0), "{copied:?}");
    let found: Vec<Value> = String::from_utf8_lossy(&copied.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        found,
        [
            json!({"tier": "cold", "n": 200}),
            json!({"tier": "hot", "n": 300}),
            json!({"tier": "warm", "n": 400})
        ]
    );
    assert_eq!(
        fs_err::read_dir(temp.path()).unwrap().count(),
        0,
        "the copy is gone"
    );
}

/// Whatever DuckDB somebody has: here the newest one of Python's.
#[test]
fn the_tables_can_be_made_in_ones_own_duckdb() {
    let Some(python) = crate::equal::python() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let models = models(17, 1_600);
    all_tiers(dir.path(), &models);
    let printed = program(dir.path(), &["--print-setup"]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let sql = String::from_utf8(printed.stdout).unwrap();
    assert!(
        sql.contains("-- Events 1200 to 1599 of shard 0 are in no file yet"),
        "{sql}"
    );
    let setup = dir.path().join("setup.sql");
    fs_err::write(&setup, &sql).unwrap();
    let script = "import duckdb, json, sys\nc = duckdb.connect()\nc.execute(open(sys.argv[1]).read())\n\
                  print(json.dumps([c.execute(q).fetchone()[0] for q in sys.argv[2:]]))";
    let output = Command::new(python)
        .args(["-c", script])
        .arg(&setup)
        .args([
            "SELECT count(*) FROM events",
            "SELECT count(*) FROM calls WHERE outcome IS NOT NULL",
            "SELECT sum(bytes)::BIGINT FROM tasks",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", talk(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sealed = &models[..1_200];
    let calls = sealed.iter().filter(|model| model.kind == "gateway.call").count();
    let bytes: usize = sealed
        .iter()
        .filter(|model| !model.task.is_empty())
        .map(|model| model.body.len())
        .sum();
    assert_eq!(said, json!([1_200, calls, bytes]));
}
