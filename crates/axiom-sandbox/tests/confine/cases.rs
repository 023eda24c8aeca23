//! Runs the cases one after the other, as the usual harness would show them.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::task::{COPIES, WAITS};
use crate::{denied, works};

const IN_A_COPY: &str = "_in_a_copy";
const IN_A_SLOT: &str = "_in_a_slot";

/// Panics if it fails; says why if it cannot be tested here.
pub(crate) type Case = fn() -> Done;

pub(crate) enum Done {
    Tested,
    Skipped(&'static str),
}

/// As the usual harness takes them: `--list`, `--exact`, and parts of names.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    // `--format terse` is how a runner asks for the list; the value is no name.
    let words = arguments.split(|text| *text == "--format");
    let words = words
        .enumerate()
        .flat_map(|(nth, words)| words.iter().skip(usize::from(nth > 0)));
    let (flags, names): (Vec<&str>, Vec<&str>) = words.partition(|text| text.starts_with('-'));
    let chosen = |name: &str| match flags.contains(&"--exact") {
        _ if names.is_empty() => true,
        true => names.contains(&name),
        false => names.iter().any(|part| name.contains(part)),
    };
    // Each three times: with a root that is made from the machine's own, with one that begins as a copy, and with walls that stood
    // before there was a task.
    let cases = [
        ("", false, false),
        (IN_A_COPY, true, false),
        (IN_A_SLOT, true, true),
    ]
    .into_iter()
    .flat_map(|(suffix, copies, waits)| {
        let cases = works::CASES.iter().chain(denied::CASES);
        cases.map(move |(name, case)| (format!("{name}{suffix}"), case, copies, waits))
    });
    let cases = cases.filter(|(name, ..)| chosen(name));
    if flags.contains(&"--ignored") {
        return ExitCode::SUCCESS;
    }
    if flags.contains(&"--list") {
        cases.for_each(|(name, ..)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, case, copies, waits) in cases {
        COPIES.store(copies, Ordering::Relaxed);
        WAITS.store(waits, Ordering::Relaxed);
        let told = match catch_unwind(case) {
            Ok(Done::Tested) => "ok".to_owned(),
            Ok(Done::Skipped(reason)) => format!("skipped: {reason}"),
            Err(_) => {
                failed += 1;
                "FAILED".to_owned()
            }
        };
        eprintln!("test {name} ... {told}");
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What this machine lacks for nearly all cases, if anything.
pub(crate) fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root: tasks here run as a user of their own");
    }
    let held = rustix::thread::capabilities(None).unwrap().effective;
    let needed = rustix::thread::CapabilitySet::SYS_ADMIN;
    (!held.contains(needed)).then_some("it needs a root with CAP_SYS_ADMIN, which containers rarely have")
}

/// Says why cases about Landlock cannot be run, if so.
pub(crate) fn without_landlock() -> Option<Done> {
    let found = axiom_sandbox::confine::landlock_version().unwrap_or(0);
    (found < 6).then_some(Done::Skipped(
        "the kernel's Landlock is older than version 6, or not in use",
    ))
}

/// A case of a few lines that needs root.
#[macro_export]
macro_rules! case {
    ($body:block) => {
        || {
            if let Some(reason) = $crate::cases::missing() {
                return $crate::cases::Done::Skipped(reason);
            }
            $body
            $crate::cases::Done::Tested
        }
    };
}
