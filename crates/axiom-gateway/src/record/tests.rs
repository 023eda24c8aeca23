//! What an answer comes to, in whatever pieces it arrives.

use axiom_protocol::method::Method;

use super::*;

fn judged(parts: &[&str], is_result: bool, method: Method) -> Seen {
    let parts = parts
        .iter()
        .map(|part| Bytes::copy_from_slice(part.as_bytes()))
        .collect();
    answer::judge(&parts, is_result, false, method)
}

fn check(whole: &str, is_result: bool, outcome: Outcome, code: Option<i64>) {
    let expected = Seen { outcome, code };
    assert_eq!(
        judged(&[whole], is_result, Method::ToolsCall),
        expected,
        "{whole}"
    );
    for at in (1..whole.len()).filter(|at| whole.is_char_boundary(*at)) {
        let (front, back) = whole.split_at(at);
        let seen = judged(&[front, back], is_result, Method::ToolsCall);
        assert_eq!(seen, expected, "{front} | {back}");
    }
    // Words lie across many pieces too.
    for bytes in [1, 7] {
        let parts: Vec<&str> = pieces(whole, bytes);
        assert_eq!(
            judged(&parts, is_result, Method::ToolsCall),
            expected,
            "{parts:?}"
        );
    }
}

fn pieces(whole: &str, bytes: usize) -> Vec<&str> {
    let whole = whole.as_bytes().chunks(bytes);
    whole
        .map(|piece| std::str::from_utf8(piece).expect("these answers are ASCII"))
        .collect()
}

#[test]
fn an_answer_says_how_the_call_went() {
    check(r#"{"id":1,"result":{"content":[]}}"#, true, Outcome::Result, None);
    check(
        r#"{"id":1,"result":{"isError":false}}"#,
        true,
        Outcome::Result,
        None,
    );
    check(
        r#"{"result":{"content":[],"isError" : true},"id":1}"#,
        true,
        Outcome::ToolError,
        None,
    );
    check(
        r#"{"id":1,"result":{"structuredContent":{"isError":true}}}"#,
        true,
        Outcome::Result,
        None,
    );
    check(
        r#"{"id":1,"result":{"content":[{"text":"\"isError\":true"}]}}"#,
        true,
        Outcome::Result,
        None,
    );
    check(
        r#"{"id":1,"result":{"resultType":"input_required","inputRequests":{}}}"#,
        true,
        Outcome::InputRequired,
        None,
    );
    check(
        r#"{"id":1,"error":{"message":"no","code":-32602}}"#,
        false,
        Outcome::Error,
        Some(-32602),
    );
    let listed = judged(&[r#"{"result":{"isError":true}}"#], true, Method::ToolsList);
    assert_eq!(listed.outcome, Outcome::Result, "only tools fail this way");
}

#[test]
fn an_error_is_found_in_the_rest_of_a_long_answer() {
    let whole = format!(
        r#"{{"result":{{"content":[{{"text":"{}"}}],"isError": true}}}}"#,
        "x".repeat(100)
    );
    for at in 1..whole.len() {
        let (front, back) = whole.split_at(at);
        let parts = VecDeque::from([Bytes::copy_from_slice(front.as_bytes())]);
        let mut look = Look::new(answer::judge(&parts, true, true, Method::ToolsCall), &parts);
        for piece in back.as_bytes().chunks(7) {
            look.at(piece);
        }
        assert_eq!(look.seen().outcome, Outcome::ToolError, "{front} | {back}");
    }
}
