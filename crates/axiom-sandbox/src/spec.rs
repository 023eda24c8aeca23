//! What a task is to be: its command, where it runs, and within which bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::confine::landlock_version;
use crate::executor::keeps;
use crate::limits::Limits;

/// Bytes of a task's id. It is the name of its folder and of its control group.
const ID_BYTES_MAX: usize = 64;
/// What the kernel takes at once is 2 MiB for arguments and environment together, and 128 KiB for each.
const ARGUMENT_BYTES_MAX: usize = 128 << 10;
const ARGUMENTS_BYTES_MAX: usize = 2 << 20;
/// A page for each of its two file systems in memory, and some: a size of 0 would be none at all.
const DISK_BYTES_MIN: u64 = 64 << 10;

/// A task, as whoever wants it says it. It is kept as JSON beside the task's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Lower-case letters, digits and `-`; unique among all tasks there are.
    pub id: String,
    /// The program and its arguments. A program without a `/` is looked for in the task's own `PATH`.
    pub argv: Vec<String>,
    /// All there is of an environment: nothing is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs, absolute.
    pub folder: PathBuf,
    /// A terminal of its own instead of pipes.
    #[serde(default)]
    pub terminal: Option<Size>,
    #[serde(default)]
    pub limits: Limits,
    pub executor: Executor,
    /// What a task in a sandbox gets beside its folder; nothing else may be given.
    #[serde(default)]
    pub grants: Grants,
    /// Output that may lie on the disk and has been taken by nobody. Beyond it the task waits when it writes.
    #[serde(default = "spool_bytes")]
    pub spool_bytes: u64,
}

/// What keeps a task apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Executor {
    /// A process like any other, with the limits that a process can have.
    Process,
    /// Behind namespaces, in a root of its own, with Landlock and a filter of system calls. It sees the machine's programs, and
    /// may write into its folder, its own `/tmp` and what it was granted.
    Sandbox,
    /// A fork of a Python that runs already. It is apart from others as a `process` is: not at all, unless its zygote is.
    Zygote(Zygote),
    /// A request to a process that has started already; its answer is the output.
    Worker(Worker),
    /// A container: an OCI bundle is written for it, and a runtime runs that. It has what a `sandbox` has.
    Oci(Oci),
}

/// Whose jobs it is one of. What it runs is `argv[1]` and on: `-c CODE`, `-m MODULE` or a script, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zygote {
    /// Where a zygote takes jobs, absolute; from a [pool](crate::pool).
    pub socket: PathBuf,
}

/// Who is asked. The request is `argv[0]`, and there is nothing else in `argv` and `env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Its own folder as a task, absolute; from a [pool](crate::pool).
    pub folder: PathBuf,
    pub protocol: Protocol,
}

/// How a worker talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A request is a JSON object on a line, and so is its answer.
    Lines,
    /// A request is commands of SMT-LIB, as `z3 -in` reads them. Each begins anew, with `(reset)`; its answer is all that they print.
    Smt,
}

/// Which runtime, and what it is to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oci {
    /// `runc`, `crun`, `runsc` or another with the same command line.
    pub runtime: String,
    /// What comes before its `run`: `--platform=ptrace`, `--ignore-cgroups`.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// A folder that is the container's root, read-only, absolute; without one, the machine's programs.
    #[serde(default)]
    pub root: Option<PathBuf>,
}

/// What is opened for a task in a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    pub network: Network,
    /// Files and folders of the machine that it may read and run, at their own places.
    pub read: Vec<PathBuf>,
    /// Those that it may change as well.
    pub write: Vec<PathBuf>,
    /// What it may do with the folder that it runs in.
    pub folder: Access,
}

/// What may be done with a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    Read,
    #[default]
    Write,
}

/// Whom a task in a sandbox can reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    #[default]
    None,
    /// Itself, at 127.0.0.1.
    Loopback,
    /// Whatever the machine reaches, with what listens on the machine.
    Host,
}

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

/// Why a task cannot be what is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct BadSpec {
    /// As in the JSON: `limits.memory_bytes`, `argv[2]`.
    pub field: String,
    pub problem: String,
    /// What to do instead.
    pub hint: Option<String>,
}

impl Executor {
    /// The names of all.
    pub const NAMES: [&'static str; 5] = ["process", "sandbox", "zygote", "worker", "oci"];

    pub fn name(&self) -> &'static str {
        match self {
            Executor::Process => "process",
            Executor::Sandbox => "sandbox",
            Executor::Zygote(_) => "zygote",
            Executor::Worker(_) => "worker",
            Executor::Oci(_) => "oci",
        }
    }

    /// The limits that it keeps beside those of every task (`wall`, `output_bytes`), by their names in [`Limits`]. A spec with
    /// another is refused, so what a spec that passes [`Spec::check`] says is what is effective.
    pub fn limits(&self) -> &'static [&'static str] {
        keeps(self).limits
    }
}

impl Executor {
    /// The walls around its tasks as they are effective on this machine, in words. None for those that have none of their own.
    pub fn walls(&self) -> Vec<String> {
        match self {
            Executor::Process | Executor::Zygote(_) | Executor::Worker(_) => Vec::new(),
            Executor::Oci(oci) => vec![format!("container of {}", oci.runtime)],
            Executor::Sandbox => {
                let landlock = match landlock_version() {
                    Some(version) => format!("landlock, version {version}"),
                    // It says once more what the root says already, so a task is started without it; and whoever asks is told.
                    None => "no landlock: this kernel has none".to_owned(),
                };
                let always = ["namespaces", "root of its own", "system calls filtered"];
                always.map(str::to_owned).into_iter().chain([landlock]).collect()
            }
        }
    }
}

impl Oci {
    /// Whether its runtime makes control groups: some are told not to, where they do not know a machine's.
    pub(crate) fn has_groups(&self) -> bool {
        let is_off = |argument: &String| {
            argument.contains("ignore-cgroups") || argument.contains("cgroup-manager=disabled")
        };
        !self.arguments.iter().any(is_off)
    }
}

impl Spec {
    /// Whether this can be started here. Nothing is tried: what only the start can tell, the start tells.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), BadSpec> {
        check_id(&self.id)?;
        self.check_command()?;
        if !self.folder.is_absolute() {
            return Err(BadSpec::new("folder", "is not absolute").hint("it begins with a /"));
        }
        if let Some(Size { columns, rows }) = self.terminal
            && (columns == 0 || rows == 0)
        {
            return Err(BadSpec::new("terminal", "has no columns or no rows"));
        }
        if self.spool_bytes == 0 {
            return Err(
                BadSpec::new("spool_bytes", "is 0").hint("a task that may put out nothing could never write")
            );
        }
        self.check_executor()?;
        self.check_limits()?;
        self.check_grants()
    }

    /// What an executor wants of a task, beside what all want.
    fn check_executor(&self) -> Result<(), BadSpec> {
        if self.terminal.is_some() && !keeps(&self.executor).terminal {
            let problem = format!("cannot be had with the executor `{}`", self.executor.name());
            return Err(BadSpec::new("terminal", problem).hint("the executor `process` has them"));
        }
        match &self.executor {
            Executor::Process | Executor::Sandbox => Ok(()),
            Executor::Zygote(zygote) => {
                is_absolute("executor.zygote.socket", &zygote.socket)?;
                let is_known = match self.argv.get(1).map(String::as_str) {
                    Some("-c" | "-m") => self.argv.len() > 2,
                    Some(script) => !script.is_empty() && !script.starts_with('-'),
                    None => false,
                };
                match is_known {
                    true => Ok(()),
                    false => Err(BadSpec::new(
                        "argv[1]",
                        "is neither `-c CODE`, `-m MODULE` nor a script, which is all that a zygote runs",
                    )
                    .hint("options of the interpreter need one of its own: the executor `process`")),
                }
            }
            Executor::Worker(worker) => {
                is_absolute("executor.worker.folder", &worker.folder)?;
                self.check_request(worker.protocol)
            }
            Executor::Oci(oci) => {
                if oci.runtime.is_empty() {
                    return Err(BadSpec::new("executor.oci.runtime", "names no program")
                        .hint("`runc`, `crun` or `runsc`"));
                }
                oci.root
                    .iter()
                    .try_for_each(|root| is_absolute("executor.oci.root", root))
            }
        }
    }

    fn check_request(&self, protocol: Protocol) -> Result<(), BadSpec> {
        if self.argv.len() != 1 {
            return Err(BadSpec::new("argv", "has more than the request to a worker")
                .hint("a worker was started with its own arguments"));
        }
        if !self.env.is_empty() {
            return Err(
                BadSpec::new("env", "cannot be given to a worker that has started")
                    .hint("its pool has the environment of its workers"),
            );
        }
        let request = self.argv.first().map_or("", String::as_str);
        let is_line = !request.contains('\n')
            && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(request).is_ok();
        match protocol {
            Protocol::Lines if !is_line => Err(BadSpec::new("argv[0]", "is no JSON object on one line")
                .hint("a request is one line; what belongs together goes into one object")),
            Protocol::Lines | Protocol::Smt => Ok(()),
        }
    }

    fn check_command(&self) -> Result<(), BadSpec> {
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(BadSpec::new("argv", "names no program"));
        }
        let mut sum = 0;
        let arguments = self.argv.iter().enumerate();
        let arguments = arguments.map(|(nth, argument)| (format!("argv[{nth}]"), argument.len(), argument));
        let variables = self.env.iter().map(|(name, value)| {
            let field = format!("env.{name}");
            (field, name.len() + value.len() + 1, value)
        });
        for (field, bytes, text) in arguments.chain(variables) {
            if text.contains('\0') {
                return Err(BadSpec::new(field, "has a NUL in it, which no argument can have"));
            }
            if bytes >= ARGUMENT_BYTES_MAX {
                let problem = format!("has {bytes} B; the system takes less than {ARGUMENT_BYTES_MAX} B");
                return Err(BadSpec::new(field, problem).hint("give it through a file, or as input"));
            }
            sum += bytes;
        }
        if sum >= ARGUMENTS_BYTES_MAX {
            let problem =
                format!("and env have {sum} B together; the system takes less than {ARGUMENTS_BYTES_MAX} B");
            return Err(BadSpec::new("argv", problem).hint("give it through a file, or as input"));
        }
        match self
            .env
            .keys()
            .find(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            Some(name) => Err(BadSpec::new(
                format!("env.{name}"),
                "is no name that a variable can have",
            )),
            None => Ok(()),
        }
    }

    /// A limit that the executor cannot keep is not taken.
    fn check_limits(&self) -> Result<(), BadSpec> {
        let limits = &self.limits;
        let zeros = [
            ("memory_bytes", limits.memory_bytes == Some(0)),
            ("cpu_millis", limits.cpu_millis == Some(0)),
            ("pids", limits.pids == Some(0)),
            ("wall", limits.wall.is_some_and(|wall| wall.is_zero())),
            ("unattended", limits.unattended.is_some_and(|time| time.is_zero())),
            (
                "disk_bytes",
                limits.disk_bytes.is_some_and(|bytes| bytes < DISK_BYTES_MIN),
            ),
            ("disk_io_bytes_s", limits.disk_io_bytes_s == Some(0)),
            // Three are open from the beginning.
            ("open_files", limits.open_files.is_some_and(|files| files < 3)),
        ];
        if let Some((name, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            let problem = "is too small for any task to run";
            return Err(BadSpec::new(format!("limits.{name}"), problem));
        }
        let wanted = [
            ("memory_bytes", limits.memory_bytes.is_some()),
            ("cpu_millis", limits.cpu_millis.is_some()),
            ("pids", limits.pids.is_some()),
            ("disk_bytes", limits.disk_bytes.is_some()),
            ("disk_io_bytes_s", limits.disk_io_bytes_s.is_some()),
            ("open_files", limits.open_files.is_some()),
        ];
        let keeps = keeps(&self.executor);
        let is_refused = |(name, is_wanted): &(&str, bool)| *is_wanted && !keeps.limits.contains(name);
        match wanted.into_iter().find(is_refused) {
            Some((name, _)) => {
                let problem = format!(
                    "cannot be kept by the executor `{}`, {}",
                    self.executor.name(),
                    keeps.because
                );
                Err(BadSpec::new(format!("limits.{name}"), problem).hint("the executor `sandbox` keeps it"))
            }
            None => Ok(()),
        }
    }

    fn check_grants(&self) -> Result<(), BadSpec> {
        if !keeps(&self.executor).walls {
            return match self.grants == Grants::default() {
                true => Ok(()),
                false => {
                    let name = self.executor.name();
                    let problem = format!("say what a sandbox opens; the executor `{name}` shuts nothing");
                    Err(BadSpec::new("grants", problem)
                        .hint("leave them out, or choose the executor `sandbox`"))
                }
            };
        }
        let grants = [
            ("grants.read", &self.grants.read),
            ("grants.write", &self.grants.write),
        ];
        let own = [("folder", std::slice::from_ref(&self.folder))];
        let paths = grants.map(|(field, paths)| (field, &paths[..]));
        for (field, paths) in paths.into_iter().chain(own) {
            for path in paths {
                let is_plain = path
                    .components()
                    .all(|part| part != std::path::Component::ParentDir);
                if !path.is_absolute() || !is_plain || path.parent().is_none() {
                    let problem = format!(
                        "has {}; what a sandbox opens is an absolute path below /, without `..`",
                        path.display()
                    );
                    return Err(BadSpec::new(field, problem));
                }
            }
        }
        Ok(())
    }
}

impl BadSpec {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> BadSpec {
        BadSpec {
            field: field.into(),
            problem: problem.into(),
            hint: None,
        }
    }

    fn hint(self, hint: &str) -> BadSpec {
        BadSpec {
            hint: Some(hint.to_owned()),
            ..self
        }
    }
}

fn is_absolute(field: &str, path: &std::path::Path) -> Result<(), BadSpec> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(BadSpec::new(field, "is not absolute").hint("it begins with a /")),
    }
}

/// Whether this is the id of a task, and so a name that is safe in a path.
pub fn check_id(id: &str) -> Result<(), BadSpec> {
    let is_one = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let is_fit = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_one) && !id.starts_with('-');
    match is_fit {
        true => Ok(()),
        false => Err(BadSpec::new(
            "id",
            format!(
                "is {id:?}; an id has 1 to {ID_BYTES_MAX} lower-case letters, digits and `-`, which it does not begin with"
            ),
        )),
    }
}

fn spool_bytes() -> u64 {
    64 << 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn spec(change: impl FnOnce(&mut Spec)) -> Spec {
        let mut spec = Spec {
            id: "a1".to_owned(),
            argv: vec!["true".to_owned()],
            env: BTreeMap::new(),
            folder: "/".into(),
            terminal: None,
            limits: Limits::default(),
            executor: Executor::Process,
            grants: Grants::default(),
            spool_bytes: 1,
        };
        change(&mut spec);
        spec
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_field() {
        let check = |field: &str, change: fn(&mut Spec)| {
            let refused = spec(change).check().map_err(|bad| bad.field);
            assert_eq!(refused, Err(field.to_owned()));
        };
        assert_eq!(spec(|_| ()).check(), Ok(()));
        for id in ["", "A", "a/b", "..", "-a", "\u{e9}"] {
            assert!(check_id(id).is_err(), "{id}");
        }
        check("id", |spec| spec.id = "a".repeat(65));
        check("argv", |spec| spec.argv = Vec::new());
        check("argv", |spec| spec.argv = vec![String::new()]);
        check("argv[1]", |spec| spec.argv.push("\0".to_owned()));
        check("argv[1]", |spec| spec.argv.push("x".repeat(128 << 10)));
        check("argv", |spec| spec.argv.extend(vec!["x".repeat(100 << 10); 21]));
        check("env.A", |spec| drop(spec.env.insert("A".into(), "\0".into())));
        check("env.A=B", |spec| drop(spec.env.insert("A=B".into(), "".into())));
        check("folder", |spec| spec.folder = "tmp".into());
        check("terminal", |spec| {
            spec.terminal = Some(Size { columns: 80, rows: 0 })
        });
        check("spool_bytes", |spec| spec.spool_bytes = 0);
        check("limits.wall", |spec| spec.limits.wall = Some(Duration::ZERO));
        check("limits.memory_bytes", |spec| spec.limits.memory_bytes = Some(0));
        check("limits.memory_bytes", |spec| {
            spec.limits.memory_bytes = Some(1 << 30)
        });
        check("limits.open_files", |spec| spec.limits.open_files = Some(64));
        check("limits.disk_bytes", |spec| spec.limits.disk_bytes = Some(1 << 30));
        check("limits.disk_bytes", |spec| {
            (spec.executor, spec.folder) = (Executor::Sandbox, "/a".into());
            spec.limits.disk_bytes = Some(1);
        });
        check("grants", |spec| spec.grants.network = Network::Host);
        check("grants", |spec| spec.grants.folder = Access::Read);
        // A sandbox that opened the root would be none.
        check("folder", |spec| spec.executor = Executor::Sandbox);
        check("grants.write", |spec| {
            spec.executor = Executor::Sandbox;
            spec.grants.write = vec!["/a/../b".into()];
        });
        let boxed = spec(|spec| {
            (spec.executor, spec.folder) = (Executor::Sandbox, "/a".into());
            spec.limits.memory_bytes = Some(1 << 30);
        });
        assert_eq!(boxed.check(), Ok(()));
    }
}
