//! The scanner, the walker and the rewriter against serde_json and against plain models, on generated texts.

use axiom_protocol::{
    Edit, Limits, ScanFault, Span, elements, get, members, object_with, scan, splice, text,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::documents::{Document, damage, document, space, string};
use crate::replies::feed;

/// Whether serde_json reads it as JSON. As a raw value, so that it judges the grammar only: no recursion limit,
/// numbers of any size, halves of surrogate pairs allowed.
fn is_json(raw: &[u8]) -> bool {
    std::str::from_utf8(raw).is_ok_and(|raw| serde_json::from_str::<&RawValue>(raw).is_ok())
}

fn at(raw: &[u8], span: Span) -> String {
    String::from_utf8(span.of(raw).to_vec()).unwrap()
}

/// A member of the root or of `params` as a test chose it.
#[derive(Clone, Debug)]
struct Member {
    name: &'static str,
    /// The name as it stands in the text, without quotes.
    spelled: String,
    value: String,
}

/// `name` with some of its characters escaped.
fn spelled(name: &'static str) -> impl Strategy<Value = String> {
    vec(prop::bool::weighted(0.1), name.len()).prop_map(move |escape| {
        let spell = |(char, escape): (char, bool)| {
            if escape {
                format!("\\u{:04x}", u32::from(char))
            } else {
                char.to_string()
            }
        };
        name.chars().zip(escape).map(spell).collect()
    })
}

fn member(name: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = Member> {
    (spelled(name), value).prop_map(move |(spelled, value)| Member { name, spelled, value })
}

fn object(members: &[Member], space: &str) -> String {
    let member = |member: &Member| format!("{space}\"{}\"{space}:{space}{}", member.spelled, member.value);
    format!(
        "{{{}{space}}}",
        members
            .iter()
            .map(member)
            .collect::<Vec<_>>()
            .join(&format!("{space},"))
    )
}

fn any_value() -> impl Strategy<Value = String> {
    document().prop_map(|document| document.text())
}

/// Members of `params`, possibly some twice, in any order.
fn params() -> impl Strategy<Value = Vec<Member>> {
    let names = [
        "name",
        "uri",
        "taskId",
        "cursor",
        "arguments",
        "requestState",
        "other",
        "names",
    ];
    let meta = any_value().prop_map(|value| format!("{{\"progressToken\":{value}}}"));
    let members = names
        .map(|name| member(name, any_value()).boxed())
        .into_iter()
        .chain([member("_meta", meta).boxed()]);
    (members.collect::<Vec<_>>(), vec(0..9_usize, 0..7))
        .prop_map(|(members, chosen)| chosen.into_iter().map(|index| members[index].clone()).collect())
}

/// Members of a root that would be a request, and how many of them to keep and repeat.
fn root() -> impl Strategy<Value = (Vec<Member>, String, Vec<Member>)> {
    (params(), space()).prop_flat_map(|(params, space)| {
        let text = object(&params, &space);
        let id = prop_oneof![
            string(),
            Just("1.0".to_owned()),
            Just("null".to_owned()),
            Just("{}".to_owned())
        ];
        let method =
            prop_oneof![3 => Just("\"tools/call\"".to_owned()), 1 => string(), 1 => Just("1".to_owned())];
        let version = prop_oneof![9 => Just("\"2.0\"".to_owned()), 1 => Just("\"2\"".to_owned())];
        let all = (
            member("jsonrpc", version),
            member("id", id),
            member("method", method),
            member("params", Just(text)),
            member("extra", any_value()),
            member("result", any_value()),
        );
        let kept = prop_oneof![
            6 => Just(vec![0, 1, 2, 3, 4]).prop_shuffle(),
            1 => subsequence(vec![0, 1, 2, 3, 4, 5], 0..=6).prop_shuffle(),
            1 => vec(0..6_usize, 0..8),
        ];
        (all, kept, Just(params), Just(space)).prop_map(|(all, kept, params, space)| {
            let all = [all.0, all.1, all.2, all.3, all.4, all.5];
            (
                kept.into_iter().map(|index| all[index].clone()).collect(),
                space,
                params,
            )
        })
    })
}

fn twice(members: &[Member], names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| members.iter().filter(|member| member.name == *name).count() > 1)
}

fn value<'m>(members: &'m [Member], name: &str) -> Option<&'m str> {
    members
        .iter()
        .find(|member| member.name == name)
        .map(|member| member.value.as_str())
}

/// What the envelope rules say of such a message, written down once more without a scanner.
fn allowed(root: &[Member], params: &[Member]) -> bool {
    let has = |name| value(root, name).is_some();
    let id_is_fine = value(root, "id").is_none_or(|id| id.starts_with('"') || id == "1.0");
    let method_is_fine = value(root, "method").is_none_or(|method| method.starts_with('"'));
    let shape = match (has("method"), has("result")) {
        (true, false) => true,
        (false, true) => has("id"),
        _ => false,
    };
    shape
        && id_is_fine
        && method_is_fine
        && value(root, "jsonrpc") == Some("\"2.0\"")
        && !twice(root, &["jsonrpc", "id", "method", "params", "result"])
        && !(has("params")
            && twice(
                params,
                &[
                    "name",
                    "uri",
                    "taskId",
                    "cursor",
                    "arguments",
                    "requestState",
                    "_meta",
                ],
            ))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn scan_reads_as_json_what_serde_json_reads_as_json(
        document in document(),
        damages in vec(damage(), 0..3),
        inside in any::<bool>(),
    ) {
        let mut raw = document.text().into_bytes();
        if inside {
            raw = [br#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"#.as_slice(), &raw, b"}}"].concat();
        }
        for damage in &damages {
            damage.inflict(&mut raw);
        }
        let refused = scan(&raw, &Limits::default()).err();
        let read = !matches!(refused, Some(ref error) if matches!(error.fault, ScanFault::NotJson { .. }));
        prop_assert_eq!(read, is_json(&raw), "{}", String::from_utf8_lossy(&raw));
    }

    #[test]
    fn scan_follows_the_envelope_rules_and_finds_the_places((root, space, params) in root()) {
        let raw = format!("{space}{}{space}", object(&root, &space)).into_bytes();
        prop_assert!(is_json(&raw));
        let scanned = scan(&raw, &Limits::default());
        prop_assert_eq!(scanned.is_ok(), allowed(&root, &params), "{}", String::from_utf8_lossy(&raw));
        let Ok(envelope) = scanned else { return Ok(()) };
        let found = |span: Option<Span>| span.map(|span| at(&raw, span));
        let root_value = |name| value(&root, name).map(str::to_owned);
        prop_assert_eq!(found(envelope.id), root_value("id"));
        prop_assert_eq!(found(envelope.method_span), root_value("method"));
        prop_assert_eq!(found(envelope.params), root_value("params"));
        prop_assert_eq!(found(envelope.result), root_value("result"));
        let params = if envelope.params.is_some() { params } else { Vec::new() };
        let param_value = |name| value(&params, name).map(str::to_owned);
        prop_assert_eq!(found(envelope.param.name), param_value("name"));
        prop_assert_eq!(found(envelope.param.uri), param_value("uri"));
        prop_assert_eq!(found(envelope.param.task_id), param_value("taskId"));
        prop_assert_eq!(found(envelope.param.cursor), param_value("cursor"));
        prop_assert_eq!(found(envelope.param.arguments), param_value("arguments"));
        prop_assert_eq!(found(envelope.param.request_state), param_value("requestState"));
        prop_assert_eq!(found(envelope.meta), param_value("_meta"));
        let token = found(envelope.in_meta.progress_token).map(|token| format!("{{\"progressToken\":{token}}}"));
        prop_assert_eq!(token, param_value("_meta"));
    }

    #[test]
    fn walking_agrees_with_serde_json(document in document()) {
        let raw = document.text().into_bytes();
        let parsed: Value = serde_json::from_slice(&raw).unwrap();
        prop_assert!(agrees(&raw, Span::all(&raw), &parsed, &document));
    }

    #[test]
    fn text_agrees_with_serde_json(raw in string()) {
        let expected: String = serde_json::from_str(&raw).unwrap();
        let read = text(raw.as_bytes(), Span::all(raw.as_bytes()));
        prop_assert_eq!(read.as_deref(), Some(expected.as_str()));
    }

    #[test]
    fn splice_is_what_edits_one_by_one_are(
        raw in vec(any::<u8>(), 0..40),
        cuts in vec((0..6_usize, 0..4_usize, vec(any::<u8>(), 0..5)), 0..5),
        order in any::<prop::sample::Index>(),
    ) {
        let mut place = 0;
        let mut edits = Vec::new();
        let mut expected = Vec::new();
        for (gap, len, with) in &cuts {
            let start = (place + gap).min(raw.len());
            let end = (start + len).min(raw.len());
            expected.extend_from_slice(&raw[place..start]);
            expected.extend_from_slice(with);
            let span = Span { start: u32::try_from(start).unwrap(), end: u32::try_from(end).unwrap() };
            // A later insertion at the very end of an earlier replacement sorts after it; at the start, before it.
            edits.push(Edit { at: span, with });
            place = end;
        }
        expected.extend_from_slice(&raw[place..]);
        let distinct = edits.windows(2).all(|pair| pair[0].at.start < pair[1].at.start);
        if distinct && !edits.is_empty() {
            let middle = order.index(edits.len());
            edits.rotate_left(middle);
        }
        prop_assert_eq!(splice(&raw, &mut edits), expected);
    }

    #[test]
    fn object_with_changes_what_it_names_and_nothing_else(
        document in document(),
        set in vec(("[a-c]", 0..9_u8), 0..3),
        remove in vec("[a-d]", 0..3),
    ) {
        let raw = Document::Object(
            vec![("\"\\u0061\"".to_owned(), document.clone()), ("\"b\"".to_owned(), document.clone()), ("\"x\"".to_owned(), document)],
            " ".to_owned(),
        ).text().into_bytes();
        let values: Vec<Vec<u8>> = set.iter().map(|(_, value)| value.to_string().into_bytes()).collect();
        let mut unique: Vec<(&str, &[u8])> = Vec::new();
        for ((key, _), value) in set.iter().zip(&values) {
            if unique.iter().all(|(other, _)| other != key) {
                unique.push((key, value));
            }
        }
        let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
        let changed = object_with(&raw, Span::all(&raw), &unique, &remove);
        let mut expected: serde_json::Map<String, Value> = serde_json::from_slice(&raw).unwrap();
        expected.retain(|key, _| !remove.contains(&key.as_str()));
        for (key, value) in &unique {
            expected.insert((*key).to_owned(), serde_json::from_slice(value).unwrap());
        }
        prop_assert_eq!(serde_json::from_slice::<Value>(&changed).unwrap(), Value::Object(expected));
        let kept = get(&changed, Span::all(&changed), "x").unwrap();
        prop_assert_eq!(at(&changed, kept), at(&raw, get(&raw, Span::all(&raw), "x").unwrap()));
    }

    #[test]
    fn the_reply_scanner_agrees_with_scan((root, space, _) in root(), size in 1..40_usize) {
        let raw = format!("{space}{}{space}", object(&root, &space)).into_bytes();
        let Ok(envelope) = scan(&raw, &Limits::default()) else { return Ok(()) };
        let (id, kind, complete) = feed(&raw, size).unwrap();
        let id = id.map(|id| Span { start: u32::try_from(id.start).unwrap(), end: u32::try_from(id.end).unwrap() });
        prop_assert_eq!((id, kind, complete), (envelope.id, Some(envelope.kind), true));
    }

    #[test]
    fn nothing_panics_on_any_bytes(raw in vec(any::<u8>(), 0..60), cut in 1..9_usize) {
        _ = scan(&raw, &Limits::default());
        _ = feed(&raw, cut);
        _ = axiom_protocol::peek_reply(&raw);
        _ = axiom_protocol::split_batch(&raw, &Limits::default(), 10);
        prop_assert!(members(&raw, Span::all(&raw)).count() <= raw.len());
        prop_assert!(elements(&raw, Span::all(&raw)).count() <= raw.len());
    }
}

/// Whether stepping through the text gives the same as the parsed value, all the way down.
fn agrees(raw: &[u8], span: Span, parsed: &Value, document: &Document) -> bool {
    match (parsed, document) {
        (Value::Array(values), Document::Array(items, _)) => {
            let spans: Vec<_> = elements(raw, span).collect();
            spans.len() == values.len()
                && spans
                    .iter()
                    .zip(values)
                    .zip(items)
                    .all(|((span, value), item)| agrees(raw, *span, value, item))
        }
        (Value::Object(map), Document::Object(written, _)) => {
            let pairs: Vec<_> = members(raw, span).collect();
            let in_order = pairs.len() == written.len()
                && pairs.iter().zip(written).all(|((key, value), (name, document))| {
                    at(raw, *key) == *name && at(raw, *value) == document.text()
                });
            let by_name = map.keys().all(|name| {
                let first = pairs
                    .iter()
                    .find(|(key, _)| text(raw, *key).as_deref() == Some(name));
                get(raw, span, name) == first.map(|(_, value)| *value) && first.is_some()
            });
            in_order && by_name
        }
        _ => serde_json::from_slice::<Value>(span.of(raw)).ok().as_ref() == Some(parsed),
    }
}
