use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::timers::Timers;
use super::*;

#[test]
fn an_instance_is_read_as_it_was_saved() {
    let command = Command::json("hotel", "cancel", "{}");
    let core = Core {
        status: SagaStatus::Compensating,
        next_number: 300,
        reason: Some("no car".to_owned()),
        undoing: Some(command.clone()),
        undo: vec![command.clone(), Command::json("flight", "cancel", "")],
        timers: BTreeMap::from([("car".to_owned(), 7)]),
    };
    let saved = core.save();
    let mut bytes = &saved[..];
    assert_eq!(Core::load(&mut bytes), Some(core));
    assert!(bytes.is_empty());
    for end in 0..saved.len() {
        assert_eq!(Core::load(&mut &saved[..end]), None, "{end}");
    }
}

/// Does what it is told: `done` with the name of a step, `fail`, `undone`, `complete`.
#[derive(Debug)]
struct Told(&'static str);

impl Saga for Told {
    type State = ();

    fn name(&self) -> &str {
        self.0
    }

    fn version(&self) -> u32 {
        1
    }

    fn filter(&self) -> Filter {
        Filter::default()
    }

    fn instance<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(recorded.event.task))
    }

    fn handle(&self, _state: &mut (), recorded: &Recorded<'_>, steps: &mut Steps<'_>) {
        match recorded.event.kind {
            "done" => steps.undo_with(Command::json("undo", "undo", recorded.event.body)),
            "fail" => steps.fail("it was told to"),
            "undone" => steps.undone(),
            "again" => steps.undo_again(),
            _ => steps.complete(),
        }
    }

    fn timeout(&self, _state: &mut (), _name: &str, _steps: &mut Steps<'_>) {}

    fn save(&self, _state: &()) -> Vec<u8> {
        Vec::new()
    }

    fn load(&self, _bytes: &[u8]) -> Option<()> {
        Some(())
    }
}

/// What an instance should come to: the steps that are not undone, the one that is being undone, and what was sent.
#[derive(Debug, Default)]
struct Model {
    status: SagaStatus,
    done: Vec<u8>,
    undoing: Option<u8>,
    sent: Vec<u8>,
}

impl Model {
    fn undo(&mut self) {
        self.undoing = self.done.pop();
        self.sent.extend(self.undoing);
        self.status = match self.undoing {
            Some(_) => SagaStatus::Compensating,
            None => SagaStatus::Compensated,
        };
    }

    fn hear(&mut self, kind: &str, step: u8) {
        match (kind, self.status) {
            ("done", status) => {
                self.done.push(step);
                if status == SagaStatus::Compensated {
                    self.undo();
                }
            }
            ("fail", SagaStatus::Running) => self.undo(),
            ("undone", SagaStatus::Compensating) => self.undo(),
            ("again", _) => self.sent.extend(self.undoing),
            ("complete", SagaStatus::Running) => {
                self.status = SagaStatus::Completed;
                self.done.clear();
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn what_was_done_is_undone_last_things_first(
        kinds in proptest::collection::vec(0..8usize, 0..40),
    ) {
        const KINDS: [&str; 8] = ["done", "done", "done", "fail", "undone", "undone", "again", "complete"];
        let told = Machinery::of(Told("told"));
        let mut instance = Instance::default();
        let (mut model, mut emit) = (Model::default(), Emit::default());
        for (step, kind) in (0u8..).zip(kinds) {
            let event = Event {
                stream: "s",
                task: "i",
                kind: KINDS[kind],
                body: &[step],
                ..Event::default()
            };
            let recorded = Recorded { offset: u64::from(step), version: 0, event };
            told.apply(&mut instance, &recorded, &mut emit);
            // It is the same whether it was kept in memory or not.
            instance = told.load(&told.save(&instance)).expect("it was saved");
            model.hear(KINDS[kind], step);
            prop_assert_eq!(instance.core.status, model.status);
        }
        let commands: Vec<Event<'_>> = emit.batch().events().filter(|event| event.kind == "undo").collect();
        let sent: Vec<u8> = commands.iter().map(|event| event.body[0]).collect();
        prop_assert_eq!(&sent, &model.sent);
        let mut ids: Vec<_> = commands.iter().map(|event| event.id).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), sent.len(), "every command has an id of its own");
    }
}

#[test]
fn no_two_sagas_have_a_stream_in_common() {
    let mut names = BTreeSet::new();
    for saga in ["a", "a-timers", "timers-a"] {
        names.insert(Machinery::of(Told(saga)).name().to_owned());
        names.insert(Timers::of(saga).name().to_owned());
    }
    assert_eq!(names.len(), 6, "{names:?}");
}
