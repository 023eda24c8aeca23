//! The commands about tasks.

use std::path::PathBuf;
use std::time::Duration;

use axiom_sandbox::limits::Limits;
use axiom_sandbox::spec::Network;
use clap::{Args, Subcommand};

use super::ConfigFile;
use crate::config::name_rule;

pub use attach::{Attach, DetachKey};
pub use doctor::Doctor;
pub use race::Race;
pub use top::Top;

mod attach;
mod doctor;
mod race;
mod top;

const RUN_HELP: &str = "Examples:
  axiom run -- make test
  axiom run --count 8 --limit wall=10m -- sh -c 'sleep 1; echo $AXIOM_TASK_NUMBER'
  axiom run --executor sandbox --limit memory=256MiB --limit pids=64 -- python3 untrusted.py
  axiom run --executor zygote --preload numpy --count 100 -- python3 job.py
  axiom run --executor solver -- '(declare-const x Int) (assert (> x 2)) (check-sat)'
  axiom run --executor oci --runtime crun --root ./rootfs -- sh -c 'cat /etc/os-release'
  axiom run --detach -- ./server        prints the task's id; then: axiom logs -f ID
  axiom run --agent claude 'make the tests pass'

Each line is shown as `[task] line`. The command sees its own number, from 0, as AXIOM_TASK_NUMBER, and its id as AXIOM_TASK_ID.
Tasks go on if this program is killed: `axiom ps` shows them. Interrupted once, it interrupts them; twice, it kills them.
The exit code is the highest of all tasks: 128 and a signal's number, 137 if it was killed, 127 if it could not be started.";

#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// Run a command, many times at once if wanted, and show what all of them say
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Show the tasks
    Ps(Ps),
    /// Watch the tasks live: what they use, what they say; and steer them
    #[command(after_help = top::TOP_HELP)]
    Top(Top),
    /// Show what tasks have said
    Logs(Logs),
    /// Be at a task's terminal, or at its input, and leave it again
    #[command(after_help = attach::ATTACH_HELP)]
    Attach(Attach),
    /// Run several attempts at one thing, each in a git worktree of its own, and keep the best
    #[command(after_help = race::RACE_HELP)]
    Race(Race),
    /// End tasks, or send them a signal
    Kill(Kill),
    /// Forget tasks that have ended, and what they said
    Rm(Rm),
    /// Show what this machine can do for tasks, what it lacks and how to get it
    #[command(after_help = doctor::DOCTOR_HELP)]
    Doctor(Doctor),
    /// The process that starts tasks. Told by its standard input.
    #[command(hide = true)]
    TaskSpawner {
        /// Sandboxes that stand before they are wanted, at most
        #[arg(long, value_name = "COUNT", default_value_t = 0)]
        warm: usize,
    },
}

/// Where tasks are.
#[derive(Debug, Args)]
pub struct TasksFolder {
    /// Where tasks are kept [default: $XDG_STATE_HOME/axiom/tasks, else ~/.local/state/axiom/tasks; to look for them the folder of
    /// [tasks] in the configuration here as well]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Run {
    /// How many times at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,

    /// What keeps it apart: `process` nothing, `sandbox` namespaces, a root of its own, Landlock and a filter of system calls,
    /// `oci` a container. With `zygote`, Python starts once and forks itself for each task, which keeps nothing apart. The name of
    /// one of [tasks.pools] in the configuration takes what that says; to its workers the command is the request
    #[arg(long, value_name = "NAME", default_value = "process", value_parser = parse_executor)]
    pub executor: ExecutorName,

    /// A module that a zygote imports before its first task. May be given several times
    #[arg(long, value_name = "MODULE")]
    pub preload: Vec<String>,

    /// What runs a container: `runc`, `crun` or `runsc` [default: runc]
    #[arg(long, value_name = "PROGRAM")]
    pub runtime: Option<String>,

    /// An argument for that, before its `run`, such as --ignore-cgroups. May be given several times
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub runtime_arg: Vec<String>,

    /// A folder that is the root of a container, read-only [default: the machine's programs]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// A limit: wall=30s, output=100MB, and in a sandbox memory=256MiB, cpu=1.5, pids=64, files=256, disk=64MiB. May be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_limit)]
    pub limit: Vec<Limit>,

    /// Whom a task in a sandbox can reach: `none`, `loopback` (itself), `host`
    #[arg(long, value_name = "WHOM", default_value = "none", value_parser = parse_network)]
    pub network: Network,

    /// A file or folder that a task in a sandbox may read and run. May be given several times
    #[arg(long, value_name = "PATH")]
    pub read: Vec<PathBuf>,

    /// One that it may change as well
    #[arg(long, value_name = "PATH")]
    pub write: Vec<PathBuf>,

    /// Let a task in a sandbox only read the folder that it runs in: what it writes goes to its own /tmp
    #[arg(long)]
    pub read_only: bool,

    /// Give each a terminal of its own. One alone, started from a terminal, gets that one: as with `axiom attach`, ctrl-] leaves it
    #[arg(long)]
    pub terminal: bool,

    /// Print the ids and leave them alone
    #[arg(long)]
    pub detach: bool,

    /// Start this agent of the configuration, give it the prompt, and answer and steer it as the configuration says
    #[arg(
        long,
        value_name = "NAME",
        requires = "prompt",
        conflicts_with_all = ["count", "executor", "network", "read", "write", "read_only", "terminal", "detach", "command"]
    )]
    pub agent: Option<String>,

    /// What the agent is to do
    #[arg(value_name = "PROMPT", requires = "agent")]
    pub prompt: Option<String>,

    #[command(flatten)]
    pub file: ConfigFile,

    #[command(flatten)]
    pub folder: TasksFolder,

    /// The command
    #[arg(required_unless_present = "agent", last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Ps {
    #[command(flatten)]
    pub folder: TasksFolder,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Tasks, by the beginnings of their ids; all if none is named
    #[arg(value_name = "TASK")]
    pub tasks: Vec<String>,

    /// Go on as they say more, until they have ended
    #[arg(short, long)]
    pub follow: bool,

    #[command(flatten)]
    pub folder: TasksFolder,
}

#[derive(Debug, Args)]
pub struct Kill {
    /// Tasks, by the beginnings of their ids
    #[arg(required = true, value_name = "TASK")]
    pub tasks: Vec<String>,

    /// Send this signal, by its number, instead of ending all processes of the task
    #[arg(long, value_name = "NUMBER")]
    pub signal: Option<i32>,

    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "axiom kill")]
    pub why: String,

    #[command(flatten)]
    pub folder: TasksFolder,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// Tasks, by the beginnings of their ids; all that have ended if none is named
    #[arg(value_name = "TASK")]
    pub tasks: Vec<String>,

    #[command(flatten)]
    pub folder: TasksFolder,
}

/// What is to run a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutorName {
    Process,
    Sandbox,
    Zygote,
    Oci,
    /// One of the configuration's pools.
    Pool(String),
}

/// One limit of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    Wall(Duration),
    Output(u64),
    Memory(u64),
    CpuMillis(u32),
    Pids(u32),
    Files(u32),
    Disk(u64),
}

impl Run {
    pub fn limits(&self) -> Limits {
        limits(&self.limit)
    }

    /// Sets those that were given, and leaves the others as they are.
    pub fn limit_more(&self, limits: &mut Limits) {
        limit(limits, &self.limit);
    }
}

fn limits(all: &[Limit]) -> Limits {
    let mut limits = Limits::default();
    limit(&mut limits, all);
    limits
}

fn limit(limits: &mut Limits, all: &[Limit]) {
    for limit in all {
        match limit {
            Limit::Wall(wall) => limits.wall = Some(*wall),
            Limit::Output(bytes) => limits.output_bytes = Some(*bytes),
            Limit::Memory(bytes) => limits.memory_bytes = Some(*bytes),
            Limit::CpuMillis(millis) => limits.cpu_millis = Some(*millis),
            Limit::Pids(pids) => limits.pids = Some(*pids),
            Limit::Files(files) => limits.open_files = Some(*files),
            Limit::Disk(bytes) => limits.disk_bytes = Some(*bytes),
        }
    }
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a limit is NAME=VALUE, for example wall=30s")?;
    match name {
        "wall" => parse_duration(value).map(Limit::Wall),
        "output" => parse_bytes(value).map(Limit::Output),
        "memory" => parse_bytes(value).map(Limit::Memory),
        "cpu" => parse_cpus(value).map(Limit::CpuMillis),
        "pids" => parse_count(value).map(Limit::Pids),
        "files" => parse_count(value).map(Limit::Files),
        "disk" => parse_bytes(value).map(Limit::Disk),
        _ => Err(format!(
            "there is no limit {name:?}; there are wall, output, memory, cpu, pids, files and disk"
        )),
    }
}

fn parse_executor(text: &str) -> Result<ExecutorName, String> {
    match text {
        "process" => Ok(ExecutorName::Process),
        "sandbox" => Ok(ExecutorName::Sandbox),
        "zygote" => Ok(ExecutorName::Zygote),
        "oci" => Ok(ExecutorName::Oci),
        "worker" => Err(
            "a worker belongs to a pool: give the name of a [tasks.pools.NAME] of the configuration with kind = \"lines\" or \"smt\""
                .to_owned(),
        ),
        pool if name_rule(pool).is_ok() => Ok(ExecutorName::Pool(pool.to_owned())),
        _ => Err(
            "there are `process`, `sandbox`, `zygote` and `oci`, and the names of [tasks.pools] in the configuration".to_owned(),
        ),
    }
}

fn parse_network(text: &str) -> Result<Network, String> {
    match text {
        "none" => Ok(Network::None),
        "loopback" => Ok(Network::Loopback),
        "host" => Ok(Network::Host),
        _ => Err("there are `none`, `loopback` and `host`".to_owned()),
    }
}

/// A number of CPUs with three decimals at most, as thousandths.
pub(crate) fn parse_cpus(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no number of CPUs; those are like 2, 0.5, 1.25");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = [whole, part].iter().all(|digits| {
        !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if !are_digits || part.len() > 3 {
        return Err(wrong());
    }
    let number = |digits: &str| digits.parse::<u32>().map_err(|_| wrong());
    number(whole)?
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(number(&format!("{part:0<3}")).ok()?))
        .ok_or_else(wrong)
}

fn parse_count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text:?} is no whole number"))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let millis = with_unit(text, &units)
        .ok_or_else(|| format!("{text:?} is no time; times are like 500ms, 30s, 10m, 2h"))?;
    Ok(Duration::from_millis(millis))
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    with_unit(text, &units).ok_or_else(|| format!("{text:?} is no size; sizes are like 64KiB, 100MB, 2GB"))
}

/// A whole number with one of these units behind it.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let number = text.strip_suffix(unit)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| number.parse::<u64>().ok()?.checked_mul(*factor))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_units() {
        let check =
            |text: &str, expected: Option<Limit>| assert_eq!(parse_limit(text).ok(), expected, "{text}");
        check("wall=30s", Some(Limit::Wall(Duration::from_secs(30))));
        check("wall=500ms", Some(Limit::Wall(Duration::from_millis(500))));
        check("wall=2h", Some(Limit::Wall(Duration::from_secs(7200))));
        check("output=100MB", Some(Limit::Output(100_000_000)));
        check("output=64KiB", Some(Limit::Output(65_536)));
        check("output=7B", Some(Limit::Output(7)));
        check("memory=256MiB", Some(Limit::Memory(256 << 20)));
        check("cpu=2", Some(Limit::CpuMillis(2000)));
        check("cpu=0.25", Some(Limit::CpuMillis(250)));
        check("cpu=1.5", Some(Limit::CpuMillis(1500)));
        check("pids=64", Some(Limit::Pids(64)));
        check("files=256", Some(Limit::Files(256)));
        check("disk=8MiB", Some(Limit::Disk(8 << 20)));
        for bad in [
            "wall",
            "wall=",
            "wall=3",
            "wall=-3s",
            "wall=s",
            "output=1.5MB",
            "output=99999999999GiB",
            "speed=1B",
            "cpu=1.2345",
            "cpu=.5",
            "cpu=x",
            "cpu=9999999",
            "pids=-1",
        ] {
            check(bad, None);
        }
    }
}
