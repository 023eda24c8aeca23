//! SQL over what a gateway records: `axiom sql` beside it and without it, and queries at its address, which no query of
//! theirs can harm.

use std::path::Path;
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request, connect};
use axiom_tests::peer::{Peer as _, Stateless};
use axiom_tests::{bed, servers, wait};
use serde_json::{Value, json};

/// What a command printed, and its exit code.
struct Said {
    data: Vec<String>,
    talk: String,
    code: Option<i32>,
}

fn sql(dir: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(["sql", "--dir"])
        .arg(dir)
        .args(arguments)
        .env("NO_COLOR", "1");
    let mut running = Running::start("axiom sql", &mut command);
    running.stdin = None;
    Said {
        data: running.stdout.all(),
        talk: running.stderr.all().join("\n"),
        code: running.ended().code(),
    }
}

fn config() -> Config {
    // The program that answers lies beside the gateway, as it does for its users.
    bed::built("axiom-query");
    Config::new()
        .stdio("everything", &servers::everything().command)
        .events("dir = \"events\"")
}

const CALLS: &str =
    "SELECT server, method, outcome, duration_us > 0 AS took FROM calls WHERE method = 'tools/call'";

/// Asks at the gateway's address.
fn ask(gateway: &Gateway, query: &str) -> Answer {
    let mut request = Request::new("POST", "/api/v1/query").header("content-type", "application/sql");
    request.body = query.into();
    request.send(gateway.address())
}

fn count(gateway: &Gateway) -> u64 {
    let said = ask(
        gateway,
        "SELECT count(*) AS n FROM calls WHERE method = 'tools/call'",
    )
    .json();
    said["rows"][0]["n"]
        .as_u64()
        .unwrap_or_else(|| panic!("no count in {said}"))
}

#[test]
fn calls_are_asked_for_beside_the_gateway_and_without_it() {
    let gateway = Gateway::start(&config());
    let dir = gateway.file().with_file_name("events");
    Stateless::new(&gateway.mcp()).call("everything__echo", &json!({ "message": "x" }));
    let expected = json!({"server": "everything", "method": "tools/call", "outcome": "result", "took": true});
    let found = wait::until("the call is recorded", || {
        let said = sql(&dir, &["--format", "ndjson", CALLS]);
        assert_eq!(said.code, Some(0), "{}", said.talk);
        said.data.first().cloned()
    });
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
    drop(gateway);
    let said = sql(&dir, &["--json", CALLS]);
    let whole: Value = serde_json::from_str(&said.data.join("\n")).unwrap();
    assert_eq!(whole["rows"], json!([expected]));
    let said = sql(&dir, &["--format", "table", CALLS]);
    assert_eq!(
        said.data[0].split_whitespace().collect::<Vec<_>>(),
        ["server", "method", "outcome", "took"]
    );

    let said = sql(&dir, &["SELECT kin FROM events"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.talk.contains("       ^") && said.talk.contains("hint:"),
        "{}",
        said.talk
    );
    let said = sql(&dir, &["DELETE FROM events"]);
    assert_eq!(said.code, Some(4), "{}", said.talk);
    let said = sql(&dir.join("none"), &["SELECT 1"]);
    assert_eq!(said.code, Some(3), "{}", said.talk);
    let said = sql(&dir, &["--schema", "--format", "table"]);
    let text = said.data.join("\n");
    for word in ["events:", "calls:", "tasks:", "duration_us", "body_bytes"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

/// The other engine, beside a gateway that records: the same calls, and a program that says what it lacks.
#[test]
fn calls_are_asked_of_duckdb_beside_the_gateway() {
    let gateway = Gateway::start(&config());
    let dir = gateway.file().with_file_name("events");
    Stateless::new(&gateway.mcp()).call("everything__echo", &json!({ "message": "x" }));
    let absent = sql(
        &dir,
        &["--engine", "duckdb", "--duckdb-library", "/nowhere.so", CALLS],
    );
    assert_eq!(absent.code, Some(3), "{}", absent.talk);
    assert!(absent.talk.contains("hint: "), "{}", absent.talk);
    let said = sql(&dir, &["--copy-cold", CALLS]);
    assert_eq!(said.code, Some(2), "{}", said.talk);
    let setup = sql(&dir, &["--engine", "duckdb", "--print-setup"]);
    assert!(
        setup
            .data
            .iter()
            .any(|line| line.contains("CREATE OR REPLACE VIEW calls"))
    );
    let Some(library) = bed::duckdb() else {
        eprintln!("the rest is skipped: there is no library of DuckDB's in the test bed");
        return;
    };
    let library = library.to_str().expect("a path is text");
    let found = wait::until("the call is recorded", || {
        let said = sql(
            &dir,
            &[
                "--engine",
                "duckdb",
                "--duckdb-library",
                library,
                "--format",
                "ndjson",
                CALLS,
            ],
        );
        assert_eq!(said.code, Some(0), "{}", said.talk);
        said.data.first().cloned()
    });
    let expected = json!({"server": "everything", "method": "tools/call", "outcome": "result", "took": true});
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
    let said = sql(
        &dir,
        &[
            "--engine",
            "duckdb",
            "--duckdb-library",
            library,
            "DROP VIEW events",
        ],
    );
    assert_eq!(said.code, Some(4), "{}", said.talk);
}

/// The heart of it: a query that eats all memory ends its own process, and the gateway does not notice.
#[test]
fn a_query_that_eats_all_memory_leaves_the_gateway_untouched() {
    let gateway = Gateway::start(&config());
    let mut client = Stateless::new(&gateway.mcp());
    client.call("everything__echo", &json!({ "message": "x" }));
    wait::until("the call can be asked for", || {
        (count(&gateway) == 1).then_some(())
    });
    let (pid, before) = (gateway.pid(), gateway.peak_rss_kib());

    let greedy = ask(&gateway, "SELECT cardinality(array_repeat(1, 2000000000)) AS n");
    assert_eq!(greedy.status, 503);
    let said = greedy.json();
    assert!(
        said["error"]["message"]
            .as_str()
            .unwrap()
            .contains("query process ended"),
        "{said}"
    );
    assert!(
        said["error"]["hint"].as_str().unwrap().contains("more memory"),
        "{said}"
    );

    client.call("everything__echo", &json!({ "message": "y" }));
    wait::until("another process answers", || {
        let answer = ask(
            &gateway,
            "SELECT count(*) AS n FROM calls WHERE method = 'tools/call'",
        );
        (answer.status == 200 && answer.json()["rows"][0]["n"] == 2).then_some(())
    });
    assert_eq!(gateway.pid(), pid);
    let grown = gateway.peak_rss_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "the gateway grew by {grown} KiB");
}

#[test]
fn answers_come_in_the_format_that_is_asked_for_and_pages_of_others_get_none() {
    let gateway = Gateway::start(&config());
    let get = |accept: &str| {
        let request = Request::new("GET", "/api/v1/query?sql=SELECT%201%20AS%20n,%20'a'%20AS%20t")
            .header("accept", accept);
        request.send(gateway.address())
    };
    let answer = get("application/json");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["rows"], json!([{"n": 1, "t": "a"}]));
    let answer = get("text/csv");
    assert_eq!(String::from_utf8(answer.bytes()).unwrap(), "n,t\n1,a\n");
    let arrow = get("application/vnd.apache.arrow.stream").bytes();
    assert_eq!(arrow[..4], [0xff; 4], "an Arrow stream begins so");
    let mistake = ask(&gateway, "SELECT kin FROM events");
    assert_eq!(mistake.status, 400);
    assert_eq!(mistake.json()["error"]["at"], json!({"line": 1, "column": 8}));

    // A page that embeds the address as a script could run what it gets, if it were let.
    let answer = get("text/plain");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
    for (name, value) in [
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let request = Request::new("GET", "/api/v1/query?sql=SELECT%201").header(name, value);
        assert_eq!(request.send(gateway.address()).status, 403, "{name}");
    }
}

/// Its connection comes from this machine, and the proxy's client from anywhere.
#[test]
fn whoever_comes_by_a_proxy_gets_events_only_where_they_are_shared() {
    for (share, status) in [(false, 403), (true, 200)] {
        let config = config()
            .gateway("allowed_hosts = [\"gateway.example\"]")
            .events(&format!("share = {share}"));
        let gateway = Gateway::start(&config);
        let paths = [
            "/api/v1/query?sql=SELECT%201",
            "/api/v1/events/shard",
            "/api/v1/stats",
        ];
        for path in paths {
            let direct = Request::new("GET", path);
            assert_eq!(direct.send(gateway.address()).status, 200, "{path}");
            for (name, value) in [
                ("host", "gateway.example"),
                ("x-forwarded-for", "192.0.2.1"),
                ("forwarded", "for=192.0.2.1"),
                ("via", "1.1 proxy"),
            ] {
                let request = Request::new("GET", path).header(name, value);
                let answer = request.send(gateway.address());
                assert_eq!(answer.status, status, "share = {share}: {path} {name}");
            }
        }
    }
}

/// A client that leaves ends its query: with room for four, twenty that left do not keep out another.
#[test]
fn clients_that_hang_up_end_their_queries() {
    let gateway = Gateway::start(&config());
    let endless = "SELECT sum(value % 7) AS n FROM generate_series(1, 100000000000000)";
    for _ in 0..20 {
        let mut request = Request::new("POST", "/api/v1/query");
        request.body = endless.into();
        let mut stream = connect(gateway.address()).unwrap();
        std::io::Write::write_all(&mut stream, &request.bytes(gateway.address())).unwrap();
        drop(stream);
    }
    assert_eq!(ask(&gateway, "SELECT 1").status, 200);
}

/// Flight SQL at the gateway's address for it, as long as the gateway runs: also after a query has ended the process behind it.
#[test]
fn notebooks_read_tables_and_rows_from_a_running_gateway() {
    let port = free_port();
    let gateway = Gateway::start(&config().events(&format!("flight_sql = \"127.0.0.1:{port}\"")));
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..3 {
        client.call("everything__echo", &json!({ "message": "x" }));
    }
    wait::until("the calls can be asked for", || {
        (count(&gateway) == 3).then_some(())
    });
    let asked = || {
        wait::until("Flight SQL is spoken", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let mut command = Command::new(bed::python("data", "python"));
        command
            .arg(bed::ours("../crates/axiom-query/tests/python/flight.py"))
            .arg(format!("grpc://127.0.0.1:{port}"));
        let mut driver = Running::start("the Flight SQL driver", &mut command);
        let (said, talk) = (driver.stdout.all().join("\n"), driver.stderr.all().join("\n"));
        assert!(driver.ended().success(), "{talk}");
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said}"));
        assert!(said["count"].as_u64() >= Some(3), "{said}");
        assert!(said["rows"].as_u64() >= said["count"].as_u64(), "{said}");
        assert_eq!(said["tables"], json!(["calls", "events", "tasks"]));
        assert!(said["mistake"].as_str().unwrap().contains("kin"), "{said}");
        assert!(
            said["refused"].as_str().unwrap().contains("never changed"),
            "{said}"
        );
    };
    asked();
    ask_for_the_end_of_the_process(&gateway);
    // One that is ending takes connections up to its last moment.
    wait::until("another process answers", || {
        (ask(&gateway, "SELECT 1").status == 200).then_some(())
    });
    asked();
    gateway.stop();
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
        "it ends with the gateway"
    );
}

/// Of those that the kernel gives to nobody by itself, and other tests' processes look at elsewhere.
fn free_port() -> u16 {
    let seed = std::process::id() % 20_000;
    let mut ports = (0..20_000).map(|n| u16::try_from(10_000 + (seed + n * 7) % 20_000).expect("it is one"));
    let port = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    port.expect("a port is free")
}

/// Warnings come through the gateway as they come from the process behind it.
#[test]
fn a_part_of_an_answer_is_given_to_those_who_ask_for_it() {
    let gateway = Gateway::start(&config());
    let mut client = Stateless::new(&gateway.mcp());
    client.call("everything__echo", &json!({ "message": "x" }));
    wait::until("the call can be asked for", || {
        (count(&gateway) == 1).then_some(())
    });
    let segment = gateway
        .file()
        .with_file_name("events")
        .join("shard-00000/00000000000000000000.seg");
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 64], 150).unwrap();
    let request = |path: &str| {
        let mut request = Request::new("POST", path)
            .header("content-type", "application/sql")
            .header("te", "trailers");
        request.body = "SELECT count(*) AS n FROM events".into();
        request
    };
    // The process keeps blocks that it has read; another one reads them again.
    ask_for_the_end_of_the_process(&gateway);
    let refused = wait::until("another process answers", || {
        let answer = request("/api/v1/query?format=csv").send(gateway.address());
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(refused.status, 500);
    assert_eq!(refused.json()["error"]["code"], "incomplete");
    let part = request("/api/v1/query?format=csv&partial=true").bytes(gateway.address());
    let mut stream = connect(gateway.address()).unwrap();
    std::io::Write::write_all(&mut stream, &part).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stream, &mut said).unwrap();
    let (head, rest) = said.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("axiom-warnings: events 0 to "),
        "{said}"
    );
    let (body, trailers) = rest.split_once("\r\n0\r\n").unwrap();
    assert!(body.contains("n\n"), "{said}");
    assert!(trailers.starts_with("axiom-warnings: events 0 to "), "{said}");
}

fn ask_for_the_end_of_the_process(gateway: &Gateway) {
    let greedy = ask(gateway, "SELECT cardinality(array_repeat(1, 2000000000)) AS n");
    assert_eq!(greedy.status, 503);
}
