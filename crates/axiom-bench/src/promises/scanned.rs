//! Q1 and Q2: SQL by `axiom-query`, beside DuckDB over the very same Parquet files.
//!
//! The files are those of ten hours: what is merged of a day, and of each hour since. Nothing is hot, because DuckDB does not
//! read the log. Both processes run already and have answered each query once.

mod program;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use axiom_events::Recorded;
use axiom_events::disk::Machine;
use axiom_tiers::file::{WriteOptions, Writer, Written};
use axiom_tiers::manifest::{Change, Manifest, Object, Tier};
use serde_json::{Value, json};

use super::agents::{APART_NS, Corpus, FIRST_NS};
use super::duckdb::DuckDb;
use super::{Finding, Setup};
use crate::measured::{as_f64, median};
use crate::process::Pinned;
use crate::report::say;
use crate::subject::Folder;
use program::Query;

/// Events in the store. A quick look takes a fortieth.
const EVENTS: u64 = 10_000_000;
/// Parts of the files, as tenths of all events: a day, and hours.
const PARTS: [u64; 6] = [5, 1, 1, 1, 1, 1];
/// Cores for either.
const THREADS: usize = 2;
const ROUNDS: usize = 7;
const BATCH_EVENTS: u64 = 8192;

pub(super) fn scanned(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let store = folder.path().join("events");
    let events = events(setup);
    // Whatever is started now stays on these cores: DataFusion has as many threads as it sees cores.
    let _cores = Pinned::to_cores(THREADS)?;
    let mut duckdb = DuckDb::start(setup)?;
    let files = write(&store.join("shard-00000"), events)?;
    let query = Query::start(setup, &store, &folder.path().join("query.socket"))?;
    duckdb.ask(&json!({"open": files, "threads": THREADS}))?;
    let mut errors = 0;
    let mut worst: Option<(f64, String)> = None;
    for (name, sql) in queries(events) {
        let answer = query.ask(&sql)?;
        if !are_equal(&rows_of_csv(&answer), &duckdb.ask(&json!({"query": sql}))?) {
            errors += 1;
            say(&format!("Q1: {name} has other answers than DuckDB"));
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            query.ask(&sql)?;
            ours.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            duckdb.ask(&json!({"query": sql}))?;
            theirs.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs));
        let told = format!("{name} {:.0} ms, DuckDB {:.0} ms", median(ours), median(theirs));
        say(&format!("Q1: {ratio:.2} x DuckDB: {told}"));
        if worst.as_ref().is_none_or(|(worst, _)| ratio > *worst) {
            worst = Some((ratio, told));
        }
    }
    let (value, told) = worst.context("there are queries")?;
    Ok(vec![Finding {
        id: "Q1-scan",
        value,
        errors,
        detail: format!(
            "the worst of 3 queries over {:.2} M events: {told}; {THREADS} threads each",
            as_f64(events) / 1e6
        ),
    }])
}

/// Q2: from the start of `axiom sql` to its end, over a small store.
pub(super) fn started(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    program::is_built(setup)?;
    let folder = Folder::new()?;
    write(&folder.path().join("shard-00000"), 10_000)?;
    let mut took = Vec::new();
    let mut errors = 0;
    for _ in 0..setup.effort.starts {
        let start = Instant::now();
        let output = Command::new(&setup.axiom)
            .args(["sql", "SELECT count(*) AS events FROM events", "--format", "csv"])
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{} does not start", setup.axiom.display()))?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
        errors += u64::from(output.stdout != b"events\n10000\n");
    }
    let fastest = took.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(vec![Finding {
        id: "Q2-start",
        value: median(took),
        errors,
        detail: format!(
            "median of {} starts, fastest {fastest:.0} ms",
            setup.effort.starts
        ),
    }])
}

fn events(setup: &Setup) -> u64 {
    match setup.effort.is_quick() {
        true => EVENTS / 40,
        false => EVENTS,
    }
}

/// In words that both understand, with rows in an order of their own.
fn queries(events: u64) -> [(&'static str, String); 3] {
    // The second and the third quarter of the time.
    let quarter_ns = i64::try_from(events / 4).unwrap_or(0) * APART_NS;
    let (from, to) = (when(FIRST_NS + quarter_ns), when(FIRST_NS + 3 * quarter_ns));
    [
        (
            "count by kind and level",
            "SELECT kind, level, count(*) FROM events GROUP BY kind, level ORDER BY kind, level".to_owned(),
        ),
        (
            "mean and largest by hour",
            "SELECT date_part('epoch', date_trunc('hour', time)) AS hour, count(*), avg(version), max(severity) FROM events \
             GROUP BY hour ORDER BY hour"
                .to_owned(),
        ),
        (
            "tasks of a kind in a time",
            format!(
                "SELECT kind, count(*), count(DISTINCT task) FROM events WHERE kind LIKE 'task%' AND tenant = 'default' AND \
                 time >= '{from}' AND time < '{to}' GROUP BY kind ORDER BY kind"
            ),
        ),
    ]
}

/// A time of the corpus, which begins on the 14th of November 2023 and is over some hours later.
fn when(time_ns: i64) -> String {
    const THE_14TH: i64 = 1_699_920_000;
    let seconds = time_ns / 1_000_000_000 - THE_14TH;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    format!(
        "2023-11-{}T{:02}:{:02}:{:02}Z",
        14 + hours / 24,
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

/// Writes the files as the service does, and the manifest that names them. Says where they are.
fn write(shard: &Path, events: u64) -> anyhow::Result<Vec<PathBuf>> {
    let warm = shard.join("warm");
    std::fs::create_dir_all(&warm)?;
    let manifest = Manifest::open(Arc::new(Machine), shard, 0)?;
    let mut corpus = Corpus::new(0);
    let mut versions: HashMap<String, u64> = HashMap::new();
    let mut files = Vec::new();
    let mut offset = 0;
    for part in PARTS {
        let end = offset + events / 10 * part;
        let name = format!("{offset:020}-{end:020}.parquet");
        let path = warm.join(&name);
        let mut writer = Writer::new(std::fs::File::create(&path)?, 0, &WriteOptions::default())?;
        while offset < end {
            let batch = corpus.batch(BATCH_EVENTS.min(end - offset))?;
            for event in batch.events() {
                let version = versions.entry(event.stream.to_owned()).or_default();
                writer.push(&Recorded {
                    offset,
                    version: *version,
                    event,
                })?;
                *version += 1;
                offset += 1;
            }
        }
        let (_, written) = writer.finish()?;
        let object = object(name, written);
        manifest.change("axiom-bench", move |_| Some(Change::Seal(Box::new(object))))?;
        files.push(path);
    }
    Ok(files)
}

fn object(location: String, written: Written) -> Object {
    Object {
        tier: Tier::Warm,
        location,
        offsets: written.offsets,
        rows: written.rows,
        bytes: written.bytes,
        time_min: written.time_min,
        time_max: written.time_max,
        events_hash: written.events_hash,
        // Queries do not look at it.
        bytes_hash: [0; 32],
        began: written.time_min,
        hot_bytes: 0,
        lost: Vec::new(),
    }
}

/// The cells below the header; none of ours has a comma in it.
fn rows_of_csv(csv: &str) -> Vec<Vec<&str>> {
    csv.lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect()
}

/// Whether both have the same rows; numbers may be written in different ways.
fn are_equal(ours: &[Vec<&str>], theirs: &Value) -> bool {
    let is_same = |ours: &str, theirs: &Value| match (ours.parse::<f64>(), theirs.as_f64()) {
        (Ok(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-9 * theirs.abs(),
        _ => theirs.as_str() == Some(ours),
    };
    let rows = theirs.as_array().map(Vec::as_slice).unwrap_or_default();
    !rows.is_empty()
        && rows.len() == ours.len()
        && ours.iter().zip(rows).all(|(ours, theirs)| {
            let theirs = theirs.as_array().map(Vec::as_slice).unwrap_or_default();
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| is_same(ours, theirs))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_corpus() {
        assert_eq!(when(FIRST_NS), "2023-11-14T22:13:20Z");
        assert_eq!(when(FIRST_NS + 7_200_000_000_000), "2023-11-15T00:13:20Z");
    }

    #[test]
    fn answers_are_compared_by_what_they_say() {
        let ours = rows_of_csv("kind,events,mean\na,2,1.5\nb,3,2\n");
        assert!(are_equal(&ours, &json!([["a", 2, 1.5], ["b", 3, 2.0]])));
        assert!(!are_equal(&ours, &json!([["a", 2, 1.5], ["b", 4, 2.0]])));
        assert!(!are_equal(&ours, &json!([["a", 2, 1.5]])));
        assert!(!are_equal(&[], &json!([])));
    }
}
