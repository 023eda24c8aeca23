//! Tasks that rules and profiles drive.

use axiom_sandbox::exit::How;

use super::*;
use crate::agent::{Answer, Approve, Profile, PromptBy, State};
use crate::order::{Pause, Restart, When};
use crate::pattern::Pattern;
use crate::rules::{Action, Budget, Rule, Rules, Scope, Streams, Trigger};
use crate::supervisor::{From, Steer, SteerError, SubmitError};

fn on(pattern: &str, name: &str, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        scope: Scope::default(),
        trigger: Trigger::Pattern {
            pattern: Pattern::new(pattern).unwrap(),
            streams: Streams::Both,
        },
        action,
        budget: Budget::default(),
    }
}

#[tokio::test]
async fn rules_put_text_in_and_end_tasks_for_good() {
    let bed = Bed::new();
    let (supervisor, log) = {
        let log = Log::open(axiom_events::Options::new(bed.events()), Arc::new(Machine)).unwrap();
        let recording = Recording {
            log: log.clone(),
            sample: Policy::default(),
            lines: true,
        };
        let action = Action::Type {
            text: "sure".to_owned(),
            enter: true,
        };
        let rules = vec![
            on("^continue", "go-on", action),
            on("panicked", "enough", Action::Kill),
        ];
        let options = Options {
            rules: Rules::new(rules).unwrap(),
            recording: Some(recording),
            ..bed.options()
        };
        (Supervisor::start(options).unwrap(), log)
    };
    let asks = supervisor
        .submit(bed.sh("echo 'continue?'; read answer; echo heard $answer"))
        .unwrap();
    let order = Order {
        restart: Restart {
            when: When::Always,
            pause: Pause(Duration::from_millis(1)),
            ..Restart::default()
        },
        ..bed.sh("echo it panicked; sleep 60")
    };
    let bad = supervisor.submit(order).unwrap();
    assert_eq!(soon(supervisor.wait(&asks)).await.unwrap().code(), 0);
    let page = supervisor.output(&asks, From::Last(1), 1).await.unwrap();
    assert_eq!(page.lines[0].text, "heard sure");
    let ending = soon(supervisor.wait(&bad)).await.unwrap();
    assert!(ending.words().contains("enough"), "{}", ending.words());
    assert_eq!(supervisor.view(&bad).unwrap().attempt, 1);
    soon(supervisor.close()).await;
    log.close();
    let recorded = recorded(&bed.events(), &asks);
    let acts: Vec<&String> = recorded
        .iter()
        .filter(|(kind, _)| kind == "task.rule")
        .map(|(_, body)| body)
        .collect();
    assert_eq!(acts.len(), 1);
    assert!(
        acts[0].contains("go-on") && acts[0].contains("continue"),
        "{acts:?}"
    );
}

/// What stands for a coding agent: it asks for a prompt, for leave, and for another prompt.
const AGENT: &str = r#"
printf '> '; read prompt; echo "working on: $prompt"
printf 'May I run it? (y/n) '; read leave; echo "leave: $leave"
printf 'May I delete it? (y/n) '; read leave; echo "leave: $leave"
printf '> '; read prompt; echo "then: $prompt"; exit 6
"#;

#[tokio::test]
async fn an_agent_gets_its_prompt_its_answers_and_another_prompt() {
    let bed = Bed::new();
    let approve = |pattern: &str, answer| Approve {
        pattern: Pattern::new(pattern).unwrap(),
        answer,
        yes: "y\r".to_owned(),
        no: "n\r".to_owned(),
    };
    let profile = Profile {
        prompt: PromptBy::Typed { is_bracketed: false },
        ready: Some(Pattern::new("^> ").unwrap()),
        approve: vec![
            approve("May I run", Answer::Type("y\r".to_owned())),
            approve("May I delete", Answer::Ask),
        ],
        times: crate::agent::Times {
            idle: Duration::from_secs(50),
            ..Default::default()
        },
        ..Profile::default()
    };
    let options = Options {
        agents: [("fake".to_owned(), Arc::new(profile))].into(),
        ..bed.options()
    };
    let supervisor = Supervisor::start(options).unwrap();
    let order = |agent: &str| Order {
        agent: Some(agent.to_owned()),
        prompt: "fix the tests".to_owned(),
        ..bed.sh(AGENT)
    };
    let unknown = supervisor.submit(order("other")).unwrap_err();
    assert!(matches!(unknown, SubmitError::NoAgent { .. }), "{unknown}");
    let id = supervisor.submit(order("fake")).unwrap();
    let state = || supervisor.view(&id).unwrap().agent;
    until(|| state().is_some_and(|agent| agent.state == State::Asking)).await;
    let question = state().unwrap().question.unwrap();
    assert!(question.contains("May I delete it?"), "{question}");
    let who = Who::new("alice", "");
    supervisor.steer(&id, Steer::Answer(false), &who).await.unwrap();
    until(|| state().is_some_and(|agent| agent.state == State::Idle)).await;
    let none = supervisor
        .steer(&id, Steer::Answer(true), &who)
        .await
        .unwrap_err();
    assert!(matches!(none, SteerError::Refused { .. }), "{none}");
    supervisor
        .steer(&id, Steer::Say("one more thing".to_owned()), &who)
        .await
        .unwrap();
    assert_eq!(soon(supervisor.wait(&id)).await.unwrap().how, Some(How::Code(6)));
    let page = supervisor.output(&id, From::Line(0), 100).await.unwrap();
    let text: String = page.lines.iter().map(|line| format!("{}\n", line.text)).collect();
    for said in [
        "working on: fix the tests",
        "leave: y",
        "leave: n",
        "then: one more thing",
    ] {
        assert_eq!(text.matches(said).count(), 1, "{said} in {text}");
    }
    supervisor.close().await;
}

/// What is said to it waits here, and not without end.
#[tokio::test]
async fn an_agent_that_reads_nothing_is_told_only_so_much() {
    let bed = Bed::new();
    let profile = Profile {
        prompt: PromptBy::Argument,
        ..Profile::default()
    };
    let options = Options {
        agents: [("deaf".to_owned(), Arc::new(profile))].into(),
        ..bed.options()
    };
    let supervisor = Supervisor::start(options).unwrap();
    let order = Order {
        agent: Some("deaf".to_owned()),
        ..bed.sh("echo up; sleep 60")
    };
    let id = supervisor.submit(order).unwrap();
    until(|| supervisor.view(&id).unwrap().lines == 1).await;
    let who = Who::new("alice", "");
    let mut refused = None;
    for _ in 0..10 {
        let what = Steer::Say("x".repeat(600 << 10));
        if let Err(error) = supervisor.steer(&id, what, &who).await {
            refused = Some(error.to_string());
            break;
        }
    }
    let refused = refused.expect("6 MB are too much");
    assert!(refused.contains("has not read"), "{refused}");
    supervisor.kill(&id, &who).unwrap();
    soon(supervisor.wait(&id)).await.unwrap();
    supervisor.close().await;
}
