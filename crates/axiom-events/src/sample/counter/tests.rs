use proptest::prelude::*;

use super::*;

const SORT: Whom<'_> = Whom {
    tenant: "t",
    task: "task",
    level: Level::Info,
    kind: "task.output",
    template: "Compiling <*> \"x\" \\ \u{1}\n\u{7f}\u{e9}",
};

fn seconds() -> impl Strategy<Value = Vec<Second>> {
    let whens = prop_oneof![-200i64..200, Just(i64::MIN / SECOND), Just(i64::MAX / SECOND)];
    let counts = (1..u64::MAX / 300, 0..u64::MAX / 300);
    proptest::collection::btree_map(whens, counts, 1..200).prop_map(|seconds| {
        let second = |(second, (events, body_bytes))| Second {
            second,
            events,
            body_bytes,
        };
        seconds.into_iter().map(second).collect()
    })
}

proptest! {
    #[test]
    fn counters_are_read_as_they_were_written(went in seconds()) {
        let mut came = Vec::new();
        let mut minutes = Vec::new();
        counters(SORT, &went, |event| {
            let skipped = Skipped::read(event).expect("it is a counter");
            assert_eq!((&*skipped.kind, &*skipped.template), (SORT.kind, SORT.template));
            assert_eq!((event.tenant, event.task, event.level), (SORT.tenant, SORT.task, SORT.level));
            minutes.push(event.time.div_euclid(MINUTE));
            came.extend(skipped.seconds);
        });
        prop_assert_eq!(came, went);
        let mut distinct = minutes.clone();
        distinct.dedup();
        prop_assert_eq!(minutes, distinct);
    }

    #[test]
    fn whatever_the_body_is_it_is_read_or_refused(body in "[{}\\[\\],:\"0-9a-z\\\\u]{0,80}", at in 0..90usize) {
        let mut bytes = Vec::new();
        Skipped::write("k", "t", &[Second { second: 31, events: 2, body_bytes: 3 }], &mut bytes);
        let at = at.min(bytes.len());
        bytes.splice(at.., body.bytes());
        if let Some(skipped) = Skipped::read_body(0, &bytes) {
            let mut again = Vec::new();
            Skipped::write(&skipped.kind, &skipped.template, &skipped.seconds, &mut again);
            prop_assert_eq!(Skipped::read_body(0, &again), Some(skipped));
        }
    }
}

#[test]
fn a_body_that_contradicts_itself_is_no_counter() {
    let is_counter = |body: &str| Skipped::read_body(0, body.as_bytes()).is_some();
    let of = |rest: &str| format!("{{\"kind\":\"k\",\"template\":\"t\",{rest}}}");
    assert!(is_counter(&of(
        "\"events\":3,\"body_bytes\":9,\"seconds\":[[1,2,9],[5,1,0]]"
    )));
    for wrong in [
        "\"events\":4,\"body_bytes\":9,\"seconds\":[[1,2,9],[5,1,0]]",
        "\"events\":3,\"body_bytes\":8,\"seconds\":[[1,2,9],[5,1,0]]",
        "\"events\":3,\"body_bytes\":9,\"seconds\":[[5,2,9],[1,1,0]]",
        "\"events\":3,\"body_bytes\":9,\"seconds\":[[1,2,9],[60,1,0]]",
        "\"events\":2,\"body_bytes\":9,\"seconds\":[[1,2,9],[5,0,0]]",
        "\"events\":03,\"body_bytes\":9,\"seconds\":[[1,3,9]]",
        "\"events\":0,\"body_bytes\":0,\"seconds\":[]",
        "\"events\":1,\"body_bytes\":0,\"seconds\":[[1,18446744073709551616,0]]",
    ] {
        assert!(!is_counter(&of(wrong)), "{wrong}");
    }
    let overflow = "\"events\":1,\"body_bytes\":0,\"seconds\":[[1,18446744073709551615,0],[2,2,0]]";
    assert!(!is_counter(&of(overflow)));
}
