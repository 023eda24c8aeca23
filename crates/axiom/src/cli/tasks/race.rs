//! `axiom race`.

use std::path::PathBuf;

use axiom_sandbox::limits::Limits;
use axiom_sandbox::spec::{Executor, Network};
use clap::Args;

use super::{Limit, TasksFolder, limits, parse_limit, parse_network};

pub(super) const RACE_HELP: &str = "Examples:
  axiom race --count 3 --test 'cargo test' -- my-agent 'make the parser faster'
  axiom race --count 5 --judge ./score.sh --apply -- sh -c './mutate.sh $AXIOM_RACE_NUMBER'

Each attempt starts from HEAD, in a worktree and on a branch of its own: axiom/race/ID-NUMBER. What is not committed is not in it, \
    so where there is something the race does not start without --from-head.

The winner's tests pass and its command exits with 0. Of several it is the one that changed something, in the fewest lines, then the \
    fastest; with --judge the one with the highest number. What it changed is committed on its branch. All others are removed, worktrees and branches, \
    also if you interrupt it. If nobody wins, attempts that changed something stay.

Exit code 0 if there is a winner, else 1.";

#[derive(Debug, Args)]
pub struct Race {
    /// How many attempts, all at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub count: u32,

    /// A shell command that tells by its exit code whether an attempt is good, run in each worktree
    #[arg(long, value_name = "CMD")]
    pub test: Option<String>,

    /// A shell command that prints a number, run in each worktree; the highest wins
    #[arg(long, value_name = "CMD")]
    pub judge: Option<String>,

    /// Bring what the winner changed into this working tree
    #[arg(long)]
    pub apply: bool,

    /// Keep all attempts
    #[arg(long)]
    pub keep: bool,

    /// Start from HEAD although there is something that is not committed; that stays where it is, and no attempt has it
    #[arg(long)]
    pub from_head: bool,

    /// What keeps an attempt apart, as of `axiom run`
    #[arg(long, value_name = "NAME", default_value = "process", value_parser = parse_executor)]
    pub executor: Executor,

    /// A limit of each attempt, as of `axiom run`. May be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_limit)]
    pub limit: Vec<Limit>,

    /// Whom an attempt in a sandbox can reach: `none`, `loopback` (itself), `host`
    #[arg(long, value_name = "WHOM", default_value = "none", value_parser = parse_network)]
    pub network: Network,

    /// A file or folder that an attempt in a sandbox may read and run. May be given several times
    #[arg(long, value_name = "PATH")]
    pub read: Vec<PathBuf>,

    /// One that it may change as well
    #[arg(long, value_name = "PATH")]
    pub write: Vec<PathBuf>,

    #[command(flatten)]
    pub folder: TasksFolder,

    /// The command of each attempt. It sees its number, from 1, as AXIOM_RACE_NUMBER
    // An agent by its name (`--agent NAME PROMPT`) would be another way to say it: whatever becomes an argv fits here.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl Race {
    pub fn limits(&self) -> Limits {
        limits(&self.limit)
    }
}

/// A container has no git, and a zygote no command of its own.
fn parse_executor(text: &str) -> Result<Executor, String> {
    match text {
        "process" => Ok(Executor::Process),
        "sandbox" => Ok(Executor::Sandbox),
        _ => Err("an attempt is a `process` or in a `sandbox`".to_owned()),
    }
}
