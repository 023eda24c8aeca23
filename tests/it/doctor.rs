//! `axiom doctor`: what it says is so, and it leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::path::Path;
use std::process::Command;

use axiom_tests::bed;
use axiom_tests::child::Running;
use serde_json::Value;

use crate::running::{Said, said};

/// In a folder of its own, where all that is temporary goes as well.
fn doctor(folder: &Path, dir: &Path, change: impl FnOnce(&mut Command)) -> (Said, Value) {
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(["doctor", "--json", "--dir"])
        .arg(dir)
        .current_dir(folder)
        .env("TMPDIR", &temporary)
        .env("NO_COLOR", "1");
    change(&mut command);
    let said = said(&mut Running::start("axiom doctor", &mut command));
    let report = serde_json::from_str(&said.data.join("\n")).unwrap_or(Value::Null);
    assert!(report.is_object(), "{:?} {}", said.data, said.talk);
    assert_eq!(
        std::fs::read_dir(temporary).unwrap().count(),
        0,
        "something was left"
    );
    (said, report)
}

fn capability<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["capabilities"].as_array().unwrap();
    all.iter()
        .find(|capability| capability["ability"] == name)
        .unwrap_or_else(|| panic!("nothing about {name} in {report:#}"))
}

#[test]
fn what_works_is_said_and_nothing_is_left() {
    let folder = bed::scratch("doctor");
    let dir = folder.join("state/tasks");
    let (said, report) = doctor(&folder, &dir, |_| ());
    assert_eq!(said.code, Some(0), "{report:#}");
    assert_eq!(
        (&report["works"], &report["default_executor"]),
        (&true.into(), &"process".into())
    );
    let process = &report["executors"][0];
    assert_eq!(
        (&process["name"], &process["works"]),
        (&"process".into(), &true.into())
    );
    let kept = |name: &str| {
        let limits = process["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["name"] == name).unwrap()["is_kept"] == true
    };
    assert!(kept("wall") && kept("output") && !kept("memory"), "{process:#}");
    assert_eq!(report["configuration"]["verdict"], "none");
    assert_eq!(report["tasks_folder"]["verdict"], "yes");
    assert_eq!(capability(&report, "git")["verdict"], "yes");
    // It could be made, and was not.
    assert!(!folder.join("state").exists());
    drop(std::fs::remove_dir_all(&folder));
}

#[test]
fn it_is_a_table_for_a_person() {
    let folder = bed::scratch("doctor-table");
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(["doctor", "--dir"])
        .arg(folder.join("tasks"))
        .current_dir(&folder);
    let said = said(&mut Running::start("axiom doctor", &mut command));
    let text = said.data.join("\n");
    for part in [
        "Executors\n  process          yes",
        "\nKernel\n  group-memory",
        "\nPrograms\n  runc",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(
        text.ends_with("The default executor, `process`, works here."),
        "{text}"
    );
    drop(std::fs::remove_dir_all(&folder));
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_a_task_is() {
    let folder = bed::scratch("doctor-folder");
    std::fs::write(folder.join("file"), "").unwrap();
    let (said, report) = doctor(&folder, &folder.join("file/tasks"), |_| ());
    assert_eq!(
        (said.code, &report["works"]),
        (Some(1), &false.into()),
        "{report:#}"
    );
    let found = &report["tasks_folder"];
    assert_eq!(found["verdict"], "no", "{found}");
    assert!(found["how"].as_str().unwrap().contains("--dir"), "{found}");
    drop(std::fs::remove_dir_all(&folder));
}

#[test]
fn a_configuration_that_is_wrong_is_told_and_keeps_no_task_from_running() {
    let folder = bed::scratch("doctor-configuration");
    std::fs::write(folder.join("axiom.toml"), "[servers.a]\ncommand = 3\n").unwrap();
    let (said, report) = doctor(&folder, &folder.join("tasks"), |_| ());
    let found = &report["configuration"];
    assert_eq!((said.code, &found["verdict"]), (Some(0), &"no".into()), "{found}");
    assert!(
        found["how"].as_str().unwrap().contains("axiom config check"),
        "{found}"
    );
    drop(std::fs::remove_dir_all(&folder));
}

#[test]
fn a_program_that_hangs_is_ended_and_not_had() {
    use std::os::unix::fs::PermissionsExt;
    let folder = bed::scratch("doctor-hangs");
    let fake = folder.join("bin/z3");
    std::fs::create_dir(folder.join("bin")).unwrap();
    std::fs::write(
        &fake,
        "#!/bin/sh\necho $$ > \"$(dirname \"$0\")/pid\"\nexec sleep 600\n",
    )
    .unwrap();
    std::fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        folder.join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let (_, report) = doctor(&folder, &folder.join("tasks"), |command| {
        command.env("PATH", &path);
    });
    let z3 = capability(&report, "z3");
    assert_eq!(z3["verdict"], "no", "{z3}");
    assert!(
        z3["reason"].as_str().unwrap().contains("no answer within"),
        "{z3}"
    );
    let pid = std::fs::read_to_string(folder.join("bin/pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    drop(std::fs::remove_dir_all(&folder));
}
