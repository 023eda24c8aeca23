//! What is printed: tables for people, one JSON object per line for programs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where the program prints"
)]

use serde::Serialize;

use crate::rounds::{Outcome, ratio};

/// Prints progress and tables to stderr, so that stdout holds results only.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Prints one result as a line of JSON on stdout.
pub(crate) fn json_line(value: &impl Serialize) {
    let line = serde_json::to_string(value).expect("results have text keys and finite numbers");
    println!("{line}");
}

/// Prints one result for people on stdout.
pub(crate) fn line(line: &str) {
    println!("{line}");
}

/// The medians of a comparison, with each case's CPU time as a multiple of `base`'s.
pub(crate) fn table(title: &str, outcomes: &[Outcome], base: &str) -> String {
    let mut table = format!(
        "{title}\n  {:<16}{:>10}{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}\n",
        "", "CPU us/req", "/ base", "req/s", "p50 us", "p95 us", "p99 us", "p99.9 us", "RSS MiB", "errors"
    );
    let base = outcomes.iter().find(|outcome| outcome.label == base);
    for outcome in outcomes {
        let figures = outcome.medians();
        let of_base = base.map_or(f64::NAN, |base| {
            ratio(outcome, base, |figures| figures.cpu_us_per_request)
        });
        table.push_str(&format!(
            "  {:<16}{:>10.2}{:>9.2}{:>10.0}{:>9.0}{:>9.0}{:>9.0}{:>9.0}{:>8.1}{:>8}\n",
            outcome.label,
            figures.cpu_us_per_request,
            of_base,
            figures.requests_per_second,
            figures.latency_us_p50,
            figures.latency_us_p95,
            figures.latency_us_p99,
            figures.latency_us_p99_9,
            figures.rss_mib,
            figures.errors,
        ));
    }
    table
}
