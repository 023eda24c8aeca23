//! Conversations as a person would read them, one by one; and in `once`, whatever an agent prints.

use std::sync::Arc;

use super::*;
use crate::pattern::Pattern;

mod once;

/// An agent that is nothing but what a test lets it print, and what was done about it.
struct Scene {
    now: Duration,
    conversation: Conversation,
    done: Vec<String>,
}

fn pattern(text: &str) -> Option<Pattern> {
    Some(Pattern::new(text).unwrap())
}

fn approve(text: &str, answer: Answer) -> Approve {
    Approve {
        pattern: Pattern::new(text).unwrap(),
        answer,
        yes: "y\r".to_owned(),
        no: "n\r".to_owned(),
    }
}

fn typed() -> Profile {
    Profile {
        prompt: PromptBy::Typed { is_bracketed: false },
        ready: pattern("^> $"),
        approve: vec![approve(r"\(y/n\)", Answer::Type("y\r".to_owned()))],
        exit: Some("/exit".to_owned()),
        ..Profile::default()
    }
}

impl Scene {
    fn new(profile: Profile, prompt: &str) -> Scene {
        profile.check().unwrap();
        Scene {
            now: Duration::ZERO,
            conversation: Conversation::new(Duration::ZERO, Arc::new(profile), 40, 12, prompt),
            done: Vec::new(),
        }
    }

    fn did(&mut self, steps: Vec<Step>) {
        self.done.extend(steps.into_iter().map(|step| match step {
            Step::Type(text) => format!("type {text:?}"),
            Step::Signal(signal) => format!("signal {signal}"),
            Step::Answered { question, answer } => format!("{question} -> {answer:?}"),
            Step::Ask { id, question } => format!("ask {id}: {question}"),
            Step::Withdraw { id, why } => format!("withdraw {id}: {why}"),
            Step::Told(state) => format!("{state:?}"),
            Step::GiveUp { why } => format!("give up: {why}"),
        }));
    }

    fn print(&mut self, text: &str) {
        let steps = self.conversation.output(self.now, text.as_bytes());
        self.did(steps);
    }

    /// Comes back whenever it is wanted, for so long.
    fn wait(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(wake) = self.conversation.wake_at().filter(|wake| *wake <= until) {
            assert!(
                wake > self.now,
                "it wants to be woken at once: {:?}",
                self.conversation
            );
            self.now = wake;
            let steps = self.conversation.tick(wake);
            self.did(steps);
        }
        self.now = until;
    }

    /// What was done since the last look.
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.done), expected);
    }

    /// A prompt has been typed, and the agent has shown it.
    fn begin(&mut self, prompt: &str) {
        self.print("Agent 1.0\r\n\x1b[1m>\x1b[0m ");
        self.wait(300);
        self.print(&format!("{prompt}\r\n"));
        self.done.clear();
    }
}

#[test]
fn a_prompt_is_typed_when_it_is_ready_and_it_exits_when_it_is_idle() {
    let mut scene = Scene::new(typed(), "fix it");
    scene.print("Agent 1.0\r\n");
    scene.wait(1000);
    scene.print("> ");
    scene.check(&[]);
    scene.wait(200);
    scene.check(&["type \"fix it\"", "Ready"]);
    scene.print("fix it");
    scene.wait(100);
    scene.check(&["type \"\\r\"", "Working"]);
    scene.print("\r\nI am at it.\r\n");
    scene.wait(3000);
    scene.check(&[]);
    scene.print("> ");
    scene.wait(200);
    scene.check(&["Idle"]);
    scene.wait(5100);
    scene.check(&["type \"/exit\"", "Leaving", "type \"\\r\""]);
    let steps = scene.conversation.ended(scene.now);
    scene.did(steps);
    scene.check(&["Ended"]);
    assert_eq!(scene.conversation.wake_at(), None);
}

#[test]
fn a_question_is_answered_once_however_often_it_is_drawn() {
    let mut scene = Scene::new(typed(), "fix it");
    scene.begin("fix it");
    for frame in ["|", "/", "-"] {
        scene.print(&format!("\r\x1b[2K{frame} Run make? (y/n) "));
        scene.wait(50);
    }
    scene.check(&[]);
    scene.wait(200);
    scene.check(&["- Run make? (y/n) -> \"y\\r\"", "type \"y\\r\""]);
    for _ in 0..50 {
        scene.print("\r\x1b[2K* Run make? (y/n) ");
        scene.wait(300);
    }
    scene.check(&[]);
    // The same question once more is another one.
    scene.print("y\r\nmade\r\nRun make? (y/n) ");
    scene.wait(300);
    scene.check(&["Run make? (y/n) -> \"y\\r\"", "type \"y\\r\""]);
}

#[test]
fn a_question_in_a_box_that_is_drawn_anew() {
    let mut profile = typed();
    profile.approve = vec![approve(
        r"Allow (.*)\?(.|\n)*1\. Yes",
        Answer::Type("1".to_owned()),
    )];
    let mut scene = Scene::new(profile, "fix it");
    scene.begin("fix it");
    let draw =
        |tool: &str| format!("+------+\r\n| Allow {tool}?\r\n| 1. Yes\r\n| 2. No\r\n+------+\x1b[5A\r");
    scene.print(&draw("ls"));
    scene.wait(300);
    scene.check(&["| Allow ls?\n| 1. Yes -> \"1\"", "type \"1\""]);
    scene.print("\x1b[J");
    scene.print(&draw("ls"));
    scene.wait(300);
    scene.check(&[]);
    // In the same place, and another one.
    scene.print("\x1b[J");
    scene.print(&draw("rm"));
    scene.wait(300);
    scene.check(&["| Allow rm?\n| 1. Yes -> \"1\"", "type \"1\""]);
    scene.print("\x1b[J");
    scene.wait(1000);
    scene.print(&draw("rm"));
    scene.wait(300);
    scene.check(&["| Allow rm?\n| 1. Yes -> \"1\"", "type \"1\""]);
}

#[test]
fn a_person_is_asked_and_answers() {
    let mut profile = typed();
    profile.approve = vec![approve("delete", Answer::Deny), approve(r"\(y/n\)", Answer::Ask)];
    let mut scene = Scene::new(profile, "fix it");
    scene.begin("fix it");
    scene.print("Run make? (y/n) ");
    scene.wait(5000);
    scene.check(&["Asking", "ask 0: Run make? (y/n)"]);
    for id in [7, 0, 0] {
        let steps = scene.conversation.answer(scene.now, id, true);
        scene.did(steps);
    }
    scene.check(&["type \"y\\r\"", "Working"]);
    scene.print("y\r\nMay I delete it?");
    scene.wait(300);
    scene.check(&["May I delete it? -> \"n\\r\"", "type \"n\\r\""]);
    // Nobody answers.
    scene.print("n\r\nRun rm? (y/n) ");
    scene.wait(601_000);
    scene.check(&[
        "Asking",
        "ask 1: Run rm? (y/n)",
        "withdraw 1: nobody has answered within 600s",
        "type \"n\\r\"",
        "Working",
    ]);
    // It answers for itself.
    scene.print("n\r\nSend it? (y/n) ");
    scene.wait(300);
    scene.print("\r\x1b[2Ktimed out\r\n");
    scene.wait(1000);
    scene.check(&[
        "Asking",
        "ask 2: Send it? (y/n)",
        "withdraw 2: it is no longer asked",
        "Working",
    ]);
}

#[test]
fn another_prompt_interrupts_it_first() {
    let mut scene = Scene::new(typed(), "fix it");
    scene.begin("fix it");
    scene.print("* thinking");
    let steps = scene.conversation.redirect(scene.now, "stop,\nand look at b");
    scene.did(steps);
    scene.check(&["type \"\\u{1b}\"", "Interrupting"]);
    scene.wait(1000);
    scene.check(&[]);
    scene.print("\r\x1b[2Kinterrupted\r\n> ");
    scene.wait(300);
    scene.check(&["type \"stop, and look at b\"", "Ready", "type \"\\r\"", "Working"]);
    // And it never comes to rest.
    let steps = scene.conversation.redirect(scene.now, "again");
    scene.did(steps);
    scene.print("\r\n* thinking");
    scene.wait(31_000);
    scene.check(&[
        "type \"\\u{1b}\"",
        "Interrupting",
        "give up: the agent was not ready within 30s after it was interrupted",
        "Ended",
    ]);
    assert_eq!(scene.conversation.redirect(scene.now, "once more"), []);
    // Nothing says when this one is ready.
    let mut scene = Scene::new(Profile::default(), "");
    assert!(!scene.conversation.takes_prompts());
    assert_eq!(scene.conversation.redirect(scene.now, "once more"), []);
}

/// Somebody who interrupts it at the wrong moment means it as well.
#[test]
fn what_was_interrupted_does_not_begin_later() {
    // It starts, or takes another prompt: then there is nothing to do for it when it is ready.
    for is_begun in [false, true] {
        let mut scene = Scene::new(typed(), "fix it");
        if is_begun {
            scene.begin("fix it");
            let steps = scene.conversation.redirect(scene.now, "mend it");
            scene.did(steps);
            scene.check(&["type \"\\u{1b}\"", "Interrupting"]);
        }
        let steps = scene.conversation.interrupt(scene.now);
        scene.did(steps);
        scene.check(&["type \"\\u{1b}\""]);
        scene.print("\r\x1b[2K> ");
        scene.wait(300);
        scene.check(&["Idle"]);
        scene.wait(5100);
        scene.check(&["type \"/exit\"", "Leaving", "type \"\\r\""]);
    }
    // The prompt is typed, and its Enter would come behind the interruption.
    let mut scene = Scene::new(typed(), "fix it");
    scene.print("> ");
    scene.wait(200);
    scene.check(&["type \"fix it\"", "Ready"]);
    let steps = scene.conversation.interrupt(scene.now);
    scene.did(steps);
    scene.check(&["type \"\\r\"", "Working", "type \"\\u{1b}\""]);
    scene.print("fix it\r\ninterrupted\r\n> ");
    scene.wait(300);
    scene.check(&["Idle"]);
}

#[test]
fn a_program_with_its_input_always_on_the_screen() {
    let mut profile = typed();
    profile.prompt = PromptBy::Typed { is_bracketed: true };
    profile.working = pattern("esc to interrupt");
    let mut scene = Scene::new(profile, "a\nb\x1b[201~\x03c");
    scene.print("\x1b[2J\x1b[H\r\n\r\n> ");
    scene.wait(300);
    scene.check(&[
        "type \"\\u{1b}[200~a\\nb[201~c\\u{1b}[201~\"",
        "Ready",
        "type \"\\r\"",
        "Working",
    ]);
    for frame in 0..40 {
        scene.print(&format!("\x1b[H\x1b[K{frame} esc to interrupt\r\n\n\x1b[K> "));
        scene.wait(250);
    }
    scene.check(&[]);
    scene.print("\x1b[H\x1b[Kdone\r\n\n\x1b[K> ");
    scene.wait(300);
    scene.check(&["Idle"]);
    scene.print("\x1b[H\x1b[K1 esc to interrupt\r\n\n\x1b[K> ");
    scene.check(&["Working"]);
}

#[test]
fn what_is_not_ready_or_does_not_end_is_given_up() {
    let mut scene = Scene::new(typed(), "fix it");
    scene.print("press any key");
    scene.wait(61_000);
    scene.check(&["give up: the agent was not ready within 60s", "Ended"]);
    let mut profile = Profile {
        idle_after: Some(Duration::from_secs(10)),
        ..Profile::default()
    };
    profile.times.work = Some(Duration::from_secs(20));
    let mut scene = Scene::new(profile.clone(), "");
    scene.print("done.");
    scene.wait(30_000);
    scene.check(&[
        "Idle",
        "type \"\\u{4}\"",
        "Leaving",
        "give up: the agent has not ended within 10s after it was told to",
        "Ended",
    ]);
    let mut scene = Scene::new(profile, "");
    for nth in 0..25 {
        scene.print(&format!("{nth}\r\n"));
        scene.wait(1000);
    }
    scene.check(&["give up: the agent has worked for 20s", "Ended"]);
}

#[test]
fn what_a_rule_types_answers_what_is_asked() {
    let mut profile = typed();
    profile.approve = vec![approve(r"\(y/n\)", Answer::Ask)];
    let mut scene = Scene::new(profile, "fix it");
    scene.begin("fix it");
    scene.print("Run make? (y/n) ");
    scene.wait(300);
    let steps = scene.conversation.put(scene.now, "y", true);
    scene.did(steps);
    scene.wait(3000);
    scene.check(&[
        "Asking",
        "ask 0: Run make? (y/n)",
        "withdraw 0: it was answered otherwise",
        "Working",
        "type \"y\"",
        "type \"\\r\"",
    ]);
}

#[test]
fn what_cannot_work_is_said() {
    let check = |field: &str, profile: Profile| assert_eq!(profile.check().unwrap_err().field, field);
    check(
        "ready",
        Profile {
            ready: None,
            ..typed()
        },
    );
    let stdin = || Profile {
        prompt: PromptBy::Stdin,
        ..typed()
    };
    check("approve", stdin());
    check(
        "interrupt",
        Profile {
            approve: Vec::new(),
            ..stdin()
        },
    );
}
