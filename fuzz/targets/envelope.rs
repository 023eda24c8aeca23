//! Any bytes as a message: no panic, the same verdict as serde_json, and every reader agrees with every other.
#![no_main]

use axiom_protocol::{
    Edit, Envelope, IdAt, Limits, ReplyHead, ReplyScanner, ScanFault, Span, elements, members, object_with,
    peek_reply, scan, splice, split_batch, text,
};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|raw: &[u8]| {
    let limits = Limits::default();
    let scanned = scan(raw, &limits);
    let is_json = std::str::from_utf8(raw).is_ok_and(|raw| serde_json::from_str::<&RawValue>(raw).is_ok());
    match &scanned {
        Ok(envelope) => {
            assert!(is_json, "accepted what is no JSON");
            readers_agree(raw, envelope);
        }
        Err(error) => match error.fault {
            ScanFault::NotJson { offset } => {
                assert!(!is_json, "refused what is JSON");
                assert!(offset <= raw.len());
            }
            ScanFault::TooDeep { .. } => {}
            _ => assert!(is_json, "read what is no JSON"),
        },
    }
    // These judge less, but must hold on anything.
    _ = peek_reply(raw);
    _ = feed(raw, 7);
    if let Ok(Some(items)) = split_batch(raw, &limits, 100) {
        assert!(is_json);
        assert_eq!(elements(raw, trimmed(raw)).collect::<Vec<_>>(), items);
    }
    assert!(members(raw, Span::all(raw)).count() <= raw.len());
    assert!(elements(raw, Span::all(raw)).count() <= raw.len());
});

fn readers_agree(raw: &[u8], envelope: &Envelope) {
    let limits = Limits::default();
    assert_eq!(splice(raw, &mut []), raw);
    assert_eq!(envelope.object, trimmed(raw));
    for chunk in [1, 3, 4096] {
        let (id, complete) = feed(raw, chunk).expect("scan accepted it");
        assert!(complete);
        assert_eq!(
            id.map(|id| (id.start, id.end)),
            envelope.id.map(|id| (u64::from(id.start), u64::from(id.end)))
        );
    }
    if let ReplyHead::Id { id, .. } = peek_reply(raw) {
        assert_eq!(Some(id), envelope.id);
    }
    // Both ways to change the id give a message with that id.
    if let Some(id) = envelope.id {
        let spliced = splice(
            raw,
            &mut [Edit {
                at: id,
                with: b"\"new\"",
            }],
        );
        let rebuilt = object_with(raw, envelope.object, &[("id", b"\"new\"")], &[]);
        for changed in [spliced, rebuilt] {
            let again = scan(&changed, &limits).expect("only the id changed");
            assert_eq!(again.id.map(|id| id.of(&changed)), Some(b"\"new\"".as_slice()));
            assert_eq!(again.kind, envelope.kind);
        }
    }
    if let (Some(params), Some(name)) = (envelope.params, envelope.param.name) {
        assert!(params.start < name.start && name.end < params.end);
        let mut found = members(raw, params).filter(|(key, _)| text(raw, *key).as_deref() == Some("name"));
        assert_eq!(found.next().map(|(_, value)| value), Some(name));
        assert!(found.next().is_none(), "a second name went unnoticed");
    }
}

fn feed(raw: &[u8], chunk: usize) -> Option<(Option<IdAt>, bool)> {
    let mut scanner = ReplyScanner::new();
    for chunk in raw.chunks(chunk) {
        scanner.feed(chunk).ok()?;
    }
    Some((scanner.id(), scanner.finish()))
}

/// The text without the white space of JSON around it.
fn trimmed(raw: &[u8]) -> Span {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let start = raw.iter().take_while(|byte| is_space(byte)).count();
    let end = raw.len()
        - raw[start..]
            .iter()
            .rev()
            .take_while(|byte| is_space(byte))
            .count();
    let offset = |at: usize| u32::try_from(at).expect("fuzzed texts are short");
    Span {
        start: offset(start),
        end: offset(end),
    }
}
