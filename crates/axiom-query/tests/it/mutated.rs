//! Files of an older tier whose bytes changed: a query answers what it always answered, or says which file is damaged.

use std::path::{Path, PathBuf};

use axiom_query::fault::{Code, Fault};
use serde_json::Value;

use crate::random::Random;
use crate::serve::Server;
use crate::store::{Model, engine, models, rows, seal};

const SEED: u64 = 20_260_728;
const EVENTS: usize = 3_000;
const MUTATIONS: usize = 520;

/// What goes by statistics alone, by bloom filters and page indexes, over some columns and over all.
const QUERIES: [&str; 5] = [
    "SELECT count(*) AS n FROM events",
    "SELECT kind, level, count(*) AS n, min(\"offset\") AS low, max(version) AS high, sum(severity) AS s FROM events \
     GROUP BY kind, level ORDER BY kind, level",
    "SELECT \"offset\", trace, id FROM events WHERE task = 'task-0007-with-a-name-longer-than-a-view' ORDER BY \"offset\"",
    "SELECT \"offset\", tenant FROM events WHERE \"time\" BETWEEN '2026-01-01T00:30:00Z' AND '2026-01-01T00:40:00Z' ORDER BY \"offset\"",
    ALL,
];
const ALL: &str = "SELECT * FROM events ORDER BY \"offset\"";

/// Events whose bodies do not get smaller, so that each file has several blocks.
fn large() -> Vec<Model> {
    let mut random = Random::new(SEED);
    let mut models = models(SEED, EVENTS);
    for model in &mut models {
        let words = (0..random.below(40)).map(|_| random.next().to_le_bytes());
        model.body = words.flatten().collect();
    }
    models
}

/// One change of a file, and what it is called.
fn mutate(random: &mut Random, sound: &[u8]) -> (String, Vec<u8>) {
    let len = sound.len() as u64;
    let at = usize::try_from(random.below(len)).expect("it is a place in memory");
    let mut bytes = sound.to_vec();
    let what = match random.below(10) {
        0..=5 => {
            // Half of them at the end, which is short and full of meaning.
            let at = if random.is(2) {
                at
            } else {
                sound.len() - 1 - at % 8_192
            };
            bytes[at] ^= 1 << random.below(8);
            format!("a bit of byte {at} flipped")
        }
        6 => {
            bytes.truncate(at);
            format!("torn at {at}")
        }
        7 => {
            bytes[at..].fill(0);
            format!("zeros from {at} on")
        }
        8 => {
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill_with(|| random.next().to_le_bytes()[0]);
            format!("noise from {at} to {end}")
        }
        _ => {
            // As a disk does it, in sectors.
            let sectors = bytes.len() / 4_096;
            let one = at / 4_096 % sectors;
            let other = (one + 1 + at % (sectors - 1)) % sectors;
            let (low, high) = (one.min(other) * 4_096, one.max(other) * 4_096);
            let (left, right) = bytes.split_at_mut(high);
            left[low..low + 4_096].swap_with_slice(&mut right[..4_096]);
            format!("sectors {one} and {other} swapped")
        }
    };
    (what, bytes)
}

/// With nothing remembered of the files.
async fn answers(dir: &Path) -> Vec<Result<Vec<Value>, Fault>> {
    let engine = engine(dir);
    let mut answers = Vec::new();
    for sql in QUERIES {
        answers.push(rows(&engine, sql).await);
    }
    answers
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("it has a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_of_a_file_changes_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let files = seal(dir.path(), &large());
    let sound: Vec<Vec<u8>> = files.iter().map(|path| fs_err::read(path).unwrap()).collect();
    assert!(
        sound.iter().all(|bytes| bytes.len() > 128 << 10),
        "each has several blocks"
    );
    let expected = answers(dir.path()).await;
    let expected: Vec<Vec<Value>> = expected.into_iter().map(Result::unwrap).collect();
    assert_eq!(expected.last().unwrap().len(), EVENTS);
    let mut random = Random::new(SEED);
    let mut refused = [0; QUERIES.len()];
    for number in 0..MUTATIONS {
        let file = number % files.len();
        let (what, bytes) = mutate(&mut random, &sound[file]);
        if bytes == sound[file] {
            continue;
        }
        let path = &files[file];
        fs_err::write(path, &bytes).unwrap();
        for (number, found) in answers(dir.path()).await.into_iter().enumerate() {
            let sql = QUERIES[number];
            match found {
                Ok(rows) => assert!(rows == expected[number], "seed {SEED}: {what} in {path:?}: {sql}"),
                Err(fault) => {
                    assert!(fault.message.contains(name(path)), "{what}: {sql}: {fault}");
                    assert_eq!(fault.code, Code::Failed, "{what}: {sql}: {fault}");
                    refused[number] += 1;
                }
            }
        }
        fs_err::write(path, &sound[file]).unwrap();
    }
    eprintln!("of {MUTATIONS} changes the queries noticed {refused:?}");
    let by_all = refused.last().unwrap();
    assert!(
        *by_all >= MUTATIONS - 10,
        "a query that reads everything noticed {by_all} of {MUTATIONS}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_another_or_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = seal(dir.path(), &large());
    let sound = fs_err::read(&files[0]).unwrap();
    // Sound in itself, and not what the manifest means.
    let other = tempfile::tempdir().unwrap();
    let others = seal(other.path(), &models(1, EVENTS));
    fs_err::copy(&others[0], &files[0]).unwrap();
    for (number, found) in answers(dir.path()).await.into_iter().enumerate() {
        let fault = found.unwrap_err();
        assert!(
            fault.message.contains(name(&files[0])),
            "{}: {fault}",
            QUERIES[number]
        );
    }
    fs_err::remove_file(&files[0]).unwrap();
    let fault = rows(&engine(dir.path()), ALL).await.unwrap_err();
    assert!(fault.message.contains(name(&files[0])), "{fault}");
    assert!(fault.message.contains("events 0 to 999 of shard 0"), "{fault}");
    // What leaves it out is answered.
    let sql = "SELECT count(*) AS n FROM events WHERE \"offset\" >= 1000";
    assert_eq!(rows(&engine(dir.path()), sql).await.unwrap()[0]["n"], 2_000);
    fs_err::write(&files[0], sound).unwrap();
    assert_eq!(rows(&engine(dir.path()), ALL).await.unwrap().len(), EVENTS);
}

/// As users meet it, in every format.
#[test]
fn a_damaged_file_is_an_error_over_http_whatever_the_format() {
    let dir = tempfile::tempdir().unwrap();
    let files = seal(dir.path(), &large());
    let mut bytes = fs_err::read(&files[1]).unwrap();
    bytes[70_000] ^= 1;
    fs_err::write(&files[1], bytes).unwrap();
    let server = Server::start(dir.path(), &[]);
    for format in ["json", "csv", "ndjson", "arrow", "table"] {
        let head = format!("POST /query?format={format}&partial=true HTTP/1.1");
        let said = server.ask(&head, ALL);
        assert_eq!(said.status, 500, "{format}: {}", said.head);
        let error = &said.json()["error"];
        assert_eq!(error["code"], "failed", "{error}");
        assert!(
            error["message"].as_str().unwrap().contains(name(&files[1])),
            "{error}"
        );
        assert!(
            error["hint"].as_str().unwrap().contains("axiom events verify"),
            "{error}"
        );
    }
}
