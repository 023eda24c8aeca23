//! What this machine can do for tasks, found out by doing it.
//!
//! A file that exists proves nothing: a container may show `/sys/fs/cgroup` read-only, a program in `PATH` may hang. So each
//! [`Ability`] is tried, with a time limit, and what was tried is undone. What cannot be tried from here says so
//! ([`Verdict::Unproven`]) instead of claiming a yes.
//!
//! The report is for people (`axiom doctor` prints it), and for refusing a task before anything of it is started.

mod ability;
mod groups;
mod kernel;
mod mounts;
mod namespaces;
pub(crate) mod pressure;
mod program;
mod size;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use ability::Ability;
pub use groups::keeps;
pub use pressure::Pressure;
pub use size::Size;

/// How to examine.
pub struct Options<'a> {
    /// On the disk that tasks will write to, for whether its throughput can be limited.
    pub folder: PathBuf,
    /// Tries one ability in a way that this module has none for, such as a system call. `None` leaves it to this module.
    pub own_probe: Option<&'a dyn Fn(Ability) -> Option<Finding>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            folder: std::env::temp_dir(),
            own_probe: None,
        }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// As the kernel says it, such as `6.12.4-generic`. Empty if it does not.
    pub kernel: String,
    pub size: Size,
    /// None where the kernel does not measure it.
    pub pressure: Option<Pressure>,
    /// One of each, in the order of [`Ability::ALL`].
    pub capabilities: Vec<Capability>,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    pub ability: Ability,
    #[serde(flatten)]
    pub finding: Finding,
    /// What a person can do to have it. Empty if it is there.
    pub how: String,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// What was tried and how it went, or a version.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was done.
    Yes,
    /// It was tried and failed, or the kernel says that it would.
    No,
    /// Nothing speaks against it, but it was not done.
    Unproven,
}

impl Capability {
    fn how(ability: Ability, finding: &Finding) -> String {
        match finding.verdict {
            Verdict::Yes => String::new(),
            Verdict::No | Verdict::Unproven => ability.how().to_owned(),
        }
    }
}

impl Finding {
    pub fn yes(reason: impl Into<String>) -> Finding {
        Finding {
            verdict: Verdict::Yes,
            reason: reason.into(),
        }
    }

    pub fn no(reason: impl Into<String>) -> Finding {
        Finding {
            verdict: Verdict::No,
            reason: reason.into(),
        }
    }

    pub fn unproven(reason: impl Into<String>) -> Finding {
        Finding {
            verdict: Verdict::Unproven,
            reason: reason.into(),
        }
    }
}

impl From<Result<String, String>> for Finding {
    fn from(outcome: Result<String, String>) -> Self {
        outcome.map_or_else(Finding::no, Finding::yes)
    }
}

/// Tries everything. Blocks: a second usually, and half a minute where every program hangs.
///
/// Leaves nothing behind, with one exception: see [`crate::cgroup::Tree::find`] for how a process alone in a group of version 2
/// moves itself.
pub fn examine(options: &Options<'_>) -> Report {
    let groups = groups::probe(&options.folder);
    let pressure = Pressure::read();
    let find = |ability: Ability| match options.own_probe.and_then(|probe| probe(ability)) {
        Some(finding) => finding,
        None => match ability {
            Ability::Pressure => Finding::from(pressure.as_ref().map(pressure::said).map_err(Clone::clone)),
            Ability::Landlock => kernel::landlock(),
            Ability::Seccomp => kernel::seccomp(),
            Ability::Rlimits => rlimits(),
            Ability::MountTmpfs | Ability::MountOverlay => mounts::probe(ability),
            other => match (other.namespace(), other.program()) {
                (Some(namespace), _) => namespaces::probe(namespace),
                (None, Some(program)) => program::version(program).map_err(|none| none.to_string()).into(),
                (None, None) => groups.of(other),
            },
        },
    };
    let capability = |ability: Ability| {
        let finding = find(ability);
        let how = Capability::how(ability, &finding);
        Capability {
            ability,
            finding,
            how,
        }
    };
    Report {
        kernel: kernel::release(),
        size: Size::of_this_process(),
        capabilities: Ability::ALL.into_iter().map(capability).collect(),
        pressure: pressure.ok(),
    }
}

/// A program of its own sets one and looks: a limit that was lowered here would stay lowered.
fn rlimits() -> Finding {
    let lowered = program::run("sh", &["-c", "ulimit -n 64 && ulimit -n"]);
    match lowered.as_deref().map(str::trim) {
        Ok("64") => Finding::yes("a program was limited to 64 open files"),
        Ok(other) => Finding::no(format!("a limit of 64 open files became {other:?}")),
        Err(why) => Finding::no(format!("`sh` with `ulimit -n 64` {why}")),
    }
}

impl Report {
    /// The line about one ability. None if the report is older than the ability.
    pub fn about(&self, ability: Ability) -> Option<&Capability> {
        self.capabilities
            .iter()
            .find(|capability| capability.ability == ability)
    }

    /// Somebody who could try it better has found this.
    pub fn learn(&mut self, ability: Ability, finding: Finding) {
        let how = Capability::how(ability, &finding);
        for capability in &mut self.capabilities {
            if capability.ability == ability {
                (capability.finding, capability.how) = (finding.clone(), how.clone());
            }
        }
    }

    /// True if it was done here. What is unproven is not had.
    pub fn has(&self, ability: Ability) -> bool {
        self.about(ability)
            .is_some_and(|capability| capability.finding.verdict == Verdict::Yes)
    }
}

/// A table: `name  yes/no  reason  how to get it`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {}, {}", self.kernel, self.size)?;
        let reason_len = |capability: &Capability| capability.finding.reason.chars().count();
        let needs_more = self
            .capabilities
            .iter()
            .filter(|capability| !capability.how.is_empty());
        // A reason that is a whole sentence shall not push the last column off every line.
        let width = needs_more
            .map(reason_len)
            .max()
            .unwrap_or(0)
            .min(REASON_WIDTH_MAX);
        for Capability {
            ability,
            finding,
            how,
        } in &self.capabilities
        {
            let line = format!(
                "{:17}  {:8}  {:width$}  {how}",
                ability.name(),
                finding.verdict.name(),
                finding.reason
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

const REASON_WIDTH_MAX: usize = 60;

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Yes => "yes",
            Verdict::No => "no",
            Verdict::Unproven => "unproven",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let line = |ability: Ability, finding: Finding, how: &str| Capability {
            ability,
            finding,
            how: how.into(),
        };
        Report {
            kernel: "6.1".into(),
            size: Size {
                cpu_millis: 1_500,
                memory_bytes: 3 << 30,
            },
            pressure: None,
            capabilities: vec![
                line(Ability::GroupMemory, Finding::yes("version 2"), ""),
                line(Ability::Landlock, Finding::unproven("kernel 6.1"), "ask"),
                line(Ability::Runc, Finding::no("not in PATH"), "install it"),
            ],
        }
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let expected = "kernel 6.1, 1.5 CPUs, 3072 MiB\n\
                        group-memory       yes       version 2\n\
                        landlock           unproven  kernel 6.1   ask\n\
                        runc               no        not in PATH  install it\n";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn only_what_was_done_is_had() {
        let report = report();
        assert!(report.has(Ability::GroupMemory));
        assert!(!report.has(Ability::Landlock) && !report.has(Ability::Runc) && !report.has(Ability::Node));
    }

    #[test]
    fn it_comes_back_from_json() {
        let text = serde_json::to_string(&report()).unwrap();
        assert!(
            text.contains(r#"{"ability":"runc","verdict":"no","reason":"not in PATH","how":"install it"}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
    }
}
