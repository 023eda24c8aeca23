//! The diagnosis, for a person.

use std::fmt::Write as _;

use axiom_sandbox::machine::{Capability, Verdict};

use super::Diagnosis;
use super::executors::{Kept, Tried};
use super::home::{Checked, State};
use super::pools::TriedPool;

/// One thing that was looked at.
struct Line<'a> {
    name: &'a str,
    verdict: &'static str,
    reason: String,
    how: &'a str,
}

pub(super) fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    let machine = &diagnosis.machine;
    put(
        &mut text,
        format_args!("kernel {}, {}\n", machine.kernel, machine.size),
    );
    let here = [
        checked("configuration", &diagnosis.configuration),
        checked("tasks' folder", &diagnosis.tasks_folder),
    ];
    section(&mut text, "Here", &here);
    let executors: Vec<Line<'_>> = diagnosis.executors.iter().map(executor).collect();
    section(&mut text, "Executors", &executors);
    if !diagnosis.pools.is_empty() {
        let pools: Vec<Line<'_>> = diagnosis.pools.iter().map(pool).collect();
        section(&mut text, "Pools", &pools);
    }
    for tried in diagnosis.executors.iter().filter(|tried| tried.works) {
        let title = format!("Limits that `{}` keeps", tried.name);
        section(&mut text, &title, &limits(tried));
    }
    let (programs, kernel): (Vec<_>, Vec<_>) = machine
        .capabilities
        .iter()
        .partition(|capability| capability.ability.is_program());
    section(&mut text, "Kernel", &capabilities(&kernel));
    section(&mut text, "Programs", &capabilities(&programs));
    let verdict = match diagnosis.works {
        true => "works",
        false => "does not work",
    };
    put(
        &mut text,
        format_args!(
            "\nThe default executor, `{}`, {verdict} here.\n",
            diagnosis.default_executor
        ),
    );
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to memory does not fail");
}

/// What to do is said once where one line after another says the same.
fn section(text: &mut String, title: &str, lines: &[Line<'_>]) {
    put(text, format_args!("\n{title}\n"));
    for (nth, line) in lines.iter().enumerate() {
        let reason = crate::import::preview::visible(&line.reason);
        let shown = format!("  {:15}  {:8}  {reason}", line.name, line.verdict);
        put(text, format_args!("{}\n", shown.trim_end()));
        let is_last = lines.get(nth + 1).is_none_or(|next| next.how != line.how);
        if is_last && !line.how.is_empty() {
            put(text, format_args!("  {:15}  to have it: {}\n", "", line.how));
        }
    }
}

fn checked<'a>(name: &'a str, checked: &'a Checked) -> Line<'a> {
    Line {
        name,
        verdict: match checked.verdict {
            State::Yes => "yes",
            State::No => "no",
            State::None => "none",
        },
        reason: checked.reason.clone(),
        how: &checked.how,
    }
}

fn executor(tried: &Tried) -> Line<'_> {
    Line {
        name: tried.name,
        verdict: yes(tried.works),
        reason: tried.reason.clone(),
        how: &tried.how,
    }
}

fn pool(tried: &TriedPool) -> Line<'_> {
    Line {
        name: &tried.name,
        verdict: yes(tried.works),
        reason: tried.reason.clone(),
        how: &tried.how,
    }
}

fn limits(tried: &Tried) -> Vec<Line<'_>> {
    let line = |kept: &Kept| Line {
        name: kept.name,
        verdict: yes(kept.is_kept),
        reason: kept.reason.clone(),
        how: "",
    };
    tried.limits.iter().map(line).collect()
}

fn capabilities<'a>(capabilities: &[&'a Capability]) -> Vec<Line<'a>> {
    let line = |capability: &&'a Capability| Line {
        name: capability.ability.name(),
        verdict: match capability.finding.verdict {
            Verdict::Yes => "yes",
            Verdict::No => "no",
            Verdict::Unproven => "unproven",
        },
        reason: capability.finding.reason.clone(),
        how: &capability.how,
    };
    capabilities.iter().map(line).collect()
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
