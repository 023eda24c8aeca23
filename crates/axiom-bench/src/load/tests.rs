use axiom_testkit::{
    echo_http::{EchoServer, Options},
    faulty::{self, Fault},
    faulty_http,
};

use super::*;
use crate::measured::as_f64;

fn plan(url: &str, work: Work, modern: bool) -> Plan {
    Plan {
        address: url
            .trim_start_matches("http://")
            .trim_end_matches("/mcp")
            .parse()
            .expect("an address"),
        dialect: Dialect {
            modern,
            path: "/mcp".to_owned(),
            prefix: String::new(),
        },
        work,
        connections: 4,
        rate: None,
        warm_up: Duration::from_millis(10),
        window: Duration::from_millis(100),
        pids: vec![std::process::id()],
    }
}

#[test]
fn every_work_is_answered_in_both_eras() {
    let server = EchoServer::start(Options::default()).expect("a server");
    for work in [Work::Echo, Work::List, Work::Blob] {
        for modern in [false, true] {
            let measured = run(&plan(&server.url(), work, modern)).expect("a measurement");
            assert_eq!(measured.errors, 0, "{work:?}");
            assert!(measured.requests > 0, "{work:?}");
            assert_eq!(measured.latency.len(), measured.requests);
            assert!(measured.cpu > Duration::ZERO && measured.rss_bytes > 0);
        }
    }
    assert_eq!(server.sessions(), 3 * 4);
}

#[test]
fn an_open_loop_sends_at_its_rate() {
    let server = EchoServer::start(Options::default()).expect("a server");
    let plan = Plan {
        rate: Some(500.0),
        ..plan(&server.url(), Work::Echo, false)
    };
    let start = Instant::now();
    let measured = run(&plan).expect("a measurement");
    // Whatever the machine does meanwhile, the clock allows no more; the closed loop would send thousands.
    let requests_max = 500.0 * start.elapsed().as_secs_f64() + 1.0;
    assert_eq!(measured.errors, 0);
    assert!(
        measured.requests > 0 && as_f64(measured.requests) <= requests_max,
        "{}",
        measured.requests
    );
}

#[test]
fn an_open_loop_counts_the_wait_for_a_server_that_is_too_slow() {
    let server = EchoServer::start(Options::default()).expect("a server");
    // No server answers a million requests per second on one connection, so nearly all of the time is waiting.
    let plan = Plan {
        rate: Some(1e6),
        connections: 1,
        ..plan(&server.url(), Work::Echo, false)
    };
    let waited = Duration::from_nanos(run(&plan).expect("a measurement").latency.value_at_quantile(0.5));
    assert!(waited > plan.window / 5, "{waited:?}");
}

#[test]
fn wrong_answers_and_broken_connections_are_errors() {
    for fault in [Fault::WrongId, Fault::Garbage, Fault::DiesMidCall] {
        let server = faulty_http::start(faulty::Options::new(fault)).expect("a server");
        let measured = run(&plan(&server.url(), Work::Echo, false)).expect("a measurement");
        assert_eq!(measured.requests, 0, "{fault:?}");
        assert!(measured.errors > 0, "{fault:?}");
    }
}
