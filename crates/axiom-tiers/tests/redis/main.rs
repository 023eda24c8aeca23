//! Blocks in a real Redis, which dies, forgets, is full, slow, or another's; and who reads them there.

mod server;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::drain::{self, Drain};
use axiom_core::{channel, spawn, time};
use axiom_events::disk::Machine;
use axiom_events::{Append, Batch, Event, Log};
use axiom_tiers::redis::{Address, Fault, Given, Next, Options, Push, State, Tail, Worker, shards};

use server::Server;

/// Long enough for a busy machine; nothing waits for it to pass.
const LONG: Duration = Duration::from_secs(40);

/// A node: its log, and what brings it to Redis.
struct Node {
    log: Log,
    states: channel::watch::Receiver<State>,
    drain: Option<Drain>,
    _folder: Option<tempfile::TempDir>,
}

fn log(folder: &Path, shard: u16) -> Log {
    let mut options = axiom_events::Options::new(folder);
    options.shard = shard;
    options.segment_bytes = 64 << 10;
    Log::open(options, Arc::new(Machine)).expect("it opens")
}

fn push(log: &Log, options: Options) -> (channel::watch::Receiver<State>, Drain) {
    let (push, states) = Push::new(options, log.reader());
    let (drain, draining) = drain::drain();
    drop(spawn("push", push.run(draining)));
    (states, drain)
}

fn options(address: Address, shard: u16) -> Options {
    Options {
        address,
        shard,
        keep_bytes: 64 << 20,
        keep_age: Duration::from_secs(3600),
    }
}

impl Node {
    fn start(server: &Server, shard: u16) -> Node {
        Node::with(options(server.address(), shard))
    }

    fn with(options: Options) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(folder.path(), options.shard);
        let (states, drain) = push(&log, options);
        Node {
            log,
            states,
            drain: Some(drain),
            _folder: Some(folder),
        }
    }

    /// One block of 10 events, each with a body that does not get smaller.
    async fn record(&self) -> Range<u64> {
        record(&self.log, 200).await
    }

    async fn until(&mut self, what: &str, is: impl FnMut(&State) -> bool) -> State {
        let found = time::timeout(LONG, self.states.wait_for(is)).await;
        let found = found.map(|state| state.expect("it runs").clone());
        found.unwrap_or_else(|_| panic!("never {what}; it is {:?}", self.states.borrow()))
    }

    async fn until_shared(&mut self) {
        let end = self.log.reader().end();
        self.until("shared", |state| *state == State::Shared(end)).await;
    }
}

async fn record(log: &Log, bytes: usize) -> Range<u64> {
    let mut batch = Batch::new();
    let mut random = blake3::Hasher::new();
    random.update(&log.reader().end().to_le_bytes());
    random.update(&time::unix_nanos().to_le_bytes());
    let mut bodies = random.finalize_xof();
    for _ in 0..10 {
        let mut body = vec![0; bytes];
        bodies.fill(&mut body);
        let event = Event {
            time: time::unix_nanos(),
            stream: "s",
            kind: "test",
            body: &body,
            ..Event::default()
        };
        batch.push(&event).expect("it keeps to the limits");
    }
    let append = Append {
        batch,
        ..Append::default()
    };
    let appended = time::timeout(LONG, log.append(append)).await;
    let appended = appended
        .expect("Redis keeps no producer waiting")
        .expect("it is recorded");
    appended.first_offset..appended.first_offset + 10
}

/// Everything that is in Redis from `from` on: offsets of blocks, and gaps.
async fn read(server: &Server, shard: u16, from: u64) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let mut tail = Tail::from(&server.address(), shard, from);
    let (mut blocks, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match tail.next(Duration::ZERO).await.expect("it is sound") {
            Next::Block(block) => blocks.push(block.offsets()),
            Next::Gap(gap) => gaps.push(gap),
            Next::Nothing | Next::Behind => return (blocks, gaps),
        }
    }
}

/// The offsets of so many blocks of ten.
fn tens(count: u64) -> Vec<Range<u64>> {
    (0..count).map(|n| n * 10..n * 10 + 10).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_come_to_redis_once_and_in_order() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut node = Node::start(&server, 3);
    for _ in 0..5 {
        node.record().await;
    }
    node.until_shared().await;
    assert_eq!(read(&server, 3, 0).await, (tens(5), Vec::new()));
    // From within a block, and from the end.
    assert_eq!(read(&server, 3, 25).await.0, tens(5)[2..]);
    assert_eq!(read(&server, 3, 50).await.0, []);
    let mut newest = Tail::newest(&server.address(), 3, 2).await.expect("it is there");
    assert!(
        matches!(newest.next(Duration::ZERO).await, Ok(Next::Block(block)) if block.offsets() == (30..40))
    );

    // What waits for something new gets it, after a restart of the sharing too.
    node.drain.take().expect("it runs").finish(LONG).await;
    let (states, drain) = push(&node.log, options(server.address(), 3));
    (node.states, node.drain) = (states, Some(drain));
    let mut tail = Tail::from(&server.address(), 3, 50);
    let waiting = spawn("wait", async move { tail.next(Duration::from_secs(5)).await });
    node.record().await;
    let came = waiting.join().await.expect("no panic").expect("it is sound");
    assert!(
        matches!(&came, Next::Block(block) if block.offsets() == (50..60)) || matches!(came, Next::Nothing),
        "{came:?}"
    );
    node.until_shared().await;
    assert_eq!(server.len(3).await, 6, "nothing is there twice");
    // A log that is closed is shared to its end.
    node.record().await;
    node.log.close();
    assert!(node.drain.take().expect("it runs").finish(LONG).await);
    assert_eq!(read(&server, 3, 0).await, (tens(7), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_or_forgets_is_given_everything_again() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    node.record().await;
    node.until_shared().await;
    server.kill();
    for _ in 0..3 {
        node.record().await;
    }
    node.until("away", |state| matches!(state, State::Away(_))).await;
    server.restart();
    node.until_shared().await;
    assert_eq!(read(&server, 0, 0).await, (tens(4), Vec::new()));
    server.run("FLUSHALL").await;
    node.record().await;
    node.until_shared().await;
    assert_eq!(read(&server, 0, 0).await, (tens(5), Vec::new()));
}

/// A stream without entries remembers its last id, and refuses those before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_has_trimmed_to_nothing_is_filled_again() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    for _ in 0..3 {
        node.record().await;
    }
    node.until_shared().await;
    server.run("XTRIM axiom:events:0 MAXLEN 0").await;
    assert_eq!(server.len(0).await, 0);
    node.record().await;
    node.until_shared().await;
    assert_eq!(read(&server, 0, 0).await, (tens(4), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_keeps_fewer_and_the_log_goes_on() {
    let Some(server) = Server::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    let mut was_full = false;
    for _ in 0..60 {
        record(&node.log, 10_000).await;
        let state = node.states.borrow_and_update().clone();
        was_full |= matches!(&state, State::Away(what) if what.contains("full"));
    }
    let full = |state: &State| matches!(state, State::Away(what) if what.contains("full"));
    if !was_full {
        node.until("full", full).await;
    }
    node.until_shared().await;
    let (blocks, gaps) = read(&server, 0, 0).await;
    assert_eq!(blocks.last(), Some(&(590..600)));
    let mut expected = 0;
    let mut pieces: Vec<Range<u64>> = blocks.iter().chain(&gaps).cloned().collect();
    pieces.sort_by_key(|piece| piece.start);
    for piece in pieces {
        assert_eq!(
            piece.start, expected,
            "everything is there, or said to be missing"
        );
        expected = piece.end;
    }
    assert_eq!(expected, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_redis_slows_nobody_and_gets_nothing_twice() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    node.record().await;
    node.until_shared().await;
    server.run("CLIENT PAUSE 12000 ALL").await;
    let began = time::now();
    for _ in 0..20 {
        node.record().await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    node.until(
        "away",
        |state| matches!(state, State::Away(what) if what.contains("did not answer")),
    )
    .await;
    node.until_shared().await;
    assert_eq!(read(&server, 0, 0).await, (tens(21), Vec::new()));
    assert_eq!(server.len(0).await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_left_alone() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    server.run("SET axiom:events:0 mine").await;
    let mut node = Node::start(&server, 0);
    node.record().await;
    let away = node.until("away", |state| matches!(state, State::Away(_))).await;
    assert!(
        matches!(&away, State::Away(what) if what.contains("axiom:events:0") && what.contains("something else")),
        "{away:?}"
    );
    let mut tail = Tail::from(&server.address(), 0, 0);
    assert!(matches!(
        tail.next(Duration::ZERO).await,
        Err(Fault::Foreign { .. })
    ));
    server.run("DEL axiom:events:0").await;
    node.until_shared().await;
    assert_eq!(read(&server, 0, 0).await.0, tens(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_needed_and_never_shown() {
    let Some(server) = Server::start(&["--requirepass", "hunter2"]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    let away = node.until("away", |state| matches!(state, State::Away(_))).await;
    assert!(
        matches!(&away, State::Away(what) if what.contains("password")),
        "{away:?}"
    );
    let url = server.url().replace("redis://", "redis://:hunter3@");
    let wrong = Address::parse(&url).expect("it is one");
    assert!(!format!("{wrong:?} {wrong}").contains("hunter3"));
    let fault = shards(&wrong).await.expect_err("it is the wrong one");
    assert!(matches!(fault, Fault::Denied { .. }), "{fault}");
    assert!(!format!("{fault} {fault:?}").contains("hunter3"), "{fault:?}");
    let fault = Address::parse("redis://:hunter3@").expect_err("it names no host");
    assert!(!format!("{fault} {fault:?}").contains("hunter3"), "{fault:?}");
    let url = server.url().replace("redis://", "redis://:hunter2@");
    let right = Address::parse(&url).expect("it is one");
    let mut node = Node::with(options(right.clone(), 1));
    node.record().await;
    node.until_shared().await;
    assert_eq!(shards(&right).await.expect("it may"), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_a_gap() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut options = options(server.address(), 0);
    options.keep_bytes = 10_000;
    let mut node = Node::with(options.clone());
    for _ in 0..10 {
        node.record().await;
    }
    node.until_shared().await;
    let (blocks, gaps) = read(&server, 0, 0).await;
    assert!((2..6).contains(&blocks.len()), "{blocks:?}");
    assert_eq!(gaps, std::slice::from_ref(&(0..blocks[0].start)));
    // A reader that was at 0..10 finds out, too.
    let mut tail = Tail::from(&server.address(), 0, blocks[0].start);
    assert!(matches!(tail.next(Duration::ZERO).await, Ok(Next::Block(_))));
    // While nothing is shared, more is recorded than is kept.
    node.drain.take().expect("it runs").finish(LONG).await;
    for _ in 0..20 {
        node.record().await;
    }
    let (states, drain) = push(&node.log, options);
    (node.states, node.drain) = (states, Some(drain));
    node.until_shared().await;
    let (blocks, gaps) = read(&server, 0, 100).await;
    assert_eq!(gaps, std::slice::from_ref(&(100..blocks[0].start)));
    assert_eq!(blocks.last(), Some(&(290..300)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_numbers_of_their_own_share_one_redis() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (mut one, mut two) = (Node::start(&server, 1), Node::start(&server, 2));
    for _ in 0..3 {
        one.record().await;
        two.record().await;
    }
    one.until_shared().await;
    two.until_shared().await;
    server.run("SET axiom:events:x 1").await;
    assert_eq!(shards(&server.address()).await.expect("it may"), [1, 2]);
    assert_eq!(read(&server, 1, 0).await.0, tens(3));
    assert_eq!(read(&server, 2, 0).await.0, tens(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_while_it_starts_is_shared() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for shard in 0..100 {
        let mut node = Node::start(&server, shard);
        // Now before it looks, now while it does, now after.
        for _ in 0..shard {
            tokio::task::yield_now().await;
        }
        node.record().await;
        node.until_shared().await;
        assert_eq!(read(&server, shard, 0).await, (tens(1), Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_two_nodes_have_is_noticed() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut first = Node::start(&server, 1);
    first.record().await;
    first.until_shared().await;
    let mut second = Node::start(&server, 1);
    second.record().await;
    second.record().await;
    let conflict = second
        .until("in conflict", |state| matches!(state, State::Conflict(_)))
        .await;
    assert!(
        matches!(&conflict, State::Conflict(what) if what.contains("events.shard") && what.contains("axiom:events:1")),
        "{conflict:?}"
    );
    // The first one's history stays whole.
    for _ in 0..3 {
        first.record().await;
    }
    first.until_shared().await;
    assert_eq!(read(&server, 1, 0).await, (tens(4), Vec::new()));
    // Both were there when it was emptied: one of them gets in, and the other one says so.
    server.run("FLUSHALL").await;
    let third = Node::start(&server, 1);
    third.record().await;
    first.record().await;
    let mut nodes = [first, second, third];
    for node in &mut nodes {
        let end = node.log.reader().end();
        node.until("decided", |state| {
            matches!(state, State::Conflict(_)) || *state == State::Shared(end)
        })
        .await;
    }
    let (_, gaps) = read(&server, 1, 0).await;
    assert_eq!(gaps, [], "one history, from its beginning");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_blocks_and_take_over_from_one_that_died() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    for _ in 0..6 {
        node.record().await;
    }
    node.until_shared().await;
    let join = async |name: &str, idle| {
        Worker::join(&server.address(), 0, "g", name, idle)
            .await
            .expect("it may")
    };
    let hour = Duration::from_secs(3600);
    let (mut one, mut two) = (join("one", hour).await, join("two", hour).await);
    let mut done = BTreeSet::new();
    let mut take = async |worker: &mut Worker, is_done: bool| {
        let work = worker.next(Duration::ZERO).await.expect("it is sound")?;
        let Given::Block(block) = &work.given else {
            panic!("{work:?}")
        };
        let start = block.offsets().start;
        if is_done {
            worker.done(&work).await.expect("it may");
            assert!(done.insert(start), "{start} is done twice");
        }
        Some(start)
    };
    assert_eq!(take(&mut one, true).await, Some(0));
    assert_eq!(take(&mut two, true).await, Some(10));
    // It dies with one in hand; started again under its name it gets that one first.
    assert_eq!(take(&mut one, false).await, Some(20));
    let mut one = join("one", hour).await;
    assert_eq!(take(&mut one, true).await, Some(20));
    assert_eq!(take(&mut one, false).await, Some(30));
    assert_eq!(take(&mut two, true).await, Some(40));
    assert_eq!(take(&mut two, true).await, Some(50));
    assert_eq!(
        take(&mut two, true).await,
        None,
        "what another one has is not given out"
    );
    let mut three = join("three", Duration::ZERO).await;
    assert_eq!(take(&mut three, true).await, Some(30));
    assert_eq!(take(&mut three, true).await, None);
    // The stream was emptied: what comes again is given again.
    server.run("FLUSHALL").await;
    node.record().await;
    node.until_shared().await;
    let again = three.next(Duration::ZERO).await.expect("the group is made again");
    assert!(matches!(again.expect("there is work").given, Given::Block(block) if block.offsets().start == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_is_refused_at_its_place() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    for _ in 0..3 {
        node.record().await;
    }
    node.until_shared().await;
    let axiom_events::Raw::Block(second) = node.log.reader().raw(10).expect("it reads") else {
        panic!("it is there")
    };
    let lie = async |bytes: &[u8]| {
        server.run("DEL axiom:events:1").await;
        let mut stream = Vec::new();
        for at in [0, 10, 20] {
            let axiom_events::Raw::Block(block) = node.log.reader().raw(at).expect("it reads") else {
                panic!("it is there")
            };
            stream.push(if at == 10 {
                bytes.to_vec()
            } else {
                block.bytes.to_vec()
            });
        }
        server.run("DEL axiom:events:0").await;
        for (bytes, id) in stream.iter().zip(["0-1", "10-0", "20-0"]) {
            let mut add = redis::cmd("XADD");
            add.arg("axiom:events:0").arg(id).arg("block").arg(bytes);
            add.arg("hash").arg(&[0u8; 32][..]);
            server.run_cmd(&add).await;
        }
        let mut tail = Tail::from(&server.address(), 0, 0);
        assert!(matches!(tail.next(Duration::ZERO).await, Ok(Next::Block(_))));
        match tail.next(Duration::ZERO).await {
            Err(fault @ Fault::Unsound { .. }) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    };
    node.drain.take().expect("it runs").finish(LONG).await;
    let mut flipped = second.bytes.to_vec();
    flipped[200] ^= 1;
    let refused = lie(&flipped).await;
    assert!(
        refused.contains("10-0") && refused.contains("checksum"),
        "{refused}"
    );
    // Of another history, and of another shard.
    for (shard, word) in [(0, "history"), (5, "shard 5")] {
        let folder = tempfile::tempdir().expect("a folder");
        let other = log(folder.path(), shard);
        record(&other, 200).await;
        record(&other, 200).await;
        let axiom_events::Raw::Block(block) = other.reader().raw(10).expect("it reads") else {
            panic!("it is there")
        };
        let refused = lie(&block.bytes).await;
        assert!(refused.contains(word), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_where_a_reader_begins_can_be_left_out() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut node = Node::start(&server, 0);
    for _ in 0..3 {
        node.record().await;
    }
    node.until_shared().await;
    node.drain.take().expect("it runs").finish(LONG).await;
    let axiom_events::Raw::Block(last) = node.log.reader().raw(20).expect("it reads") else {
        panic!("it is there")
    };
    server.run("DEL axiom:events:0").await;
    for (id, bytes) in [("10-0", &b"no block"[..]), ("20-0", &last.bytes)] {
        let mut add = redis::cmd("XADD");
        add.arg("axiom:events:0").arg(id).arg("block").arg(bytes);
        add.arg("hash").arg(&last.hash().0[..]);
        server.run_cmd(&add).await;
    }
    let mut tail = Tail::from(&server.address(), 0, 15);
    for _ in 0..2 {
        let refused = tail.next(Duration::ZERO).await;
        assert!(matches!(refused, Err(Fault::Unsound { .. })), "{refused:?}");
        assert_eq!(tail.position(), Some(15));
    }
    tail.skip();
    let gap = tail.next(Duration::ZERO).await;
    assert!(
        matches!(gap, Ok(Next::Gap(ref gap)) if *gap == (15..20)),
        "{gap:?}"
    );
    let block = tail.next(Duration::ZERO).await;
    assert!(
        matches!(block, Ok(Next::Block(ref block)) if block.offsets() == (20..30)),
        "{block:?}"
    );
}
