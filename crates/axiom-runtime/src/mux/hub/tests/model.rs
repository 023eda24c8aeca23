//! Random actions on a small hub, compared with what each reader must see.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    Write {
        task: usize,
        is_stdout: bool,
        chunk: Vec<u8>,
    },
    Flush {
        task: usize,
        is_stdout: bool,
    },
    End {
        task: usize,
    },
    Store {
        is_stored: bool,
    },
    Look,
}

fn action() -> impl Strategy<Value = Action> {
    let chunk = prop_oneof![
        3 => "[a-z]{0,20}\n",
        2 => "([a-z]{0,9}[\r\n]{0,2}){0,9}",
        1 => "[a-z\n]{900,2000}",
        1 => Just("x".repeat(40_000)),
    ];
    prop_oneof![
        6 => (0..3usize, any::<bool>(), chunk)
            .prop_map(|(task, is_stdout, chunk)| Action::Write { task, is_stdout, chunk: chunk.into_bytes() }),
        1 => (0..3usize, any::<bool>()).prop_map(|(task, is_stdout)| Action::Flush { task, is_stdout }),
        1 => (0..3usize).prop_map(|task| Action::End { task }),
        2 => any::<bool>().prop_map(|is_stored| Action::Store { is_stored }),
        2 => Just(Action::Look),
    ]
}

/// What one task wrote, and what readers saw of it.
#[derive(Default)]
struct Told {
    written: [Vec<u8>; 2],
    stored: [Vec<u8>; 2],
    stored_next: u64,
    seen_next: u64,
}

fn stream(is_stdout: bool) -> Stream {
    if is_stdout { Stream::Stdout } else { Stream::Stderr }
}

fn store(batch: Batch, told: &mut [Told]) {
    let told = &mut told[batch.task().parse::<usize>().unwrap()];
    for block in batch.blocks() {
        assert_eq!(block.first(), told.stored_next);
        told.stored_next += block.len() as u64;
        told.stored[usize::from(block.stream() == Stream::Stdout)].extend_from_slice(block.raw());
    }
    batch.stored();
}

fn look(news: News, told: &mut [Told]) {
    let task = match &news {
        News::Missed(missed) => &missed.task,
        News::Lines(lines) => lines.task(),
        News::MissedMore { .. } => panic!("three tasks are not too many"),
    };
    let next = &mut told[task.parse::<usize>().unwrap()].seen_next;
    match news {
        News::Missed(missed) => {
            assert_eq!((missed.first, missed.lines), (*next, missed.last + 1 - *next));
            *next = missed.last + 1;
        }
        News::Lines(lines) => {
            for numbered in lines.iter() {
                assert_eq!(numbered.sequence, *next);
                *next += 1;
            }
        }
        News::MissedMore { .. } => {}
    }
}

fn run(actions: Vec<Action>) {
    let options = Options {
        reader_bytes_max: 4 << 10,
        task_waiting_bytes_max: 64 << 10,
        ..small()
    };
    let hub = Hub::new(options.clone());
    let (mut durable, mut live) = (
        hub.durable().unwrap(),
        hub.subscribe(Subscription::default()).unwrap(),
    );
    let new_writer = |task: usize, next| hub.writer(&task.to_string(), next).unwrap();
    let mut writers: Vec<Option<Writer>> = (0..3).map(|task| Some(new_writer(task, 0))).collect();
    let mut told: Vec<Told> = (0..3).map(|_| Told::default()).collect();
    for action in actions {
        match action {
            Action::Write {
                task,
                is_stdout,
                chunk,
            } => {
                let writer = writers[task].as_mut().unwrap();
                let taken = writer.write(stream(is_stdout), 0, &chunk);
                told[task].written[usize::from(is_stdout)].extend_from_slice(&chunk[..taken]);
            }
            Action::Flush { task, is_stdout } => {
                writers[task].as_mut().unwrap().flush(stream(is_stdout));
            }
            Action::End { task } => {
                let mut writer = writers[task].take().unwrap();
                writer.end(Stream::Stdout);
                writer.end(Stream::Stderr);
                let next = writer.next_sequence();
                drop(writer);
                // Once more, as a task that is started again, when the store has what was before.
                while let Some(batch) = durable.next_now() {
                    store(batch, &mut told);
                }
                writers[task] = Some(new_writer(task, next));
            }
            Action::Store { is_stored } => match durable.next_now() {
                Some(batch) if is_stored => store(batch, &mut told),
                batch => drop(batch),
            },
            Action::Look => {
                if let Some(news) = live.next_now() {
                    look(news, &mut told);
                }
            }
        }
        let usage = hub.usage();
        assert!(
            usage.waiting_bytes <= options.waiting_bytes_max
                && usage.recent_bytes <= options.recent_bytes_max
        );
        assert!(usage.readers_bytes <= options.reader_bytes_max);
    }
    writers.clear();
    while let Some(batch) = durable.next_now() {
        store(batch, &mut told);
    }
    while let Some(news) = live.next_now() {
        look(news, &mut told);
    }
    for told in told {
        assert_eq!(told.stored, told.written);
        assert_eq!(told.stored_next, told.seen_next);
    }
    assert_eq!(hub.usage().waiting_bytes, 0);
}

proptest! {
    #[test]
    fn the_store_gets_everything_and_a_reader_knows_of_everything(
        actions in proptest::collection::vec(action(), 0..60),
    ) {
        run(actions);
    }
}
