use super::*;

const CALL: &str = r#"{"id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}"#;
const INITIALIZE: &str = r#"{"id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
const DISCOVER: &str = r#"{"id":1,"method":"server/discover","params":{}}"#;
const ECHO: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hi"}]}}"#;

/// The exit status, and what was printed.
fn run(fault: Fault, line: &str) -> (u8, String) {
    let options = Options {
        delay: Duration::ZERO,
        huge_bytes: 100,
        ..Options::new(fault)
    };
    let mut output = Vec::new();
    let status =
        serve_stdio(options, format!("{line}\n").as_bytes(), &mut output).expect("memory does not fail");
    (status, String::from_utf8_lossy(&output).into_owned())
}

#[test]
fn dead_and_silent_servers_print_nothing() {
    assert_eq!(run(Fault::DiesMidCall, CALL), (DIED, String::new()));
    assert_eq!(run(Fault::NeverAnswers, CALL), (0, String::new()));
    assert_eq!(run(Fault::DiesWhenProbed, DISCOVER), (DIED, String::new()));
}

#[test]
fn each_is_correct_but_for_its_fault() {
    for fault in [
        Fault::DiesWhenProbed,
        Fault::LiesAboutRevision,
        Fault::SlowStart,
        Fault::FloodsStderr,
    ] {
        assert_eq!(run(fault, CALL), (0, format!("{ECHO}\n")), "{fault:?}");
    }
    for fault in [
        Fault::DiesMidCall,
        Fault::NeverAnswers,
        Fault::WrongId,
        Fault::HugeLine,
    ] {
        assert!(
            run(fault, INITIALIZE)
                .1
                .contains("\"protocolVersion\":\"2025-06-18\""),
            "{fault:?}"
        );
    }
}

#[test]
fn the_faults_that_show_show() {
    assert_eq!(
        run(Fault::WrongId, CALL).1,
        ECHO.replace("\"id\":1", "\"id\":\"nobody\"") + "\n"
    );
    assert_eq!(
        run(Fault::HugeLine, CALL).1.len(),
        ECHO.len() - "hi".len() + 100 + "\n".len()
    );
    assert!(run(Fault::LiesAboutRevision, INITIALIZE).1.contains("2099-01-01"));
    assert!(
        run(Fault::Garbage, INITIALIZE)
            .1
            .lines()
            .nth(1)
            .expect("three lines")
            .starts_with("{\"jsonrpc\"")
    );
    assert!(!run(Fault::Garbage, CALL).1.contains("hi"));
}
