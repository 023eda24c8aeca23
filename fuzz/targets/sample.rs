//! Any bytes as bodies of events that are sampled: no panic, memory within its bounds, every event kept or counted. And any
//! bytes as a counter's body: what is read is read the same way again.
#![no_main]

use axiom_events::sample::{Policy, SAMPLED_KIND, Sampler, Skipped};
use axiom_events::{Batch, Event, Format, Level};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let policy = Policy {
        bytes_max: 256 << 10,
        ..Policy::default()
    };
    let mut sampler = Sampler::new(policy);
    let mut batch = Batch::new();
    let mut pushed = 0;
    // A line is an event; its first byte says the rest.
    for line in input.split(|byte| *byte == b'\n') {
        let (first, body) = line.split_first().unwrap_or((&0, &[]));
        let event = Event {
            time: i64::from(*first) << (first % 60),
            stream: "s",
            task: ["a", "b"][usize::from(first >> 7)],
            kind: "task.output",
            level: if first % 16 == 15 { Level::Error } else { Level::Info },
            format: Format::ALL[usize::from(first % 3)],
            body,
            ..Event::default()
        };
        sampler.push(&mut batch, &event).expect("it keeps to the limits");
        pushed += 1;
        if first % 8 == 7 {
            assert!(sampler.tell(&mut batch));
        }
        assert!(sampler.bytes() <= 256 << 10);
    }
    assert!(sampler.finish(&mut batch));
    let happened: u64 = batch
        .events()
        .map(|event| Skipped::read(&event).map_or(1, |skipped| skipped.events()))
        .sum();
    assert_eq!(happened, pushed);
    let forged = Event {
        stream: "axiom.log",
        kind: SAMPLED_KIND,
        body: input,
        ..Event::default()
    };
    if let Some(skipped) = Skipped::read(&forged) {
        assert!(skipped.seconds.windows(2).all(|pair| pair[0].second < pair[1].second));
    }
});
