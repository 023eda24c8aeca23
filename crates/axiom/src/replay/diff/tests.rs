use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn raw(value: &str) -> Box<RawValue> {
    RawValue::from_string(value.to_owned()).unwrap()
}

fn paths(rules: &Rules, recorded: &str, now: &str) -> Vec<String> {
    let compared = rules.compare(&raw(recorded), &raw(now));
    compared
        .differences
        .into_iter()
        .map(|difference| difference.path)
        .collect()
}

fn check(recorded: &str, now: &str, expected: &[&str]) {
    assert_eq!(
        paths(&Rules::default(), recorded, now),
        expected,
        "{recorded} {now}"
    );
}

fn ignoring(paths: &[&str]) -> Rules {
    Rules {
        ignored: paths.iter().map(|path| path.parse().unwrap()).collect(),
        ..Rules::default()
    }
}

#[test]
fn what_means_the_same_is_equal() {
    check(r#"{"a":1,"b":"\u00e9"}"#, r#"{ "b": "é", "a": 1.0 }"#, &[]);
    check(
        "123456789012345678901234567890",
        "123456789012345678901234567891",
        &["$"],
    );
    check("[1e2,-0]", "[100,0]", &[]);
    check(r#""\ud800""#, r#""\ud800""#, &[]);
}

#[test]
fn each_difference_has_its_place() {
    check(
        r#"{"a":1,"b":{"c":[1,2]}}"#,
        r#"{"a":2,"b":{"c":[1,3]}}"#,
        &["$.a", "$.b.c[1]"],
    );
    check(r#"{"a":1}"#, r#"{"b":1}"#, &["$.a", "$.b"]);
    check("[1,2,3,4]", "[1,3,4]", &["$[1]"]);
    check("[3,4]", "[1,2,3,4]", &["$[0]", "$[1]"]);
    check("[1,2]", "[1,2,9]", &["$[2]"]);
    check("[]", "[{}]", &["$[0]"]);
    check(r#"{"a":null}"#, "{}", &["$.a"]);
    check("1", "\"1\"", &["$"]);
}

#[test]
fn what_is_ignored_makes_no_difference() {
    let rules = ignoring(&["$.content[0].text", "$..id", "$.gone"]);
    let old = r#"{"content":[{"text":"a","id":1,"type":"text"}],"gone":1}"#;
    let new = r#"{"content":[{"text":"b","type":"text"}]}"#;
    let compared = rules.compare(&raw(old), &raw(new));
    assert_eq!((compared.count, compared.ignored), (0, 3));
    assert_eq!(
        paths(&rules, old, r#"{"content":[{"text":"b","type":"x"}]}"#),
        ["$.content[0].type"]
    );
}

#[test]
fn times_are_ignored_on_request() {
    let (old, new) = (
        r#"{"at":1785229200,"t":"2026-07-28T09:00:00Z said 7"}"#,
        r#"{"at":1785229999,"t":"2026-07-29T10:00:00Z said 7"}"#,
    );
    check(old, new, &["$.at", "$.t"]);
    let rules = Rules {
        ignores_times: true,
        ..Rules::default()
    };
    assert!(paths(&rules, old, new).is_empty());
    assert_eq!(paths(&rules, old, &new.replace("said 7", "said 8")), ["$.t"]);
}

#[test]
fn a_mask_fits_anything_and_what_is_around_it_does_not() {
    let compared = Rules::default().compare(
        &raw(r#"{"token":"[redacted]","t":"a=[redacted]&b=[redacted]."}"#),
        &raw(r#"{"token":{"x":1},"t":"a=1&b=2."}"#),
    );
    assert_eq!((compared.count, compared.masked), (0, 2));
    check(r#""a=[redacted]&b=c""#, r#""a=1&b=d""#, &["$"]);
    check(r#""[redacted] x""#, r#"" y""#, &["$"]);
}

#[test]
fn not_every_difference_is_kept() {
    let list = |number: u32| json!(vec![number; 500]).to_string();
    let compared = Rules::default().compare(&raw(&list(1)), &raw(&list(2)));
    assert_eq!(
        (compared.count, compared.differences.len()),
        (500, DIFFERENCES_MAX)
    );
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        (0..4_i64).prop_map(Into::into),
        "[ab]{0,2}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[ab]{0,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// serde_json's own equality is the model.
    #[test]
    fn equal_is_what_serde_json_says(old in value(), new in value()) {
        let differs = !paths(&Rules::default(), &old.to_string(), &new.to_string()).is_empty();
        prop_assert_eq!(differs, old != new);
        let laid_out = format!("{old:#}");
        prop_assert!(paths(&Rules::default(), &old.to_string(), &laid_out).is_empty());
        // Whoever ignores every place that differs sees none. In lists of other lengths a place is another item then.
        if !format!("{old}{new}").contains('[') {
            let all = paths(&Rules::default(), &old.to_string(), &new.to_string());
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            prop_assert!(paths(&ignoring(&all), &old.to_string(), &new.to_string()).is_empty());
        }
    }
}
