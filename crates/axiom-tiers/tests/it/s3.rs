//! Events in a store that speaks S3: a real server of it, and what happens when it is down, slow, or not ours.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axiom_tiers::manifest::Tier;
use axiom_tiers::{Store, StoreOptions};

use crate::cold::cold;
use crate::world::{World, all, ask, expected};

const EVENTS: u64 = 1500;

/// The server moto, which keeps what it is given in memory.
struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    fn start() -> Moto {
        let bed = std::env::var_os("AXIOM_BED").map(PathBuf::from);
        let bed = bed.expect("the S3 server is in the test bed: run cargo xtask test, or set AXIOM_BED");
        let mut child = Command::new(bed.join("python-s3/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo xtask setup has put it there");
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let address = lines
            .find_map(|line| Some(line.split_once("Running on http://")?.1.trim().to_owned()))
            .expect("it says where it listens");
        // Somebody has to read what it says, or it stops saying, and working.
        axiom_core::spawn::thread("moto's words", move || lines.for_each(drop)).unwrap();
        let moto = Moto { child, address };
        moto.put("/bucket");
        moto
    }

    /// Makes a bucket.
    fn put(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn store(&self, url: &str) -> Arc<Store> {
        store(url, &self.address)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have been ended by its test.
        let _ended = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

fn store(url: &str, address: &str) -> Arc<Store> {
    let options = StoreOptions {
        url: url.to_owned(),
        endpoint: Some(format!("http://{address}")),
        access_key_id: Some("key".to_owned()),
        secret_access_key: Some("secret".to_owned()),
        ..StoreOptions::default()
    };
    Arc::new(Store::open(&options).unwrap())
}

fn on(folder: &std::path::Path, store: Arc<Store>) -> World {
    let world = World::on(Arc::new(axiom_events::disk::Machine), folder, Some(store));
    world.append(0..EVENTS);
    world.seal(3).unwrap().unwrap();
    world
}

#[test]
fn events_are_moved_to_s3_and_read_from_there() {
    let moto = Moto::start();
    let folder = tempfile::tempdir().unwrap();
    let world = cold(folder.path(), moto.store("s3://bucket/some/prefix"));
    let tiers: Vec<Tier> = world.objects().iter().map(|object| object.tier).collect();
    assert_eq!(tiers, [Tier::Cold, Tier::Cold, Tier::Warm]);
    assert!(
        world.objects()[0]
            .location
            .starts_with("s3://bucket/some/prefix/shard-00000/")
    );
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    let answers = ask(&world.log.reader(), 4);
    assert_eq!(ask(&world.beside(), 4), answers);
    for proof in world.workshop.shelves().prove() {
        proof.outcome.unwrap();
    }
    // Moved again, as after a crash before the record: the same bytes are the same object.
    let object = world.seal(3).unwrap().unwrap();
    let store = world.workshop.store().unwrap();
    let location = store.location(0, &object.offsets, &object.bytes_hash);
    let path = folder.path().join("warm").join(&object.location);
    let file = axiom_tiers::file::Local::open(&path).unwrap();
    store.put(&location, &file, object.bytes_hash).unwrap();
    world.workshop.place(&object).unwrap();
    world
        .workshop
        .drop_whole(&world.objects()[..1], &[], "test")
        .unwrap();
    world.workshop.reclaim(&world.log).unwrap();
    assert!(world.workshop.manifest().now().garbage.is_empty());
    world.log.close();
}

#[test]
fn a_store_that_is_down_costs_nothing_but_time() {
    let mut moto = Moto::start();
    let folder = tempfile::tempdir().unwrap();
    let world = on(folder.path(), moto.store("s3://bucket/p"));
    let object = world.objects()[0].clone();
    moto.child.kill().unwrap();
    moto.child.wait().unwrap();
    let error = world.workshop.place(&object).unwrap_err().to_string();
    assert!(
        error.contains("does not answer") && error.contains("nothing is lost"),
        "{error}"
    );
    assert_eq!(world.objects(), [object]);
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    // What is hot and warm goes on being recorded and sealed.
    world.append(EVENTS..EVENTS + 100);
    world.seal(2).unwrap().unwrap();
    assert_eq!(all(&world.log.reader()), expected(EVENTS + 100));
    world.log.close();
}

#[test]
fn a_bucket_that_is_not_there_is_told() {
    let moto = Moto::start();
    let folder = tempfile::tempdir().unwrap();
    let world = on(folder.path(), moto.store("s3://another"));
    let error = world.workshop.place(&world.objects()[0]).unwrap_err().to_string();
    assert!(error.contains("no such bucket"), "{error}");
    assert_eq!(world.objects()[0].tier, Tier::Warm);
    world.log.close();
}

#[test]
fn a_large_object_is_uploaded_and_read_in_parts() {
    let moto = Moto::start();
    let store = moto.store("s3://bucket");
    let mut random = crate::sim::Random::new(5);
    let bytes = bytes::Bytes::from(random.bytes(40 << 20));
    let hash = *blake3::hash(&bytes).as_bytes();
    let location = store.location(0, &(0..10), &hash);
    store.put(&location, &bytes, hash).unwrap();
    store.prove(&location, bytes.len() as u64, hash).unwrap();
    let error = store
        .prove(&location, bytes.len() as u64, [0; 32])
        .unwrap_err()
        .to_string();
    assert!(error.contains("another hash"), "{error}");
    store.remove(&location).unwrap();
    store.remove(&location).unwrap();
    store.prove(&location, bytes.len() as u64, hash).unwrap_err();
}

#[test]
fn keys_that_are_refused_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    axiom_core::spawn::thread("refuses", move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let body = "<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>";
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).is_ok();
            let _written = write!(
                stream,
                "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let world = on(folder.path(), store("s3://bucket", &address));
    let error = world.workshop.place(&world.objects()[0]).unwrap_err().to_string();
    assert!(
        error.contains("refuses our keys") && error.contains("events.store"),
        "{error}"
    );
    assert_eq!(world.objects()[0].tier, Tier::Warm);
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    world.log.close();
}
