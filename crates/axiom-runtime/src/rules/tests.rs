//! What a person would expect of rules, one by one; and in `model`, whatever a task does.

use super::*;
use crate::pattern::Pattern;

mod model;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn budget(actions_max: u32, window: u64, cool_down: u64, total_max: u32) -> Budget {
    Budget {
        actions_max,
        window: secs(window),
        cool_down: secs(cool_down),
        total_max,
    }
}

fn rule(trigger: Trigger, action: Action, budget: Budget) -> Rule {
    Rule {
        name: "r".to_owned(),
        scope: Scope::default(),
        trigger,
        action,
        budget,
    }
}

fn says(pattern: &str) -> Trigger {
    Trigger::Pattern {
        pattern: Pattern::new(pattern).unwrap(),
        streams: Streams::Both,
    }
}

fn types(text: &str) -> Action {
    Action::Type {
        text: text.to_owned(),
        enter: true,
    }
}

fn watch(rule: Rule) -> Watch {
    let rules = Rules::new(vec![rule]).unwrap();
    let whom = Whom {
        agent: None,
        task: "t",
    };
    rules.watch(Duration::ZERO, whom)
}

/// What is done, in a word each.
fn words(acts: &[Act]) -> Vec<String> {
    let word = |act: &Act| match &act.what {
        What::Type { text, .. } => format!("type {text}"),
        What::Kill { why } => format!("kill: {why}"),
        What::UsedUp(used_up) => format!("used up: {used_up}"),
        What::Freeze { note } => format!("freeze: {note}"),
        other => format!("{other:?}"),
    };
    acts.iter().map(word).collect()
}

fn line(watch: &mut Watch, at: u64, text: &str) -> Vec<String> {
    words(&watch.line(secs(at), Stream::Stdout, text))
}

#[test]
fn a_budget_ends_it_and_that_is_told_once() {
    let mut watch = watch(rule(says("error"), types("again"), budget(2, 100, 5, 3)));
    assert_eq!(line(&mut watch, 1, "an error"), ["type again"]);
    assert!(line(&mut watch, 2, "an error").is_empty(), "it cools down");
    assert_eq!(line(&mut watch, 6, "an error"), ["type again"]);
    let told = "used up: it has acted 2 times within 100s";
    assert_eq!(line(&mut watch, 20, "an error"), [told]);
    assert!(line(&mut watch, 100, "an error").is_empty(), "it was told");
    assert_eq!(line(&mut watch, 101, "an error"), ["type again"]);
    let told = "used up: it has acted 3 times, and may not more often";
    assert_eq!(line(&mut watch, 1000, "an error"), [told]);
    assert!(line(&mut watch, 2000, "an error").is_empty());
}

#[test]
fn silence_kills_and_its_reason_names_the_rule() {
    let silence = Trigger::Silence { time: secs(30) };
    let mut watch = watch(rule(silence, Action::Kill, Budget::default()));
    assert_eq!(watch.wake_at(), Some(secs(30)));
    assert!(line(&mut watch, 20, "still here").is_empty());
    assert!(watch.tick(secs(30)).is_empty());
    assert_eq!(watch.wake_at(), Some(secs(50)));
    let killed = watch.tick(secs(50));
    assert_eq!(words(&killed), ["kill: rule r: it said nothing for 30s"]);
    // It is over.
    assert_eq!(watch.wake_at(), None);
    assert!(watch.tick(secs(1000)).is_empty());
}

#[test]
fn a_silence_that_may_not_be_acted_on_yet_is_not_forgotten() {
    let silence = Trigger::Silence { time: secs(10) };
    let mut watch = watch(rule(silence, types("hello?"), budget(1, 60, 0, 2)));
    assert_eq!(words(&watch.tick(secs(10))), ["type hello?"]);
    let used_up = ["used up: it has acted 1 times within 60s"];
    assert_eq!(words(&watch.tick(secs(20))), used_up);
    assert_eq!(watch.wake_at(), Some(secs(70)));
    assert_eq!(words(&watch.tick(secs(70))), ["type hello?"]);
    assert_eq!(
        watch.tick(secs(80)).len(),
        1,
        "it is told that this was the last time"
    );
    assert_eq!(watch.wake_at(), None);
}

#[test]
fn a_prompt_is_looked_at_once() {
    let mut watch = watch(rule(says(r"\(y/n\)"), types("y"), budget(9, 100, 0, 9)));
    let begun = |watch: &mut Watch, text: &str| words(&watch.unfinished(secs(1), Stream::Stdout, text));
    assert!(begun(&mut watch, "Run it?").is_empty());
    assert_eq!(begun(&mut watch, "Run it? (y/n) "), ["type y"]);
    assert!(begun(&mut watch, "Run it? (y/n) ").is_empty());
    assert!(begun(&mut watch, "Run it? (y/n) y").is_empty());
    assert!(line(&mut watch, 1, "Run it? (y/n) y").is_empty());
    assert_eq!(begun(&mut watch, "Run it? (y/n) "), ["type y"], "it asks again");
}

#[test]
fn the_same_error_in_other_words_for_numbers_and_paths() {
    let repeated = Trigger::Repeated {
        pattern: Pattern::new("error").unwrap(),
        streams: Streams::Stderr,
        times: 3,
        within: secs(60),
    };
    let note = Action::Checkpoint {
        note: "stuck".to_owned(),
    };
    let mut watch = watch(rule(repeated, note, Budget::default()));
    let mut err = |at: u64, text: &str| words(&watch.line(secs(at), Stream::Stderr, text));
    assert!(err(1, "error 12 in /a/b").is_empty());
    assert!(err(2, "error: another").is_empty());
    assert!(err(3, "error 13 in /c").is_empty());
    assert!(err(4, "all is well").is_empty());
    assert_eq!(err(5, "error 0x1f in /d/e/f:12"), ["freeze: stuck"]);
    // These were counted; and three within 90 s are not three within 60 s.
    assert!(err(30, "error 1 in /x").is_empty());
    assert!(err(60, "error 2 in /x").is_empty());
    assert!(err(120, "error 3 in /x").is_empty());
    let stdout = watch.line(secs(121), Stream::Stdout, "error 4 in /x");
    assert!(stdout.is_empty());
}

#[test]
fn files_are_looked_for_before_anything_is_done() {
    let unchanged = Trigger::Unchanged { time: secs(60) };
    let mut watch = watch(rule(unchanged, Action::Interrupt, Budget::default()));
    watch.files_changed(secs(10));
    assert_eq!(watch.wake_at(), Some(secs(70)));
    assert_eq!(watch.tick(secs(70))[0].what, What::Look);
    assert!(watch.tick(secs(70)).is_empty(), "it was asked for");
    assert_eq!(watch.wake_at(), Some(secs(130)), "nobody may answer");
    assert!(watch.files(secs(71), secs(30)).is_empty());
    assert_eq!(watch.wake_at(), Some(secs(90)));
    assert_eq!(watch.tick(secs(90))[0].what, What::Look);
    assert_eq!(watch.files(secs(91), secs(30))[0].what, What::Interrupt);
    assert_eq!(watch.wake_at(), Some(secs(151)), "it counts anew");
}

#[test]
fn who_says_too_much_is_told_about() {
    let rate = Trigger::Rate {
        per_second: Amount::Lines(2),
        over: secs(16),
    };
    let notify = Action::Notify {
        message: "loud".to_owned(),
    };
    let mut watch = watch(rule(rate, notify, budget(9, 1, 0, 9)));
    let said: Vec<usize> = (0..66).map(|_| line(&mut watch, 3, "x").len()).collect();
    assert_eq!(said.iter().sum::<usize>(), 2, "every 33rd line");
    assert_eq!((said[32], said[65]), (1, 1));
    assert!((0..60).all(|at| line(&mut watch, 100 + at, "x").is_empty()));
}

#[test]
fn rules_are_for_those_that_they_are_for() {
    let scope = |agent: Option<&str>, task: Option<&str>| Scope {
        agent: agent.map(str::to_owned),
        task: task.map(str::to_owned),
    };
    let is_for =
        |scope: Scope, agent: Option<&'static str>, task: &'static str| scope.is_for(Whom { agent, task });
    assert!(is_for(scope(None, None), None, "t"));
    assert!(is_for(scope(Some("cl*e"), None), Some("claude"), "t"));
    assert!(!is_for(scope(Some("*"), None), None, "t"));
    assert!(is_for(scope(None, Some("*-e*-*")), Some("claude"), "test-e2e-1"));
    assert!(!is_for(
        scope(Some("claude"), Some("build")),
        Some("claude"),
        "test"
    ));
}

#[test]
fn most_errors_are_known_for_some() {
    for line in [
        "error[E0308]: x",
        "FATAL: no",
        "thread 'a' panicked at b",
        "ls: cannot open c",
    ] {
        assert!(Rule::errors().is_in(line), "{line}");
    }
    assert!(!Rule::errors().is_in("0 failures, terror"));
}

#[test]
fn what_is_no_rule_names_its_field() {
    let check = |field: &str, change: fn(&mut Rule)| {
        let mut rule = rule(says("x"), Action::Kill, Budget::default());
        change(&mut rule);
        assert_eq!(Rules::new(vec![rule]).unwrap_err().field, field);
    };
    check("name", |rule| rule.name = "a b".to_owned());
    check("silence", |rule| {
        rule.trigger = Trigger::Silence { time: Duration::ZERO }
    });
    check("unchanged", |rule| {
        rule.trigger = Trigger::Unchanged { time: Duration::MAX }
    });
    check("window", |rule| rule.budget.window = Duration::ZERO);
    check("actions", |rule| rule.budget.actions_max = 0);
    check("total", |rule| rule.budget.total_max = 0);
    check("type", |rule| {
        rule.action = Action::Type {
            text: String::new(),
            enter: false,
        }
    });
    check("redirect", |rule| {
        rule.action = Action::Redirect {
            prompt: "x".repeat(20_000),
        }
    });
    let same = || rule(says("x"), Action::Kill, Budget::default());
    let error = Rules::new(vec![same(), same()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rule \"r\": name is the name of another rule, too"
    );
}
