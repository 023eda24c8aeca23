//! Many at once.

use std::hash::{BuildHasher as _, RandomState};

use super::*;
use crate::supervisor::Phase;

/// Whatever they are doing when they are killed: all end, once, and everything that they held comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_any_state_everything_comes_back() {
    let bed = Bed::new();
    let mut options = bed.options();
    options.schedule.budget.tasks = 10;
    let supervisor = Supervisor::start(options).unwrap();
    let chance = RandomState::new();
    let scripts = ["sleep 60", "true", "echo a; sleep 60", "yes", "cat"];
    let mut ids = Vec::new();
    for n in 0..120_usize {
        ids.push(supervisor.submit(bed.sh(scripts[n % scripts.len()])).unwrap());
        let some = usize::try_from(chance.hash_one(n) % 7).unwrap();
        if n > 10 && some < 4 {
            supervisor.kill(&ids[n - some], &Who::new("chance", "")).unwrap();
        }
        if some == 6 {
            time::sleep(Duration::from_millis(5)).await;
        }
    }
    for id in &ids {
        supervisor.kill(id, &Who::new("the end", "")).unwrap();
    }
    for id in &ids {
        soon(supervisor.wait(id)).await.unwrap();
    }
    let snapshot = supervisor.snapshot();
    assert_eq!(snapshot.used_memory_bytes, 0);
    assert_eq!(
        (snapshot.starting, snapshot.started, snapshot.stopping),
        (0, 0, 0)
    );
    assert!(supervisor.list().iter().all(|view| view.phase == Phase::Ended));
    soon(supervisor.close()).await;
}

/// A hundred that write as fast as they can, all of it recorded: every line once, in its order, none of another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_is_lost_or_mixed() {
    const TASKS: usize = 100;
    const LINES: usize = 400;
    let bed = Bed::new();
    let (supervisor, log) = bed.start_recording();
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo $AXIOM_TASK_ID $i; i=$((i+1)); done");
    let ids: Vec<_> = (0..TASKS)
        .map(|_| supervisor.submit(bed.sh(&script)).unwrap())
        .collect();
    for id in &ids {
        assert_eq!(soon(supervisor.wait(id)).await.unwrap().code(), 0);
    }
    soon(supervisor.close()).await;
    log.close();
    for id in &ids {
        let expected: Vec<String> = (0..LINES).map(|n| format!("{id} {n}")).collect();
        assert_eq!(lines(&recorded(&bed.events(), id)), expected);
    }
}
