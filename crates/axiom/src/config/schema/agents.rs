//! The sections of tasks: agents, and rules.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{Size, Time};

/// A coding agent's command line: how it is started and spoken to. Patterns are regular expressions; `^` and `$` are the ends of a
/// line.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Agent {
    /// Program and arguments.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Environment variables, besides those of whoever starts it.
    pub env: Option<BTreeMap<String, String>>,
    /// How a prompt gets to it.
    pub prompt: Option<Prompt>,
    /// Types the prompt as pasted text, so that it keeps its line breaks. Without it they become blanks.
    #[schemars(extend("default" = false))]
    pub bracketed_paste: Option<bool>,
    /// What stands where the cursor is when a prompt can be typed.
    pub ready: Option<String>,
    /// What stands anywhere on the screen while it works.
    pub working: Option<String>,
    /// What stands where the cursor is when it waits for us; `ready` if this is left out.
    pub idle: Option<String>,
    /// It waits for us, too, when its screen has not changed for so long.
    pub idle_after: Option<Time>,
    /// Questions that it asks before it does something. The first that fits counts.
    pub approve: Option<Vec<Approve>>,
    /// What stops it in what it does: keys, or a signal like `SIGINT`, which is the default where `prompt` is `stdin`.
    #[schemars(extend("default" = "\u{1b}"))]
    pub interrupt: Option<String>,
    /// What ends it when it is typed. Without it the end of input is, Ctrl-D.
    pub exit: Option<String>,
    /// From its start until it is ready. Then it is killed.
    #[schemars(extend("default" = "60s"))]
    pub start_timeout: Option<Time>,
    /// How long it may work without asking or waiting for anything. Then it is killed. By default for ever.
    pub work_timeout: Option<Time>,
    /// How long a person may take to answer. Then the answer is no.
    #[schemars(extend("default" = "10m"))]
    pub ask_timeout: Option<Time>,
    /// How long it may wait for us. Then it is told to exit.
    #[schemars(extend("default" = "5s"))]
    pub idle_timeout: Option<Time>,
    /// From an interruption until it is ready for another prompt. Then it is killed.
    #[schemars(extend("default" = "30s"))]
    pub interrupt_timeout: Option<Time>,
    /// How long it may take to exit. Then it is killed.
    #[schemars(extend("default" = "10s"))]
    pub exit_timeout: Option<Time>,
    /// What keeps it apart.
    pub executor: Option<ExecutorName>,
    /// Limits, each kept or refused.
    pub limits: Option<AgentLimits>,
    /// Whom it reaches in a sandbox.
    pub network: Option<NetworkName>,
    /// Files and folders that it may read in a sandbox; relative to where this file stands.
    pub read: Option<Vec<String>>,
    /// Those that it may change as well.
    pub write: Option<Vec<String>>,
}

/// How a prompt gets to an agent.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "argument"))]
pub enum Prompt {
    /// As its last argument.
    Argument,
    /// Through its standard input, which ends behind it. It has no terminal then.
    Stdin,
    /// Typed when it is ready, with Enter behind it.
    Typed,
}

/// What keeps a task apart.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "process"))]
pub enum ExecutorName {
    /// Nothing.
    Process,
    /// Namespaces, a root of its own, Landlock and a filter of system calls.
    Sandbox,
}

/// Whom a task in a sandbox reaches.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "none"))]
pub enum NetworkName {
    /// Nobody.
    None,
    /// Itself.
    Loopback,
    /// Whatever the machine reaches.
    Host,
}

/// A question, and what is answered.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Approve {
    /// What the question has in it. It may go over several lines: `(?s)Allow.*Yes`.
    pub pattern: String,
    /// `ask` a person, `deny`, or what is typed, like `"y\r"`.
    pub answer: String,
    /// What is typed if a person says yes.
    #[schemars(extend("default" = "y\r"))]
    pub yes: Option<String>,
    /// What is typed for no.
    #[schemars(extend("default" = "n\r"))]
    pub no: Option<String>,
}

/// What an agent may take at most.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AgentLimits {
    /// From its start to its end. Then it is killed.
    pub wall: Option<Time>,
    /// Of output. Beyond it is killed.
    pub output: Option<Size>,
    /// Of memory, in a sandbox. Beyond it the kernel ends it.
    pub memory: Option<Size>,
    /// CPUs, in a sandbox, like `1.5`. Beyond it waits.
    pub cpu: Option<f64>,
    /// Processes and threads at once, in a sandbox. Beyond it `fork` fails.
    #[schemars(range(min = 1))]
    pub pids: Option<u32>,
    /// Open files of each process, in a sandbox.
    #[schemars(range(min = 1))]
    pub files: Option<u32>,
}

/// What is done about tasks without a person. A rule has one trigger (`pattern`, `silence`, `repeated`, `unchanged`,
/// `lines_per_second`, `bytes_per_second`) and one action (`type`, `interrupt`, `redirect`, `notify`, `checkpoint`, `kill`).
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rule {
    /// Its own among all rules: 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// Only for tasks of this agent; `*` stands for any run of characters.
    pub agent: Option<String>,
    /// Only for tasks of this name; `*` stands for any run of characters.
    pub task: Option<String>,
    /// When a line has this in it. With `repeated`, which lines are counted; by default those that speak of errors.
    pub pattern: Option<String>,
    /// Which lines are looked at. A terminal has only stdout.
    pub stream: Option<StreamName>,
    /// When it has said nothing for so long.
    pub silence: Option<Time>,
    /// When it has said the same so often; numbers and paths make no difference.
    #[schemars(range(min = 1, max = 100))]
    pub repeated: Option<u32>,
    /// How long those may be apart, the first from the last.
    #[schemars(extend("default" = "10m"))]
    pub within: Option<Time>,
    /// When no file below its folder was changed for so long.
    pub unchanged: Option<Time>,
    /// When it says more lines a second.
    #[schemars(range(min = 1))]
    pub lines_per_second: Option<u32>,
    /// When it says more a second.
    pub bytes_per_second: Option<Size>,
    /// On average over so long.
    #[schemars(extend("default" = "10s"))]
    pub over: Option<Time>,
    /// Types this.
    pub r#type: Option<String>,
    /// With Enter behind it.
    #[schemars(extend("default" = true))]
    pub enter: Option<bool>,
    /// Interrupts it.
    pub interrupt: Option<bool>,
    /// Interrupts it and gives it this prompt.
    pub redirect: Option<String>,
    /// Tells this to whoever watches.
    pub notify: Option<String>,
    /// Freezes it, notes this, and asks whether it may go on.
    pub checkpoint: Option<String>,
    /// Kills it. Its end names the rule.
    pub kill: Option<bool>,
    /// How often it may act on one task within `window`.
    #[schemars(range(min = 1, max = 100), extend("default" = 3))]
    pub actions: Option<u32>,
    /// See `actions`.
    #[schemars(extend("default" = "10m"))]
    pub window: Option<Time>,
    /// From one action to the next, at least.
    #[schemars(extend("default" = "10s"))]
    pub cool_down: Option<Time>,
    /// How often it may act on one task at all.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 20))]
    pub total: Option<u32>,
}

/// Which of a task's streams.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "both"))]
pub enum StreamName {
    /// Whatever it says.
    Both,
    /// Its output.
    Stdout,
    /// What it says beside that.
    Stderr,
}
