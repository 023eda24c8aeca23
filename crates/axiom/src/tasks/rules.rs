//! What clients may ask for: where tasks work, what they are granted, within which limits, and with which environment.
//!
//! Clients are programs that models steer. Of what the configuration says they can ask for less, never for more: not for the
//! executor `process` where it says `sandbox`, and in a sandbox for no folder in which the gateway's own files lie. A task that
//! could write the configuration could start any command through it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axiom_gateway::options::Options;
use axiom_sandbox::limits::Limits;
use axiom_sandbox::spec::Executor;

use super::refusal::Refusal;
use crate::config::Tasks;
use crate::outcome::{Exit, Failed};

/// Below the folder of tasks: where tasks work that name no folder.
const WORKPLACE: &str = "work";

#[derive(Debug)]
pub(super) struct Rules {
    tasks: Tasks,
    /// As they really are.
    roots: Vec<PathBuf>,
    workplace: PathBuf,
    env: BTreeMap<String, String>,
    /// The gateway's own files and folders.
    own: Vec<PathBuf>,
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
        let workplace = tasks.dir.join(WORKPLACE);
        fs_err::create_dir_all(&workplace)?;
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
        Ok(Rules {
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
        if *executor == Executor::Sandbox && env.contains_key("HOME") {
            // Ours is not there; its own `/tmp` is.
            env.insert("HOME".to_owned(), "/tmp".to_owned());
        }
        env
    }

    pub(super) fn choose_executor(&self, asked: Option<&str>) -> Result<Executor, Refusal> {
        match (asked, &self.tasks.executor) {
            (None, usual) => Ok(usual.clone()),
            (Some("sandbox"), _) => Ok(Executor::Sandbox),
            (Some("process"), Executor::Process) => Ok(Executor::Process),
            (Some("process"), _) => Err(Refusal::wrong(
                "`executor` is `process`, and tasks have to be in a sandbox here",
            )
            .hint("leave it out; only executor = \"process\" in [tasks] of the gateway's configuration allows it")),
            (Some(other), _) => Err(Refusal::wrong(format!("`executor`: there is no {other:?}"))
                .hint("there are `sandbox` and `process`; leave it out for the usual one")),
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
        if *executor == Executor::Sandbox
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

    /// Of a task that asks for none.
    pub(super) fn usual_limits(&self) -> Limits {
        self.limits(&Limits::default()).unwrap_or_default()
    }

    /// What holds of what is asked.
    pub(super) fn limits(&self, asked: &Limits) -> Result<Limits, Refusal> {
        let (usual, max) = (&self.tasks.limits, &self.tasks.limits_max);
        Ok(Limits {
            memory_bytes: within("memory", asked.memory_bytes, usual.memory_bytes, max.memory_bytes)?,
            cpu_millis: within("cpu", asked.cpu_millis, usual.cpu_millis, max.cpu_millis)?,
            pids: within("pids", asked.pids, usual.pids, max.pids)?,
            wall: within("wall", asked.wall, usual.wall, max.wall)?,
            disk_bytes: None,
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

    fn rules(folder: &Path, executor: Executor) -> Rules {
        let text = format!(
            "[tasks]\ndir = {:?}\nroots = [{:?}]\nexecutor = \"{}\"",
            folder.join("tasks"),
            folder,
            executor.name()
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
            let rules = rules(&root, executor.clone());
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
        let boxed = rules(folder.path(), Executor::Sandbox);
        assert_eq!(boxed.choose_executor(None).ok(), Some(Executor::Sandbox));
        for asked in ["process", "docker"] {
            assert_eq!(boxed.choose_executor(Some(asked)).ok(), None, "{asked}");
        }
        let plain = rules(folder.path(), Executor::Process);
        assert_eq!(
            plain.choose_executor(Some("process")).ok(),
            Some(Executor::Process)
        );
        assert_eq!(
            plain.choose_executor(Some("sandbox")).ok(),
            Some(Executor::Sandbox)
        );
    }
}
