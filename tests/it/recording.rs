//! Recording, whatever the transport, and whatever becomes of the log: each request of a client over stdio, WebSocket and
//! HTTP+SSE is one event, tasks too; and a log that is full, stalled or not writable holds up no call, counts what it lost,
//! and goes on without a restart.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::client::{Client, Way};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{LATEST_LEGACY, Peer as _, Session, Stateless};
use axiom_tests::{bed, servers, wait};
use serde_json::{Value, json};

use crate::events::{Small, axiom, export, folder, noise, outcomes, recorded};

fn config() -> Config {
    Config::new()
        .stdio("everything", &servers::everything().command)
        .events("dir = \"events\"")
}

fn echo(text: &str) -> Value {
    json!({ "do": "callTool", "name": "everything__echo", "arguments": { "message": text } })
}

/// What a client of each kind does: it calls, gets a tool's own error, and asks for what is not there.
fn steps() -> [Value; 4] {
    let wrong = json!({ "do": "callTool", "name": "everything__get-sum", "arguments": { "a": "x" } });
    let missing = json!({ "do": "readResource", "uri": "nobody://has/this" });
    [echo("one"), wrong, missing, echo("two")]
}

/// The client's events are those of its transport, one for each request.
fn check(dir: &Path, transport: &str) {
    let of = |method: &str| format!("kind=gateway.call transport={transport} method={method}");
    let calls = recorded(dir, &of("tools/call"), 3);
    let expected = BTreeMap::from([("result".to_owned(), 2), ("tool_error".to_owned(), 1)]);
    assert_eq!(outcomes(&calls), expected, "{transport}");
    let read = recorded(dir, &of("resources/read"), 1);
    let body = &read[0]["body"];
    assert!(
        ["fault", "error"].contains(&body["outcome"].as_str().unwrap_or_default()),
        "{body}"
    );
    let greetings = recorded(dir, &of("initialize"), 1);
    let session = &greetings[0]["body"]["session"];
    for call in calls {
        let body = &call["body"];
        assert_eq!(call["stream"], "gateway.everything", "{body}");
        assert!(body["duration_us"].as_u64() > Some(0), "{body}");
        assert!(body["client_revision"].is_string(), "{body}");
        assert!(session.is_null() || body["session"] == *session, "{body}");
    }
}

#[test]
fn clients_over_websocket_and_sse_leave_one_event_for_each_request() {
    let gateway = Gateway::start(&config());
    let dir = folder(&gateway);
    let ws = gateway.url("/ws").replace("http://", "ws://");
    Client::TsV1.run(&Way::WebSocket(ws), &json!({}), &steps());
    check(&dir, "websocket");
    Client::TsV1.run(&Way::Sse(gateway.url("/sse")), &json!({}), &steps());
    check(&dir, "sse");
    Client::PyMcpLegacy.run(&Way::Http(gateway.mcp()), &json!({}), &steps());
    check(&dir, "http");
}

#[test]
fn a_client_over_stdio_leaves_one_event_for_each_request() {
    let file = bed::scratch("stdio").join("axiom.toml");
    config().write(&file);
    let program = bed::built("axiom").display().to_string();
    let command = [&program, "stdio", "--config", &file.display().to_string()].map(str::to_owned);
    Client::TsV1.run(&Way::Stdio(command.to_vec()), &json!({}), &steps());
    // It has ended, and what it recorded is there.
    check(&file.with_file_name("events"), "stdio");
}

#[test]
fn a_task_is_the_events_of_its_requests() {
    let gateway = Gateway::start(&config());
    let dir = folder(&gateway);
    let capabilities = json!({ "elicitation": {}, "tasks": {} });
    let mut session = Session::open_as(&gateway.server("everything"), LATEST_LEGACY, &capabilities);
    let arguments = json!({ "topic": "sleep", "ambiguous": false });
    let call = json!({ "name": "simulate-research-query", "arguments": arguments, "task": {} });
    let created = session.ask("tools/call", &call.to_string()).value();
    let task = created["task"]["taskId"]
        .as_str()
        .expect("a task was made")
        .to_owned();
    let about = json!({ "taskId": task }).to_string();
    session.ask("tasks/get", &about).value();
    session.ask("tasks/result", &about).value();
    assert!(
        session.ask("tasks/cancel", &about).error.is_some(),
        "it has ended"
    );
    for (method, outcome) in [
        ("tools/call", "result"),
        ("tasks/get", "result"),
        ("tasks/result", "result"),
        ("tasks/cancel", "error"),
    ] {
        let found = recorded(&dir, &format!("kind=gateway.call method={method}"), 1);
        assert_eq!(found[0]["body"]["outcome"], outcome, "{method}");
        assert_eq!(found[0]["stream"], "gateway.everything", "{method}");
        assert!(
            !found[0].to_string().contains(&task),
            "a handle is nobody's business: {method}"
        );
    }
    let waited = &recorded(&dir, "kind=gateway.call method=tasks/result", 1)[0]["body"]["duration_us"];
    assert!(
        waited.as_u64() > Some(500_000),
        "it waited for the result: {waited}"
    );
}

/// Bytes of a body that is recorded whole.
const BODY_BYTES: usize = 1_800_000;
/// Calls whose requests and answers, in whatever dress, do not fit into one segment of 64 MiB.
const CALLS: u64 = 36;

pub(crate) fn with_whole_bodies(dir: &Path) -> Config {
    Config::new()
        .stdio("everything", &servers::everything().command)
        .events(&format!("dir = {}", json!(dir)))
        .events("bodies = \"full\"\nbody_bytes_max = \"2MiB\"")
}

/// The id of the newest call that says little.
fn newest(dir: &Path) -> Value {
    let dir = dir.display().to_string();
    let filter = "method=tools/call request_bytes<10000";
    let said = axiom(&[
        "events", "tail", "-n", "1", "--json", "--dir", &dir, "--filter", filter,
    ]);
    let line = said
        .data
        .first()
        .unwrap_or_else(|| panic!("no call: {}", said.talk));
    serde_json::from_str::<Value>(line).expect("it is JSON")["task"].clone()
}

/// How many calls there are, counted without reading what they say.
fn recorded_calls(dir: &Path) -> u64 {
    let file = bed::scratch("counting").join("axiom.toml");
    Config::new()
        .events(&format!("dir = {}\nmcp = true", json!(dir)))
        .write(&file);
    let arguments = r#"{"kind":"gateway.call","by":["kind"]}"#;
    let file = file.display().to_string();
    let said = axiom(&["call", "events.stats", "--json", arguments, "--config", &file]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let result: Value = serde_json::from_str(&said.data.join("")).expect("it is JSON");
    result["structuredContent"]["events"].as_u64().expect("a number")
}

/// So many calls go on while `break_it` holds, what is not recorded is counted, and after `heal_it` recording goes on. False
/// if nothing could be broken.
pub(crate) fn loses_counts_and_goes_on(
    gateway: &Gateway,
    dir: &Path,
    calls: u64,
    break_it: impl FnOnce() -> bool,
    heal_it: impl FnOnce(),
) -> bool {
    let mut client = Stateless::new(&gateway.mcp());
    let mut made = 0;
    let mut call = |text: &str| {
        let reply = client.call("everything__echo", &json!({ "message": text }));
        assert_eq!(reply.text().len(), "Echo: ".len() + text.len());
        made += 1;
        made
    };
    call("first");
    recorded(dir, "method=tools/call", 1);
    if !break_it() {
        return false;
    }
    let seed = |n: u64| n * 1_000_000;
    for n in 0..calls {
        // Letters of three bytes without any order: what nothing shortens.
        let text: String = (0..BODY_BYTES as u64 / 3).map(|at| noise(seed(n) + at)).collect();
        call(&text);
    }
    heal_it();
    // Each of these is a try to tell what is missing.
    let first = newest(dir);
    // What waits in the queue is written first, which takes a debug build on a busy machine a while.
    let again = wait::within(std::time::Duration::from_secs(240), || {
        call("again");
        (newest(dir) != first).then_some(())
    });
    assert!(again.is_some(), "nothing is recorded any more");
    let made = call("last");
    let (kept, lost, gaps) = wait::until("every call is recorded or counted", || {
        let gaps = export(dir, "kind=axiom.gap");
        let lost = gaps
            .iter()
            .filter_map(|gap| gap["body"]["lost"].as_u64())
            .sum::<u64>();
        let kept = recorded_calls(dir);
        (kept + lost >= made).then_some((kept, lost, gaps))
    });
    assert_eq!(kept + lost, made, "{kept} kept, {lost} lost, in {gaps:?}");
    assert!(lost > 0 && kept > 2, "{kept} kept, {lost} lost");
    assert!(
        gaps.iter().all(|gap| gap["body"]["reason"].is_string()),
        "{gaps:?}"
    );
    let said = axiom(&["events", "verify", "--dir", &dir.display().to_string()]);
    assert_eq!(said.code, Some(0), "{} {:?}", said.talk, said.data);
    true
}

#[test]
fn a_disk_that_was_full_is_written_again() {
    let Some(small) = Small::mount(80) else {
        return eprintln!("skipped: this user may not mount a file system of its own");
    };
    let filler = small.0.join("filler");
    let dir = small.0.join("events");
    let gateway = Gateway::start(&with_whole_bodies(&dir));
    let is_full = loses_counts_and_goes_on(
        &gateway,
        &dir,
        CALLS,
        || {
            let fill = std::fs::File::create(&filler).and_then(|mut file| file.write_all(&vec![1; 32 << 20]));
            fill.is_err()
        },
        || {
            std::fs::remove_file(&filler).expect("it is there");
            // One segment stays; there must be room for the next.
            let mut command = Command::new("mount");
            command.args(["-o", "remount,size=200m"]).arg(&small.0);
            assert!(command.status().is_ok_and(|status| status.success()));
        },
    );
    assert!(is_full, "the filler fits");
}

/// A folder over itself, read-only, taken away when it is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn over(folder: &Path) -> Self {
        let mount = |arguments: &[&str]| {
            let mut command = Command::new("mount");
            let status = command.args(arguments).arg(folder).status();
            assert!(status.is_ok_and(|status| status.success()), "mount {arguments:?}");
        };
        mount(&["--bind", &folder.display().to_string()]);
        let over = ReadOnly(folder.to_owned());
        mount(&["-o", "remount,bind,ro"]);
        over
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status().is_ok();
    }
}

#[test]
fn a_disk_that_was_read_only_is_written_again() {
    let Some(small) = Small::mount(400) else {
        return eprintln!("skipped: this user may not mount a file system of its own");
    };
    let dir = small.0.join("events");
    let gateway = Gateway::start(&with_whole_bodies(&dir));
    let over = std::cell::RefCell::new(None);
    loses_counts_and_goes_on(
        &gateway,
        &dir,
        CALLS,
        || {
            over.replace(Some(ReadOnly::over(&dir)));
            true
        },
        || drop(over.take()),
    );
}

#[test]
fn a_limit_on_files_is_an_error_of_the_log_and_no_end_of_the_gateway() {
    let dir = bed::scratch("limited").join("events");
    let gateway = Gateway::start(&with_whole_bodies(&dir));
    let limit = |bytes: Option<u64>| {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = i32::try_from(gateway.pid()).ok().and_then(Pid::from_raw);
        let limits = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(pid, Resource::Fsize, limits).expect("one may limit one's own child");
    };
    let break_it = || {
        limit(Some(1 << 20));
        true
    };
    loses_counts_and_goes_on(&gateway, &dir, CALLS, break_it, || limit(None));
}

/// Stops one thread of a process, as a disk that does not answer would. Ended, it lets it go on.
const STOP_THREAD: &str = r#"
import ctypes, glob, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid, name = sys.argv[1], sys.argv[2]
for task in glob.glob(f"/proc/{pid}/task/*"):
    if open(task + "/comm").read().strip() == name:
        thread = int(os.path.basename(task))
        if libc.ptrace(0x4206, thread, None, None) != 0:
            print("refused", os.strerror(ctypes.get_errno()), flush=True)
            sys.exit()
        libc.ptrace(0x4207, thread, None, None)
        os.waitpid(thread, 0x40000000)
        print("stopped", flush=True)
        sys.stdin.read()
        sys.exit()
print("refused: there is no such thread", flush=True)
"#;

#[test]
fn a_stalled_disk_fills_the_queue_and_what_is_lost_is_counted() {
    let dir = bed::scratch("stalled").join("events");
    let gateway = Gateway::start(&with_whole_bodies(&dir));
    let python = bed::python("main", "python");
    let mut command = Command::new(python);
    command.args(["-c", STOP_THREAD, &gateway.pid().to_string(), "events writer"]);
    let stopper = std::cell::RefCell::new(None);
    let break_it = || {
        let running = Running::start("the debugger", &mut command);
        let line = running.stdout.wait("the thread stands", |_| true);
        stopper.replace(Some(running));
        line == "stopped"
    };
    let heal_it = || {
        if let Some(mut running) = stopper.take() {
            running.stdin = None;
            running.ended();
        }
    };
    if !loses_counts_and_goes_on(&gateway, &dir, CALLS, break_it, heal_it) {
        return eprintln!("skipped: this user may not stop a thread of another process");
    }
    let gaps = export(&dir, "kind=axiom.gap");
    let is_full = |gap: &Value| gap["body"]["reason"] == "the log's queue was full";
    assert!(gaps.iter().all(is_full), "{gaps:?}");
    let told = gateway.stderr().text();
    assert!(told.contains("the event log takes no more events"), "{told}");
}
