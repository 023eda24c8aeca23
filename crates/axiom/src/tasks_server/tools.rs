//! The tools as clients see them.

use axiom_runtime::order::Urgency;
use serde_json::{Map, Value as Json, json};

use crate::tasks::{
    LINES, LINES_MAX, LOOK_MAX, ORDER_COUNT_MAX, RACE_ARGUMENTS, RACE_COUNT, RACE_COUNT_MAX, WAIT_MAX,
};

use super::calls::{LIST, LIST_MAX};

/// What a tool does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    /// Again it does it again.
    Changes,
    /// What was there is gone; again it changes nothing.
    Ends,
}

/// In the order of their names, so that lists are stable.
pub(super) fn list() -> Json {
    json!([
        interrupt(),
        kill(),
        list_tool(),
        orchestrate(),
        output(),
        race(),
        send(),
        spawn(),
        status(),
        tree(),
        wait(),
    ])
}

/// The same for calls that may become tasks of MCP.
fn lasting(mut tool: Json) -> Json {
    tool["execution"] = json!({"taskSupport": "optional"});
    tool
}

fn tool(name: &str, title: &str, effect: Effect, about: &str, input: Json, output: Json) -> Json {
    json!({
        "name": name,
        "title": title,
        "description": about,
        "inputSchema": input,
        "outputSchema": output,
        "annotations": {
            "title": title,
            "readOnlyHint": effect == Effect::Reads,
            "destructiveHint": effect != Effect::Reads,
            "idempotentHint": effect != Effect::Changes,
            "openWorldHint": effect == Effect::Changes,
        },
    })
}

fn input(properties: Json, required: &[&str]) -> Json {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn result(properties: Json, required: &[&str]) -> Json {
    json!({"type": "object", "properties": properties, "required": required})
}

fn text(about: &str) -> Json {
    json!({"type": "string", "description": about})
}

fn one() -> Json {
    text("The task's id, or its beginning")
}

fn several() -> Json {
    json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "Ids of tasks, or their beginnings"})
}

fn why() -> Json {
    text("Why, for the record")
}

fn count(about: &str, usual: usize, max: usize) -> Json {
    json!({"type": "integer", "minimum": 1, "maximum": max, "default": usual, "description": about})
}

fn seconds(about: &str, max: f64) -> Json {
    json!({"type": "number", "minimum": 0, "maximum": max, "description": about})
}

fn task() -> Json {
    json!({
        "type": "object",
        "description": "task, state (queued, starting, running, resting, ended), command, folder, executor, pool, class, attempt, created, \
            started, ended, lines, output_bytes; of one that has ended, `how` in words and `code` as a shell would give it",
        "required": ["task", "state"],
    })
}

fn tasks() -> Json {
    json!({"type": "array", "items": task()})
}

fn lines() -> Json {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "number": {"type": "integer", "description": "Among all lines of the task, from 0"},
                "stream": {"type": "string", "enum": ["stdout", "stderr"]},
                "time": {"type": "string"},
                "text": {"type": "string"},
            },
            "required": ["number", "stream", "time", "text"],
        },
    })
}

fn unfinished() -> Json {
    text("What it has said of a line that has no end yet: a prompt, perhaps")
}

fn spawn() -> Json {
    let paths = |about: &str| json!({"type": "array", "items": {"type": "string"}, "description": about});
    let size = |about: &str| json!({"type": ["integer", "string"], "description": about});
    let classes: Vec<&str> = Urgency::ALL.iter().map(|(name, _)| *name).collect();
    let limits = json!({
        "type": "object",
        "description": "What it may take at most; without them the gateway's usual ones hold",
        "properties": {
            "memory": size("Of all its processes, like \"256MiB\". Beyond it it is killed"),
            "cpu": {"type": "number", "description": "CPUs, like 1.5. Beyond it it waits"},
            "pids": {"type": "integer", "minimum": 1, "description": "Processes and threads"},
            "wall": {"type": ["number", "string"], "description": "Time, like \"10m\", or seconds. Beyond it it is killed"},
            "output": size("What it says, like \"100MB\". Beyond it it is killed"),
            "files": {"type": "integer", "minimum": 3, "description": "Open files of each process"},
            "disk": size("What it has in its own /tmp, like \"64MiB\". Beyond it it cannot write there"),
            "disk_io": size("Bytes a second from and to disks, each"),
        },
        "additionalProperties": false,
    });
    let properties = json!({
        "command": {"type": "array", "items": {"type": "string"}, "minItems": 1,
            "description": "Program and arguments, like [\"make\", \"test\"]. This or `shell`"},
        "shell": text("A line for `sh -c`. This or `command`"),
        "agent": text("A coding agent of the gateway's configuration, in place of a command; with `prompt`"),
        "prompt": text("What the agent is to do"),
        "name": text("For people: 80 characters at most"),
        "folder": text("Where it runs; relative ones begin at the gateway's first root. By default one that tasks share"),
        "env": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Variables beside the usual few"},
        "request": {"type": ["object", "string"], "description": "What a worker is to answer, in place of a command: an object for \
            one that speaks JSON, SMT-LIB for a solver. With the workers' pool as `executor`"},
        "executor": text("What keeps it apart: `sandbox`, `process` or `oci`, as far as the gateway allows it; or a pool of the gateway's \
            configuration, which has started already. Usually left out"),
        "limits": limits,
        "network": {"type": "string", "enum": ["none", "loopback", "host"], "default": "none",
            "description": "Whom it reaches from its sandbox"},
        "read": paths("Files and folders that it may read in its sandbox beside the machine's programs"),
        "write": paths("Those that it may change as well"),
        "read_only": {"type": "boolean", "default": false, "description": "In its sandbox it may only read the folder that it runs in"},
        "terminal": {"type": "object", "description": "A terminal of its own, for programs that want one",
            "properties": {
                "columns": {"type": "integer", "minimum": 1, "default": 80},
                "rows": {"type": "integer", "minimum": 1, "default": 24},
            },
            "additionalProperties": false},
        "class": {"type": "string", "enum": classes, "default": "normal", "description": "Who waits for whom when there is no room"},
        "parent": text("The task on whose behalf it runs: killed with it"),
        "count": count("So many at once. Each finds its number, from 0, in AXIOM_TASK_NUMBER", 1, ORDER_COUNT_MAX),
        "key": text("The same key again gives the task there is, instead of another one"),
        "restart": {"type": "object", "description": "Whether it is started again when it has ended",
            "properties": {
                "when": {"type": "string", "enum": ["never", "on-failure", "always"], "default": "never"},
                "pause_s": {"type": "number", "minimum": 0, "maximum": 60, "default": 0.5},
                "times": {"type": "integer", "minimum": 0, "default": 5, "description": "So often within ten minutes"},
            },
            "additionalProperties": false},
        "start_within_s": seconds("It is of no use unless it is started within so long", 31_536_000.0),
        "input": text("What it reads first"),
        "end_input": {"type": "boolean", "default": false, "description": "There is nothing more for it to read: `send` is not wanted"},
        "wait_s": seconds("Wait so long for the ends, and give the last lines", WAIT_MAX),
        "why": why(),
    });
    let about = "Runs a command as a task, or the same one many times. With `wait_s` it gives the end and the last lines if it \
        ends in time; it goes on in any case. Without, it gives ids at once. A program that reads its input waits for `send`, unless \
        `end_input` is true.";
    lasting(tool(
        "spawn",
        "Run a command",
        Effect::Changes,
        about,
        input(properties, &[]),
        result(
            json!({"tasks": tasks(), "has_ended": {"type": "boolean", "description": "All of them have, by now"}}),
            &["tasks"],
        ),
    ))
}

/// What an attempt takes is what `spawn` takes.
fn race() -> Json {
    let spawn = spawn();
    let taken = spawn["inputSchema"]["properties"].as_object();
    let own = json!({
        "folder": text("A git repository, or a folder in one; relative ones begin at the gateway's first root"),
        "count": count("So many attempts. Each finds its number, from 1, in AXIOM_RACE_NUMBER", RACE_COUNT, RACE_COUNT_MAX),
        "test": text("A line for `sh -c` that tells by its exit code whether an attempt is good, run in each worktree"),
        "judge": text("One that prints a number, run in each worktree; the highest wins"),
        "apply": {"type": "boolean", "default": false, "description": "Bring what the winner changed into the working tree of `folder`"},
        "keep": {"type": "boolean", "default": false, "description": "Keep all attempts"},
        "from_head": {"type": "boolean", "default": false,
            "description": "Start from HEAD although there is something that is not committed, which no attempt has then"},
        "race": text("Instead of all that: the id of a race that there is, to wait for it or to see what it came to"),
        "wait_s": seconds("Wait so long; the race goes on in any case", WAIT_MAX),
    });
    let properties: Map<String, Json> = RACE_ARGUMENTS
        .iter()
        .filter_map(|name| {
            let own = own.get(*name);
            let schema = own.or_else(|| taken?.get(*name))?;
            Some(((*name).to_owned(), schema.clone()))
        })
        .collect();
    let attempt = json!({
        "type": "object",
        "properties": {
            "number": {"type": "integer"},
            "task": text("The task of its command"),
            "how": text("How its command ended, or why it got no further"),
            "code": {"type": "integer"},
            "test": {"type": "integer", "description": "The exit code of its test"},
            "score": {"type": "number"},
            "files": {"type": "integer"},
            "lines_added": {"type": "integer"},
            "lines_removed": {"type": "integer"},
            "took_s": {"type": "number"},
            "wins": {"type": "boolean"},
            "branch": text("If it stays"),
            "folder": text("If it stays"),
        },
        "required": ["number", "how", "wins"],
    });
    let winner = json!({
        "type": "object",
        "properties": {
            "number": {"type": "integer"},
            "branch": {"type": "string"},
            "commit": {"type": "string"},
            "folder": text("Its worktree"),
        },
        "required": ["number", "branch", "commit"],
    });
    let about = "Several attempts at the same thing at once, each in a git worktree and on a branch of its own. The winner's test passes \
        and its command exits with 0; of several it is the one with the highest score, then with the smallest change, then the fastest. \
        Its changes are committed on its branch; all others are removed. Given up, the call ends the race and removes all of it.";
    lasting(tool(
        "race",
        "Run a race",
        Effect::Changes,
        about,
        input(Json::Object(properties), &[]),
        result(
            json!({
                "race": {"type": "string"},
                "is_done": {"type": "boolean", "description": "False if the time was over before"},
                "is_interrupted": {"type": "boolean"},
                "attempts": {"type": "array", "items": attempt, "description": "The best one first"},
                "winner": winner,
                "is_applied": {"type": "boolean"},
                "left": {"type": "array", "items": {"type": "string"}, "description": "What could not be removed"},
            }),
            &["race", "is_done"],
        ),
    ))
}

fn send() -> Json {
    let properties = json!({
        "task": one(),
        "text": text("What it is to read"),
        "newline": {"type": "boolean", "default": true, "description": "With the end of a line behind it"},
        "end": {"type": "boolean", "default": false, "description": "And then there is nothing more to read"},
        "answer": {"type": "boolean", "description": "Instead of a text: yes or no to what an agent asks (`asks` in its status)"},
        "why": why(),
    });
    let about = "Gives a running task something to read: an answer, a line for an interpreter, a prompt for an agent.";
    tool(
        "send",
        "Send input",
        Effect::Changes,
        about,
        input(properties, &["task"]),
        result(
            json!({"task": {"type": "string"}, "bytes": {"type": "integer"}}),
            &["task", "bytes"],
        ),
    )
}

fn status() -> Json {
    let properties = json!({
        "task": one(),
        "last": count("So many of its last lines", super::calls::STATUS_LINES, LINES_MAX),
    });
    let mut shown = task();
    shown["properties"] = json!({"last_lines": lines(), "unfinished": unfinished()});
    tool(
        "status",
        "Show a task",
        Effect::Reads,
        "How one task is, with its last lines.",
        input(properties, &["task"]),
        shown,
    )
}

fn orchestrate() -> Json {
    let properties = json!({
        "action": {"type": "string", "enum": super::orchestrate::ACTIONS,
            "description": "spawn: start an instance; prompt: give it something more to do; steer: stop it and give it something \
                else to do; answer: yes or no to what it asks; get_output: its last lines; status: how it is, or how all are; \
                cleanup: end it and forget it"},
        "instance": text("The instance's name, of your choice. Needed but for the status of all"),
        "agent": text("For spawn: a coding agent of the gateway's configuration"),
        "prompt": text("For spawn, prompt and steer"),
        "answer": {"type": "boolean", "description": "For answer"},
        "folder": text("For spawn: where it works"),
        "last": count("For get_output and status: so many of its last lines", super::calls::STATUS_LINES, LINES_MAX),
        "why": why(),
    });
    tool(
        "orchestrate",
        "Direct coding agents",
        Effect::Changes,
        "Coding agents under names of your own: started, prompted, steered, read and cleaned up.",
        input(properties, &["action"]),
        result(json!({"instances": tasks()}), &["instances"]),
    )
}

fn output() -> Json {
    let properties = json!({
        "task": one(),
        "from": {"type": "integer", "minimum": 0, "description": "The first line's number: `next` of the result before"},
        "last": count("Or so many of the last lines", LINES, LINES_MAX),
        "count": count("Lines at most", LINES, LINES_MAX),
        "stream": {"type": "string", "enum": ["stdout", "stderr"], "description": "One of the two. By default both"},
        "wait_s": seconds("If there is nothing yet from `from` on - without it, nothing newer than now -, wait so long for it", LOOK_MAX),
    });
    tool(
        "output",
        "Read output",
        Effect::Reads,
        "What a task has said, some 128 KiB at most; with `wait_s` what it says next.",
        input(properties, &["task"]),
        result(
            json!({
                "task": {"type": "string"},
                "state": {"type": "string"},
                "lines": lines(),
                "next": {"type": "integer", "description": "`from` for what comes next"},
                "is_end": {"type": "boolean", "description": "There is nothing more, for now"},
                "unfinished": unfinished(),
            }),
            &["task", "state", "lines", "next", "is_end"],
        ),
    )
}

fn interrupt() -> Json {
    let properties = json!({
        "task": one(),
        "signal": {"type": "integer", "minimum": 1, "maximum": 64, "description": "This signal instead of what ctrl-C does"},
        "prompt": text("What it is to read then: another direction for an agent"),
        "why": why(),
    });
    tool(
        "interrupt",
        "Interrupt a task",
        Effect::Changes,
        "Interrupts a running task as ctrl-C does, or sends it a signal; then, if wanted, gives it a new prompt to read.",
        input(properties, &["task"]),
        result(
            json!({"task": {"type": "string"}, "state": {"type": "string"}}),
            &["task", "state"],
        ),
    )
}

fn wait() -> Json {
    let properties = json!({
        "tasks": several(),
        "mode": {"type": "string", "enum": ["all", "any"], "default": "all", "description": "For all of their ends, or for the first"},
        "timeout_s": {"type": "number", "minimum": 0, "maximum": WAIT_MAX, "default": super::calls::WAIT,
            "description": "After so long it gives how they are by then"},
        "last": {"type": "integer", "minimum": 0, "maximum": 100, "default": super::calls::WAIT_LINES,
            "description": "So many of the last lines of each"},
    });
    lasting(tool(
        "wait",
        "Wait for tasks",
        Effect::Reads,
        "Waits until tasks have ended, and tells of progress meanwhile to whoever asked for it. They go on if the time is over.",
        input(properties, &["tasks"]),
        result(
            json!({"tasks": tasks(), "is_done": {"type": "boolean", "description": "False if the time was over before"}}),
            &["tasks", "is_done"],
        ),
    ))
}

fn kill() -> Json {
    let properties = json!({"tasks": several(), "why": why()});
    tool(
        "kill",
        "Kill tasks",
        Effect::Ends,
        "Ends tasks at once, with everything that they started and all tasks that run on their behalf, queued ones too.",
        input(properties, &["tasks"]),
        result(
            json!({"killed": {"type": "array", "items": {"type": "string"}}, "tasks": tasks()}),
            &["killed", "tasks"],
        ),
    )
}

fn list_tool() -> Json {
    let properties = json!({
        "state": {"type": "string", "enum": ["alive", "queued", "starting", "running", "resting", "ended"],
            "description": "Only those; `alive` are all that have not ended"},
        "name": text("Only those with this in their name or command"),
        "count": count("Tasks at most", LIST, LIST_MAX),
        "cursor": text("`next_cursor` of the result before"),
    });
    tool(
        "list",
        "List tasks",
        Effect::Reads,
        "The tasks there are, the newest first.",
        input(properties, &[]),
        result(
            json!({
                "tasks": tasks(),
                "total": {"type": "integer", "description": "Of those that fit"},
                "next_cursor": {"type": "string"},
            }),
            &["tasks", "total"],
        ),
    )
}

fn tree() -> Json {
    let properties = json!({"task": text("Only this one and what is below it")});
    tool(
        "tree",
        "Show who runs for whom",
        Effect::Reads,
        "Tasks with those that run on their behalf; without a task all that have not ended.",
        input(properties, &[]),
        result(
            json!({
                "tasks": {"type": "array", "items": {"type": "object", "description": "task, state, name, how and children"}},
                "is_cut": {"type": "boolean", "description": "There are more than fit in here"},
            }),
            &["tasks"],
        ),
    )
}
