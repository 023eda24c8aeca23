//! What the gateway records, read with `axiom events` while it runs, after it was killed, and after its files were
//! damaged: one event for each call, whatever becomes of it.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Request, connect};
use axiom_tests::peer::{Peer as _, Session, Stateless, message};
use axiom_tests::{bed, servers, wait};
use serde_json::{Value, json};

/// What a command printed, and its exit code.
pub(crate) struct Said {
    pub(crate) data: Vec<String>,
    pub(crate) talk: String,
    pub(crate) code: Option<i32>,
}

pub(crate) fn axiom(arguments: &[&str]) -> Said {
    let mut command = Command::new(bed::built("axiom"));
    command.args(arguments).env("NO_COLOR", "1");
    let mut running = Running::start("axiom", &mut command);
    running.stdin = None;
    Said {
        data: running.stdout.all(),
        talk: running.stderr.all().join("\n"),
        code: running.ended().code(),
    }
}

/// The folder of events beside a gateway's configuration.
pub(crate) fn folder(gateway: &Gateway) -> PathBuf {
    gateway.file().with_file_name("events")
}

pub(crate) fn export(dir: &Path, filter: &str) -> Vec<Value> {
    let dir = dir.display().to_string();
    let said = axiom(&["events", "export", "--dir", &dir, "--filter", filter]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let parse =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    said.data.iter().map(parse).collect()
}

/// Waits until so many events are on the disk that the filter wants, and shows them.
pub(crate) fn recorded(dir: &Path, filter: &str, count: usize) -> Vec<Value> {
    let mut seen = 0;
    let found = wait::within(wait::DEADLINE, || {
        let events = export(dir, filter);
        seen = events.len();
        (seen >= count).then_some(events)
    });
    let events = found.unwrap_or_else(|| panic!("{seen} events of {count} that are {filter}"));
    assert_eq!(events.len(), count, "no more than there were");
    events
}

pub(crate) fn outcomes(events: &[Value]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for event in events {
        let outcome = event["body"]["outcome"].as_str().expect("a call has an outcome");
        *counted.entry(outcome.to_owned()).or_default() += 1;
    }
    counted
}

fn config() -> Config {
    Config::new()
        .stdio("everything", &servers::everything().command)
        .events("dir = \"events\"")
}

#[test]
fn a_call_is_one_event_that_tells_everything() {
    let gateway = Gateway::start(&config());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut client = Stateless::new(&gateway.mcp());
    client.call("everything__echo", &json!({ "message": "hunter2" }));
    let session = Session::open(&gateway.server("everything"));
    let call = message(
        "7",
        "tools/call",
        r#"{"name":"echo","arguments":{"message":"x"}}"#,
    );
    let request = session
        .request(call.clone())
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    session.send(&request).bytes();

    let dir = folder(&gateway);
    let calls = recorded(&dir, "kind=gateway.call method=tools/call", 2);
    // Each worker thread hands its events over by itself.
    let of = |revision| {
        calls
            .iter()
            .find(|call| call["body"]["client_revision"] == revision)
    };
    let (modern, legacy) = (of("2026-07-28").expect("one"), of("2025-11-25").expect("one"));
    assert_eq!(modern["stream"], "gateway.everything");
    assert_eq!(modern["tenant"], "default");
    assert_eq!(modern["level"], "info");
    assert_eq!(
        modern["task"], modern["trace"],
        "a call without a trace begins one"
    );
    let body = &modern["body"];
    for (key, value) in [
        ("server", "everything"),
        ("endpoint", "/mcp"),
        ("method", "tools/call"),
        ("name", "everything__echo"),
        ("transport", "http"),
        ("client_revision", "2026-07-28"),
        ("server_revision", "2025-11-25"),
        ("outcome", "result"),
    ] {
        assert_eq!(body[key], value, "{key} of {body}");
    }
    assert!(body["duration_us"].as_u64() > Some(0), "{body}");
    assert!(body["response_bytes"].as_u64() > Some(40), "{body}");
    assert!(!body.to_string().contains("hunter2"), "bodies are off: {body}");

    assert_eq!(legacy["trace"], trace);
    assert_ne!(legacy["task"], legacy["trace"]);
    assert_eq!(legacy["body"]["request_bytes"], call.len());
    let told = legacy["body"]["session"]
        .as_str()
        .expect("the session has a name");
    let id = session.id.as_deref().expect("the session has an id");
    assert!(!id.contains(told), "its name is no part of its id");

    let sessions = recorded(&dir, "kind=gateway.session", 1);
    assert_eq!(sessions[0]["body"]["session"], told);
    assert_eq!(sessions[0]["body"]["state"], "begun");
    let up = export(&dir, "kind=gateway.server state=up server=everything");
    assert!(!up.is_empty(), "the server's start is recorded");
    // initialize is a call too, and notifications are none.
    recorded(&dir, "kind=gateway.call", 3);
}

/// Every way in which a call ends, hundreds at once, on one server that dies, one that is silent and one that is sound.
#[test]
fn each_of_hundreds_of_calls_is_one_event_however_it_ends() {
    let gateway = Gateway::start(
        &config()
            .stdio("dying", &servers::faulty("dies-mid-call", &[]))
            .stdio("silent", &servers::faulty("never-answers", &[]))
            .with("silent", "call_timeout = \"3s\"")
            .stdio("deaf", &servers::faulty("never-answers", &[])),
    );
    let dir = folder(&gateway);
    let url = gateway.mcp();
    let echo = json!({ "message": "x", "text": "x" });
    let leaving: Vec<_> = std::thread::scope(|scope| {
        let client = || {
            let mut client = Stateless::new(&url);
            for _ in 0..10 {
                client.call("everything__echo", &echo).text();
            }
            let failed = client.call("everything__get-sum", &json!({ "a": "x" }));
            assert_eq!(failed.value()["isError"], true);
            client.ask("tools/list", "{}").bytes();
            assert!(client.call("no-such-tool", &echo).error.is_some());
            assert!(client.call("dying__echo", &echo).error.is_some());
            // This one waits until the server has been silent for too long, and the last one does not.
            assert!(client.call("silent__echo", &echo).error.is_some());
            let params = json!({ "name": "deaf__echo", "arguments": echo });
            let request = client.request("9", "tools/call", &params);
            let mut leaving = connect(gateway.address()).expect("the gateway listens");
            leaving
                .write_all(&request.bytes(gateway.address()))
                .expect("it reads");
            leaving
        };
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("it went well"))
            .collect()
    });
    wait::until("all of them wait", || {
        (gateway.status("deaf")["in_flight"] == 20).then_some(())
    });
    drop(leaving);
    let calls = recorded(&dir, "kind=gateway.call", 20 * 16);
    let mut offsets: Vec<u64> = calls.iter().filter_map(|call| call["offset"].as_u64()).collect();
    offsets.dedup();
    assert_eq!(offsets.len(), calls.len());
    let mut tasks: Vec<&str> = calls.iter().filter_map(|call| call["task"].as_str()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), calls.len(), "every call has an id of its own");

    let of = |name: &str| -> Vec<Value> {
        let named = |call: &&Value| call["body"]["name"] == name;
        calls.iter().filter(named).cloned().collect()
    };
    let expected = |list: &[(&str, usize)]| -> BTreeMap<String, usize> {
        list.iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    };
    assert_eq!(outcomes(&of("everything__echo")), expected(&[("result", 200)]));
    assert_eq!(
        outcomes(&of("everything__get-sum")),
        expected(&[("tool_error", 20)])
    );
    assert_eq!(outcomes(&of("no-such-tool")), expected(&[("fault", 20)]));
    assert_eq!(outcomes(&of("dying__echo")), expected(&[("fault", 20)]));
    assert_eq!(outcomes(&of("silent__echo")), expected(&[("fault", 20)]));
    assert_eq!(outcomes(&of("deaf__echo")), expected(&[("gone", 20)]));
    for fault in of("dying__echo") {
        assert_eq!(fault["stream"], "gateway.dying");
        assert_eq!(fault["level"], "error");
        assert_eq!(fault["body"]["code"], 1003, "{fault}");
    }
    let down = export(&dir, "kind=gateway.server state=down server=dying");
    assert!(!down.is_empty(), "its end is recorded");
}

#[test]
fn a_cancelled_call_is_recorded_as_one() {
    let gateway = Gateway::start(&config().stdio("silent", &servers::faulty("never-answers", &[])));
    let session = Session::open(&gateway.server("silent"));
    let call = session.request(message("5", "tools/call", r#"{"name":"echo","arguments":{}}"#));
    let address = gateway.address();
    let mut waiting = connect(address).expect("the gateway listens");
    waiting.write_all(&call.bytes(address)).expect("it reads");
    wait::until("the call is on its way", || {
        (gateway.status("silent")["in_flight"].as_u64() > Some(0)).then_some(())
    });
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#;
    session.send(&session.request(cancel)).bytes();
    let calls = recorded(&folder(&gateway), "kind=gateway.call method=tools/call", 1);
    assert_eq!(calls[0]["body"]["outcome"], "cancelled");
    assert_eq!(calls[0]["level"], "info");
}

#[test]
fn a_long_result_is_recorded_when_all_of_it_has_passed() {
    let (_running, url) = servers::everything_over("streamableHttp");
    let gateway = Gateway::start(
        &Config::new()
            .url("remote", &url)
            .events("dir = \"events\"\nbodies = \"full\""),
    );
    let mut session = Session::open(&gateway.mcp());
    let text = "z".repeat(1 << 20);
    let reply = session.call("remote__echo", &json!({ "message": text }));
    assert_eq!(reply.text().len(), text.len() + "Echo: ".len());
    let calls = recorded(&folder(&gateway), "kind=gateway.call method=tools/call", 1);
    let body = &calls[0]["body"];
    assert_eq!(body["outcome"], "result");
    assert!(
        body["response_bytes"].as_u64() > Some(1 << 20),
        "{}",
        body["response_bytes"]
    );
    for key in ["request_cut", "response_cut"] {
        let cut = body[key].as_str().unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(cut.len(), 64 << 10, "{key}");
    }
}

#[test]
fn bodies_are_recorded_by_policy_and_the_policy_can_change() {
    let config = |bodies: &str| config().events(&format!("bodies = \"{bodies}\""));
    let gateway = Gateway::start(&config("redacted"));
    let dir = folder(&gateway);
    let mut client = Stateless::new(&gateway.mcp());
    let mut call = |n: &str| {
        let message = format!("{n}: password=hunter2 and all is well");
        client.call(
            "everything__echo",
            &json!({ "message": message, "api_key": "hunter3" }),
        );
    };
    call("one");
    let seen = |n: usize| {
        let calls = recorded(&dir, "kind=gateway.call method=tools/call", n);
        calls[n - 1]["body"].clone()
    };
    let body = seen(1);
    let text = body.to_string();
    assert!(!text.contains("hunter"), "{text}");
    assert_eq!(body["request"]["arguments"]["api_key"], "[redacted]");
    let said = body["response"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default();
    assert_eq!(said, "Echo: one: password=[redacted] and all is well");

    for (n, bodies) in [(2, "full"), (3, "off")] {
        gateway.rewrite(&config(bodies));
        gateway
            .stderr()
            .wait_from(0, "the change is told", |line| line.contains("events: bodies"));
        wait::until("it is in force", || {
            let reloads = export(&dir, "kind=gateway.config");
            (reloads.len() == n - 1).then_some(())
        });
        call("again");
        let body = seen(n);
        let is_full = bodies == "full";
        assert_eq!(
            body["request"]["arguments"]["message"]
                .as_str()
                .is_some_and(|said| said.contains("all is well")),
            is_full,
            "{body}"
        );
        assert!(!body.to_string().contains("hunter"), "secrets never: {body}");
        assert_eq!(body.get("response").is_some(), is_full, "{body}");
    }
}

#[test]
fn what_a_killed_gateway_recorded_is_there() {
    let gateway = Gateway::start(&config());
    let dir = folder(&gateway);
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..300 {
        client.call("everything__echo", &json!({ "message": "x" })).text();
    }
    let before = recorded(&dir, "method=tools/call", 300);
    let file = gateway.file().clone();
    gateway.kill();
    assert_eq!(export(&dir, "method=tools/call"), before);
    let shown = dir.display().to_string();
    let said = axiom(&["events", "verify", "--dir", &shown]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert!(said.data[0].starts_with("sound: "), "{:?}", said.data);

    // The next one goes on where this one ended.
    let gateway = Gateway::start_in(file.parent().expect("it is in a folder"));
    let mut client = Stateless::new(&gateway.mcp());
    client.call("everything__echo", &json!({ "message": "x" })).text();
    let after = recorded(&dir, "method=tools/call", 301);
    assert_eq!(&after[..300], &before[..]);
}

#[test]
fn tail_follows_a_running_gateway() {
    let gateway = Gateway::start(&config());
    let dir = folder(&gateway).display().to_string();
    let mut client = Stateless::new(&gateway.mcp());
    client.call("everything__echo", &json!({ "message": "x" })).text();
    recorded(&folder(&gateway), "method=tools/call", 1);
    let mut command = Command::new(bed::built("axiom"));
    command
        .args([
            "events",
            "tail",
            "-f",
            "--dir",
            &dir,
            "--filter",
            "method=tools/call outcome!=fault",
        ])
        .env("NO_COLOR", "1");
    let mut tail = Running::start("axiom events tail", &mut command);
    tail.stdout.wait("what was there", |line| {
        line.contains("everything__echo  result in")
    });
    client
        .call("everything__get-sum", &json!({ "a": 1, "b": 2 }))
        .text();
    let line = tail.stdout.wait("what came", |line| line.contains("get-sum"));
    assert!(
        line.contains("info   gateway.call     everything  tools/call everything__get-sum  result in"),
        "{line}"
    );
    client.call("everything__no-such", &json!({}));
    client.call("nothing__at_all", &json!({}));
    client
        .call("everything__echo", &json!({ "message": "last" }))
        .text();
    wait::until("the last one", || (tail.stdout.len() >= 4).then_some(()));
    assert!(
        !tail.stdout.text().contains("nothing__at_all"),
        "faults are not wanted"
    );
    assert_eq!(tail.stop().code(), Some(130));

    // A reader that has had enough ends it, though nothing happens any more.
    let mut command = Command::new("sh");
    command
        .args(["-c", "\"$0\" events tail -f -n 1 --dir \"$1\" | head -n 1"])
        .arg(bed::built("axiom"))
        .arg(&dir);
    let mut pipe = Running::start("axiom events tail | head", &mut command);
    assert_eq!((pipe.ended().code(), pipe.stdout.all().len()), (Some(0), 1));

    let echoes = "name=everything__echo";
    let newest = axiom(&[
        "events", "tail", "-n", "1", "--json", "--dir", &dir, "--filter", echoes,
    ]);
    assert_eq!((newest.code, newest.data.len()), (Some(0), 1));
    let last: Value = serde_json::from_str(&newest.data[0]).expect("it is JSON");
    assert_eq!(last["body"]["name"], "everything__echo");
}

#[test]
fn an_export_can_be_taken_in_pieces() {
    let gateway = Gateway::start(&config());
    let path = folder(&gateway);
    let dir = path.display().to_string();
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..40 {
        client.call("everything__echo", &json!({ "message": "x" })).text();
    }
    recorded(&path, "method=tools/call", 40);
    gateway.stop();
    let all = axiom(&["events", "export", "--dir", &dir]).data;
    let offsets: Vec<u64> = all
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("it is JSON")["offset"]
                .as_u64()
                .expect("a number")
        })
        .collect();
    assert_eq!(
        offsets,
        (0..all.len() as u64).collect::<Vec<_>>(),
        "every event, in order"
    );
    let mut pieces = Vec::new();
    for (from, to) in [("0", "7"), ("7", "30"), ("30", "100000")] {
        pieces.extend(axiom(&["events", "export", "--dir", &dir, "--from", from, "--to", to]).data);
    }
    assert_eq!(pieces, all);
    assert_eq!(
        axiom(&["events", "export", "--dir", &dir, "--from", "1h"]).data,
        all
    );
    let backwards = axiom(&["events", "export", "--dir", &dir, "--from", "7", "--to", "3"]);
    assert_eq!(backwards.code, Some(2), "{}", backwards.talk);
    assert!(
        backwards.talk.contains("--to is before --from"),
        "{}",
        backwards.talk
    );
    for from in ["100000", "2200-01-01"] {
        let early = axiom(&["events", "export", "--dir", &dir, "--from", from]);
        assert_eq!((early.code, early.data.len()), (Some(0), 0), "{}", early.talk);
        assert!(early.talk.starts_with("warning:"), "{}", early.talk);
    }
    assert!(
        axiom(&["events", "export", "--dir", &dir, "--to", "2020-01-01"])
            .data
            .is_empty()
    );
}

#[test]
fn verify_names_a_flipped_bit() {
    let gateway = Gateway::start(&config());
    let path = folder(&gateway);
    let dir = path.display().to_string();
    let mut client = Stateless::new(&gateway.mcp());
    for n in 1..=3 {
        client.call("everything__echo", &json!({ "message": "x" })).text();
        recorded(&path, "method=tools/call", n);
    }
    gateway.stop();
    let shard = std::fs::read_dir(path.join("shard-00000")).expect("there is a log");
    let names = shard.map(|entry| entry.expect("it can be read").path());
    let mut segments: Vec<PathBuf> = names
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    segments.sort();
    flip(&segments[0], 300);
    let said = axiom(&["events", "verify", "--dir", &dir]);
    assert_eq!(said.code, Some(1), "{:?}", said.data);
    assert!(said.talk.contains("is damaged in"), "{}", said.talk);
    let named = segments[0].display().to_string();
    assert!(
        said.data[0].starts_with(&named) && said.data[0].contains("are lost"),
        "{:?}",
        said.data
    );
    let json = axiom(&["events", "verify", "--json", "--dir", &dir]);
    let verdict: Value = serde_json::from_str(&json.data[0]).expect("it is JSON");
    assert_eq!(verdict["sound"], false);
    let lost = &verdict["damage"][0]["offsets"];
    let rest = axiom(&["events", "export", "--dir", &dir]);
    assert_eq!(rest.code, Some(1), "an export with a hole is not complete");
    assert!(
        rest.talk.contains(&format!("events {} to ", lost[0])),
        "{}",
        rest.talk
    );
    assert!(!rest.data.is_empty(), "what is sound stays readable");
}

/// Flips one bit of a byte.
fn flip(path: &Path, at: u64) {
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("it is there");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("it is long enough");
    file.read_exact(&mut byte).expect("it is long enough");
    byte[0] ^= 0x10;
    file.seek(SeekFrom::Start(at)).expect("it is long enough");
    file.write_all(&byte).expect("it can be written");
}

#[test]
fn a_folder_that_cannot_be_used_is_told_at_the_start() {
    let gateway = Gateway::start(&config());
    let dir = folder(&gateway).display().to_string();
    let scratch = bed::scratch("second");
    let up = |events: &str| {
        let file = scratch.join("axiom.toml");
        Config::new()
            .events(&format!("dir = {}", json!(events)))
            .write(&file);
        axiom(&["up", "--config", &file.display().to_string()])
    };
    let taken = up(&dir);
    assert_eq!(taken.code, Some(5), "{}", taken.talk);
    assert!(taken.talk.contains("another process writes to"), "{}", taken.talk);
    assert!(
        taken.talk.contains("hint: another gateway records there"),
        "{}",
        taken.talk
    );
    let no_folder = up(&gateway.file().display().to_string());
    assert_eq!(no_folder.code, Some(1), "{}", no_folder.talk);
    assert!(
        no_folder.talk.contains("cannot record events"),
        "{}",
        no_folder.talk
    );

    let nothing = axiom(&["events", "tail", "--dir", &scratch.display().to_string()]);
    assert_eq!(nothing.code, Some(3), "{}", nothing.talk);
    let wrong = axiom(&["events", "tail", "--dir", &dir, "--filter", "sever=x"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.talk);
    assert!(wrong.talk.contains("did you mean `server`?"), "{}", wrong.talk);
}

/// A folder on a file system of its own that is soon full.
pub(crate) struct Small(pub(crate) PathBuf);

impl Small {
    pub(crate) fn mount(mib: usize) -> Option<Self> {
        let folder = bed::scratch("small");
        let size = format!("size={mib}m");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Small(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg(&self.0).status().is_ok();
    }
}

#[test]
fn a_full_disk_does_not_stop_the_gateway() {
    // Room for one segment and not for two.
    let Some(small) = Small::mount(70) else {
        return eprintln!("skipped: this user may not mount a file system of its own");
    };
    let filled = small.0.join("fill");
    let config = Config::new()
        .stdio("everything", &servers::everything().command)
        .events(&format!("dir = {}", json!(small.0)))
        .events("bodies = \"full\"");
    let gateway = Gateway::start(&config);
    let mut client = Stateless::new(&gateway.mcp());
    let mut call = |text: &str| {
        let reply = client.call("everything__echo", &json!({ "message": text }));
        assert_eq!(reply.text(), format!("Echo: {text}"));
    };
    call("first");
    recorded(&small.0, "method=tools/call", 1);
    let fill = std::fs::File::create(&filled).and_then(|mut file| file.write_all(&vec![1; 8 << 20]));
    assert!(fill.is_err(), "the disk is full");
    // What nothing shortens, until the segment is full too.
    for n in 0..1_000_u64 {
        let noise: String = (0..6_000).map(|at| noise(n * 6_000 + at)).collect();
        call(&noise);
    }
    call("last");
    gateway.kill();
    let said = axiom(&["events", "verify", "--dir", &small.0.display().to_string()]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
}

/// Letters without any order, always the same.
pub(crate) fn noise(seed: u64) -> char {
    let mixed = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let letter = u32::try_from(mixed >> 44).unwrap_or_default() % 0x4e00;
    char::from_u32(0x4e00 + letter % 0x5000).unwrap_or('x')
}

#[test]
fn requests_of_every_transport_are_recorded() {
    let gateway = Gateway::start(&config());
    let dir = folder(&gateway);
    let health = Request::new("GET", "/healthz").send(gateway.address());
    assert_eq!(health.status, 200);
    let refused = Request::post("/mcp", message("1", "tools/list", "{}")).send(gateway.address());
    assert_eq!(refused.status, 400, "no session");
    let calls = recorded(&dir, "kind=gateway.call", 1);
    assert_eq!(calls[0]["body"]["outcome"], "fault");
    assert_eq!(calls[0]["stream"], "gateway");
    assert_eq!(calls[0]["level"], "warn");
}

#[test]
fn calls_that_are_sampled_are_counted() {
    let sampled = r#"{ kinds = ["gateway.call"], before_error = 0, after_error = 0 }"#;
    let config = Config::new()
        .stdio("everything", &servers::everything().command)
        .events(&format!("dir = \"events\"\nsample = {sampled}"));
    let gateway = Gateway::start(&config);
    let mut client = Stateless::new(&gateway.mcp());
    const CALLS: usize = 200;
    for n in 0..CALLS {
        client.call("everything__echo", &json!({ "message": format!("{n}") }));
    }
    let dir = folder(&gateway);
    let echoes = || -> (Vec<Value>, u64) {
        let kept = export(&dir, "kind=gateway.call method=tools/call");
        let counted = export(&dir, "kind=axiom.sampled");
        let of_echo = |event: &&Value| {
            event["body"]["template"]
                .as_str()
                .is_some_and(|text| text.contains("tools/call"))
        };
        let count = |event: &Value| event["body"]["events"].as_u64().expect("a counter has a number");
        let skipped = counted.iter().filter(of_echo).map(count).sum();
        (kept, skipped)
    };
    let mut seen = (0, 0);
    let found = wait::within(std::time::Duration::from_secs(30), || {
        let (kept, skipped) = echoes();
        seen = (kept.len(), skipped);
        (kept.len() as u64 + skipped >= CALLS as u64).then_some((kept, skipped))
    });
    let (kept, skipped) = found.unwrap_or_else(|| panic!("{seen:?} of {CALLS}"));
    assert_eq!(kept.len() as u64 + skipped, CALLS as u64, "kept or counted, once");
    assert!(kept.len() < CALLS / 4, "{} were kept", kept.len());
    // What was kept is as it would be without sampling.
    assert!(
        kept.iter()
            .all(|event| event["task"].as_str().is_some_and(|task| task.len() == 32))
    );
}
