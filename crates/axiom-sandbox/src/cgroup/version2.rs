//! Version 2 with every controller, on folders that stand for the kernel: which file is written and read for what.
//!
//! Machines that give all controllers to version 1 cannot run the real thing; the tests in `tests/it` do so where they can.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layout::Home;
use super::*;
use crate::limits::Limits;

/// A group `a`, with the files of a kernel in it.
fn group(root: &Path, files: &[(&str, &str)]) -> Group {
    let ours = root.join("axiom-x");
    let folder = ours.join("task-a");
    fs_err::create_dir_all(&folder).unwrap();
    let all = "cpu io memory pids";
    for (folder, file) in [
        (root, "cgroup.controllers"),
        (root, "cgroup.subtree_control"),
        (&ours, "cgroup.subtree_control"),
    ] {
        fs_err::write(folder.join(file), all).unwrap();
    }
    fs_err::write(ours.join("cgroup.freeze"), "0").unwrap();
    for (file, text) in files {
        fs_err::write(folder.join(file), text).unwrap();
    }
    let home = Home {
        version: Version::V2,
        controllers: Vec::new(),
        mount: root.to_owned(),
        own: root.to_owned(),
    };
    let options = Options {
        name: "x".into(),
        parent: None,
    };
    let tree = Tree::find_in(Layout { homes: vec![home] }, &options).unwrap();
    assert_eq!(
        Controller::ALL.map(|controller| tree.version_of(controller)),
        [Some(Version::V2); 6]
    );
    tree.open("a").unwrap()
}

fn path(root: &Path, file: &str) -> PathBuf {
    root.join("axiom-x/task-a").join(file)
}

#[test]
fn limits_are_written_and_read_back() {
    let root = tempfile::tempdir().unwrap();
    let group = group(
        root.path(),
        &[
            ("memory.max", ""),
            ("cpu.max", ""),
            ("pids.max", ""),
            ("cpu.weight", ""),
        ],
    );
    let limits = Limits {
        memory_bytes: Some(1 << 20),
        cpu_millis: Some(250),
        pids: Some(7),
        ..Limits::default()
    };
    group
        .limit(&Allowance {
            limits: limits.clone(),
            class: Class::High,
            folder: None,
        })
        .unwrap();
    assert_eq!(group.effective().unwrap(), limits);
    assert_eq!(
        fs_err::read_to_string(path(root.path(), "cpu.weight")).unwrap(),
        "300"
    );
}

#[test]
fn a_kernel_without_a_file_for_a_limit_refuses_it() {
    let root = tempfile::tempdir().unwrap();
    let group = group(root.path(), &[("cpu.weight", "")]);
    let limits = Limits {
        cpu_millis: Some(250),
        ..Limits::default()
    };
    let error = group
        .limit(&Allowance {
            limits,
            ..Allowance::default()
        })
        .unwrap_err();
    assert!(
        matches!(
            error,
            GroupError::CannotEnforce {
                limit: "cpu_millis",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_used_is_read() {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("memory.current", "100\n"),
        ("memory.peak", "200\n"),
        ("cpu.stat", "usage_usec 3000\nuser_usec 1\n"),
        ("pids.current", "4\n"),
        (
            "memory.pressure",
            "some avg10=9.00 avg60=0.00\nfull avg10=7.50 avg60=0.00\n",
        ),
        ("io.stat", "8:0 rbytes=5 wbytes=6 rios=1 wios=1\n"),
    ];
    let expected = Stats {
        memory_bytes: Some(100),
        memory_bytes_max: Some(200),
        cpu_time: Some(Duration::from_millis(3)),
        pids: Some(4),
        io_read_bytes: Some(5),
        io_written_bytes: Some(6),
        memory_full_avg10: Some(7.5),
    };
    assert_eq!(group(root.path(), &files).stats().unwrap(), expected);
}

#[test]
fn what_ended_it_is_named() {
    let check = |events: &str, pids: &str, expected: Option<EndedBy>| {
        let root = tempfile::tempdir().unwrap();
        let group = group(root.path(), &[("memory.events", events), ("pids.events", pids)]);
        assert_eq!(group.ended_by().unwrap(), expected, "{events} {pids}");
    };
    check(
        "low 0\nmax 9\noom 1\noom_kill 1\n",
        "max 3\n",
        Some(EndedBy::MemoryLimit),
    );
    check(
        "max 0\noom 0\noom_kill 1\n",
        "max 0\n",
        Some(EndedBy::MachineOutOfMemory),
    );
    check("max 9\noom 0\noom_kill 0\n", "max 1\n", Some(EndedBy::PidsLimit));
    check("max 9\noom 0\noom_kill 0\n", "max 0\n", None);
}

#[test]
fn it_is_frozen_and_killed_by_one_write_each() {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("cgroup.freeze", ""),
        ("cgroup.events", "populated 0\nfrozen 1\n"),
        ("cgroup.kill", ""),
        ("cgroup.procs", ""),
    ];
    let group = group(root.path(), &files);
    group.freeze().unwrap();
    group.kill_all().unwrap();
    let read = |file: &str| fs_err::read_to_string(path(root.path(), file)).unwrap();
    assert_eq!(
        (read("cgroup.freeze").as_str(), read("cgroup.kill").as_str()),
        ("1", "1")
    );
    group.thaw().unwrap();
    assert_eq!(read("cgroup.freeze"), "0");
}
