//! What is said to tasks, and their end with all that they wanted.

use axiom_sandbox::exit::How;

use super::*;
use crate::supervisor::{From, Phase, Steer, SteerError};

fn who() -> Who {
    Who::new("alice", "to see it")
}

async fn text(supervisor: &Supervisor, id: &str) -> String {
    let page = supervisor.output(id, From::Line(0), 1000).await.unwrap();
    page.lines.iter().map(|line| format!("{}\n", line.text)).collect()
}

#[tokio::test]
async fn input_and_its_end() {
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let script = "echo ready; while read line; do echo got $line; done; echo bye";
    let id = supervisor.submit(bed.sh(script)).unwrap();
    until(|| supervisor.view(&id).unwrap().lines == 1).await;
    supervisor
        .steer(&id, Steer::Input(b"hello\n".to_vec()), &who())
        .await
        .unwrap();
    until(|| supervisor.view(&id).unwrap().lines == 2).await;
    supervisor
        .steer(&id, Steer::Input(b"again\n".to_vec()), &who())
        .await
        .unwrap();
    supervisor.steer(&id, Steer::EndInput, &who()).await.unwrap();
    assert_eq!(soon(supervisor.wait(&id)).await.unwrap().code(), 0);
    assert_eq!(text(&supervisor, &id).await, "ready\ngot hello\ngot again\nbye\n");
    let late = supervisor.steer(&id, Steer::Interrupt, &who()).await.unwrap_err();
    assert!(matches!(
        late,
        SteerError::NotRunning {
            phase: Phase::Ended,
            ..
        }
    ));
    soon(supervisor.close()).await;
    log.close();
    let recorded = recorded(&bed.events(), &id);
    let steered: Vec<&String> = recorded
        .iter()
        .filter(|(kind, _)| kind == "task.steered")
        .map(|(_, body)| body)
        .collect();
    assert_eq!(steered.len(), 3);
    assert!(steered[0].contains("hello") && steered[0].contains("alice") && steered[0].contains("to see it"));
}

#[tokio::test]
async fn an_interrupt_is_what_ctrl_c_is() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let script = "trap 'echo caught; exit 5' INT; echo ready; while true; do sleep 0.02; done";
    let id = supervisor.submit(bed.sh(script)).unwrap();
    until(|| supervisor.view(&id).unwrap().lines == 1).await;
    supervisor.steer(&id, Steer::Interrupt, &who()).await.unwrap();
    assert_eq!(soon(supervisor.wait(&id)).await.unwrap().how, Some(How::Code(5)));
    assert_eq!(text(&supervisor, &id).await, "ready\ncaught\n");
    supervisor.close().await;
}

#[tokio::test]
async fn frozen_it_stands_still() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let id = supervisor
        .submit(bed.sh("while true; do echo tick; sleep 0.01; done"))
        .unwrap();
    until(|| supervisor.view(&id).unwrap().lines > 2).await;
    supervisor.steer(&id, Steer::Freeze, &who()).await.unwrap();
    assert!(supervisor.view(&id).unwrap().is_frozen);
    supervisor.steer(&id, Steer::Thaw, &who()).await.unwrap();
    let lines = supervisor.view(&id).unwrap().lines;
    until(|| supervisor.view(&id).unwrap().lines > lines).await;
    supervisor.kill(&id, &who()).unwrap();
    let ending = soon(supervisor.wait(&id)).await.unwrap();
    assert_eq!(ending.words(), "killed: to see it (alice)");
    supervisor.close().await;
}

/// Whoever ends a task ends what it wanted, what waits as well as what runs; a sibling goes on.
#[tokio::test]
async fn a_task_is_killed_with_its_tree() {
    let bed = Bed::new();
    let mut options = bed.options();
    options.schedule.budget.tasks = 4;
    let supervisor = Supervisor::start(options).unwrap();
    let submit = |parent: Option<&str>| {
        let order = Order {
            parent: parent.map(str::to_owned),
            ..bed.sh("sleep 60")
        };
        supervisor.submit(order).unwrap()
    };
    let root = submit(None);
    let child = submit(Some(&root));
    let grandchild = submit(Some(&child));
    let sibling = submit(None);
    for id in [&root, &child, &grandchild, &sibling] {
        until(|| supervisor.view(id).unwrap().phase == Phase::Running).await;
    }
    let waiting = submit(Some(&grandchild));
    assert_eq!(supervisor.view(&root).unwrap().children, [Arc::clone(&child)]);
    let killed = supervisor.kill(&root, &who()).unwrap();
    assert_eq!(killed.len(), 4);
    assert_eq!(killed.last(), Some(&root));
    for id in [&root, &child, &grandchild, &waiting] {
        let ending = soon(supervisor.wait(id)).await.unwrap();
        assert!(matches!(ending.how, Some(How::Killed { .. })), "{ending:?}");
    }
    assert_eq!(supervisor.view(&sibling).unwrap().phase, Phase::Running);
    // A second time there is nobody left.
    assert!(supervisor.kill(&root, &who()).unwrap().is_empty());
    supervisor.kill(&sibling, &who()).unwrap();
    soon(supervisor.wait(&sibling)).await.unwrap();
    assert_eq!(supervisor.snapshot().started, 0);
    supervisor.close().await;
}

/// A task that reads nothing stops nobody who wants to end it.
#[tokio::test]
async fn input_that_nobody_reads_is_refused_and_the_task_can_be_killed() {
    let bed = Bed::new();
    let supervisor = bed.start();
    let id = supervisor.submit(bed.sh("echo up; sleep 60")).unwrap();
    until(|| supervisor.view(&id).unwrap().lines == 1).await;
    let sending = (0..40).map(|_| {
        let supervisor = supervisor.clone();
        let id = Arc::clone(&id);
        axiom_core::spawn("send", async move {
            supervisor
                .steer(&id, Steer::Input(vec![b'x'; 64 << 10]), &who())
                .await
        })
    });
    let sending: Vec<_> = sending.collect();
    until(|| sending.iter().any(axiom_core::Task::is_finished)).await;
    supervisor.kill(&id, &who()).unwrap();
    soon(supervisor.wait(&id)).await.unwrap();
    let mut refused = 0;
    for task in sending {
        refused += usize::from(soon(task.join()).await.unwrap().is_err());
    }
    // The pipe, the shim and we take less than 2.5 MiB together.
    assert!(refused >= 1, "{refused}");
    supervisor.close().await;
}
