//! Strangers read our files: pyarrow and DuckDB, with the means that the guide gives everybody.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test, and one that skips says why"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_events::{Event, EventId, Format, Level, Recorded, TraceId};
use axiom_tiers::file::{WriteOptions, Writer};

/// Events of every kind that a column can hold, and bodies that are split, cannot be, or are not worth it.
fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\x11 and \x12 stand here already".to_vec(),
        b"not UTF-8: \xff\xfe\x00".to_vec(),
        b"0".to_vec(),
        "x".repeat(3 << 20).into_bytes(),
        (0..=255u8).collect(),
    ];
    for n in 0..4000u64 {
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (small, large, hash) = (n % 10, n >> 20, n ^ (n >> 7));
        bodies.push(
            format!("step {small}: read {large} B of job {hash:016x} in 0.{small:03} s, -{small} 1e{small}")
                .into_bytes(),
        );
        bodies.push(
            format!(
                r#"{{"at":"2026-11-26T20:{:02}:{small:02}","id":{large},"name":"\u00e4 ä €","ok":true}}"#,
                n % 60
            )
            .into_bytes(),
        );
        bodies.push(format!("{:020} {} {}", n, u64::MAX - n, i64::MAX).into_bytes());
        if n % 16 == 0 {
            bodies.push(b"the same line once more".to_vec());
        }
    }
    bodies
}

fn events(bodies: &[Vec<u8>]) -> Vec<(String, Recorded<'_>)> {
    let events = bodies.iter().zip(0u64..).map(|(body, n)| {
        let at = usize::try_from(n).unwrap();
        let event = Event {
            // The last of all nanoseconds is infinity to DuckDB.
            time: [i64::MIN, -1, 0, 1_700_000_000_123_456_789, i64::MAX - 1][at % 5],
            tenant: ["default", "ü", ""][at % 3],
            stream: "a stream",
            task: ["", "task 1", "task 2", "Aufgabe \u{1f980}"][at / 7 % 4],
            kind: ["task.output", "tool.call"][at % 2],
            level: Level::ALL[at % 6],
            trace: (n % 3 == 0).then(|| TraceId(u128::from(n).to_be_bytes())),
            id: (n % 4 == 0).then(|| EventId(u128::MAX - u128::from(n))),
            format: Format::ALL[at % 3],
            body,
        };
        // The last offset that there can be is not far.
        let offset = (u64::MAX >> 1) - 1000 + n * 2;
        let recorded = Recorded {
            offset,
            version: u64::MAX - 100_000 + n,
            event,
        };
        (expected(&recorded), recorded)
    });
    events.collect()
}

/// The event as the Python script reads it.
fn expected(recorded: &Recorded<'_>) -> String {
    let event = &recorded.event;
    let text = |text: &str| serde_json::to_string(text).unwrap();
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    };
    let id = |id: Option<String>| id.map_or("null".to_owned(), |id| text(&id));
    let format = match event.format {
        Format::Binary => "binary",
        Format::Text => "text",
        Format::Json => "json",
    };
    format!(
        r#"{{"offset":{},"version":{},"time":{},"tenant":{},"stream":{},"task":{},"kind":{},"level":"{}","severity":{},"trace":{},"id":{},"format":"{format}","body":"{}"}}"#,
        recorded.offset,
        recorded.version,
        event.time,
        text(event.tenant),
        text(event.stream),
        text(event.task),
        text(event.kind),
        event.level.name(),
        event.level as u8,
        id(event.trace.map(|trace| trace.to_string())),
        id(event.id.map(|id| id.to_string())),
        hex(event.body),
    )
}

#[test]
fn pyarrow_and_duckdb_read_what_was_written() {
    let bed = std::env::var_os("AXIOM_BED")
        .map(PathBuf::from)
        .unwrap_or_default();
    let python = bed.join("python-data/bin/python");
    if !python.exists() {
        eprintln!(
            "skipped: {} is not there; `cargo xtask setup` installs it",
            python.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bodies = bodies();
    let events = events(&bodies);
    let path = folder.path().join("events.parquet");
    let mut writer = Writer::new(fs_err::File::create(&path).unwrap(), 3, &WriteOptions::default()).unwrap();
    let mut lines = String::new();
    for (line, recorded) in &events {
        writer.push(recorded).unwrap();
        lines.push_str(line);
        lines.push('\n');
    }
    writer.finish().unwrap();
    let expected = folder.path().join("expected.ndjson");
    fs_err::write(&expected, lines).unwrap();

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(here.join("tests/readers.py"))
        .args([&path, &expected, &here.join("../../docs/guide/event-files.md")])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for reader in ["pyarrow", "duckdb"] {
        assert!(
            said.contains(&format!("{reader}: {} rows are equal", events.len())),
            "{said}"
        );
    }
}
