//! What a request costs: calls, lists and large results beside nginx, many connections, stdio, and both eras.

use std::{collections::BTreeMap, time::Duration};

use axiom_testkit::echo::Eras;

use super::{Finding, Setup};
use crate::{
    load::Plan,
    measured::Figures,
    process, report,
    request::Work,
    rounds::{self, Case, Outcome, named, ratio},
    subject::{self, Folder, Subject, Upstream},
};

/// As many clients as in the design's measurements.
const CONNECTIONS: usize = 32;
const MANY_CONNECTIONS: usize = 256;

/// P0: what any proxy on hyper costs. Nothing of ours is measured, so it tells about the machine.
pub(super) fn floor(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let direct = subject::echo(&folder, Eras::Legacy)?;
    let nginx = subject::nginx(&folder, &direct, setup.workers)?;
    let floor = subject::floor(&folder, &direct, setup.workers)?;
    let cases = [&direct, &nginx, &floor].map(|subject| case(setup, subject, Work::Echo, CONNECTIONS));
    let outcomes = rounds::run(&cases, setup.effort.rounds)?;
    report::say(&report::table(
        "P0: tools/call 1 KiB, 32 connections",
        &outcomes,
        "nginx",
    ));
    Ok(vec![beside_nginx("P0", "floor", &outcomes)])
}

/// P1: a call by its namespaced name, which the gateway rewrites.
pub(super) fn call(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let outcomes = side_by_side(setup, Work::Echo, "P1: tools/call 1 KiB, 32 connections")?;
    Ok(vec![beside_nginx("P1", "axiom", &outcomes)])
}

/// P4: a list that the gateway merged and holds, and nginx fetches.
pub(super) fn list(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let outcomes = side_by_side(setup, Work::List, "P4: tools/list of 100 tools, 32 connections")?;
    Ok(vec![beside_nginx("P4", "axiom", &outcomes)])
}

/// P5: a large result, which should be streamed.
pub(super) fn blob(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let outcomes = side_by_side(
        setup,
        Work::Blob,
        "P5: tools/call with a 64 KiB result, 32 connections",
    )?;
    Ok(vec![beside_nginx("P5", "axiom", &outcomes)])
}

fn side_by_side(setup: &Setup, work: Work, title: &str) -> anyhow::Result<Vec<Outcome>> {
    let bed = Bed::start(setup, Eras::Legacy)?;
    let subjects = [&bed.direct, &bed.nginx, &bed.floor, &bed.axiom];
    let cases = subjects.map(|subject| case(setup, subject, work, CONNECTIONS));
    let outcomes = rounds::run(&cases, setup.effort.rounds)?;
    report::say(&report::table(title, &outcomes, "nginx"));
    Ok(outcomes)
}

/// P7: eight times the connections, no lower rate, and a tail like the floor's.
pub(super) fn many(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let bed = Bed::start(setup, Eras::Legacy)?;
    let named_case = |label, subject, connections| Case {
        label,
        ..case(setup, subject, Work::Echo, connections)
    };
    let cases = [
        named_case("axiom 32", &bed.axiom, CONNECTIONS),
        named_case("axiom 256", &bed.axiom, MANY_CONNECTIONS),
        named_case("floor 256", &bed.floor, MANY_CONNECTIONS),
        named_case("nginx 256", &bed.nginx, MANY_CONNECTIONS),
    ];
    // Two windows differ by a few percent for every server, and so much is promised here that it takes more of them.
    let outcomes = rounds::run(&cases, 2 * setup.effort.rounds + 1)?;
    report::say(&report::table(
        "P7: tools/call 1 KiB, 32 and 256 connections",
        &outcomes,
        "nginx 256",
    ));
    let [few, many, floor] = ["axiom 32", "axiom 256", "floor 256"].map(|label| named(&outcomes, label));
    let errors = few.medians().errors + many.medians().errors;
    let rates = [few, many].map(|outcome| outcome.medians().requests_per_second);
    let tails = [many, floor].map(|outcome| outcome.medians().latency_us_p99);
    Ok(vec![
        Finding {
            id: "P7-rate",
            value: ratio(many, few, |figures| figures.requests_per_second),
            errors,
            detail: format!("{:.0} req/s with 256, {:.0} req/s with 32", rates[1], rates[0]),
        },
        Finding {
            id: "P7-p99",
            value: ratio(many, floor, |figures| figures.latency_us_p99),
            errors,
            detail: format!("p99 {:.0} us, floor {:.0} us", tails[0], tails[1]),
        },
    ])
}

/// P10: the gateway's own time in front of one child that speaks stdio.
pub(super) fn stdio(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let axiom = subject::axiom(&folder, &setup.axiom, &Upstream::Stdio(subject::stdio_echo()?))?;
    let mut gateway = case(setup, &axiom, Work::Echo, CONNECTIONS);
    gateway.plan.pids = vec![axiom.pid()];
    let outcomes = rounds::run(&[gateway], setup.effort.rounds)?;
    report::say(&report::table(
        "P10: tools/call 1 KiB over stdio, the child's time left out",
        &outcomes,
        "axiom",
    ));
    let figures = outcomes[0].medians();
    let detail = format!("{:.0} req/s, 32 connections", figures.requests_per_second);
    Ok(vec![Finding {
        id: "P10",
        value: figures.cpu_us_per_request,
        errors: figures.errors,
        detail,
    }])
}

/// P11: the same call by a modern client and by one with a session, in front of a server that speaks both.
pub(super) fn eras(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let direct = subject::echo(&folder, Eras::Dual)?;
    let axiom = subject::axiom(&folder, &setup.axiom, &http(&direct))?;
    let era_case = |label, modern| {
        let mut case = case(setup, &axiom, Work::Echo, CONNECTIONS);
        case.plan.dialect.modern = modern;
        Case { label, ..case }
    };
    let cases = [era_case("session", false), era_case("modern", true)];
    let outcomes = rounds::run(&cases, setup.effort.rounds)?;
    report::say(&report::table(
        "P11: tools/call 1 KiB in both eras, 32 connections",
        &outcomes,
        "session",
    ));
    let [session, modern] = ["session", "modern"].map(|label| named(&outcomes, label));
    let errors = session.medians().errors + modern.medians().errors;
    let value = ratio(modern, session, |figures| figures.cpu_us_per_request);
    let [session, modern] = [session, modern].map(|outcome| outcome.medians().cpu_us_per_request);
    let detail = format!("2026-07-28 {modern:.1} us, session {session:.1} us");
    Ok(vec![Finding {
        id: "P11",
        value,
        errors,
        detail,
    }])
}

/// P12: a call between the eras, either way, beside one within the session era.
pub(super) fn across(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folders = [Folder::new()?, Folder::new()?];
    let legacy = subject::echo(&folders[0], Eras::Legacy)?;
    let modern = subject::echo(&folders[1], Eras::Modern)?;
    let to_legacy = subject::axiom(&folders[0], &setup.axiom, &http(&legacy))?;
    let to_modern = subject::axiom(&folders[1], &setup.axiom, &http(&modern))?;
    let era_case = |label, subject, is_modern| {
        let mut case = case(setup, subject, Work::Echo, CONNECTIONS);
        case.plan.dialect.modern = is_modern;
        Case { label, ..case }
    };
    let cases = [
        era_case("session", &to_legacy, false),
        era_case("modern to session", &to_legacy, true),
        era_case("session to modern", &to_modern, false),
    ];
    let outcomes = rounds::run(&cases, setup.effort.rounds)?;
    report::say(&report::table(
        "P12: tools/call 1 KiB within and between the eras, 32 connections",
        &outcomes,
        "session",
    ));
    let cpu = |figures: &Figures| figures.cpu_us_per_request;
    let straight = named(&outcomes, "session");
    let [down, up] = ["modern to session", "session to modern"].map(|label| named(&outcomes, label));
    let errors = straight.medians().errors + down.medians().errors + up.medians().errors;
    let us = [straight, down, up].map(|outcome| cpu(&outcome.medians()));
    let detail = format!(
        "a 2026-07-28 client at a session server {:.1} us, a session client at a 2026-07-28 server {:.1} us, within the \
         session era {:.1} us",
        us[1], us[2], us[0]
    );
    Ok(vec![Finding {
        id: "P12",
        value: ratio(down, straight, cpu).max(ratio(up, straight, cpu)),
        errors,
        detail,
    }])
}

/// P13: a call that is recorded, beside one that is not. The log's own threads count too, and so do the statistics that a
/// gateway keeps of what it records: nothing is turned off.
pub(super) fn recorded(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folders = [Folder::new()?, Folder::new()?];
    let direct = subject::echo(&folders[0], Eras::Legacy)?;
    let plain = subject::axiom(&folders[0], &setup.axiom, &http(&direct))?;
    let recording = subject::recording_axiom(&folders[1], &setup.axiom, &http(&direct))?;
    let cases = [&plain, &recording].map(|subject| case(setup, subject, Work::Echo, CONNECTIONS));
    let before = process::cpu_by_thread(recording.pid())?;
    // A few percent are to be told from nothing.
    let outcomes = rounds::run(&cases, 2 * setup.effort.rounds + 1)?;
    let share = share_of_workers(&before, &process::cpu_by_thread(recording.pid())?);
    report::say(&report::table(
        "P13: tools/call 1 KiB, not recorded and recorded, 32 connections",
        &outcomes,
        "axiom",
    ));
    let cpu = |figures: &Figures| figures.cpu_us_per_request;
    let [plain, recording] = ["axiom", "recording"].map(|label| named(&outcomes, label));
    let errors = plain.medians().errors + recording.medians().errors;
    let us = [plain, recording].map(|outcome| cpu(&outcome.medians()));
    Ok(vec![Finding {
        id: "P13",
        value: ratio(recording, plain, cpu),
        errors,
        detail: format!(
            "recorded {:.1} us, of them {:.1} us outside of the threads that serve calls: log, statistics; not recorded {:.1} us",
            us[1],
            us[1] * (1.0 - share),
            us[0]
        ),
    }])
}

/// What part of the CPU time between two looks was used by the threads that serve calls.
fn share_of_workers(before: &BTreeMap<String, Duration>, after: &BTreeMap<String, Duration>) -> f64 {
    let used =
        |(name, cpu): (&String, &Duration)| cpu.saturating_sub(before.get(name).copied().unwrap_or_default());
    let all: Duration = after.iter().map(used).sum();
    let workers = after.iter().filter(|(name, _)| name.starts_with("axiom-worker"));
    for (name, cpu) in after {
        let share = used((name, cpu)).as_secs_f64() / all.as_secs_f64();
        report::say(&format!(
            "P13: {name:<16} {:>5.1} % of the CPU time of recording",
            share * 100.0
        ));
    }
    workers.map(used).sum::<Duration>().as_secs_f64() / all.as_secs_f64()
}

/// Everything that is compared, in front of one upstream.
pub(super) struct Bed {
    // Dropped in this order: the upstream after what stands in front of it, the folder last.
    pub(super) axiom: Subject,
    pub(super) floor: Subject,
    pub(super) nginx: Subject,
    pub(super) direct: Subject,
    _folder: Folder,
}

impl Bed {
    pub(super) fn start(setup: &Setup, eras: Eras) -> anyhow::Result<Bed> {
        let folder = Folder::new()?;
        let direct = subject::echo(&folder, eras)?;
        let nginx = subject::nginx(&folder, &direct, setup.workers)?;
        let floor = subject::floor(&folder, &direct, setup.workers)?;
        let axiom = subject::axiom(&folder, &setup.axiom, &http(&direct))?;
        Ok(Bed {
            axiom,
            floor,
            nginx,
            direct,
            _folder: folder,
        })
    }
}

pub(super) fn http(upstream: &Subject) -> Upstream {
    Upstream::Http(format!("http://{}/mcp", upstream.address))
}

/// A closed loop of legacy clients.
pub(super) fn case(setup: &Setup, subject: &Subject, work: Work, connections: usize) -> Case {
    let plan = Plan {
        address: subject.address,
        dialect: subject.dialect(false),
        work,
        connections,
        rate: None,
        warm_up: setup.effort.warm_up,
        window: setup.effort.window,
        pids: subject.pids(),
    };
    Case {
        label: subject.name,
        plan,
    }
}

fn beside_nginx(id: &'static str, label: &str, outcomes: &[Outcome]) -> Finding {
    let cpu = |figures: &Figures| figures.cpu_us_per_request;
    let (ours, nginx) = (named(outcomes, label), named(outcomes, "nginx"));
    let detail = format!(
        "{:.1} us, nginx {:.1} us",
        cpu(&ours.medians()),
        cpu(&nginx.medians())
    );
    Finding {
        id,
        value: ratio(ours, nginx, cpu),
        errors: ours.medians().errors,
        detail,
    }
}
