//! Once, wherever the supervisor before was cut off: what it had begun is gone on with, and what it had done is not done again.

use axiom_sandbox::handle::Attached;
use axiom_sandbox::wire::Request;

use super::*;
use crate::order::{Input, Pause, Restart, When};
use crate::supervisor::ledger::{At, Ledger, Stored, Told};
use crate::supervisor::{From, Phase, Steer};

/// What the next supervisor finds in place of what this one noted last.
fn withhold(bed: &Bed, id: &str, change: impl FnOnce(At) -> At) {
    let (ledger, _) = Ledger::open(&bed.dir.path().join("tasks")).unwrap();
    ledger.set_at(id, &change(ledger.at(id))).unwrap();
}

async fn stop(supervisor: Supervisor, log: Log) {
    soon(supervisor.close()).await;
    log.close();
}

fn ends(recorded: &[(String, String)]) -> usize {
    kinds(recorded)
        .iter()
        .filter(|kind| **kind == "task.ended")
        .count()
}

/// It was killed when the log had the lines, and had said so to nobody.
#[tokio::test]
async fn lines_that_the_log_has_are_not_recorded_again() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let go = bed.dir.path().join("go");
    let script = format!(
        "echo one; echo two >&2; while [ ! -e {} ]; do sleep 0.02; done; echo three",
        go.display()
    );
    let id = supervisor.submit(bed.sh(&script)).unwrap();
    until(|| supervisor.view(&id).unwrap().lines == 2).await;
    stop(supervisor, log).await;
    // As before the first of them was handed to the log, with both under way.
    withhold(&bed, &id, |at| At {
        stored: Stored {
            attempt: 1,
            ..Stored::default()
        },
        floor: 0,
        ..at
    });
    std::fs::write(&go, "").unwrap();
    let (supervisor, log) = bed.start_recording();
    soon(supervisor.wait(&id)).await.unwrap();
    assert_eq!(supervisor.view(&id).unwrap().lines, 3);
    stop(supervisor, log).await;
    let mut said = lines(&recorded(&bed.events(), &id));
    said[..2].sort();
    assert_eq!(said, ["one", "two", "three"]);
}

/// It was killed when it had noted what it was about to record, and the log did not have it.
#[tokio::test]
async fn lines_that_the_log_did_not_take_are_recorded_by_the_next() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let go = bed.dir.path().join("go");
    let script = format!(
        "echo one; while [ ! -e {} ]; do sleep 0.02; done; echo two; sleep 60",
        go.display()
    );
    let id = supervisor.submit(bed.sh(&script)).unwrap();
    until(|| supervisor.view(&id).unwrap().lines == 1).await;
    log.close();
    std::fs::write(&go, "").unwrap();
    until(|| supervisor.view(&id).unwrap().output_bytes == 8).await;
    soon(supervisor.close()).await;
    drop((supervisor, log));
    let (supervisor, log) = bed.start_recording();
    until(|| supervisor.view(&id).unwrap().lines == 2).await;
    supervisor.kill(&id, &Who::default()).unwrap();
    soon(supervisor.wait(&id)).await.unwrap();
    stop(supervisor, log).await;
    let recorded = recorded(&bed.events(), &id);
    assert_eq!(
        (lines(&recorded), ends(&recorded)),
        (vec!["one".to_owned(), "two".to_owned()], 1)
    );
}

/// It was killed when the log had a task's end, and before it had noted that.
#[tokio::test]
async fn an_end_that_the_log_has_is_not_told_again() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let ended = supervisor.submit(bed.sh("echo said")).unwrap();
    let order = Order {
        restart: Restart {
            when: When::Always,
            pause: Pause(Duration::from_secs(50)),
            ..Restart::default()
        },
        ..bed.sh("true")
    };
    let rests = supervisor.submit(order).unwrap();
    soon(supervisor.wait(&ended)).await.unwrap();
    until(|| supervisor.view(&rests).unwrap().phase == Phase::Resting).await;
    stop(supervisor, log).await;
    for id in [&ended, &rests] {
        withhold(&bed, id, |at| At::settled(at.next, Told::default()));
    }
    let (supervisor, log) = bed.start_recording();
    assert_eq!(supervisor.view(&rests).unwrap().phase, Phase::Resting);
    stop(supervisor, log).await;
    for id in [&ended, &rests] {
        assert_eq!(ends(&recorded(&bed.events(), id)), 1);
    }
}

/// It was killed when it had written down an end, and before the log had it.
#[tokio::test]
async fn an_end_that_the_log_did_not_take_is_told_by_the_next_once() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let parent = supervisor.submit(bed.sh("sleep 60")).unwrap();
    until(|| supervisor.view(&parent).unwrap().phase == Phase::Running).await;
    log.close();
    // It takes a while until it is started, or never: its end is written down at once.
    let order = Order {
        parent: Some(parent.to_string()),
        ..bed.sh("sleep 60")
    };
    let child = supervisor.submit(order).unwrap();
    supervisor.kill(&parent, &Who::new("alice", "")).unwrap();
    soon(supervisor.wait(&child)).await.unwrap();
    soon(supervisor.close()).await;
    drop((supervisor, log));
    for _ in 0..2 {
        let (supervisor, log) = bed.start_recording();
        for id in [&parent, &child] {
            soon(supervisor.wait(id)).await.unwrap();
        }
        stop(supervisor, log).await;
        for id in [&parent, &child] {
            assert_eq!(ends(&recorded(&bed.events(), id)), 1);
        }
    }
}

/// It was killed in the midst of a start: the folder is there, and nobody will start what is in it.
#[tokio::test]
async fn a_start_that_was_cut_off_is_begun_anew() {
    let bed = Bed::new();
    let mut options = bed.options();
    options.schedule.budget.tasks = 1;
    let supervisor = Supervisor::start(options).unwrap();
    let first = supervisor.submit(bed.sh("sleep 60")).unwrap();
    until(|| supervisor.view(&first).unwrap().phase == Phase::Running).await;
    let script = "echo x >> starts; cat";
    let order = Order {
        input: Some(Input {
            bytes: b"its input\n".to_vec(),
            ends: true,
        }),
        ..bed.sh(script)
    };
    let second = supervisor.submit(order).unwrap();
    supervisor.close().await;
    drop(supervisor);
    let tasks = bed.dir.path().join("tasks");
    std::fs::create_dir(tasks.join(&*second)).unwrap();
    std::fs::copy(
        tasks.join(&*first).join("spec.json"),
        tasks.join(&*second).join("spec.json"),
    )
    .unwrap();
    // A second time it is cut off when it has found that out.
    for _ in 0..2 {
        let mut options = bed.options();
        options.schedule.budget.tasks = 1;
        let supervisor = Supervisor::start(options).unwrap();
        until(|| supervisor.view(&second).unwrap().phase == Phase::Queued).await;
        supervisor.close().await;
    }
    let supervisor = bed.start();
    assert_eq!(soon(supervisor.wait(&second)).await.unwrap().code(), 0);
    let page = supervisor.output(&second, From::Line(0), 10).await.unwrap();
    assert_eq!(page.lines[0].text, "its input");
    assert_eq!(
        std::fs::read_to_string(bed.dir.path().join("starts")).unwrap(),
        "x\n"
    );
    supervisor.kill(&first, &Who::default()).unwrap();
    soon(supervisor.wait(&first)).await.unwrap();
    supervisor.remove(&second).unwrap();
    supervisor.remove(&first).unwrap();
    assert_eq!(std::fs::read_dir(&tasks).unwrap().count(), 1);
    supervisor.close().await;
}

/// An order's input waits as long as the order, and is given once.
#[tokio::test]
async fn an_input_is_kept_until_it_was_given() {
    let bed = Bed::new();
    let mut options = bed.options();
    options.schedule.budget.tasks = 1;
    let supervisor = Supervisor::start(options).unwrap();
    let first = supervisor.submit(bed.sh("sleep 60")).unwrap();
    until(|| supervisor.view(&first).unwrap().phase == Phase::Running).await;
    let order = Order {
        input: Some(Input {
            bytes: vec![b'x'; 1 << 20],
            ends: false,
        }),
        ..bed.sh("head -c 1048576 | wc -c; wc -c")
    };
    let id = supervisor.submit(order).unwrap();
    let kept = bed.dir.path().join("tasks/.ledger").join(format!("{id}.input"));
    assert!(kept.exists());
    supervisor.close().await;
    drop(supervisor);
    let supervisor = bed.start();
    until(|| !kept.exists()).await;
    // The next one finds nothing to give.
    supervisor.close().await;
    drop(supervisor);
    let supervisor = bed.start();
    let who = Who::new("alice", "");
    until(|| supervisor.view(&id).unwrap().lines == 1).await;
    // What is large goes in as well, and its end behind it.
    let more = supervisor.steer(&id, Steer::Input(vec![b'y'; 700 << 10]), &who);
    let end = supervisor.steer(&id, Steer::EndInput, &who);
    let (more, end) = tokio::join!(more, end);
    more.unwrap();
    end.unwrap();
    soon(supervisor.wait(&id)).await.unwrap();
    let page = supervisor.output(&id, From::Line(0), 10).await.unwrap();
    let said: Vec<&str> = page.lines.iter().map(|line| line.text.trim()).collect();
    assert_eq!(said, ["1048576", "716800"]);
    supervisor.kill(&first, &who).unwrap();
    soon(supervisor.wait(&first)).await.unwrap();
    supervisor.close().await;
}

/// `axiom kill` and the like: a task's shim is asked, and the supervisor is not, whether it is there or away.
#[tokio::test]
async fn whoever_kills_a_task_means_it() {
    for is_away in [false, true] {
        let bed = Bed::new();
        let mut supervisor = Some(bed.start());
        let running = supervisor.clone().unwrap();
        let again = Restart {
            when: When::Always,
            pause: Pause(Duration::from_millis(1)),
            ..Restart::default()
        };
        let order = |parent: Option<&Arc<str>>| Order {
            restart: again,
            parent: parent.map(ToString::to_string),
            ..bed.sh("echo up; sleep 60")
        };
        let id = running.submit(order(None)).unwrap();
        let child = running.submit(order(Some(&id))).unwrap();
        for id in [&id, &child] {
            until(|| running.view(id).unwrap().lines == 1).await;
        }
        if is_away {
            running.close().await;
            supervisor = None;
        }
        drop(running);
        let folder = bed.dir.path().join("tasks").join(&*id);
        let mut attached = Attached::open(&folder).await.unwrap();
        let why = "it is in the way".to_owned();
        attached.ask(Request::Kill { why }).unwrap();
        while soon(attached.reply()).await.unwrap().is_some() {}
        let supervisor = supervisor.unwrap_or_else(|| bed.start());
        for id in [&id, &child] {
            let ending = soon(supervisor.wait(id)).await.unwrap();
            assert_eq!(ending.words(), "killed: it is in the way");
            assert_eq!(supervisor.view(id).unwrap().attempt, 1);
        }
        supervisor.close().await;
    }
}
