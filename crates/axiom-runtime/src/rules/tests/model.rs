//! Whatever a task says and when: rules do what a model does that remembers everything, and never more than their budgets allow.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::likeness::likeness;
use super::super::trigger::SLICES;
use super::*;

/// What happens to a watch.
#[derive(Debug, Clone)]
enum Step {
    Line(Stream, String),
    Tick,
    Files { seconds_ago: u64 },
}

/// A watch that remembers everything and works each thing out anew.
struct Model {
    rule: Rule,
    acts: Vec<Duration>,
    /// Lines that it may count, with their times; cleared where it counts anew.
    counted: Vec<(Duration, String)>,
    quiet_since: Duration,
}

impl Model {
    fn new(rule: &Rule) -> Model {
        Model {
            rule: rule.clone(),
            acts: Vec::new(),
            counted: Vec::new(),
            quiet_since: Duration::ZERO,
        }
    }

    fn may_act(&self, now: Duration) -> bool {
        let budget = self.rule.budget;
        let recent = self.acts.iter().filter(|at| now < **at + budget.window).count();
        let is_cool = self.acts.iter().all(|at| now >= *at + budget.cool_down);
        recent < budget.actions_max as usize && self.acts.len() < budget.total_max as usize && is_cool
    }

    /// Whether it acts. What rules type is not in these lines.
    fn step(&mut self, now: Duration, step: &Step) -> bool {
        let has_reason = match (&self.rule.trigger.clone(), step) {
            (Trigger::Pattern { pattern, streams }, Step::Line(stream, text)) => {
                streams.has(*stream) && pattern.is_in(text)
            }
            (
                Trigger::Repeated {
                    pattern,
                    streams,
                    times,
                    within,
                },
                Step::Line(stream, text),
            ) => {
                let fits = streams.has(*stream) && pattern.is_in(text);
                let like = likeness(text);
                if fits {
                    self.counted.push((now, like.clone()));
                }
                let same = self.counted.iter().filter(|(_, other)| *other == like);
                let recent: Vec<Duration> = same.map(|(at, _)| *at).collect();
                let first = recent.len().checked_sub(*times as usize);
                fits && first.is_some_and(|first| now - recent[first] <= *within)
            }
            (Trigger::Rate { per_second, over }, Step::Line(_, text)) => {
                self.counted.push((now, text.clone()));
                let slice = |at: Duration| at.as_nanos() * u128::from(SLICES) / over.as_nanos();
                let recent = |at: &Duration| slice(*at) + u128::from(SLICES) > slice(now);
                let counted = self.counted.iter().filter(|(at, _)| recent(at));
                let (sum, most) = match per_second {
                    Amount::Lines(most) => (counted.count() as u64, most),
                    Amount::Bytes(most) => (counted.map(|(_, text)| text.len() as u64 + 1).sum(), most),
                };
                sum * 1000 > most * u64::try_from(over.as_millis()).unwrap()
            }
            (Trigger::Silence { .. }, Step::Line(..)) => {
                self.quiet_since = now;
                false
            }
            (Trigger::Silence { time }, Step::Tick) => now >= self.quiet_since + *time,
            (Trigger::Unchanged { time }, Step::Files { seconds_ago }) => {
                let changed = now.saturating_sub(secs(*seconds_ago));
                self.quiet_since = self.quiet_since.max(changed);
                now >= self.quiet_since + *time
            }
            _ => false,
        };
        let acts = has_reason && self.may_act(now);
        if acts {
            self.acts.push(now);
            self.quiet_since = now;
            match (&self.rule.trigger, step) {
                (Trigger::Repeated { .. }, Step::Line(_, text)) => {
                    let like = likeness(text);
                    self.counted.retain(|(_, other)| *other != like);
                }
                _ => self.counted.clear(),
            }
        }
        acts
    }
}

fn streams() -> impl Strategy<Value = Streams> {
    prop_oneof![Just(Streams::Both), Just(Streams::Stdout), Just(Streams::Stderr)]
}

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)]
}

fn triggers() -> impl Strategy<Value = Trigger> {
    let pattern = || Pattern::new("er+or|^ok").unwrap();
    let time = || (1_u64..40).prop_map(secs);
    let amount = prop_oneof![
        (1_u64..4).prop_map(Amount::Lines),
        (1_u64..20).prop_map(Amount::Bytes)
    ];
    prop_oneof![
        streams().prop_map(move |streams| Trigger::Pattern {
            pattern: pattern(),
            streams,
        }),
        time().prop_map(|time| Trigger::Silence { time }),
        (streams(), 1_u32..5, time()).prop_map(move |(streams, times, within)| Trigger::Repeated {
            pattern: pattern(),
            streams,
            times,
            within,
        }),
        time().prop_map(|time| Trigger::Unchanged { time }),
        (amount, time()).prop_map(|(per_second, over)| Trigger::Rate { per_second, over }),
    ]
}

fn budgets() -> impl Strategy<Value = Budget> {
    (1_u32..5, 1_u64..60, 0_u64..20, 1_u32..12)
        .prop_map(|(actions, window, cool_down, total)| budget(actions, window, cool_down, total))
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let text = "(error|eror|ok|fine) [0-9]{0,2}( /[ab])?";
    let step = prop_oneof![
        6 => (stream(), text).prop_map(|(stream, text)| Step::Line(stream, text)),
        3 => Just(Step::Tick),
        1 => (0_u64..50).prop_map(|seconds_ago| Step::Files { seconds_ago }),
    ];
    vec((prop_oneof![Just(0_u64), 0_u64..4, 0_u64..60], step), 0..80)
}

fn play(watch: &mut Watch, now: Duration, step: &Step) -> Vec<Act> {
    match step {
        Step::Line(stream, text) => watch.line(now, *stream, text),
        Step::Tick => watch.tick(now),
        Step::Files { seconds_ago } => watch.files(now, now.saturating_sub(secs(*seconds_ago))),
    }
}

fn is_action(act: &Act) -> bool {
    !matches!(act.what, What::Look | What::UsedUp(_))
}

/// Never more than the budget, in any window of the whole life.
fn check_budget(budget: Budget, acts: &[Duration]) -> Result<(), TestCaseError> {
    prop_assert!(acts.len() <= budget.total_max as usize);
    for (nth, first) in acts.iter().enumerate() {
        let within = acts[nth..]
            .iter()
            .filter(|at| **at < *first + budget.window)
            .count();
        prop_assert!(within <= budget.actions_max as usize);
        if let Some(next) = acts.get(nth + 1) {
            prop_assert!(*next >= *first + budget.cool_down);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(trigger in triggers(), budget in budgets(), steps in steps()) {
        let rule = rule(trigger, Action::Interrupt, budget);
        let (mut watch, mut model) = (watch(rule.clone()), Model::new(&rule));
        let mut now = Duration::ZERO;
        for (pause, step) in steps {
            now += secs(pause);
            let acts = play(&mut watch, now, &step);
            let acted = acts.iter().filter(|act| is_action(act)).count();
            prop_assert_eq!(acted, usize::from(model.step(now, &step)), "{:?} at {:?}", step, now);
        }
        check_budget(budget, &model.acts)?;
    }

    /// Several rules, whose own words come back in any form, at any time, each as often as the task likes; and clocks that
    /// go backwards. They act no more than they may, and tell that no more often than they acted.
    #[test]
    fn no_task_gets_more_out_of_rules_than_their_budgets(
        rules in vec((triggers(), budgets(), "[a-z]{1,3}|error (again|once more)?"), 1..4),
        steps in steps(),
        jumps in vec(-30_i64..30, 80),
    ) {
        let named = rules.into_iter().enumerate().map(|(nth, (trigger, budget, text))| Rule {
            name: format!("r{nth}"),
            ..rule(trigger, types(&text), budget)
        });
        let rules: Vec<Rule> = named.collect();
        let whom = Whom { agent: None, task: "t" };
        let mut watch = Rules::new(rules.clone()).unwrap().watch(Duration::ZERO, whom);
        let mut acts: Vec<Vec<Duration>> = vec![Vec::new(); rules.len()];
        let mut told = vec![0; rules.len()];
        let (mut now, mut newest) = (0_u64, Duration::ZERO);
        for ((pause, step), jump) in steps.into_iter().zip(jumps) {
            now = (now + pause).saturating_add_signed(jump);
            newest = newest.max(secs(now));
            let mut all = play(&mut watch, secs(now), &step);
            // A terminal shows what was typed, and a loop that a task builds of it goes nowhere.
            for _ in 0..3 {
                let typed: Vec<String> = all.iter().filter_map(|act| match &act.what {
                    What::Type { text, .. } => Some(format!("> {text}")),
                    _ => None,
                }).collect();
                for (act, nth) in all.iter().map(|act| (act, usize::from(act.rule.as_bytes()[1] - b'0'))) {
                    if is_action(act) {
                        acts[nth].push(newest);
                    }
                    told[nth] += usize::from(matches!(act.what, What::UsedUp(_)));
                }
                all = typed.iter().flat_map(|line| watch.line(secs(now), Stream::Stdout, line)).collect();
            }
        }
        for (nth, rule) in rules.iter().enumerate() {
            check_budget(rule.budget, &acts[nth])?;
            prop_assert!(told[nth] <= acts[nth].len() + 1);
        }
    }

    /// Its own words, wherever they stand and however a terminal has broken them, are no reason for a rule.
    #[test]
    fn a_rules_own_words_are_no_reason(text in "[a-z]{4,9}( [a-z]{2,6}){2,6}", from in 0_usize..60, mark in "(> |\\| > |❯ )?") {
        let all = rule(says("[a-z]"), types(&text), budget(99, 1, 0, 999));
        let mut watch = watch(all);
        prop_assert_eq!(line(&mut watch, 1, "x").len(), 1);
        let echo = |text: &str, end: &str| [&*mark, text, end].concat();
        prop_assert!(line(&mut watch, 5, &echo(&text, "")).is_empty());
        prop_assert!(line(&mut watch, 6, &echo(&text, "   |")).is_empty());
        let (first, second) = text.split_at(from.min(text.len()));
        for piece in [first, second] {
            if piece.trim().len() >= 8 {
                prop_assert!(line(&mut watch, 9, &echo(piece, "")).is_empty());
            }
        }
        prop_assert_eq!(line(&mut watch, 20, "x").len(), 1);
    }

    /// Who comes back at `wake_at` never comes back at once, and misses no silence.
    #[test]
    fn it_wakes_when_something_is_due(trigger in triggers(), budget in budgets(), lines in vec(0_u64..50, 0..20)) {
        let mut watch = watch(rule(trigger, Action::Interrupt, budget));
        let mut now = Duration::ZERO;
        for pause in lines {
            let next = now + secs(pause);
            let mut turns = 0;
            while let Some(wake) = watch.wake_at().filter(|wake| *wake <= next) {
                now = now.max(wake);
                watch.tick(now);
                prop_assert!(watch.wake_at().is_none_or(|wake| wake > now));
                turns += 1;
                prop_assert!(turns <= 60);
            }
            now = next;
            watch.line(now, Stream::Stdout, "fine");
        }
    }
}

/// All rules together are bounded, too, though each is within its own budget; and a kill is still possible.
#[test]
fn all_rules_together_are_bounded() {
    let wide = Budget {
        actions_max: 100,
        window: secs(600),
        cool_down: Duration::ZERO,
        total_max: 10_000,
    };
    let mut rules: Vec<Rule> = (0..5)
        .map(|nth| Rule {
            name: format!("r{nth}"),
            ..rule(says("x"), Action::Interrupt, wide)
        })
        .collect();
    rules.push(Rule {
        name: "last".to_owned(),
        ..rule(says("enough"), Action::Kill, Budget::default())
    });
    let whom = Whom {
        agent: None,
        task: "t",
    };
    let mut watch = Rules::new(rules).unwrap().watch(Duration::ZERO, whom);
    let acts: Vec<Act> = (0..100)
        .flat_map(|_| watch.line(secs(1), Stream::Stdout, "x"))
        .collect();
    let actions = acts.iter().filter(|act| is_action(act)).count();
    assert_eq!(actions, TASK_BUDGET.actions_max as usize);
    let told: Vec<String> = words(&acts)
        .into_iter()
        .filter(|word| word.starts_with("used up"))
        .collect();
    assert_eq!(
        told,
        ["used up: all rules together have acted 60 times within 600s"]
    );
    assert_eq!(
        line(&mut watch, 2, "enough"),
        ["kill: rule last: it said \"enough\""]
    );
}

/// However much it says, little is kept of it.
#[test]
fn memory_is_bounded() {
    let repeated = Trigger::Repeated {
        pattern: Pattern::new(".").unwrap(),
        streams: Streams::Both,
        times: 100,
        within: secs(1000),
    };
    let mut watch = watch(rule(repeated, Action::Interrupt, Budget::default()));
    for nth in 0..10_000_u32 {
        let word: String = format!("{nth}")
            .chars()
            .map(|c| char::from(c as u8 + 49))
            .collect();
        watch.line(
            secs(1),
            Stream::Stdout,
            &format!("{word} {}", "long ".repeat(2000)),
        );
    }
    let shown = format!("{watch:?}");
    assert!(shown.len() < 32 << 10, "{} B", shown.len());
}
