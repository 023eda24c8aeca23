//! The process that the gateway starts: HTTP at a Unix socket, and Flight SQL.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axiom_core::time;
use serde_json::Value;

use crate::limits::{GREEDY, LONG};
use crate::store::{models, record};

/// A running process; it ends when its stdin does.
pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
    pub flight: Option<String>,
}

/// An answer, read to its end.
pub(crate) struct Said {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The body came to its end.
    pub is_whole: bool,
    /// What came behind it.
    pub trailers: String,
}

impl Server {
    pub(crate) fn start(dir: &Path, more: &[&str]) -> Server {
        let socket = dir.join("socket");
        let mut child = Command::new(env!("CARGO_BIN_EXE_axiom-query"))
            .arg("serve")
            .arg("--dir")
            .arg(dir)
            .arg("--socket")
            .arg(&socket)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it serves");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it serves");
        let said: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("it listens, and says so: {line}"));
        let flight = said["flight"].as_str().map(str::to_owned);
        Server {
            child,
            socket,
            flight,
        }
    }

    fn send(&self, head: &str, body: &str) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).expect("it serves");
        let length = body.len();
        let request =
            format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        // At once, as clients do, and before anything is read.
        stream
            .write_all(request.as_bytes())
            .expect("it reads the request to its end");
        stream
    }

    /// Its listener, and a connection for each client.
    fn sockets(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        let open = fs_err::read_dir(folder).expect("it serves");
        let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// What it said before it ended.
    fn stderr(&mut self) -> String {
        let mut words = String::new();
        let mut stderr = self.child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut words).expect("it ended");
        words
    }

    pub(crate) fn ask(&self, head: &str, body: &str) -> Said {
        let mut said = Vec::new();
        self.send(head, body).read_to_end(&mut said).expect("it serves");
        parse(&said)
    }

    fn post(&self, more: &str, sql: &str) -> Said {
        self.ask(&format!("POST /api/v1/query?{more} HTTP/1.1"), sql)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait().expect("it serves");
    }
}

/// Looks until it is so; a minute is more than any of this takes on a busy machine.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = time::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn parse(said: &[u8]) -> Said {
    let at = said
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8(said[..at].to_vec())
        .expect("it serves")
        .to_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a status");
    let rest = &said[at + 4..];
    if !head.contains("transfer-encoding: chunked") {
        return Said {
            status,
            head,
            body: rest.to_vec(),
            is_whole: true,
            trailers: String::new(),
        };
    }
    let (mut body, mut rest, mut is_whole) = (Vec::new(), rest, false);
    let mut trailers = String::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let bytes = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("it serves"), 16)
            .expect("it serves");
        if bytes == 0 {
            is_whole = true;
            trailers = String::from_utf8_lossy(&rest[end + 2..]).into_owned();
            break;
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + bytes + 2) else {
            break;
        };
        body.extend_from_slice(&chunk[..bytes]);
        rest = &rest[end + 2 + bytes + 2..];
    }
    Said {
        status,
        head,
        body,
        is_whole,
        trailers,
    }
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

#[test]
fn answers_in_every_format_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 3_000));
    let server = Server::start(dir.path(), &[]);
    let said = server.post(
        "",
        "SELECT \"offset\", kind, body FROM events ORDER BY \"offset\"",
    );
    assert_eq!(said.status, 200, "{}", said.head);
    let json = said.json();
    assert_eq!(json["row_count"], 3_000);
    assert_eq!(json["rows"].as_array().unwrap().len(), 3_000);
    assert_eq!(json["rows"][7]["offset"], 7);
    assert_eq!(json["columns"][1]["name"], "kind");
    assert_eq!(json["truncated"], Value::Null);

    let json = server.post("rows=10", "SELECT * FROM events").json();
    assert_eq!(json["row_count"], 10);
    assert!(
        json["truncated"].as_str().unwrap().contains("more rows"),
        "{}",
        json["truncated"]
    );

    let said = server.ask(
        "GET /api/v1/query?sql=SELECT%20count(*)%20AS%20n%20FROM%20events&format=csv HTTP/1.1",
        "",
    );
    assert_eq!(String::from_utf8_lossy(&said.body), "n\n3000\n");
    assert!(said.head.contains("content-type: text/csv"), "{}", said.head);
    let said = server.ask(
        "POST /query HTTP/1.1\r\naccept: application/vnd.apache.arrow.stream\r\ncontent-type: application/json",
        r#"{"sql": "SELECT kind FROM events"}"#,
    );
    let reader = arrow::ipc::reader::StreamReader::try_new(&said.body[..], None).unwrap();
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 3_000);
    let said = server.post("format=ndjson", "SELECT kind FROM events WHERE false");
    assert!(said.body.is_empty() && said.is_whole);

    for (more, sql, status, code) in [
        ("", "SELEC", 400, "query"),
        ("", "DROP TABLE events", 403, "refused"),
        ("format=xml", "SELECT 1", 400, "query"),
        ("format=csv&rows=3", "SELECT 1", 400, "query"),
        ("nonsense=1", "SELECT 1", 400, "query"),
        ("id=a%20b", "SELECT 1", 400, "query"),
    ] {
        let said = server.post(more, sql);
        assert_eq!(
            (said.status, &said.json()["error"]["code"]),
            (status, &code.into()),
            "{more} {sql}"
        );
    }
    // However much a client still has to say: it says it, and then hears what was wrong.
    let long = format!("SELECT 1 -- {}", "x".repeat(900_000));
    let too_long = "x".repeat(5 << 20);
    for (head, body, status, code) in [
        ("POST /query?nonsense=1 HTTP/1.1", &long, 400, "query"),
        ("GET /query?sql=SELEC HTTP/1.1", &long, 400, "query"),
        ("DELETE /query/none HTTP/1.1", &long, 404, "absent"),
        ("PUT /query HTTP/1.1", &long, 405, "query"),
        ("POST /query HTTP/1.1", &too_long, 413, "too_large"),
    ] {
        let said = server.ask(head, body);
        assert!(
            said.head
                .contains(&format!("content-length: {}", said.body.len())),
            "{}",
            said.head
        );
        assert_eq!(
            (said.status, &said.json()["error"]["code"]),
            (status, &code.into()),
            "{head}"
        );
    }
    assert_eq!(server.post("", &long).json()["row_count"], 1);
    let place = &server.post("", "SELECT kin FROM events").json()["error"]["at"];
    assert_eq!(*place, serde_json::json!({"line": 1, "column": 8}));
}

#[test]
fn a_query_ends_by_its_id_and_when_its_client_hangs_up() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let server = Server::start(dir.path(), &["--queries", "1"]);
    let mut stream = server.send("POST /query?format=ndjson&id=mine HTTP/1.1", LONG);
    let mut begun = [0; 16];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(server.ask("DELETE /api/v1/query/mine HTTP/1.1", "").status, 204);
    let mut rest = begun.to_vec();
    stream.read_to_end(&mut rest).unwrap();
    assert!(
        !parse(&rest).is_whole,
        "the answer was cut, and its client can tell"
    );
    assert_eq!(server.ask("DELETE /api/v1/query/mine HTTP/1.1", "").status, 404);

    // There is room for one: that the next is answered shows that the one before has ended.
    let mut stream = server.send("POST /query?format=ndjson HTTP/1.1", LONG);
    stream.read_exact(&mut begun).unwrap();
    drop(stream);
    assert_eq!(server.post("", "SELECT 1").status, 200);
}

/// As of a pager that shows the first page: the connection is there, and nobody reads.
#[test]
fn a_client_that_stops_reading_keeps_no_place_and_no_connection() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let server = Server::start(dir.path(), &["--queries", "1", "--timeout", "2"]);
    let listening = server.sockets();
    let mut stream = server.send("POST /query?format=ndjson HTTP/1.1", LONG);
    let mut begun = [0; 16];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(server.post("", "SELECT 1").status, 200, "there is room for one");
    until("its connection is closed", || server.sockets() == listening);
    let mut rest = begun.to_vec();
    let _reset = stream.read_to_end(&mut rest).is_ok();
    assert!(!parse(&rest).is_whole, "its client can tell that it was cut");
}

/// A million times a million steps, in one go: neither a deadline nor a client that leaves can stop it.
const WITHOUT_PAUSE: &str = "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000)) AS n";

#[test]
fn queries_that_never_pause_hold_up_nobody_and_end_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    // More of them than there are threads for queries.
    let count = 2 * std::thread::available_parallelism().unwrap().get();
    let queries = count.to_string();
    let mut server = Server::start(dir.path(), &["--timeout", "2", "--queries", &queries]);
    let running = (0..count).map(|n| server.send(&format!("POST /query?id=q{n} HTTP/1.1"), WITHOUT_PAUSE));
    let running: Vec<UnixStream> = running.collect();
    until("one of them can be ended", || {
        server.ask("DELETE /query/q0 HTTP/1.1", "").status == 204
    });
    for (n, mut stream) in running.into_iter().enumerate() {
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        let code = if n == 0 { "cancelled" } else { "timeout" };
        assert_eq!(parse(&said).json()["error"]["code"], code);
    }
    until("the process ends by itself", || {
        server.child.try_wait().unwrap().is_some()
    });
    let words = server.stderr();
    assert!(words.contains("after its time was over"), "{words}");
}

#[test]
fn a_greedy_query_ends_the_process_and_another_starts_at_the_same_socket() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let mut server = Server::start(dir.path(), &["--memory", "64"]);
    let mut said = Vec::new();
    let _reset = server
        .send("POST /query HTTP/1.1", GREEDY)
        .read_to_end(&mut said)
        .is_ok();
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    let status = server.child.wait().unwrap();
    assert!(!status.success(), "{status}");
    let server = Server::start(dir.path(), &[]);
    assert_eq!(
        server.post("", "SELECT count(*) AS n FROM events").json()["rows"][0]["n"],
        100
    );
}

#[test]
fn flight_sql_stays_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 100));
    let output = Command::new(env!("CARGO_BIN_EXE_axiom-query"))
        .arg("serve")
        .args(["--flight", "0.0.0.0:0", "--dir"])
        .arg(dir.path())
        .arg("--socket")
        .arg(dir.path().join("socket"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && words.contains("does not ask clients who they are"),
        "{words}"
    );
}

#[test]
fn the_flight_sql_driver_of_python_reads_tables_and_rows() {
    let Some(python) = crate::equal::python() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _log = record(dir.path(), &models(1, 20_000));
    let server = Server::start(dir.path(), &["--flight", "127.0.0.1:0"]);
    let address = server.flight.as_deref().expect("it speaks Flight SQL");
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/flight.py"))
        .arg(format!("grpc://{address}"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["count"], 20_000);
    assert_eq!(said["rows"], 20_000);
    assert_eq!(said["tables"], serde_json::json!(["calls", "events", "tasks"]));
    assert!(said["mistake"].as_str().unwrap().contains("kin"), "{said}");
    assert!(
        said["refused"].as_str().unwrap().contains("never changed"),
        "{said}"
    );
}
