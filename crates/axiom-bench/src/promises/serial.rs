//! P6: what the gateway adds to the latency of one client that waits for each answer, everything on one core.

use axiom_testkit::echo::Eras;

use super::{
    Finding, Setup,
    path::{Bed, case},
};
use crate::{
    measured::Figures,
    process::Pinned,
    report,
    request::Work,
    rounds::{self, against, named},
};

pub(super) fn added(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    // On several cores each hop wakes an idle one, and the measurement is of the machine's idle states.
    let _pinned = Pinned::to_cores(1)?;
    let bed = Bed::start(
        &Setup {
            workers: 1,
            ..setup.clone()
        },
        Eras::Legacy,
    )?;
    let subjects = [&bed.direct, &bed.nginx, &bed.floor, &bed.axiom];
    let cases = subjects.map(|subject| case(setup, subject, Work::Echo, 1));
    let outcomes = rounds::run(&cases, setup.effort.rounds)?;
    report::say(&report::table(
        "P6: tools/call 1 KiB, 1 connection, all on one core",
        &outcomes,
        "nginx",
    ));

    let p50 = |figures: &Figures| figures.latency_us_p50;
    let direct = named(&outcomes, "direct");
    let added = |label| {
        against(named(&outcomes, label), direct, p50, |with, without| {
            with - without
        })
    };
    let detail = format!(
        "direct p50 {:.1} us; nginx adds {:.1} us, the floor {:.1} us",
        p50(&direct.medians()),
        added("nginx"),
        added("floor")
    );
    let errors = named(&outcomes, "axiom").medians().errors;
    Ok(vec![Finding {
        id: "P6",
        value: added("axiom"),
        errors,
        detail,
    }])
}
