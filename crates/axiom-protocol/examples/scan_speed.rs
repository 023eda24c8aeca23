//! How long the work on one message takes: `cargo run --release -p axiom-protocol --example scan_speed`.
//!
//! Prints the best and the median of many rounds, in nanoseconds. The best is the cost of the code; the median tells
//! how busy the machine was.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints and needs the clock"
)]

use std::hint::black_box;
use std::time::Instant;

use axiom_protocol::{
    Edit, HeaderLookup, Limits, Lookup, ReplyScanner, check_modern, object_with, peek_reply, scan, splice,
};

fn main() {
    let call = call(1024);
    let listing = listing();
    let text = result(&"The quick brown fox jumps over the lazy dog. ".repeat(1457));
    let code = result(&"    let value = map.get(\\\"key\\\").unwrap();\\n".repeat(1425));
    let limits = Limits::default();
    let envelope = scan(&call, &limits).expect("a valid call");

    measure("scan tools/call", call.len(), || {
        scan(black_box(&call), &limits).is_ok()
    });
    measure("scan result, plain text", text.len(), || {
        scan(black_box(&text), &limits).is_ok()
    });
    measure("scan result, source code", code.len(), || {
        scan(black_box(&code), &limits).is_ok()
    });
    measure("scan result, list of tools", listing.len(), || {
        scan(black_box(&listing), &limits).is_ok()
    });
    measure("check_modern", call.len(), || {
        check_modern(&Standard, black_box(&call), &envelope).is_ok()
    });
    measure("rewrite id and name", call.len(), || {
        let mut edits = [
            Edit {
                at: envelope.id.expect("has an id"),
                with: b"4711",
            },
            Edit {
                at: envelope.param.name.expect("has a name"),
                with: b"\"log\"",
            },
        ];
        splice(black_box(&call), &mut edits).len() > 9
    });
    measure("object_with on _meta", call.len(), || {
        object_with(
            black_box(&call),
            envelope.meta.expect("has _meta"),
            &[("progressToken", b"9")],
            &[],
        )
        .len()
            > 9
    });
    measure("peek_reply", text.len(), || {
        matches!(peek_reply(black_box(&text)), axiom_protocol::ReplyHead::Id { .. })
    });
    for (name, raw) in [
        ("plain text", &text),
        ("source code", &code),
        ("list of tools", &listing),
    ] {
        measure(&format!("ReplyScanner, {name}"), raw.len(), || {
            let mut scanner = ReplyScanner::new();
            raw.chunks(16 * 1024)
                .all(|chunk| scanner.feed(black_box(chunk)).is_ok())
                && scanner.finish()
        });
    }
}

/// A `tools/call` of the modern era of about this size.
fn call(bytes: usize) -> Vec<u8> {
    let head = r#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"git__log","arguments":{"repository":"axiom","limit":20,"paths":["src","docs"],"options":{"merges":false,"since":"2026-01-01"},"message":""#;
    let tail = r#""},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}},"sampling":{}},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"progressToken":17}}}"#;
    [
        head,
        &"lorem ipsum ".repeat((bytes - head.len() - tail.len()) / 12),
        tail,
    ]
    .concat()
    .into_bytes()
}

fn result(text: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":17,"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}}}"#)
        .into_bytes()
}

/// Many small keys and values: the worst that is common.
fn listing() -> Vec<u8> {
    let tool = r#"{"name":"read_file","description":"Reads a file.","inputSchema":{"type":"object","properties":{"path":{"type":"string","description":"The path"},"limit":{"type":"integer","minimum":0}},"required":["path"],"additionalProperties":false},"annotations":{"readOnlyHint":true}}"#;
    let tools = vec![tool; 240].join(",");
    format!(r#"{{"jsonrpc":"2.0","id":17,"result":{{"tools":[{tools}]}}}}"#).into_bytes()
}

/// The headers of `call`, found without any cost of a map.
struct Standard;

impl HeaderLookup for Standard {
    fn get(&self, name: &str) -> Lookup<'_> {
        match name {
            "mcp-method" => Lookup::One(b"tools/call"),
            "mcp-name" => Lookup::One(b"git__log"),
            "mcp-protocol-version" => Lookup::One(b"2026-07-28"),
            _ => Lookup::Missing,
        }
    }
}

fn measure(name: &str, bytes: usize, mut work: impl FnMut() -> bool) {
    const ROUNDS: usize = 200;
    let start = Instant::now();
    assert!(work(), "{name} fails");
    // Rounds of about 200 us, so that the clock's own cost does not count.
    let calls = (200_000 / start.elapsed().as_nanos().max(20)).clamp(1, 10_000);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                assert!(work());
            }
            start.elapsed().as_nanos() as f64 / calls as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (best, median) = (rounds[0], rounds[ROUNDS / 2]);
    println!(
        "{name:28} {bytes:6} B  best {best:8.0} ns  median {median:8.0} ns  {:6.2} GB/s",
        bytes as f64 / best
    );
}
