//! Tasks that are started again.

use axiom_sandbox::exit::How;

use super::*;
use crate::order::{Pause, Restart, Times, When};
use crate::supervisor::{From, Phase};

fn again(when: When, times: u32) -> Restart {
    Restart {
        when,
        pause: Pause(Duration::from_millis(1)),
        times: Times(times),
        ..Restart::default()
    }
}

#[tokio::test]
async fn it_is_started_again_until_it_works() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let order = Order {
        restart: again(When::OnFailure, 5),
        ..bed.sh("echo x >> count; n=$(wc -l < count); echo attempt $n; [ $n -ge 3 ]")
    };
    let id = supervisor.submit(order).unwrap();
    assert_eq!(soon(supervisor.wait(&id)).await.unwrap().how, Some(How::Code(0)));
    assert_eq!(supervisor.view(&id).unwrap().attempt, 3);
    let page = supervisor.output(&id, From::Line(0), 10).await.unwrap();
    let said: Vec<_> = page
        .lines
        .iter()
        .map(|line| (line.number, line.text.as_str()))
        .collect();
    assert_eq!(said, [(0, "attempt 1"), (1, "attempt 2"), (2, "attempt 3")]);
    soon(supervisor.close()).await;
    log.close();
    let recorded = recorded(&bed.events(), &id);
    assert_eq!(lines(&recorded), ["attempt 1", "attempt 2", "attempt 3"]);
    let starts = kinds(&recorded)
        .iter()
        .filter(|kind| **kind == "task.started")
        .count();
    assert_eq!(starts, 3);
    supervisor.remove(&id).unwrap();
    let left: Vec<_> = std::fs::read_dir(bed.dir.path().join("tasks"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn so_often_and_no_more() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let order = Order {
        restart: again(When::Always, 2),
        ..bed.sh("exit 4")
    };
    let id = supervisor.submit(order).unwrap();
    assert_eq!(soon(supervisor.wait(&id)).await.unwrap().how, Some(How::Code(4)));
    assert_eq!(supervisor.view(&id).unwrap().attempt, 3);
    supervisor.close().await;
}

#[tokio::test]
async fn one_that_rests_can_be_killed_and_survives_its_supervisor() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let order = |script: &str| Order {
        restart: Restart {
            pause: Pause(Duration::from_secs(50)),
            ..again(When::OnFailure, 5)
        },
        ..bed.sh(script)
    };
    let killed = supervisor.submit(order("false")).unwrap();
    let left = supervisor
        .submit(order("test -e there || ! touch there"))
        .unwrap();
    for id in [&killed, &left] {
        until(|| supervisor.view(id).unwrap().phase == Phase::Resting).await;
    }
    supervisor.kill(&killed, &Who::new("bob", "enough")).unwrap();
    let ending = soon(supervisor.wait(&killed)).await.unwrap();
    assert_eq!(ending.words(), "killed: enough (bob)");
    supervisor.close().await;
    drop(supervisor);
    // The next one finds that its attempt is over and lets it rest again, as if it had ended just now.
    let supervisor = bed.start();
    until(|| supervisor.view(&left).unwrap().phase == Phase::Resting).await;
    assert_eq!(supervisor.view(&killed).unwrap().phase, Phase::Ended);
    supervisor.kill(&left, &Who::default()).unwrap();
    soon(supervisor.wait(&left)).await.unwrap();
    supervisor.close().await;
}
