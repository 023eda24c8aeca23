//! Children: what they say, why they end, and that nothing of them stays.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_transport::child::{Child, ChildOptions, SpawnError, spawn_child};
use axiom_transport::pipe::{CloseReason, Closed, Pipe};
use bytes::Bytes;
use tokio::sync::{Mutex, MutexGuard, Semaphore};

/// Tests that count this process's descendants cannot run beside others that start some.
pub(crate) static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

pub(crate) fn options(command: &[&str]) -> ChildOptions {
    ChildOptions {
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
        message_bytes_max: 1 << 20,
        grace: Duration::from_secs(1),
    }
}

fn shell(script: &str) -> (Pipe, Child) {
    spawn_child(options(&["sh", "-c", script])).unwrap()
}

async fn end_of(script: &str) -> Closed {
    let (mut pipe, child) = shell(script);
    let closed = pipe.rx.recv().await.unwrap_err();
    child.stop().await;
    closed
}

/// Descendants of this process, zombies included: pid and state.
fn descendants() -> Vec<(u32, String)> {
    let mut children: HashMap<u32, Vec<(u32, String)>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        children
            .entry(fields[1].parse().unwrap())
            .or_default()
            .push((pid, fields[0].to_owned()));
    }
    let mut found = Vec::new();
    let mut open = vec![std::process::id()];
    while let Some(parent) = open.pop() {
        for (pid, state) in children.remove(&parent).unwrap_or_default() {
            open.push(pid);
            found.push((pid, state));
        }
    }
    found
}

#[tokio::test]
async fn messages_go_both_ways() {
    let _alone = alone().await;
    let (mut pipe, child) = shell("cat");
    for number in 0..200 {
        let message = Bytes::from(format!(
            "{{\"id\":{number},\"pad\":\"{}\"}}",
            "x".repeat(number * 50)
        ));
        pipe.tx.send(message.clone()).await.unwrap();
        assert_eq!(pipe.rx.recv().await.unwrap(), message);
    }
    child.stop().await;
    assert_eq!(descendants(), []);
}

#[tokio::test]
async fn a_message_larger_than_the_pipe_passes() {
    let _alone = alone().await;
    let (mut pipe, child) = shell("cat");
    let message = Bytes::from(vec![b'x'; 1 << 20]);
    let (sent, received) = tokio::join!(pipe.tx.send(message.clone()), pipe.rx.recv());
    sent.unwrap();
    assert_eq!(received.unwrap(), message);
    child.stop().await;
}

#[tokio::test]
async fn closing_our_side_ends_an_orderly_child() {
    let _alone = alone().await;
    let (mut pipe, mut child) = shell("cat; exit 7");
    pipe.tx.close();
    assert_eq!(child.exited().await.code(), Some(7));
    let closed = pipe.rx.recv().await.unwrap_err();
    assert_eq!(
        closed.reason,
        CloseReason::Exited {
            code: Some(7),
            signal: None
        }
    );
    // The last sender going away has the same effect.
    let (pipe, mut child) = shell("cat; exit 8");
    drop(pipe.tx);
    assert_eq!(child.exited().await.code(), Some(8));
}

#[tokio::test]
async fn the_end_of_a_child_tells_its_cause() {
    let _alone = alone().await;
    let closed = end_of("echo 'cannot find module' >&2; exit 3").await;
    assert_eq!(
        closed.reason,
        CloseReason::Exited {
            code: Some(3),
            signal: None
        }
    );
    assert_eq!(closed.stderr, ["cannot find module"]);
    assert_eq!(
        closed.to_string(),
        "the server exited with code 3; last line on its stderr: cannot find module"
    );
    let closed = end_of("kill -9 $$").await;
    assert_eq!(
        closed.reason,
        CloseReason::Exited {
            code: None,
            signal: Some(9)
        }
    );
    assert_eq!(closed.to_string(), "the server was ended by signal 9");
    let closed = end_of("head -c 2000000 /dev/zero | tr '\\0' x; cat").await;
    assert_eq!(closed.reason, CloseReason::TooLarge { bytes_max: 1 << 20 });
}

#[tokio::test]
async fn an_orphan_that_holds_stdout_does_not_hide_the_end() {
    let _alone = alone().await;
    let closed = end_of("sleep 1000 & exit 4").await;
    assert_eq!(
        closed.reason,
        CloseReason::Exited {
            code: Some(4),
            signal: None
        }
    );
    assert_eq!(descendants(), []);
}

#[tokio::test]
async fn sending_to_a_dead_child_tells_the_cause() {
    let _alone = alone().await;
    let (pipe, mut child) = shell("exit 5");
    child.exited().await;
    let closed = loop {
        match pipe.tx.send(Bytes::from_static(b"{}")).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(closed) => break closed,
        }
    };
    assert_eq!(
        closed.reason,
        CloseReason::Exited {
            code: Some(5),
            signal: None
        }
    );
}

#[tokio::test]
async fn a_stopped_child_says_so() {
    let _alone = alone().await;
    let (mut pipe, child) = shell("cat");
    child.stop().await;
    assert_eq!(pipe.rx.recv().await.unwrap_err().reason, CloseReason::Stopped);
    assert_eq!(
        pipe.tx.send(Bytes::new()).await.unwrap_err().reason,
        CloseReason::Stopped
    );
}

#[tokio::test]
async fn environment_and_directory_are_given() {
    let _alone = alone().await;
    let mut options = options(&["sh", "-c", "echo $GREETING $(pwd) ${PATH:+path}; cat"]);
    options.env.insert("GREETING".into(), "hello".into());
    options.cwd = Some(PathBuf::from("/"));
    let (mut pipe, child) = spawn_child(options).unwrap();
    assert_eq!(pipe.rx.recv().await.unwrap(), "hello / path");
    child.stop().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let folder = std::env::temp_dir().join(format!("axiom-child-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str, mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let failure = |command: &[&str], cwd: Option<&str>| {
        let options = ChildOptions {
            cwd: cwd.map(PathBuf::from),
            ..options(command)
        };
        spawn_child(options).expect_err("it cannot start")
    };
    assert!(matches!(failure(&[], None), SpawnError::Empty));
    assert!(matches!(
        failure(&["axiom-no-such-program"], None),
        SpawnError::NotFound { .. }
    ));
    let plain = file("plain", "#!/bin/sh\n", 0o600);
    assert!(matches!(
        failure(&[&plain], None),
        SpawnError::NotExecutable { .. }
    ));
    let error = failure(&[&file("script", "#!/no/such/interpreter\n", 0o700)], None);
    assert!(error.to_string().contains("interpreter"), "{error}");
    let error = failure(&["sh"], Some("/no/such/folder"));
    assert!(matches!(error, SpawnError::CwdMissing { .. }));
    assert_eq!(
        error.to_string(),
        "the working directory /no/such/folder does not exist\nhint: create it, or correct `cwd`"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_child_that_ignores_everything_is_killed() {
    let _alone = alone().await;
    let mut options = options(&["sh", "-c", "trap '' TERM; echo up; while :; do sleep 100; done"]);
    options.grace = Duration::from_millis(50);
    let (mut pipe, mut child) = spawn_child(options).unwrap();
    pipe.rx.recv().await.unwrap();
    let exited = tokio::spawn(async move { child.exited().await });
    // The handle went into the task; ending that drops it, which stops the child.
    exited.abort();
    assert!(exited.await.unwrap_err().is_cancelled());
    assert_eq!(pipe.rx.recv().await.unwrap_err().reason, CloseReason::Stopped);
    none_left().await;
}

#[test]
fn a_runtime_that_ends_first_takes_its_children_along() {
    let _alone = ALONE.blocking_lock();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let kept = runtime.block_on(async {
        let (mut pipe, child) = shell("setsid sleep 1000 & echo up; sleep 1000");
        pipe.rx.recv().await.unwrap();
        (pipe, child)
    });
    drop(runtime);
    assert_eq!(descendants(), []);
    drop(kept);
}

/// Waits until this process has no descendants.
async fn none_left() {
    let all_gone = async {
        while !descendants().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), all_gone)
        .await
        .is_err()
    {
        panic!("left behind: {:?}", descendants());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_children_leave_nothing_behind() {
    let _alone = alone().await;
    const SCRIPTS: [&str; 8] = [
        "echo up; cat",
        // Something in the background, in its group.
        "sleep 1000 & echo up; cat",
        // Ignores SIGTERM, and outlives its stdin.
        "trap '' TERM; echo up; cat; while :; do sleep 1000; done",
        // A grandchild in a session of its own.
        "setsid sleep 1000 & echo up; cat",
        // A daemon: its parent is gone before we look, it has its own session.
        "(setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo up; cat",
        // The same, and it ignores SIGTERM.
        "(setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' &) ; echo up; cat",
        // Ends by itself with something left over.
        "sleep 1000 & (setsid sleep 1000 &) ; echo up; exit 1",
        // A tree three deep.
        "sh -c 'sh -c \"sleep 1000; :\" & sleep 1000; :' & echo up; cat",
    ];
    let places = Arc::new(Semaphore::new(16));
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        runs.spawn(async move {
            let mut options = options(&["sh", "-c", SCRIPTS[number % SCRIPTS.len()]]);
            options.grace = Duration::from_millis(20);
            let (mut pipe, child) = spawn_child(options).unwrap();
            assert_eq!(pipe.rx.recv().await.unwrap(), "up");
            child.stop().await;
            drop(place);
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
    // At once, without waiting: `stop` promises that nothing is left when it returns.
    assert_eq!(descendants(), []);
}
