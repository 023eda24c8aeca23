//! A task as the cases describe it, and what came of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use axiom_sandbox::confine::ExecFault;
use serde::{Deserialize, Serialize};

/// As whom tasks run where the test runs as root. The number is nobody's.
pub(crate) const UID: u32 = 54_321;

/// Sent to the spawner as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) argv: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) working_folder: String,
    /// Bound to `/work`, writable; empty for none.
    pub(crate) work: String,
    /// Each (source, target), read-only.
    pub(crate) mounts: Vec<(String, String)>,
    /// Off leaves the machine's file system.
    pub(crate) own_root: bool,
    pub(crate) own_namespaces: bool,
    pub(crate) cgroup_namespace: bool,
    /// `none`, `loopback` or `host`.
    pub(crate) network: String,
    pub(crate) user: User,
    /// `none`, `ordinary` or `compute`.
    pub(crate) seccomp: String,
    pub(crate) landlock: Option<Rules>,
    pub(crate) terminal: bool,
    pub(crate) open_files: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    pub(crate) nice: i32,
    pub(crate) host_name: Option<String>,
    pub(crate) capabilities_kept: u64,
    /// A file of cgroup v1, or a folder of v2.
    pub(crate) cgroup: Option<String>,
    /// The spawner leaves a file open that would be inherited.
    pub(crate) leak: bool,
    /// Its root begins as a copy of what all have in common.
    pub(crate) copies: bool,
    /// Its walls stand before it is told, if they can.
    pub(crate) waits: bool,
    /// If there are any: what another task is given, which the spawner starts before this one.
    pub(crate) earlier: Vec<(String, String)>,
    /// The spawner, in mounts of its own, mounts a folder with a file `news` there after all was made ready.
    pub(crate) mounted_later: Option<String>,
}

/// Whether roots begin as copies now, and walls stand before. Cases run one after the other.
pub(crate) static COPIES: AtomicBool = AtomicBool::new(false);
pub(crate) static WAITS: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum User {
    /// As the spawner.
    Same,
    Switched,
    /// Root in a user namespace, by a spawner that is not root.
    Mapped,
    /// An ordinary user in a user namespace that root makes.
    MappedByRoot,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// As the view says, and these.
    pub(crate) of_view: bool,
    pub(crate) readable: Vec<String>,
    pub(crate) writable: Vec<String>,
    /// No port at all.
    pub(crate) no_tcp: bool,
    pub(crate) scoped: bool,
}

/// Written by the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Code(i32),
    Signal(i32),
    Failed {
        step: String,
        on: Option<String>,
        exec: Option<String>,
        text: String,
    },
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) report: Report,
}

impl Task {
    pub(crate) fn new(argv: &[&str]) -> Self {
        Task {
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: vec!["PATH=/usr/bin:/bin".to_owned(), "LC_ALL=C".to_owned()],
            working_folder: "/".to_owned(),
            work: String::new(),
            mounts: Vec::new(),
            own_root: true,
            own_namespaces: true,
            cgroup_namespace: true,
            network: "none".to_owned(),
            user: User::Switched,
            seccomp: "ordinary".to_owned(),
            landlock: None,
            terminal: false,
            open_files: None,
            file_bytes: None,
            nice: 0,
            host_name: None,
            capabilities_kept: 0,
            cgroup: None,
            leak: false,
            copies: COPIES.load(Ordering::Relaxed),
            waits: WAITS.load(Ordering::Relaxed),
            earlier: Vec::new(),
            mounted_later: None,
        }
    }

    pub(crate) fn sh(script: &str) -> Self {
        Task::new(&["sh", "-c", script])
    }

    /// This program, as the task.
    pub(crate) fn probe(name: &str) -> Self {
        let this = std::env::current_exe().unwrap();
        Task {
            mounts: vec![(this.to_str().unwrap().to_owned(), "/probe".to_owned())],
            ..Task::new(&["/probe", "--probe", name])
        }
    }

    /// In a work folder, which is given to the task's user.
    pub(crate) fn in_work(mut self, folder: &Path) -> Self {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(folder, Some(UID), Some(UID)).unwrap();
        self.work = folder.to_str().unwrap().to_owned();
        self.working_folder = "/work".to_owned();
        self
    }

    pub(crate) fn run(&self) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report");
        let this = std::env::current_exe().unwrap();
        let mut command = match self.mounted_later {
            None => Command::new(this),
            Some(_) => {
                let mut apart = Command::new("unshare");
                apart.arg("--mount").arg(this);
                apart
            }
        };
        let output = command
            .arg("--spawn")
            .arg(serde_json::to_string(self).unwrap())
            .arg(&report)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = std::fs::read_to_string(report).unwrap_or_else(|_| panic!("no report: {errors}"));
        Outcome {
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors,
            report: serde_json::from_str(&report).unwrap(),
        }
    }

    /// Runs it and compares its output; it must end with 0.
    pub(crate) fn prints(&self, expected: &str) {
        let outcome = self.run();
        assert!(matches!(outcome.report, Report::Code(0)), "{outcome:?}");
        assert_eq!(outcome.output, expected, "{outcome:?}");
    }

    pub(crate) fn ends_with(&self, expected: i32) {
        let outcome = self.run();
        assert!(
            matches!(outcome.report, Report::Code(code) if code == expected),
            "not {expected}: {outcome:?}"
        );
    }

    /// It does not start: the step, what it is about, and the command's own fault if it is one.
    pub(crate) fn fails_at(&self, expected_step: &str, expected_on: &str, expected_exec: Option<ExecFault>) {
        let outcome = self.run();
        let Report::Failed { step, on, exec, .. } = &outcome.report else {
            panic!("it started: {outcome:?}");
        };
        assert_eq!(step, expected_step, "{outcome:?}");
        assert!(
            on.as_deref().unwrap_or_default().contains(expected_on),
            "{outcome:?}"
        );
        assert_eq!(
            *exec,
            expected_exec.map(|fault| format!("{fault:?}")),
            "{outcome:?}"
        );
    }
}
