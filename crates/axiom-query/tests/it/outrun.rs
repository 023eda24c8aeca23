//! A store whose folder cannot be written: nothing keeps what a query reads from being moved, so it begins anew.

use std::path::Path;
use std::sync::Arc;

use arrow::array::Int64Array;
use axiom_events::disk::Machine;
use axiom_query::engine::{Answer, Engine, cancel};
use axiom_query::fault::Fault;
use axiom_tiers::manifest::{Change, Manifest, Object};

use crate::store::{engine, models, record, seal};

/// The store as somebody sees it who may not write there, also for root.
fn unwritable(dir: &Path, view: &Path) {
    let (shard, view) = (dir.join("shard-00000"), view.join("shard-00000"));
    fs_err::create_dir(&view).expect("the disk is well");
    let link = |to: &Path, name: &std::ffi::OsStr| {
        std::os::unix::fs::symlink(to, view.join(name)).expect("the disk is well");
    };
    for entry in fs_err::read_dir(&shard).expect("it is there") {
        let entry = entry.expect("it can be read");
        if entry.file_name() != "pins" {
            link(&entry.path(), &entry.file_name());
        }
    }
    // Nobody makes files there.
    link(Path::new("/proc"), "pins".as_ref());
}

/// Each file's events are in another one now, and it is gone.
fn move_files(dir: &Path) {
    let shard = dir.join("shard-00000");
    let warm = shard.join("warm");
    let manifest = Manifest::open(Arc::new(Machine), &shard, 0).expect("there is one");
    for (place, object) in manifest.now().objects.iter().enumerate() {
        let location = format!("moved-{place}.parquet");
        fs_err::rename(warm.join(&object.location), warm.join(&location)).expect("the disk is well");
        let change = Change::Replace {
            removed: vec![object.location.clone()],
            added: vec![Object {
                location,
                ..object.clone()
            }],
            retired: 0,
            why: "a test".to_owned(),
        };
        manifest
            .change("a test", |_| Some(change))
            .expect("the disk is well");
    }
}

async fn begin(engine: &Engine, sql: &str) -> Answer {
    let (_cancel, cancelled) = cancel();
    engine.run(sql, cancelled).await.expect("it is a query")
}

/// The number that it answers. There is no row of it before everything was read.
async fn number_of(mut answer: Answer) -> Result<i64, Fault> {
    let batch = answer.next().await?.expect("there is a row");
    assert_eq!(answer.warnings(), Vec::<String>::new(), "nothing is missing");
    let column = batch.column(0).as_any().downcast_ref::<Int64Array>();
    Ok(column.expect("it is a number").value(0))
}

const SQL: &str = "SELECT count(body_bytes) FROM events";
const EVENTS: usize = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_files_were_replaced_reads_what_replaced_them() {
    let (dir, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let models = models(11, EVENTS);
    record(dir.path(), &models).close();
    seal(dir.path(), &models);
    unwritable(dir.path(), view.path());
    let engine = engine(view.path());
    assert_eq!(number_of(begin(&engine, SQL).await).await, Ok(EVENTS as i64));
    let answer = begin(&engine, SQL).await;
    move_files(dir.path());
    assert_eq!(number_of(answer).await, Ok(EVENTS as i64));
    // What is not there and should be is told.
    let moved = dir.path().join("shard-00000/warm/moved-1.parquet");
    fs_err::remove_file(moved).unwrap();
    let fault = number_of(begin(&engine, SQL).await).await.unwrap_err();
    assert!(fault.message.contains("moved-1.parquet"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_segments_became_files_reads_the_files() {
    let (dir, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let models = models(12, EVENTS);
    record(dir.path(), &models).close();
    unwritable(dir.path(), view.path());
    let shard = view.path().join("shard-00000");
    // Made later, so nobody has linked to them.
    for name in ["manifest", "warm"] {
        let to = dir.path().join("shard-00000").join(name);
        std::os::unix::fs::symlink(to, shard.join(name)).unwrap();
    }
    let engine = engine(view.path());
    let answer = begin(&engine, SQL).await;
    seal(dir.path(), &models);
    for entry in fs_err::read_dir(dir.path().join("shard-00000")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            fs_err::remove_file(path).unwrap();
        }
    }
    assert_eq!(number_of(answer).await, Ok(EVENTS as i64));
}
