use super::*;

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_785_229_200 * SECOND;

fn call(state: &mut State, time: i64, body: &str) {
    let event = Event {
        time,
        stream: "gateway.files",
        kind: "gateway.call",
        body: body.as_bytes(),
        ..Event::default()
    };
    state.calls.count(&event);
}

fn note(servers: &mut Servers, time: i64, kind: &str, body: &str) {
    let event = Event {
        time,
        stream: "gateway",
        kind,
        body: body.as_bytes(),
        ..Event::default()
    };
    servers.note(&event);
}

fn shown(state: &State, now: i64) -> serde_json::Value {
    let as_of = report::AsOf {
        position: 3,
        behind: 0,
        lost: 0,
        now,
    };
    serde_json::to_value(report::report(&state.calls, &state.servers, as_of)).unwrap()
}

/// Of most events only the numbers are read, by how others began. That must not show.
#[test]
fn what_is_known_of_others_changes_no_number() {
    let bodies = |round: u64| {
        (0..40u64).map(move |tool| {
            let outcome = ["result", "error"][usize::try_from(tool * round % 2).unwrap()];
            format!(
                r#"{{"method":"tools/call","name":"t{}","server":"files","outcome":"{outcome}","request_bytes":{round},"response_bytes":20,"duration_us":{tool}}}"#,
                tool * round % 23,
            )
        })
    };
    let odd = [
        r#"{"method":"tools/call","name":"t1","server":"files","outcome":"result","request_bytes":"x"}"#,
        r#"{"method":"tools/call","name":"t1","server":"files","outcome":"result","duration_us":7,"request_bytes":1}"#,
        r#"{"method":"tools/call","name":"t1","server":"files","outcome":"results","request_bytes":1,"duration_us":7}"#,
    ];
    let bodies: Vec<String> = (0..5).flat_map(bodies).chain(odd.map(str::to_owned)).collect();
    let mut known = State::default();
    let mut forgetful = State::default();
    for body in bodies.iter().chain(&bodies) {
        call(&mut known, START, body);
        call(&mut forgetful, START, body);
        forgetful = Gathered.load(&Gathered.save(&forgetful)).unwrap();
    }
    assert_eq!(Gathered.save(&known), Gathered.save(&forgetful));
    assert_eq!(shown(&known, START)["unknown"], 4);
}

#[test]
fn calls_are_counted_by_server_tool_and_time() {
    let mut state = State::default();
    let body = |name: &str, outcome: &str| {
        format!(
            r#"{{"method":"tools/call","name":"{name}","server":"files","outcome":"{outcome}","request_bytes":10,"response_bytes":20,"duration_us":700,"response":{{"x":[1]}}}}"#
        )
    };
    call(&mut state, START, &body("files__read", "result"));
    call(&mut state, START + 40 * 60 * SECOND, &body("read", "tool_error"));
    call(
        &mut state,
        START + 3601 * SECOND,
        r#"{"method":"tools/list","outcome":"result","duration_us":4}"#,
    );
    call(&mut state, START + 3601 * SECOND, r#"{"method":"tools/list"}"#);
    // What is kept is what was saved.
    let state = Gathered.load(&Gathered.save(&state)).unwrap();
    let shown = shown(&state, START + 3602 * SECOND);
    let calls = |numbers: &serde_json::Value| {
        ["total", "last_hour", "last_minute"].map(|span| numbers[span]["calls"].as_u64().unwrap())
    };
    assert_eq!(calls(&shown["all"]), [3, 2, 1]);
    assert_eq!(shown["unknown"], 1);
    assert_eq!(shown["servers"][0]["server"], serde_json::Value::Null);
    let files = &shown["servers"][1];
    assert_eq!((&files["server"], calls(files)), (&"files".into(), [2, 1, 0]));
    let read = &files["tools"][0];
    assert_eq!((&read["tool"], calls(read)), (&"read".into(), [2, 1, 0]));
    let total = &read["total"];
    assert_eq!(
        (&total["errors"], &total["response_bytes"]),
        (&1.into(), &40.into())
    );
    assert_eq!(
        total["outcomes"],
        serde_json::json!({ "result": 1, "tool_error": 1 })
    );
    let p99 = total["duration_us"]["p99"].as_u64().unwrap();
    assert!((660..=740).contains(&p99), "{p99}");
    assert_eq!(
        files["last_minute"]["duration_us"]["p50"],
        serde_json::Value::Null
    );
}

#[test]
fn names_that_clients_make_up_take_no_more_memory_than_there_is() {
    let mut state = State::default();
    for n in 0..2000 {
        let body = format!(
            r#"{{"method":"tools/call","name":"t{n}","server":"s{}","outcome":"fault","duration_us":{n}}}"#,
            n / 2
        );
        call(&mut state, START + n * SECOND, &body);
    }
    let shown = shown(&state, START + 2000 * SECOND);
    let servers = shown["servers"].as_array().unwrap();
    let tools: usize = servers
        .iter()
        .map(|server| server["tools"].as_array().unwrap().len())
        .sum();
    assert_eq!(servers.len(), 513);
    assert!(tools <= 512 + 513, "{tools}");
    assert_eq!(shown["all"]["total"]["calls"], 2000);
    let bytes = Gathered.save(&state).len();
    assert!(bytes < 8 << 20, "{bytes}");
}

#[test]
fn a_server_is_how_it_is_since_it_became_so() {
    let mut servers = Servers::default();
    let up = r#"{"server":"a","state":"up"}"#;
    let down = r#"{"server":"a","state":"down","reason":"it died"}"#;
    let since = |servers: &Servers, state| Since(servers.clone()).of("a", state);
    note(&mut servers, SECOND, STARTED_KIND, r#"{"state":"started"}"#);
    note(&mut servers, 2 * SECOND, "gateway.server", up);
    note(&mut servers, 3 * SECOND, "gateway.server", up);
    assert_eq!(
        since(&servers, "up"),
        Some(2000),
        "one more connection changes nothing"
    );
    note(&mut servers, 4 * SECOND, "gateway.server", down);
    note(&mut servers, 5 * SECOND, "gateway.server", down);
    assert_eq!(since(&servers, "down"), Some(4000));
    note(&mut servers, 6 * SECOND, STARTED_KIND, r#"{"state":"started"}"#);
    note(&mut servers, 7 * SECOND, "gateway.server", down);
    assert_eq!(since(&servers, "down"), Some(4000), "it was down all the time");
    assert_eq!(since(&servers, "up"), None);
    note(&mut servers, 8 * SECOND, "gateway.server", up);
    let restarted = r#"{"server":"a","state":"restarted"}"#;
    note(&mut servers, 9 * SECOND, "gateway.server", restarted);
    let now = Since(servers.clone());
    assert_eq!((now.of("a", "up"), now.restarts("a")), (Some(9000), Some(1)));
    assert_eq!(now.last_failure("a"), Some("it died"));
    note(
        &mut servers,
        10 * SECOND,
        "gateway.config",
        r#"{"state":"reloaded","servers_started":["a"],"servers_ended":["a"]}"#,
    );
    assert_eq!(since(&servers, "up"), None, "it is another one now");
}
