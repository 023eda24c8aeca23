//! One task that is driven: what it does goes in with the time, what is to be done comes out.

use std::sync::Arc;

use super::*;
use crate::agent::{Profile, PromptBy};
use crate::pattern::Pattern;
use crate::rules::{Action, Budget, Rule, Rules, Scope, Streams, Trigger, Whom};

fn drive(trigger: Trigger, action: Action) -> Drive {
    let rule = Rule {
        name: "r".to_owned(),
        scope: Scope::default(),
        trigger,
        action,
        budget: Budget::default(),
    };
    let rules = Rules::new(vec![rule]).unwrap();
    let whom = Whom {
        agent: None,
        task: "a",
    };
    Drive::new(rules.watch(Duration::ZERO, whom), None)
}

#[test]
fn a_rule_steers_a_task_that_is_no_agent() {
    let pattern = Trigger::Pattern {
        pattern: Pattern::new("stuck").unwrap(),
        streams: Streams::Both,
    };
    let prompt = "start anew".to_owned();
    let mut drive = drive(pattern, Action::Redirect { prompt });
    let now = Duration::from_secs(1);
    assert!(drive.output(now, Source::Stdout, b"well\nstu").is_empty());
    let todo = drive.output(now, Source::Stdout, b"ck here\n");
    assert!(
        matches!(&todo[0], Do::Tell(Word::Rule { rule, .. }) if rule == "r"),
        "{todo:?}"
    );
    assert_eq!(todo[1..], [Do::Signal(2), Do::Type(b"start anew\n".to_vec())]);
    assert_eq!(drive.answer(now, true), None);
    assert_eq!((drive.state(), drive.question()), (None, None));
}

fn silence() -> Trigger {
    Trigger::Silence { time: secs(5) }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets time pass until then, and gives what was to be done first, and when.
fn pass(drive: &mut Drive, until: Duration) -> Option<(Duration, Vec<Do>)> {
    while let Some(now) = drive.wake_at().filter(|at| *at <= until) {
        // A moment later rather than a moment before, as who drives it does.
        let now = now + Duration::from_millis(1);
        let todo = drive.tick(now);
        if !todo.is_empty() {
            return Some((now, todo));
        }
    }
    None
}

fn kills(todo: &[Do]) -> bool {
    matches!(todo.last(), Some(Do::Kill { why }) if why.starts_with("rule r: "))
}

#[test]
fn silence_ends_it_when_nothing_comes() {
    let mut drive = drive(silence(), Action::Kill);
    drive.output(secs(1), Source::Stdout, b"a\n");
    let (now, todo) = pass(&mut drive, secs(60)).expect("silence comes at some time");
    assert!(now >= secs(6) && now < secs(8), "{now:?}");
    assert!(kills(&todo), "{todo:?}");
}

/// Test runners show a dot for each test and end the line when it is full; a rule about silence kills none that is at work.
#[test]
fn who_goes_on_with_a_line_is_not_silent() {
    for pause_ms in [100, 1000] {
        let mut drive = drive(silence(), Action::Kill);
        let mut now = Duration::ZERO;
        drive.output(now, Source::Stdout, b"tests ");
        while now < secs(30) {
            now += Duration::from_millis(pause_ms);
            assert_eq!(pass(&mut drive, now), None, "{pause_ms} ms");
            drive.output(now, Source::Stdout, b".");
        }
        let (acted, todo) = pass(&mut drive, secs(60)).expect("it is silent now");
        assert!(acted >= now + secs(5) && acted < now + secs(7), "{acted:?}");
        assert!(kills(&todo), "{todo:?}");
    }
}

#[test]
fn a_mark_that_turns_is_silent_however_slowly() {
    for written in ["\r| working", "\r\x1b[K\\ working", "\x08*"] {
        for is_agent in [false, true] {
            let mut drive = drive(silence(), Action::Kill);
            drive.conversation = is_agent.then(conversation);
            let source = if is_agent {
                Source::Terminal
            } else {
                Source::Stdout
            };
            drive.output(Duration::ZERO, source, b"one\r\n  working");
            let acted = (1..60).find_map(|second| {
                let acted = pass(&mut drive, secs(second));
                // The mark is another one each time.
                let mark = ["|", "/", "-", "+"][usize::try_from(second % 4).unwrap()];
                let written = written.replace(['|', '\\', '*'], mark);
                drive.output(secs(second), source, written.as_bytes());
                acted
            });
            let (now, todo) = acted.expect("it says nothing");
            assert!(now <= secs(10), "{now:?} {written:?}");
            assert!(kills(&todo), "{todo:?}");
        }
    }
}

/// Of any task: a question has no line end, and waits for an answer.
#[test]
fn a_question_is_seen_where_it_stands() {
    for source in [Source::Stdout, Source::Stderr, Source::Terminal] {
        let trigger = Trigger::Pattern {
            pattern: Pattern::new("^Go on\\? \\[y/n\\]").unwrap(),
            streams: Streams::Both,
        };
        let text = "y".to_owned();
        let mut drive = drive(trigger, Action::Type { text, enter: true });
        assert_eq!(drive.output(secs(1), source, b"well\nGo on? [y/n] "), []);
        let (now, todo) = pass(&mut drive, secs(60)).expect("it asks");
        assert!(now >= secs(1) + SETTLE && now < secs(2), "{now:?}");
        assert_eq!(todo[1..], [Do::Type(b"y\n".to_vec())]);
        // It is the same question when the line ends at last.
        assert_eq!(drive.output(secs(30), source, b"y\nDone.\n"), []);
        assert_eq!(pass(&mut drive, secs(60)), None);
    }
}

/// Somebody froze it, and lets it go on an hour later. It was silent for as long as it could be anything else.
#[test]
fn the_time_of_one_that_stands_still_stands_still() {
    let mut drive = drive(silence(), Action::Kill);
    drive.output(secs(1), Source::Stdout, b"a\n");
    assert_eq!(pass(&mut drive, secs(3)), None);
    drive.set_frozen(secs(3), true);
    assert_eq!(drive.wake_at(), None);
    assert_eq!(drive.tick(secs(100)), []);
    drive.set_frozen(secs(3603), false);
    let (now, todo) = pass(&mut drive, secs(9999)).expect("it is silent");
    assert!(now >= secs(3606) && now < secs(3608), "{now:?}");
    assert!(kills(&todo), "{todo:?}");
    // The same of what its profile grants an agent.
    let mut drive = self::drive(
        silence(),
        Action::Notify {
            message: "m".to_owned(),
        },
    );
    drive.conversation = Some(conversation());
    assert_eq!(pass(&mut drive, secs(2)), None);
    for (frozen, thawed) in [(2, 1002), (1003, 2003)] {
        drive.set_frozen(secs(frozen), true);
        // Twice is not longer.
        drive.set_frozen(secs(frozen + 7), true);
        drive.set_frozen(secs(thawed), false);
        drive.set_frozen(secs(thawed), false);
    }
    assert_eq!(pass(&mut drive, secs(2004)), None, "4 s of these were its own");
    let given_up = loop {
        let (now, todo) = pass(&mut drive, secs(9999)).expect("it is given up at last");
        if todo
            .iter()
            .any(|what| matches!(what, Do::Kill { why } if why.contains("not ready within 60s")))
        {
            break now;
        }
    };
    assert!(given_up >= secs(2059) && given_up < secs(2061), "{given_up:?}");
}

/// With a program that takes its prompt when it shows `> `.
fn conversation() -> Conversation {
    let profile = Profile {
        prompt: PromptBy::Typed { is_bracketed: false },
        ready: Some(Pattern::new("^> ").unwrap()),
        ..Profile::default()
    };
    Conversation::new(Duration::ZERO, Arc::new(profile), 80, 24, "go")
}
