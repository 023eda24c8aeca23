//! A disk that answers with errors, under the real gateway: what it cannot record it counts and tells, calls go on, and when the disk is
//! well again it records again without a restart.
//!
//! A small library between the gateway and the system refuses what it is told to refuse, for files of one folder. How a disk that
//! is full or read-only really is, `recording` tries.

use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::bed;
use axiom_tests::gateway::Gateway;

use crate::recording::{loses_counts_and_goes_on, with_whole_bodies};

/// None of them can be recorded, so a few are enough.
const CALLS: u64 = 6;

/// The library, built here; `None` where that cannot be.
fn library() -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let library = bed::scratch("failing-disk").join("failing_disk.so");
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(bed::ours("harness/failing_disk.c"))
        .arg("-ldl");
    let built = command.status().ok()?;
    assert!(built.success(), "{command:?}");
    Some(library)
}

/// Records while `fault` holds, which is an operation and the number of an error, and afterwards. `None` if that cannot be
/// tried here.
fn survives(fault: &str) -> Option<Gateway> {
    let Some(library) = library() else {
        eprintln!("skipped: it takes Linux and a C compiler");
        return None;
    };
    let folder = bed::scratch("failing");
    let (dir, told) = (folder.join("events"), folder.join("fault"));
    let variables: [(&str, &Path); 3] = [
        ("LD_PRELOAD", &library),
        ("FAILING_FOLDER", &dir),
        ("FAILING_AS_SAID_IN", &told),
    ];
    let gateway = Gateway::start_with(&with_whole_bodies(&dir), &variables);
    let break_it = || {
        // Whole or not at all: it is read at every operation.
        let draft = folder.join("draft");
        std::fs::write(&draft, fault).expect("it can be written");
        std::fs::rename(&draft, &told).expect("it is there");
        true
    };
    let heal_it = || std::fs::remove_file(&told).expect("it is there");
    loses_counts_and_goes_on(&gateway, &dir, CALLS, break_it, heal_it);
    Some(gateway)
}

/// The operator is told, once it fails, by name.
fn tells(gateway: Option<Gateway>, error: &str) {
    let Some(gateway) = gateway else { return };
    let told = gateway.stderr().text();
    assert!(told.contains("failed to"), "{told}");
    assert!(told.contains(error), "{told}");
}

#[test]
fn writes_that_fail_are_counted_and_recording_goes_on() {
    tells(survives("write 5"), "Input/output error");
}

#[test]
fn syncs_that_fail_are_counted_and_recording_goes_on() {
    tells(survives("sync 5"), "Input/output error");
}

#[test]
fn a_disk_that_becomes_read_only_under_open_files_is_survived() {
    tells(survives("write 30"), "Read-only file system");
}

#[test]
fn a_disk_without_room_for_what_it_had_promised_is_survived() {
    tells(survives("write 28"), "No space left on device");
}
