//! A body that was split comes back byte for byte, and nothing that is joined panics.
#![no_main]

use axiom_tiers::template::{Split, join};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let mut split = Split::default();
    let mut joined = Vec::new();
    if split.split(body) {
        let words = split.words.iter().map(|range| &body[range.clone()]);
        join(&split.template, &split.integers, words, &mut joined).expect("it was just split");
        assert_eq!(joined, body);
    }
    // Values that have nothing to do with the template: an error or a body, never a panic.
    joined.clear();
    let words = split.words.iter().map(|range| &body[range.clone()]);
    drop(join(body, &split.integers, words, &mut joined));
});
