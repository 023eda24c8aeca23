//! Tasks that take too much: they are stopped, named, and ended to the last process.

use std::os::unix::process::ExitStatusExt as _;

use axiom_sandbox::cgroup::{Controller, EndedBy};
use axiom_sandbox::limits::Limits;

use crate::ground::{Ground, Inside, eventually, has_python};

#[test]
fn who_takes_too_much_memory_is_killed_and_named() {
    for ground in Ground::all(&[Controller::Memory]) {
        if !has_python() {
            return;
        }
        let group = ground.group(Limits {
            memory_bytes: Some(64 << 20),
            ..Limits::default()
        });
        // It keeps its own program in memory where it may: a kernel can throw that out and read it again, on and on, for long
        // before it gives up.
        let program = "import ctypes\n\
                       ctypes.CDLL(None).mlockall(1)\n\
                       kept = [bytearray(b'x' * (1 << 20)) for _ in range(1000)]\n";
        let mut hog = Inside::start(&group, &["python3", "-c", program]);
        let status = hog.wait();
        assert_eq!(
            status.signal().or(status.code().map(|code| code - 128)),
            Some(9),
            "{status}"
        );
        assert_eq!(group.ended_by().unwrap(), Some(EndedBy::MemoryLimit));
        let stats = group.stats().unwrap();
        assert!(stats.memory_bytes_max.unwrap() <= 64 << 20, "{stats:?}");
    }
}

#[test]
fn a_fork_bomb_is_held_and_ended() {
    for ground in Ground::all(&[Controller::Pids]) {
        hold_and_end_a_bomb(&ground);
    }
}

#[test]
fn a_fork_bomb_is_ended_where_nothing_can_be_frozen() {
    if let Some(ground) = Ground::with_only_pids() {
        hold_and_end_a_bomb(&ground);
    }
}

fn hold_and_end_a_bomb(ground: &Ground) {
    if !has_python() {
        return;
    }
    let group = ground.group(Limits {
        pids: Some(20),
        ..Limits::default()
    });
    // Every process forks on and on, with a pause when it may not: a bomb that leaves the machine its CPUs.
    let program = "import os, time\n\
                   while True:\n\
                   \x20 try: os.fork()\n\
                   \x20 except OSError: time.sleep(0.01)\n";
    let mut bomb = Inside::start(&group, &["python3", "-c", program]);
    eventually("it is refused a process", || {
        group.ended_by().unwrap() == Some(EndedBy::PidsLimit)
    });
    assert!(group.processes().unwrap().len() <= 20);
    group.kill_all().unwrap();
    assert!(group.is_empty().unwrap());
    bomb.wait();
    group.remove().unwrap();
}

#[test]
fn a_task_that_ends_well_was_ended_by_no_limit() {
    for ground in Ground::all(&[]) {
        let group = ground.group(Limits::default());
        let mut task = Inside::start(&group, &["true"]);
        assert!(task.wait().success());
        assert_eq!(group.ended_by().unwrap(), None);
    }
}

#[test]
fn a_tree_of_processes_that_left_their_sessions_is_ended() {
    for ground in Ground::all(&[]) {
        let group = ground.group(Limits::default());
        let program = "for i in 1 2 3 4 5 6 7 8; do setsid sleep 1000 & done; wait";
        let mut task = Inside::start(&group, &["sh", "-c", program]);
        eventually("all are there", || group.processes().unwrap().len() >= 9);
        group.kill_all().unwrap();
        assert!(group.is_empty().unwrap());
        task.wait();
    }
}
