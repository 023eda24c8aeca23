//! Runs the cases one after the other, as the usual harness would show them.

use std::panic::catch_unwind;
use std::process::ExitCode;

use crate::{oci, slots, worker, zygote};

/// Panics if it fails; says why if it cannot be tested here.
pub(crate) type Case = fn() -> Done;

pub(crate) enum Done {
    Tested,
    Skipped(String),
}

/// As the usual harness takes them: `--list`, `--exact`, and parts of names.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    let (flags, names): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|text| text.starts_with('-'));
    let chosen = |name: &str| match flags.contains(&"--exact") {
        _ if names.is_empty() => true,
        true => names.contains(&name),
        false => names.iter().any(|part| name.contains(part)),
    };
    let all = [zygote::CASES, worker::CASES, oci::CASES, slots::CASES];
    let cases = all
        .iter()
        .flat_map(|cases| cases.iter())
        .filter(|(name, _)| chosen(name));
    if flags.contains(&"--ignored") {
        return ExitCode::SUCCESS;
    }
    if flags.contains(&"--list") {
        cases.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, case) in cases {
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
