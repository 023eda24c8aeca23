//! From the order to the end, and over the death of a supervisor.

use axiom_sandbox::exit::How;

use super::*;
use crate::mux::{News, Stream, Subscription};
use crate::supervisor::{From, OpenError, Phase, RemoveError, SubmitError};

#[tokio::test]
async fn a_task_runs_says_its_lines_and_ends() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let mut live = supervisor.subscribe(Subscription::default()).unwrap();
    let id = supervisor
        .submit(bed.sh("echo one; echo two >&2; printf three; exit 3"))
        .unwrap();
    let ending = soon(supervisor.wait(&id)).await.unwrap();
    assert_eq!((ending.how.clone(), ending.code()), (Some(How::Code(3)), 3));
    let view = supervisor.view(&id).unwrap();
    assert_eq!((view.phase, view.attempt, view.lines), (Phase::Ended, 1, 3));
    assert_eq!(view.ending, Some(ending));

    let page = supervisor.output(&id, From::Line(0), 100).await.unwrap();
    let mut said: Vec<(Stream, String)> = page
        .lines
        .iter()
        .map(|line| (line.stream, line.text.clone()))
        .collect();
    said.sort_by_key(|(_, text)| text.clone());
    let expected = [
        (Stream::Stdout, "one"),
        (Stream::Stdout, "three"),
        (Stream::Stderr, "two"),
    ];
    assert_eq!(said, expected.map(|(stream, text)| (stream, text.to_owned())));
    assert_eq!((page.next, page.is_end, page.unfinished.as_str()), (3, true, ""));
    let last = supervisor.output(&id, From::Last(1), 100).await.unwrap();
    assert_eq!(last.lines, page.lines[2..]);
    let first = supervisor.output(&id, From::Line(0), 1).await.unwrap();
    assert_eq!(
        (first.lines, first.next, first.is_end),
        (page.lines[..1].to_vec(), 1, false)
    );

    let mut heard = 0;
    while heard < 3 {
        if let Some(News::Lines(lines)) = soon(live.next()).await {
            heard += lines.iter().count();
        }
    }
    soon(supervisor.close()).await;
    log.close();
    let recorded = recorded(&bed.events(), &id);
    let mut said = lines(&recorded);
    said.sort();
    assert_eq!(said, ["one", "three", "two"]);
    // Its lines come before its end.
    let kinds = kinds(&recorded);
    assert_eq!(
        (kinds[0], kinds[1], kinds[5]),
        ("task.queued", "task.started", "task.ended")
    );
    assert_eq!(kinds.len(), 6);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_told_and_nothing_is_held() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let mut order = bed.sh("");
    order.spec.argv = vec!["no-such-program".to_owned()];
    let id = supervisor.submit(order).unwrap();
    let ending = soon(supervisor.wait(&id)).await.unwrap();
    assert!(ending.words().contains("no-such-program"), "{}", ending.words());
    assert_eq!(ending.code(), 127);
    let snapshot = supervisor.snapshot();
    assert_eq!(
        (snapshot.starting, snapshot.started, snapshot.used_memory_bytes),
        (0, 0, 0)
    );
    supervisor.close().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let mut order = bed.sh("true");
    order.spec.limits.memory_bytes = Some(1 << 20);
    let refused = supervisor.submit(order).unwrap_err();
    assert!(matches!(refused, SubmitError::Spec(bad) if bad.field == "limits.memory_bytes"));
    let mut order = bed.sh("true");
    order.parent = Some("ffff".to_owned());
    assert!(matches!(
        supervisor.submit(order),
        Err(SubmitError::NoParent { .. })
    ));
    assert!(supervisor.list().is_empty());
    assert_eq!(
        std::fs::read_dir(bed.dir.path().join("tasks/.ledger"))
            .unwrap()
            .count(),
        1
    );
    assert!(matches!(
        Supervisor::start(bed.options()),
        Err(OpenError::Taken { .. })
    ));
    supervisor.close().await;
    assert!(matches!(
        supervisor.submit(bed.sh("true")),
        Err(SubmitError::Closed)
    ));
}

#[tokio::test]
async fn the_same_key_is_the_same_task() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let order = |key: &str| Order {
        key: Some(key.to_owned()),
        ..bed.sh("true")
    };
    let first = supervisor.submit(order("a")).unwrap();
    assert_eq!(supervisor.submit(order("a")).unwrap(), first);
    assert_ne!(supervisor.submit(order("b")).unwrap(), first);
    soon(supervisor.wait(&first)).await.unwrap();
    supervisor.close().await;
    drop(supervisor);
    // Also for the next supervisor.
    let supervisor = bed.start();
    assert_eq!(supervisor.submit(order("a")).unwrap(), first);
    supervisor.close().await;
}

/// What runs goes on without a supervisor, and the next one tells it to its end: every line once, in its order, and one end.
#[tokio::test]
async fn the_next_supervisor_goes_on_where_the_last_one_was() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let go = bed.dir.path().join("go");
    let script = format!(
        "n=0; while [ $n -lt 500 ]; do echo line $n; n=$((n+1)); done; printf 'li'; \
         while [ ! -e {go} ]; do sleep 0.02; done; echo ne $n; n=$((n+1)); \
         while [ $n -lt 1000 ]; do echo line $n; n=$((n+1)); done; exit 7",
        go = go.display()
    );
    let ids: Vec<_> = (0..5)
        .map(|_| supervisor.submit(bed.sh(&script)).unwrap())
        .collect();
    for id in &ids {
        until(|| supervisor.view(id).unwrap().lines >= 500).await;
    }
    soon(supervisor.close()).await;
    drop(supervisor);
    log.close();
    drop(log);
    // Some of them say the rest while nobody looks.
    std::fs::write(&go, "").unwrap();

    let (supervisor, log) = bed.start_recording();
    for id in &ids {
        let ending = soon(supervisor.wait(id)).await.unwrap();
        assert_eq!(ending.how, Some(How::Code(7)));
    }
    soon(supervisor.close()).await;
    log.close();
    let expected: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
    for id in &ids {
        let recorded = recorded(&bed.events(), id);
        assert_eq!(lines(&recorded), expected);
        let ends = kinds(&recorded)
            .iter()
            .filter(|kind| **kind == "task.ended")
            .count();
        assert_eq!(ends, 1);
    }
    drop((supervisor, log));

    // And the one after that has nothing more to tell.
    let (supervisor, log) = bed.start_recording();
    assert!(
        supervisor
            .list()
            .iter()
            .all(|view| view.phase == Phase::Ended && view.lines == 1000)
    );
    supervisor.close().await;
    log.close();
    assert_eq!(lines(&recorded(&bed.events(), &ids[0])).len(), 1000);
}

/// An order that waited is not lost either.
#[tokio::test]
async fn what_waited_waits_again() {
    let bed = Bed::new();
    let mut options = bed.options();
    options.schedule.budget.tasks = 1;
    let supervisor = Supervisor::start(options).unwrap();
    let go = bed.dir.path().join("go");
    let first = supervisor
        .submit(bed.sh(&format!("while [ ! -e {} ]; do sleep 0.02; done", go.display())))
        .unwrap();
    until(|| supervisor.view(&first).unwrap().phase == Phase::Running).await;
    let second = supervisor.submit(bed.sh("echo second")).unwrap();
    assert_eq!(supervisor.view(&second).unwrap().phase, Phase::Queued);
    supervisor.close().await;
    drop(supervisor);
    std::fs::write(&go, "").unwrap();
    let supervisor = bed.start();
    assert_eq!(soon(supervisor.wait(&second)).await.unwrap().code(), 0);
    assert_eq!(soon(supervisor.wait(&first)).await.unwrap().code(), 0);
    supervisor.close().await;
}

#[tokio::test]
async fn tasks_that_ended_are_forgotten() {
    let bed = Bed::new();
    let options = Options {
        kept_tasks: 2,
        ..bed.options()
    };
    let supervisor = Supervisor::start(options).unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let id = supervisor.submit(bed.sh("echo said")).unwrap();
        soon(supervisor.wait(&id)).await.unwrap();
        ids.push(id);
    }
    until(|| supervisor.list().len() == 2).await;
    supervisor.view(&ids[0]).unwrap_err();
    assert!(!bed.dir.path().join("tasks").join(&*ids[0]).exists());
    supervisor.remove(&ids[3]).unwrap();
    assert!(matches!(supervisor.remove(&ids[3]), Err(RemoveError::Unknown(_))));
    assert_eq!(supervisor.list().len(), 1);
    let running = supervisor.submit(bed.sh("sleep 60")).unwrap();
    assert!(matches!(supervisor.remove(&running), Err(RemoveError::Alive(_))));
    supervisor.kill(&running, &Who::default()).unwrap();
    soon(supervisor.wait(&running)).await.unwrap();
    supervisor.close().await;
}
