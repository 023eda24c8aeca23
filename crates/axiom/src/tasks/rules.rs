//! What clients may ask for: where tasks work, what they are granted, within which limits, and with which environment.
//!
//! Clients are programs that models steer. Of what the configuration says they can ask for less, never for more: not for the
//! executor `process` where it says `sandbox`, and in a sandbox for no folder in which the gateway's own files lie. A task that
//! could write the configuration could start any command through it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axiom_gateway::options::Options;
use axiom_runtime::supervisor::PoolOptions;
use axiom_sandbox::limits::Limits;
use axiom_sandbox::machine::{self, Size};
use axiom_sandbox::spec::Executor;

use super::TASK_MEMORY_BYTES;
use super::refusal::Refusal;
use crate::config::{Pool, Tasks, did_you_mean};
use crate::outcome::{Exit, Failed};

/// Below the folder of tasks: where tasks work that name no folder.
const WORKPLACE: &str = "work";
/// Processes and threads of a task that asks for no limit: more than a build of many jobs has. With 1,024 a fork bomb had other tasks
/// wait seven times as long, with this many no longer than without one; calls through the gateway do wait longer (row R9 of PROMISES.md).
const PIDS: u32 = 256;
/// Of a CPU, in thousandths: a task has one at least.
const CPU_MILLIS_MIN: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Rules {
    tasks: Tasks,
    /// As they really are.
    roots: Vec<PathBuf>,
    workplace: PathBuf,
    env: BTreeMap<String, String>,
    /// Of a task that asks for none.
    usual: Limits,
    /// The gateway's own files and folders.
    own: Vec<PathBuf>,
}

/// What is to run a task.
#[derive(Debug, Clone)]
pub(super) enum Chosen<'a> {
    /// It has an executor for itself.
    Alone(Executor),
    /// One of the pools, by its name.
    Pool(&'a str, &'a Pool),
}

impl Chosen<'_> {
    /// What keeps it apart.
    pub(super) fn walls(&self) -> &Executor {
        match self {
            Chosen::Alone(executor) => executor,
            Chosen::Pool(_, pool) => &pool.walls,
        }
    }
}

impl Rules {
    /// # Errors
    /// A folder that is named is not there, or cannot be made.
    pub(super) fn new(tasks: &Tasks, options: &Options) -> Result<Rules, Failed> {
        let real = |path: &PathBuf| {
            fs_err::canonicalize(path).map_err(|error| {
                let message = format!("cannot run tasks: {error}");
                Failed::new(Exit::Failure, message).hint("`tasks.roots` names folders that are there")
            })
        };
        let roots = tasks.roots.iter().map(real).collect::<Result<_, _>>()?;
        use std::os::unix::fs::DirBuilderExt as _;
        let workplace = tasks.dir.join(WORKPLACE);
        let mut private = std::fs::DirBuilder::new();
        // What tasks say, and what they are given to work on, is nobody else's.
        private.recursive(true).mode(0o700);
        private.create(&workplace)?;
        let workplace = fs_err::canonicalize(workplace)?;
        let named = options.config_file.iter().map(PathBuf::from);
        let named = named
            .chain([tasks.dir.clone()])
            .chain(options.events.iter().map(|events| events.dir.clone()));
        // Under both of its names, where it has two.
        let own = named
            .flat_map(|path| [fs_err::canonicalize(&path).ok(), std::path::absolute(path).ok()])
            .flatten()
            .collect();
        let env = tasks.env.iter();
        let env = env
            .filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)))
            .collect();
        let usual = tasks
            .limits
            .clone()
            .unwrap_or_else(|| by_size(&tasks.executor, &workplace));
        Ok(Rules {
            usual,
            roots,
            workplace,
            env,
            own,
            tasks: tasks.clone(),
        })
    }

    pub(super) fn executor(&self) -> Executor {
        self.tasks.executor.clone()
    }

    pub(super) fn workplace(&self) -> &Path {
        &self.workplace
    }

    /// How long what has ended is kept.
    pub(super) fn keep(&self) -> std::time::Duration {
        self.tasks.keep
    }

    pub(super) fn has_server(&self) -> bool {
        self.tasks.mcp
    }

    pub(super) fn is_shared(&self) -> bool {
        self.tasks.share
    }

    /// What a task finds in its environment before it is given anything.
    pub(super) fn env(&self, executor: &Executor) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        if *executor != Executor::Process && env.contains_key("HOME") {
            // Ours is not there; its own `/tmp` is.
            env.insert("HOME".to_owned(), "/tmp".to_owned());
        }
        env
    }

    /// What a client may have of what it asks for. A pool is the configuration's word, as an agent is: whoever wrote it has said what
    /// keeps its processes apart.
    pub(super) fn choose(&self, asked: Option<&str>) -> Result<Chosen<'_>, Refusal> {
        let tasks = &self.tasks;
        let Some(asked) = asked else {
            return Ok(Chosen::Alone(tasks.executor.clone()));
        };
        if let Some((name, pool)) = tasks.pools.get_key_value(asked) {
            return Ok(Chosen::Pool(name, pool));
        }
        match (asked, &tasks.executor) {
            ("sandbox", _) => Ok(Chosen::Alone(Executor::Sandbox)),
            ("process", Executor::Process) => Ok(Chosen::Alone(Executor::Process)),
            ("process", usual) => {
                let message = format!("`executor` is `process`, and tasks have to be in a {} here", walls(usual));
                Err(Refusal::wrong(message).hint(
                    "leave it out; only executor = \"process\" in [tasks] of the gateway's configuration allows it",
                ))
            }
            ("oci", _) => match &tasks.oci {
                Some(oci) => Ok(Chosen::Alone(Executor::Oci(oci.clone()))),
                None => Err(Refusal::wrong("`executor` is `oci`, and there are no containers here").hint(
                    "a section [tasks.oci] in the gateway's configuration says what runs them; `sandbox` needs none",
                )),
            },
            ("zygote" | "worker", _) => {
                let message = format!("`executor`: a {asked} belongs to a pool, which has a name of its own");
                Err(Refusal::wrong(message).hint(self.known()))
            }
            (other, _) => {
                let hint = did_you_mean(other, &self.names()).unwrap_or_else(|| self.known());
                Err(Refusal::wrong(format!("`executor`: there is no {other:?}")).hint(hint))
            }
        }
    }

    /// What can be asked for.
    fn names(&self) -> Vec<&str> {
        let tasks = &self.tasks;
        let alone = [
            ("sandbox", true),
            ("process", tasks.executor == Executor::Process),
            ("oci", tasks.oci.is_some()),
        ];
        let alone = alone
            .into_iter()
            .filter(|(_, may_be)| *may_be)
            .map(|(name, _)| name);
        alone.chain(tasks.pools.keys().map(String::as_str)).collect()
    }

    fn known(&self) -> String {
        let names = self.names().join(", ");
        let pools = match self.tasks.pools.is_empty() {
            true => ", and no pools: [tasks.pools.NAME] in the gateway's configuration makes some",
            false => "",
        };
        format!("there are {names}{pools}; leave it out for the usual one")
    }

    /// The pools, with what their processes need of the gateway.
    ///
    /// # Errors
    /// A folder that is named is not there.
    pub(super) fn pools(&self) -> Result<BTreeMap<String, PoolOptions>, Failed> {
        let pools = self.tasks.pools.iter();
        let with_options = |(name, pool): (&String, &Pool)| {
            let pool = pool.at_its_places().map_err(|error| {
                let message = format!("cannot run tasks: `tasks.pools.{name}`: {error}");
                Failed::new(Exit::Failure, message)
                    .hint("`folder`, `read` and `write` of a pool name what is there")
            })?;
            let env = self.env(&pool.walls);
            Ok((
                name.clone(),
                pool.options(env, std::slice::from_ref(&self.workplace)),
            ))
        };
        pools.map(with_options).collect()
    }

    /// Whether a task of a pool may work there: what its processes do not see, it does not either.
    pub(super) fn check_open(&self, name: &str, pool: &Pool, folder: &Path) -> Result<(), Refusal> {
        let granted = pool.grants.read.iter().chain(&pool.grants.write);
        let granted = granted.filter_map(|path| fs_err::canonicalize(path).ok());
        let is_open = pool.walls == Executor::Process
            || granted
                .chain([self.workplace.clone()])
                .any(|path| folder.starts_with(path));
        match is_open {
            true => Ok(()),
            false => {
                let message = format!(
                    "`folder`: the sandbox of the pool {name:?} has no {}",
                    folder.display()
                );
                let hint = format!(
                    "leave it out; `read` or `write` of [tasks.pools.{name}] in the gateway's configuration opens it"
                );
                Err(Refusal::wrong(message).hint(hint))
            }
        }
    }

    /// Where a path that a client named leads to, if it may be used. Relative ones begin at the first root.
    pub(super) fn place(&self, field: &str, path: &str, executor: &Executor) -> Result<PathBuf, Refusal> {
        let first = self.roots.first().unwrap_or(&self.workplace);
        let real = fs_err::canonicalize(first.join(path))
            .map_err(|error| Refusal::wrong(format!("`{field}`: {error}")).hint("name one that is there"))?;
        if real.starts_with(&self.workplace) {
            return Ok(real);
        }
        if !self.roots.iter().any(|root| real.starts_with(root)) {
            let roots: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
            let message = format!(
                "`{field}`: {} lies outside of the folders that tasks may use",
                real.display()
            );
            let hint = format!(
                "those are {}; `tasks.roots` in the gateway's configuration says so",
                roots.join(", ")
            );
            return Err(Refusal::wrong(message).hint(hint));
        }
        let is_own = |own: &&PathBuf| own.starts_with(&real) || real.starts_with(own);
        if *executor != Executor::Process
            && let Some(own) = self.own.iter().find(is_own)
        {
            let message = format!(
                "`{field}`: {} has {} in it, which is the gateway's own and not for tasks in a sandbox",
                real.display(),
                own.display()
            );
            return Err(Refusal::wrong(message).hint("name a folder below it that has none of its files"));
        }
        Ok(real)
    }

    /// What a task counts as in the budget of memory, if that is not its limit: a limit that nobody has asked for is one that few come
    /// near, and if it counted, two tasks would be all that there could be.
    pub(super) fn counted_bytes(&self, has_asked: bool) -> Option<u64> {
        let is_by_size = !has_asked && self.tasks.limits.is_none() && self.usual.memory_bytes.is_some();
        is_by_size.then_some(TASK_MEMORY_BYTES)
    }

    /// Of a task that asks for none.
    pub(super) fn usual_limits(&self) -> Limits {
        self.limits(&Limits::default()).unwrap_or_default()
    }

    /// What holds of what is asked.
    pub(super) fn limits(&self, asked: &Limits) -> Result<Limits, Refusal> {
        let (usual, max) = (&self.usual, &self.tasks.limits_max);
        Ok(Limits {
            memory_bytes: within("memory", asked.memory_bytes, usual.memory_bytes, max.memory_bytes)?,
            cpu_millis: within("cpu", asked.cpu_millis, usual.cpu_millis, max.cpu_millis)?,
            pids: within("pids", asked.pids, usual.pids, max.pids)?,
            wall: within("wall", asked.wall, usual.wall, max.wall)?,
            disk_bytes: within("disk", asked.disk_bytes, usual.disk_bytes, max.disk_bytes)?,
            unattended: None,
            disk_io_bytes_s: within(
                "disk_io",
                asked.disk_io_bytes_s,
                usual.disk_io_bytes_s,
                max.disk_io_bytes_s,
            )?,
            open_files: within("files", asked.open_files, usual.open_files, max.open_files)?,
            output_bytes: within("output", asked.output_bytes, usual.output_bytes, max.output_bytes)?,
        })
    }
}

/// Of a task in a pool: those that every executor keeps. What else it asks for stands there to be refused by its name.
pub(super) fn of_its_own(limits: Limits, asked: Limits) -> Limits {
    Limits {
        wall: limits.wall,
        output_bytes: limits.output_bytes,
        ..asked
    }
}

/// Where nobody has said anything: so much that a task can do its work, and so little that the machine and its neighbours can do theirs.
/// Without control groups there is no way to keep any of it; then there are none, which the log says.
fn by_size(executor: &Executor, folder: &Path) -> Limits {
    let size = Size::of_this_process();
    let limits = Limits {
        memory_bytes: Some(size.memory_bytes / 2).filter(|bytes| *bytes > 0),
        pids: Some(PIDS),
        // What it does in the kernel's name holds up others as well, so a share among equals is not enough.
        cpu_millis: u32::try_from((size.cpu_millis / 2).max(CPU_MILLIS_MIN)).ok(),
        ..Limits::default()
    };
    if *executor == Executor::Process || !executor.limits().contains(&"pids") {
        return Limits::default();
    }
    match machine::keeps(&limits, folder) {
        Ok(()) => limits,
        Err(why) => {
            tracing::warn!(why, "tasks have no limits of their own here");
            Limits::default()
        }
    }
}

/// As in "has to be in a ...".
fn walls(executor: &Executor) -> &'static str {
    match executor {
        Executor::Oci(_) => "container or a sandbox",
        _ => "sandbox",
    }
}

fn within<T: Copy + PartialOrd + std::fmt::Debug>(
    name: &str,
    asked: Option<T>,
    usual: Option<T>,
    max: Option<T>,
) -> Result<Option<T>, Refusal> {
    let usual = match (usual, max) {
        (Some(usual), Some(max)) if usual > max => Some(max),
        (usual, max) => usual.or(max),
    };
    match (asked, max) {
        (Some(asked), Some(max)) if asked > max => Err(Refusal::wrong(format!(
            "`limits.{name}` is beyond what a task may have here, which is {max:?}"
        ))
        .hint("ask for less; `tasks.limits_max` in the gateway's configuration says so")),
        (asked, _) => Ok(asked.or(usual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_usual_ones_and_at_most_the_highest() {
        let check = |asked, usual, max, expected: Option<Option<u32>>| {
            assert_eq!(within("pids", asked, usual, max).ok(), expected);
        };
        check(None, None, None, Some(None));
        check(None, Some(3), None, Some(Some(3)));
        check(Some(9), Some(3), None, Some(Some(9)));
        check(Some(9), Some(3), Some(9), Some(Some(9)));
        check(Some(10), Some(3), Some(9), None);
        check(None, None, Some(9), Some(Some(9)));
        check(None, Some(10), Some(9), Some(Some(9)));
    }

    fn rules(folder: &Path, rest: &str) -> Rules {
        let text = format!(
            "[tasks]\ndir = {:?}\nroots = [{:?}]\n{rest}",
            folder.join("tasks"),
            folder,
        );
        let decoded = crate::config::decode(&text, crate::config::Format::Toml, &|_| None);
        let mut config = decoded.config.unwrap();
        config.options.config_file = Some(folder.join("axiom.toml").display().to_string());
        fs_err::write(folder.join("axiom.toml"), "").unwrap();
        Rules::new(&config.tasks.unwrap(), &config.options).unwrap()
    }

    #[test]
    fn places_lie_in_the_roots_and_have_nothing_of_the_gateways_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(folder.path()).unwrap();
        fs_err::create_dir_all(root.join("project/src")).unwrap();
        std::os::unix::fs::symlink("/", root.join("project/out")).unwrap();
        for executor in [Executor::Sandbox, Executor::Process] {
            let rules = rules(&root, &format!("executor = {:?}", executor.name()));
            let check = |path: &str, expected: Result<&str, &str>| match (
                rules.place("folder", path, &executor),
                expected,
            ) {
                (Ok(place), Ok(expected)) => assert_eq!(place, root.join(expected), "{path}"),
                (Err(refusal), Err(words)) => {
                    assert!(refusal.message.contains(words), "{path}: {}", refusal.message);
                }
                (found, _) => panic!("{path}: {found:?}"),
            };
            check("project", Ok("project"));
            check("project/src/..", Ok("project"));
            check("tasks/work", Ok("tasks/work"));
            check("nowhere", Err("nowhere"));
            check("/etc", Err("outside of the folders"));
            check("..", Err("outside of the folders"));
            check("project/out/etc", Err("outside of the folders"));
            if executor == Executor::Sandbox {
                check(".", Err("which is the gateway's own"));
                check("axiom.toml", Err("which is the gateway's own"));
                check("tasks", Err("which is the gateway's own"));
            } else {
                check(".", Ok(""));
            }
        }
    }

    #[test]
    fn nobody_gets_out_of_the_sandbox_by_asking() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = |rules: &Rules, asked: Option<&str>| match rules.choose(asked) {
            Ok(Chosen::Alone(executor)) => Some(executor.name().to_owned()),
            Ok(Chosen::Pool(name, pool)) => Some(format!("{name} in {}", pool.walls.name())),
            Err(_) => None,
        };
        let boxed = rules(folder.path(), "executor = \"sandbox\"");
        assert_eq!(chosen(&boxed, None).as_deref(), Some("sandbox"));
        for asked in ["process", "docker", "oci", "zygote", "worker"] {
            assert_eq!(chosen(&boxed, Some(asked)), None, "{asked}");
        }
        let plain = rules(folder.path(), "executor = \"process\"");
        assert_eq!(chosen(&plain, Some("process")).as_deref(), Some("process"));
        assert_eq!(chosen(&plain, Some("sandbox")).as_deref(), Some("sandbox"));
        let rest = "executor = \"oci\"\n[tasks.pools.py]\nkind = \"python\"\n[tasks.pools.free]\nkind = \"smt\"\nexecutor = \"process\"";
        let contained = rules(folder.path(), rest);
        assert_eq!(chosen(&contained, None).as_deref(), Some("oci"));
        assert_eq!(chosen(&contained, Some("oci")).as_deref(), Some("oci"));
        assert_eq!(chosen(&contained, Some("process")), None);
        assert_eq!(chosen(&contained, Some("py")).as_deref(), Some("py in sandbox"));
        assert_eq!(
            chosen(&contained, Some("free")).as_deref(),
            Some("free in process")
        );
        let Err(refusal) = contained.choose(Some("pp")) else {
            panic!("there is none");
        };
        assert_eq!(refusal.hint.as_deref(), Some("did you mean `py`?"));
    }
}
