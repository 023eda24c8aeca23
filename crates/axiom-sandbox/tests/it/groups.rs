//! Making, filling, listing and removing groups.

use std::time::Duration;

use axiom_core::time::now;
use axiom_sandbox::cgroup::{Allowance, Class, Controller, GroupError};
use axiom_sandbox::limits::Limits;

use crate::ground::{Ground, Inside, PATIENCE, eventually};

#[test]
fn a_group_is_made_filled_found_again_and_removed() {
    for ground in Ground::all(&[]) {
        let group = ground.group(Limits::default());
        assert_eq!(ground.tree.list().unwrap(), ["task"]);
        let again = ground.tree.make("task", &Allowance::default()).unwrap_err();
        assert!(matches!(again, GroupError::Exists { .. }), "{again}");

        let mut sleeper = Inside::start(&group, &["sleep", "1000"]);
        let found = ground.tree.open("task").unwrap();
        assert_eq!(
            found.processes().unwrap().into_iter().collect::<Vec<_>>(),
            [sleeper.pid()]
        );
        assert_eq!(
            found.folder_v2().unwrap().is_none(),
            ground.tree.version_of(Controller::Freezer) != V2
        );

        found.kill_all().unwrap();
        sleeper.wait();
        found.remove().unwrap();
        assert_eq!(ground.tree.list().unwrap(), [""; 0]);
        let gone = ground.tree.open("task").unwrap_err();
        assert!(matches!(gone, GroupError::Gone { .. }), "{gone}");
    }
}

const V2: Option<axiom_sandbox::cgroup::Version> = Some(axiom_sandbox::cgroup::Version::V2);

#[test]
fn a_group_made_ahead_is_limited_and_weighed_later() {
    for ground in Ground::all(&[Controller::Pids, Controller::Memory, Controller::Cpu]) {
        let group = ground.group(Limits::default());
        assert_eq!(group.effective().unwrap(), Limits::default());
        for memory_bytes in [32 << 20, 64 << 20, 16 << 20] {
            let limits = Limits {
                memory_bytes: Some(memory_bytes),
                cpu_millis: Some(500),
                pids: Some(10),
                ..Limits::default()
            };
            let allowance = Allowance {
                limits: limits.clone(),
                class: Class::Low,
                folder: None,
            };
            group.limit(&allowance).unwrap();
            assert_eq!(group.effective().unwrap(), limits);
        }
        assert!(group.weigh(Class::Critical).unwrap());
    }
}

#[test]
fn what_is_inside_is_counted_and_waits_for_its_share_of_the_cpu() {
    for ground in Ground::all(&[Controller::Cpu, Controller::CpuTime, Controller::Memory]) {
        let group = ground.group(Limits {
            cpu_millis: Some(100),
            ..Limits::default()
        });
        let started = now();
        let spinner = Inside::start(&group, &["sh", "-c", "while :; do :; done"]);
        let used = || group.stats().unwrap().cpu_time.unwrap();
        eventually("it has used some CPU", || used() > Duration::from_millis(40));
        // A tenth of a CPU, and no more than two periods beside it.
        assert!(
            used() <= started.elapsed() / 10 + Duration::from_millis(40),
            "{:?}",
            used()
        );
        assert!(group.stats().unwrap().memory_bytes.unwrap() > 0);
        group.kill_all().unwrap();
        drop(spinner);
    }
}

#[test]
fn a_frozen_group_waits_and_goes_on() {
    for ground in Ground::all(&[Controller::Freezer]) {
        let group = ground.group(Limits::default());
        let mut echo = Inside::start(&group, &["cat"]);
        echo.say("before");
        assert_eq!(echo.lines.recv_timeout(PATIENCE).unwrap(), "before");
        group.freeze().unwrap();
        echo.say("after");
        // Nothing comes: there is nothing to wait for but time.
        echo.lines.recv_timeout(Duration::from_millis(50)).unwrap_err();
        group.thaw().unwrap();
        assert_eq!(echo.lines.recv_timeout(PATIENCE).unwrap(), "after");
        // One that is frozen can be ended as well.
        group.freeze().unwrap();
        group.kill_all().unwrap();
        echo.wait();
    }
}

#[test]
fn a_disk_is_limited_for_what_goes_to_it_directly() {
    let folder = tempfile::tempdir().unwrap();
    for ground in Ground::all(&[Controller::Io]) {
        let limits = Limits {
            disk_io_bytes_s: Some(1 << 20),
            ..Limits::default()
        };
        let allowance = Allowance {
            limits,
            folder: Some(folder.path().to_owned()),
            ..Allowance::default()
        };
        let group = match ground.tree.make("task", &allowance) {
            Err(error @ GroupError::CannotEnforce { .. }) => return eprintln!("skipped: {error}"),
            group => group.unwrap(),
        };
        assert_eq!(group.effective().unwrap().disk_io_bytes_s, Some(1 << 20));
        let to = format!("of={}", folder.path().join("file").display());
        let started = now();
        let mut writer = Inside::start(
            &group,
            &["dd", "if=/dev/zero", &to, "bs=256k", "count=6", "oflag=direct"],
        );
        if !writer.wait().success() {
            return eprintln!("skipped: no direct writes in {}", folder.path().display());
        }
        assert!(
            started.elapsed() > Duration::from_secs(1),
            "1.5 MiB took {:?}",
            started.elapsed()
        );
        assert!(group.stats().unwrap().io_written_bytes.unwrap() >= 6 << 18);
    }
}

#[test]
fn a_limit_without_its_controller_is_refused_and_nothing_is_made() {
    let Some(ground) = Ground::with_only_pids() else {
        return;
    };
    let tree = &ground.tree;
    let limits = Limits {
        memory_bytes: Some(1 << 20),
        pids: Some(5),
        ..Limits::default()
    };
    let error = tree
        .make(
            "task",
            &Allowance {
                limits,
                ..Allowance::default()
            },
        )
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the limit `memory_bytes` cannot be enforced: no tree with"),
        "{text}"
    );
    assert_eq!(tree.list().unwrap(), [""; 0]);
}
