//! Any bytes as headers, tool schema and arguments: no panic, what we write we read, what we send we accept.
//!
//! The input is cut at 0xff into: the value of each header, then a message, then a schema.
#![no_main]

use axiom_protocol::headers::{decode_value, encode_value};
use axiom_protocol::tool_headers::compile;
use axiom_protocol::{
    Envelope, HeaderError, HeaderLookup, Kind, Limits, Lookup, Method, Span, check_modern, scan, text,
};
use libfuzzer_sys::fuzz_target;

struct Headers<'a> {
    method: &'a [u8],
    name: &'a [u8],
    version: &'a [u8],
}

impl HeaderLookup for Headers<'_> {
    fn get(&self, name: &str) -> Lookup<'_> {
        match name {
            "mcp-method" => Lookup::One(self.method),
            "mcp-name" => Lookup::One(self.name),
            "mcp-protocol-version" => Lookup::One(self.version),
            _ => Lookup::Missing,
        }
    }
}

struct Sent(Vec<(String, String)>);

impl HeaderLookup for Sent {
    fn get(&self, name: &str) -> Lookup<'_> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or(Lookup::Missing, |(_, value)| Lookup::One(value.as_bytes()))
    }
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let headers = Headers {
        method: part(),
        name: part(),
        version: part(),
    };
    let (message, schema) = (part(), part());
    values_round_trip(headers.name);
    let Ok(envelope) = scan(message, &Limits::default()) else {
        return;
    };
    if check_modern(&headers, message, &envelope).is_ok() {
        says_the_same(&headers, message, &envelope);
    }
    what_is_sent_is_accepted(schema, message, &envelope);
});

fn values_round_trip(value: &[u8]) {
    if let Ok(decoded) = decode_value(value) {
        assert_eq!(
            decode_value(encode_value(&decoded).as_bytes()).as_deref(),
            Ok(&*decoded)
        );
    }
    if let Ok(plain) = std::str::from_utf8(value) {
        assert_eq!(decode_value(encode_value(plain).as_bytes()).as_deref(), Ok(plain));
    }
}

/// What passed the check agrees, by the slowest way to compare.
fn says_the_same(headers: &Headers<'_>, message: &[u8], envelope: &Envelope) {
    let header = |value| decode_value(value).expect("it passed");
    if envelope.kind != Kind::Request || envelope.method != Method::ToolsCall {
        return;
    }
    let name = envelope.param.name.expect("a header was there");
    assert_eq!(
        text(message, name).expect("only text can agree"),
        header(headers.name)
    );
    assert_eq!(header(headers.method), "tools/call");
    let version = envelope.in_meta.protocol_version.expect("required");
    let header = std::str::from_utf8(headers.version).expect("it passed");
    assert_eq!(
        text(message, version).expect("only text can agree"),
        header.trim_matches([' ', '\t'])
    );
}

fn what_is_sent_is_accepted(schema: &[u8], message: &[u8], envelope: &Envelope) {
    // A schema is only ever compiled out of a message that was scanned.
    let listed = [br#"{"jsonrpc":"2.0","id":1,"result":"#.as_slice(), schema, b"}"].concat();
    let Some(schema) = scan(&listed, &Limits::default())
        .ok()
        .and_then(|listed| listed.result)
    else {
        return;
    };
    let Ok(tool) = compile(&listed, schema) else {
        return;
    };
    let arguments: Option<Span> = envelope.param.arguments;
    let sent = Sent(tool.emit(message, arguments));
    // Half of a surrogate pair is no text, so it cannot be sent.
    let has_halves = message
        .windows(3)
        .any(|window| window.eq_ignore_ascii_case(b"\\ud"));
    match tool.check(&sent, message, arguments) {
        Ok(()) | Err(HeaderError::Ambiguous { .. }) => {}
        Err(error) => assert!(has_halves, "{error}"),
    }
}
