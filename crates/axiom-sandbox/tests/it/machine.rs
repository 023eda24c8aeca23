//! The report about the machine that the tests run on.

use std::process::Command;

use axiom_sandbox::cgroup::{Controller, Layout, Options as TreeOptions, Tree};
use axiom_sandbox::machine::{Ability, Finding, Options, Report, examine};

#[test]
fn every_ability_is_examined_and_nothing_is_left() {
    let report = examine(&Options::default());
    eprintln!("{report}");
    let found: Vec<Ability> = report
        .capabilities
        .iter()
        .map(|capability| capability.ability)
        .collect();
    assert_eq!(found, Ability::ALL);
    assert!(
        report.size.cpu_millis > 0 && report.size.memory_bytes > 0,
        "{:?}",
        report.size
    );
    for capability in &report.capabilities {
        // Whatever is not there says how to get it.
        assert_eq!(
            report.has(capability.ability),
            capability.how.is_empty(),
            "{capability:?}"
        );
    }
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(
        serde_json::from_str::<Report>(&text).unwrap().capabilities,
        report.capabilities
    );
}

#[test]
fn it_agrees_with_what_is_found_by_other_means() {
    let report = examine(&Options::default());
    let python = Command::new("python3").arg("--version").output();
    assert_eq!(
        report.has(Ability::Python3),
        python.is_ok_and(|answer| answer.status.success())
    );
    let options = TreeOptions {
        name: format!("agree-{}", std::process::id()),
        parent: None,
    };
    let Ok(tree) = Tree::find_in(Layout::of_this_process().unwrap(), &options) else {
        return assert!(!report.has(Ability::GroupMemory));
    };
    assert_eq!(
        report.has(Ability::GroupPids),
        tree.missing(Controller::Pids).is_none()
    );
    tree.remove().unwrap();
}

#[test]
fn a_probe_of_the_caller_comes_first() {
    let own = |ability: Ability| (ability == Ability::Landlock).then(|| Finding::yes("ABI version 6"));
    let report = examine(&Options {
        own_probe: Some(&own),
        ..Options::default()
    });
    assert!(report.has(Ability::Landlock));
}
