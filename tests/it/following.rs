//! A copy of another gateway's log: it is the same, live and over every break, and nothing else gets into it. Gateways that
//! share a Redis.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::Request;
use axiom_tests::peer::{Peer as _, Stateless};
use axiom_tests::{bed, wait};
use serde_json::{Value, json};

struct Said {
    data: Vec<String>,
    talk: String,
    code: Option<i32>,
}

fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(bed::built("axiom"));
    command.args(arguments).env("NO_COLOR", "1");
    let mut running = Running::start("axiom", &mut command);
    running.stdin = None;
    running
}

fn axiom(arguments: &[&str]) -> Said {
    let mut running = start(arguments);
    Said {
        data: running.stdout.all(),
        talk: running.stderr.all().join("\n"),
        code: running.ended().code(),
    }
}

/// Everything; a gateway that runs may add to it at any time.
fn export(dir: &Path) -> Vec<String> {
    let said = axiom(&["events", "export", "--dir", &dir.display().to_string()]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    said.data
}

const CALLS: &str = "kind=gateway.call";

/// What the test has called.
fn calls(dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    axiom(&["events", "export", "--dir", &dir, "--filter", CALLS]).data
}

fn follow(source: &str, copy: &Path, more: &[&str]) -> Said {
    let copy = copy.display().to_string();
    axiom(&[&["events", "follow", source, "--dir", &copy, "--once"], more].concat())
}

fn folder(gateway: &Gateway) -> PathBuf {
    gateway.file().with_file_name("events")
}

fn config(more: &str) -> Config {
    Config::new().events("dir = \"events\"").events(more)
}

/// So many calls, each of them an event: there is no such server.
fn call(gateway: &Gateway, count: usize) {
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..count {
        client.call("nothing__at_all", &json!({}));
    }
}

/// The copy is the front of the log, if not all of it.
fn assert_front(copy: &Path, log: &Path) {
    let copied = export(copy);
    let all = export(log);
    assert!(!copied.is_empty() && all.starts_with(&copied), "{copied:#?}");
}

/// Waits until so many events are on the gateway's disk.
fn recorded(gateway: &Gateway, count: usize) -> Vec<String> {
    wait::until("the events are on the disk", || {
        let events = calls(&folder(gateway));
        (events.len() >= count).then_some(events)
    })
}

#[test]
fn a_copy_is_the_same_log_over_every_break() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start_at(&config("bodies = \"full\""), address);
    let scratch = bed::scratch("copy");
    call(&gateway, 5);
    let ours = recorded(&gateway, 5);
    let said = follow(&gateway.url(""), &scratch, &[]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert_eq!(calls(&scratch), ours);

    // Live; killed without a warning; and from where it was.
    let dir = scratch.display().to_string();
    let source = gateway.url("");
    let live = || start(&["events", "follow", &source, "--dir", &dir]);
    let follower = live();
    call(&gateway, 5);
    recorded(&gateway, 10);
    wait::until("the copy has them", || {
        (calls(&scratch).len() == 10).then_some(())
    });
    follower.signal(rustix::process::Signal::KILL);
    drop(follower);
    call(&gateway, 3);
    let mut follower = live();
    wait::until("the copy has them too", || {
        (calls(&scratch).len() == 13).then_some(())
    });

    // The gateway ends and comes back.
    let file = gateway.file().clone();
    let events = folder(&gateway);
    gateway.stop();
    follower
        .stderr
        .wait("it is told", |line| line.contains("trying again"));
    let again = {
        let shown = events.display().to_string();
        let config = Config::new().events(&format!("dir = {}", json!(shown)));
        Gateway::start_at(&config, address)
    };
    assert!(file.exists());
    call(&again, 4);
    wait::until("the copy goes on", || (calls(&scratch).len() == 17).then_some(()));
    assert_eq!(follower.stop().code(), Some(130));
    assert_front(&scratch, &events);
    let verdict = axiom(&["events", "verify", "--dir", &dir]);
    assert_eq!(verdict.code, Some(0), "{}", verdict.talk);
    let roots = |dir: &Path| -> Vec<Value> {
        let said = axiom(&["events", "verify", "--json", "--dir", &dir.display().to_string()]);
        let verdict: Value = serde_json::from_str(&said.data.join("")).unwrap();
        let segments = verdict["segments"].as_array().unwrap().iter();
        // That of the newest one grows.
        let sealed = segments.filter(|segment| segment["sealed"] == true);
        sealed
            .map(|segment| json!([segment["first_offset"], segment["root"]]))
            .collect()
    };
    assert!(!roots(&scratch).is_empty());
    assert_eq!(roots(&scratch), roots(&events), "the same segments");

    // It is a copy and stays one.
    let shown = json!(dir);
    let refused = {
        let file = bed::scratch("onto-a-copy").join("axiom.toml");
        Config::new().events(&format!("dir = {shown}")).write(&file);
        axiom(&[
            "up",
            "--listen",
            "127.0.0.1:0",
            "--config",
            &file.display().to_string(),
        ])
    };
    assert!(
        refused.talk.contains("copy of another node's log"),
        "{}",
        refused.talk
    );
}

#[test]
fn an_event_can_be_proven_to_whoever_has_a_copy_or_a_root() {
    let gateway = Gateway::start(&config(""));
    call(&gateway, 4);
    recorded(&gateway, 4);
    let dir = folder(&gateway).display().to_string();
    let proven = axiom(&["events", "prove", "2", "--dir", &dir]);
    assert_eq!(proven.code, Some(0), "{}", proven.talk);
    let copy = bed::scratch("copy");
    assert_eq!(follow(&gateway.url(""), &copy, &[]).code, Some(0));
    let proof = bed::scratch("proof").join("proof.json");
    let shown = proof.display().to_string();
    std::fs::write(&proof, proven.data.join("")).unwrap();
    let copy = copy.display().to_string();
    let verify = |more: &[&str]| axiom(&[&["events", "verify", "--proof", &shown], more].concat());
    let said = verify(&["--dir", &copy]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let event: Value = serde_json::from_str(&said.data[0]).unwrap();
    assert_eq!(event["offset"], 2);

    let mut json: Value = serde_json::from_str(&proven.data.join("")).unwrap();
    let root = json["segment"]["root"].as_str().unwrap().to_owned();
    assert_eq!(verify(&["--root", &root]).code, Some(0), "{root}");
    let other = root.replace(|char: char| char.is_ascii_digit(), "a");
    let said = verify(&["--root", &other]);
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.talk.contains("not proven"), "{}", said.talk);
    json["offset"] = json!(3_000);
    std::fs::write(&proof, json.to_string()).unwrap();
    let said = verify(&["--root", &root]);
    assert!(
        said.code == Some(1) && said.talk.contains("not 3000"),
        "{}",
        said.talk
    );
    let absent = axiom(&["events", "prove", "1000", "--dir", &dir]);
    assert_eq!(absent.code, Some(3), "{}", absent.talk);
}

/// A source that says what it is told to.
struct Source {
    address: SocketAddr,
}

impl Source {
    /// `answer` gives status and body for a path.
    fn start(answer: impl Fn(&str) -> (u16, Vec<u8>) + Send + Sync + 'static) -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || drop(serve(stream.expect("a connection"), answer.as_ref())));
            }
        });
        Source { address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> (u16, Vec<u8>)) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = answer(path);
    let bytes = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

/// The blocks of a gateway's log.
fn blocks(gateway: &Gateway) -> Vec<Vec<u8>> {
    let answer = Request::new("GET", "/api/v1/events/blocks?from=0").send(gateway.address());
    let mut rest = answer.bytes();
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        assert_eq!(&rest[..4], b"AXB\x01", "a gateway that runs has one segment");
        let stored = u32::from_le_bytes(rest[44..48].try_into().expect("four bytes")) as usize;
        let after = rest.split_off(96 + stored);
        blocks.push(std::mem::replace(&mut rest, after));
    }
    blocks
}

/// A gateway with so many blocks, one for each call.
fn with_blocks(count: usize, more: &str) -> Gateway {
    let gateway = Gateway::start(&config(more));
    for n in 0..count {
        call(&gateway, 1);
        recorded(&gateway, n + 1);
    }
    gateway
}

#[test]
fn a_source_that_lies_is_refused_and_leaves_nothing_behind() {
    let (one, two) = (with_blocks(4, ""), with_blocks(4, ""));
    let other_shard = with_blocks(2, "shard = 9");
    let (truth, fork) = (blocks(&one), blocks(&two));
    assert!(
        truth.len() >= 4 && fork.len() >= 4,
        "{} and {}",
        truth.len(),
        fork.len()
    );
    let foreign = blocks(&other_shard);
    let flipped = |at: usize| {
        let mut block = truth[1].clone();
        let at = at.min(block.len() - 1);
        block[at] ^= 0x10;
        block
    };
    let t = |n: usize| truth[n].clone();
    let second = u64::from_le_bytes(truth[1][16..24].try_into().expect("eight bytes"));
    let place = format!("offset {second} ");
    let lies: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("a bit of the body", vec![t(0), flipped(150)], "checksum"),
        ("a bit of the head", vec![t(0), flipped(20)], "checksum"),
        ("a bit of the magic", vec![t(0), flipped(0)], "no block"),
        ("swapped", vec![t(0), t(2), t(1)], "missing"),
        ("missing", vec![t(0), t(2)], "missing"),
        ("repeated", vec![t(0), t(0)], "here already"),
        ("another shard's", vec![t(0), foreign[1].clone()], "shard 9"),
        ("a fork", vec![t(0), fork[1].clone()], "refused"),
        (
            "no blocks at all",
            vec![t(0), b"<html>sorry</html>".to_vec()],
            "no block",
        ),
    ];
    for (lie, pieces, why) in lies {
        let body: Vec<u8> = pieces.concat();
        let source = Source::start(move |path| match path {
            "/api/v1/events/shard" => (200, br#"{"shard":0,"first_offset":0,"end_offset":4}"#.to_vec()),
            _ => (200, body.clone()),
        });
        let copy = bed::scratch("copy");
        let said = follow(&source.url(), &copy, &[]);
        assert_eq!(said.code, Some(1), "{lie}: {}", said.talk);
        assert!(
            said.talk.contains(why) && said.talk.contains(&place),
            "{lie}: {}",
            said.talk
        );
        assert_eq!(
            export(&copy).len() as u64,
            second,
            "{lie}: the first block was true"
        );
        // Whoever tells the truth goes on there.
        let said = follow(&one.url(""), &copy, &[]);
        assert_eq!(said.code, Some(0), "{lie}: {}", said.talk);
        assert_front(&copy, &folder(&one));
    }
    // Another gateway under the address: its blocks do not begin where the copy ends, or do not fit.
    let copy = bed::scratch("copy");
    assert_eq!(follow(&one.url(""), &copy, &[]).code, Some(0));
    let before = export(&copy);
    // It has to have more than the copy, or there is nothing to be asked of it.
    let mut calls = 4;
    while calls < 7 || export(&folder(&two)).len() <= before.len() {
        call(&two, 3);
        calls += 3;
        recorded(&two, calls);
    }
    let said = follow(&two.url(""), &copy, &[]);
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.talk.contains("history"), "{}", said.talk);
    assert_eq!(export(&copy), before);
}

#[test]
fn what_the_source_has_retired_is_said_or_left_out() {
    let gateway = with_blocks(2, "");
    let copy = bed::scratch("copy");
    assert_eq!(follow(&gateway.url(""), &copy, &[]).code, Some(0));
    let copied = export(&copy);
    let dir = folder(&gateway);
    let config = Config::new().events(&format!("dir = {}", json!(dir.display().to_string())));
    call(&gateway, 2);
    recorded(&gateway, 4);
    gateway.stop();
    let gateway = Gateway::start(&config);
    call(&gateway, 2);
    wait::until("more is recorded", || (calls(&dir).len() >= 6).then_some(()));
    gateway.stop();
    let mut segments: Vec<PathBuf> = std::fs::read_dir(dir.join("shard-00000"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    std::fs::remove_file(&segments[0]).unwrap();
    let goes_on: usize = segments[1]
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let lost = format!("events {} to {}", copied.len(), goes_on - 1);
    let gateway = Gateway::start(&config);
    let said = follow(&gateway.url(""), &copy, &[]);
    assert_eq!(said.code, Some(3), "{}", said.talk);
    assert!(
        said.talk.contains(&format!("does not have {lost} any more"))
            && said.talk.contains(&format!("goes on with {goes_on}")),
        "{}",
        said.talk
    );
    assert_eq!(export(&copy), copied);
    let said = follow(&gateway.url(""), &copy, &["--skip-gaps"]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let shown = copy.display().to_string();
    let said = axiom(&["events", "export", "--dir", &shown]);
    assert!(
        said.talk.contains(&format!("{lost} cannot be read")),
        "{}",
        said.talk
    );
    assert!(said.data.starts_with(&copied), "{}", said.talk);
    assert_eq!(calls(&copy).len(), 4, "two before the gap and two behind it");
}

#[test]
fn what_the_blocks_endpoint_refuses() {
    let gateway = with_blocks(1, "");
    let get = |path: &str| Request::new("GET", path).send(gateway.address());
    for (path, status) in [
        ("/api/v1/events/blocks?shard=1", 404),
        ("/api/v1/events/blocks?from=x", 400),
        ("/api/v1/events/blocks?from=777777", 409),
        ("/api/v1/events/else", 404),
    ] {
        assert_eq!(get(path).status, status, "{path}");
    }
    wait::until("nothing new comes", || {
        let shard = get("/api/v1/events/shard").json();
        assert_eq!((&shard["shard"], &shard["first_offset"]), (&json!(0), &json!(0)));
        let end = shard["end_offset"].as_u64().unwrap();
        assert!(end > 0);
        (get(&format!("/api/v1/events/blocks?from={end}")).status == 204).then_some(())
    });
    let posted = Request::post("/api/v1/events/blocks", "").send(gateway.address());
    assert_eq!(posted.status, 405);
    // A page of the web that has got hold of a name for this address.
    let rebound = Request::new("GET", "/api/v1/events/blocks?from=0")
        .header("host", "evil.example")
        .send(gateway.address());
    assert_eq!(rebound.status, 403);
    let page = Request::new("GET", "/api/v1/events/shard")
        .header("origin", "https://evil.example")
        .send(gateway.address());
    assert_eq!(page.status, 403);
    let silent = Gateway::start(&Config::new());
    let said = follow(&silent.url(""), &bed::scratch("copy"), &[]);
    assert!(
        said.code == Some(3) && said.talk.contains("records no events"),
        "{}",
        said.talk
    );
}

/// A Redis of the test's own.
struct Redis {
    running: Running,
    port: u16,
}

impl Redis {
    /// `None`, said on stderr, where there is none.
    fn start() -> Option<Redis> {
        let asked = Command::new("redis-server").arg("--version").output();
        if asked.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            eprintln!(
                "skipped: there is no redis-server here; `cargo xtask setup` installs it where apt may"
            );
            return None;
        }
        // The kernel gives these to nobody by itself, and other tests' processes look elsewhere.
        let seed = std::process::id() % 20_000;
        let mut ports =
            (0..20_000).map(|n| u16::try_from(10_000 + (seed + n * 7) % 20_000).expect("it is one"));
        let port = ports
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .expect("a port is free");
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--requirepass", "hunter2"])
            .current_dir(bed::scratch("redis"))
            .stdin(Stdio::null());
        let running = Running::start("redis-server", &mut command);
        running
            .stdout
            .wait("Redis is ready", |line| line.contains("Ready to accept"));
        Some(Redis { running, port })
    }

    fn url(&self) -> String {
        format!("redis://:hunter2@127.0.0.1:{}", self.port)
    }
}

#[test]
fn gateways_that_share_a_redis_are_seen_together() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let url = redis.url();
    let config = |shard: u16| config(&format!("shard = {shard}\nredis = \"{url}\""));
    let (one, two) = (Gateway::start(&config(1)), Gateway::start(&config(2)));
    call(&one, 2);
    call(&two, 3);
    let tail = |more: &[&str]| {
        axiom(
            &[
                &[
                    "events", "tail", "-n", "100", "--json", "--filter", CALLS, "--redis", &url,
                ],
                more,
            ]
            .concat(),
        )
    };
    let all = wait::until("both are in Redis", || {
        let said = tail(&[]);
        (said.data.len() == 5).then_some(said.data)
    });
    let events: Vec<Value> = all
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |shard: u16| events.iter().filter(|event| event["shard"] == shard).count();
    assert_eq!((of(1), of(2)), (2, 3));
    assert!(events.is_sorted_by_key(|event| event["time"].as_str().unwrap().to_owned()));
    assert_eq!(tail(&["--shard", "1"]).data.len(), 2);
    let mut live = start(&[
        "events", "tail", "-f", "--json", "--filter", CALLS, "--redis", &url,
    ]);
    wait::until("what was there", || (live.stdout.len() == 5).then_some(()));
    call(&one, 1);
    let (_, came) = live.stdout.wait_from(5, "what came", |_| true);
    assert!(came.starts_with("{\"shard\":1,"), "{came}");
    assert_eq!(live.stop().code(), Some(130));

    // Its folder has its number, and commands find it.
    assert!(folder(&two).join("shard-00002").is_dir());
    assert_eq!(calls(&folder(&two)).len(), 3);
    for gateway in [&one, &two] {
        assert!(!gateway.stderr().text().contains("hunter2"));
    }

    // Redis goes; calls and recording go on; what is missing comes when it is back is for others to show.
    drop(redis);
    call(&one, 2);
    recorded(&one, 5);
    let away = tail(&[]);
    assert_eq!(away.code, Some(5), "{}", away.talk);
    assert!(!away.talk.contains("hunter2"), "{}", away.talk);
    assert!(one.stop().success());
}

#[test]
fn the_same_number_twice_is_said_loudly() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let config = config(&format!("redis = \"{}\"", redis.url()));
    let one = Gateway::start(&config);
    call(&one, 1);
    let shown = || {
        axiom(&[
            "events",
            "tail",
            "--json",
            "--filter",
            CALLS,
            "--redis",
            &redis.url(),
        ])
        .data
        .len()
    };
    wait::until("the first is in Redis", || (shown() == 1).then_some(()));
    let two = Gateway::start(&config);
    call(&two, 1);
    two.stderr().wait("it is told", |line| {
        line.contains("ERROR") && line.contains("same `events.shard`")
    });
    assert_eq!(shown(), 1);
    assert!(redis.running.pid() > 0);
}
