//! Whatever is appended, in whatever order, the log is what a list would be.

use std::collections::HashMap;
use std::time::Duration;

use axiom_events::{Ack, Append, AppendError, Appended, Batch, Event, EventId, Expected, Log, Options};
use proptest::prelude::*;

use crate::history::{FOLDER, block_on, read_all};
use crate::sim::Sim;

const STREAMS: [&str; 4] = ["a", "b", "c", "never"];

#[derive(Debug, Clone)]
enum Action {
    Append {
        events: Vec<New>,
        expected: Vec<(usize, Expected)>,
        ack: Ack,
    },
    Post(Vec<New>),
    Reopen,
    Read,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct New {
    stream: usize,
    id: Option<u128>,
    body: Vec<u8>,
}

/// What a log should hold.
#[derive(Debug, Default)]
struct Model {
    events: Vec<(New, u64)>,
    next: HashMap<usize, u64>,
    ids: HashMap<u128, u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Recorded { first: u64, is_repeated: bool },
    Conflict { stream: usize, last: Option<u64> },
    PartlyKnown,
}

impl Model {
    fn append(&mut self, events: &[New], expected: &[(usize, Expected)]) -> Outcome {
        let ids: Vec<u128> = events.iter().filter_map(|new| new.id).collect();
        let is_twice = (1..ids.len()).any(|n| ids[..n].contains(&ids[n]));
        let known: Vec<u64> = ids.iter().filter_map(|id| self.ids.get(id).copied()).collect();
        if let Some(&first) = known.first()
            && !is_twice
            && known.iter().copied().eq(first..first + events.len() as u64)
        {
            let is_repeated = true;
            return Outcome::Recorded { first, is_repeated };
        }
        for &(stream, expected) in expected {
            let last = self.next.get(&stream).map(|next| next - 1);
            let holds = match expected {
                Expected::Any => true,
                Expected::NoStream => last.is_none(),
                Expected::Exists => last.is_some(),
                Expected::Exact(version) => last == Some(version),
            };
            if !holds {
                return Outcome::Conflict { stream, last };
            }
        }
        if is_twice || !known.is_empty() {
            return Outcome::PartlyKnown;
        }
        let first = self.events.len() as u64;
        for (new, offset) in events.iter().zip(first..) {
            let next = self.next.entry(new.stream).or_default();
            self.events.push((new.clone(), *next));
            *next += 1;
            self.ids.extend(new.id.map(|id| (id, offset)));
        }
        let is_repeated = false;
        Outcome::Recorded { first, is_repeated }
    }
}

fn batch(events: &[New]) -> Batch {
    let mut batch = Batch::new();
    for new in events {
        let event = Event {
            stream: STREAMS[new.stream],
            kind: "test",
            id: new.id.map(EventId),
            body: &new.body,
            ..Event::default()
        };
        batch.push(&event).expect("it keeps to the limits");
    }
    batch
}

fn outcome(told: Result<Appended, AppendError>, count: usize) -> Outcome {
    match told {
        Ok(appended) => {
            assert_eq!(appended.count as usize, count);
            Outcome::Recorded {
                first: appended.first_offset,
                is_repeated: appended.is_repeated,
            }
        }
        Err(AppendError::Conflict(conflict)) => Outcome::Conflict {
            stream: STREAMS
                .iter()
                .position(|name| *name == conflict.stream)
                .expect("one of ours"),
            last: conflict.last,
        },
        Err(AppendError::PartlyKnown) => Outcome::PartlyKnown,
        Err(other) => panic!("{other}"),
    }
}

fn open(sim: &Sim) -> Log {
    let mut options = Options::new(FOLDER);
    // Smaller than many an append, and than what may wait.
    options.segment_bytes = 1024;
    options.queue_bytes = 4096;
    options.linger = Duration::ZERO;
    Log::open(options, sim.arc()).expect("it opens")
}

/// What can be read is the model, up to what is on the disk already.
fn compare(log: &Log, model: &Model, is_all: bool) {
    let found = read_all(&log.reader());
    assert!(found.gaps.is_empty(), "{:?}", found.gaps);
    assert!(found.events.len() <= model.events.len());
    if is_all {
        assert_eq!(found.events.len(), model.events.len());
    }
    for (offset, (own, (new, version))) in found.events.iter().zip(&model.events).enumerate() {
        assert_eq!((own.offset, own.version), (offset as u64, *version));
        assert_eq!(own.stream, STREAMS[new.stream]);
        assert_eq!((own.id, &own.body), (new.id.map(EventId), &new.body));
    }
}

fn play(actions: Vec<Action>) {
    let sim = Sim::new(1);
    let mut log = open(&sim);
    let mut model = Model::default();
    let mut is_all = true;
    for action in actions {
        match action {
            Action::Append {
                events,
                expected,
                ack,
            } => {
                let wanted = model.append(&events, &expected);
                let named = |(stream, expected): (usize, Expected)| (STREAMS[stream].to_owned(), expected);
                let append = Append {
                    batch: batch(&events),
                    expected: expected.into_iter().map(named).collect(),
                    ack,
                };
                let told = block_on(log.append(append));
                assert_eq!(outcome(told, events.len()), wanted);
                let is_on_disk = ack != Ack::Memory && matches!(wanted, Outcome::Recorded { .. });
                is_all = is_on_disk || (is_all && !matches!(wanted, Outcome::Recorded { .. }));
            }
            Action::Post(events) => {
                let mut left = batch(&events);
                // When the queue is full the batch comes back.
                while let Err(full) = log.post(left) {
                    left = *full.0;
                    std::thread::yield_now();
                }
                model.append(&events, &[]);
                is_all = false;
            }
            Action::Reopen => {
                log.close();
                compare(&log, &model, true);
                log = open(&sim);
                assert_eq!(log.report(), &axiom_events::Report::default());
                is_all = true;
            }
            Action::Read => compare(&log, &model, is_all),
        }
    }
    log.close();
    compare(&log, &model, true);
    let verdict = axiom_events::verify::verify(&sim, FOLDER.as_ref()).expect("it can be read");
    assert!(verdict.is_sound(), "{verdict:#?}");
    assert_eq!(verdict.events, model.events.len() as u64);
}

fn news(ids: bool) -> impl Strategy<Value = Vec<New>> {
    let body = prop_oneof![
        9 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => proptest::collection::vec(any::<u8>(), 3000..6000),
    ];
    let id = if ids {
        prop_oneof![2 => Just(None), 1 => (0..40u128).prop_map(Some)].boxed()
    } else {
        Just(None).boxed()
    };
    let new = (0..3usize, id, body).prop_map(|(stream, id, body)| New { stream, id, body });
    proptest::collection::vec(new, 0..5)
}

fn expectation() -> impl Strategy<Value = (usize, Expected)> {
    let expected = prop_oneof![
        3 => Just(Expected::Any),
        1 => Just(Expected::NoStream),
        2 => Just(Expected::Exists),
        3 => (0..6u64).prop_map(Expected::Exact),
    ];
    (0..4usize, expected)
}

/// Some appends are ones that came before.
fn actions() -> impl Strategy<Value = Vec<Action>> {
    let ack = prop_oneof![Just(Ack::Memory), Just(Ack::Group), Just(Ack::Each)];
    let append = (news(true), proptest::collection::vec(expectation(), 0..3), ack);
    let append = append.prop_map(|(events, expected, ack)| Action::Append {
        events,
        expected,
        ack,
    });
    let action = prop_oneof![
        12 => append,
        3 => news(false).prop_map(Action::Post),
        1 => Just(Action::Reopen),
        2 => Just(Action::Read),
    ];
    let repeated = (
        proptest::collection::vec(action, 1..40),
        proptest::collection::vec((0..40usize, 0..40usize), 0..4),
    );
    repeated.prop_map(|(mut actions, again)| {
        for (from, to) in again {
            let (from, to) = (from % actions.len(), to % actions.len());
            actions.insert(to.max(from), actions[from].clone());
        }
        actions
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_log_is_a_list(actions in actions()) {
        play(actions);
    }
}
