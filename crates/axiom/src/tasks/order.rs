//! What a client gives for a task, and the order that it becomes.

use std::collections::BTreeMap;
use std::time::Duration;

use axiom_runtime::order::{INPUT_BYTES_MAX, Input, Order, Pause, Restart, Times, Urgency, When, Who};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::spec::{Access, BadSpec, Executor, Grants, Network, Size, Spec};
use serde_json::{Map, Value as Json};

use super::Desk;
use super::refusal::Refusal;
use super::rules::{Chosen, of_its_own};
use crate::builtin::arguments::{Arguments, must_be};
use crate::config::units;
use crate::config::{Agent, Pool, PoolKind, did_you_mean};

pub(crate) const ARGUMENTS: &[&str] = &[
    "command",
    "shell",
    "request",
    "agent",
    "prompt",
    "name",
    "folder",
    "env",
    "executor",
    "limits",
    "network",
    "read",
    "write",
    "read_only",
    "terminal",
    "class",
    "parent",
    "count",
    "key",
    "restart",
    "start_within_s",
    "input",
    "end_input",
    "wait_s",
    "why",
];
const LIMITS: &[&str] = &[
    "memory", "cpu", "pids", "wall", "output", "files", "disk", "disk_io",
];
const RESTART: &[&str] = &["when", "pause_s", "times"];

/// Tasks of one order at most.
pub(crate) const COUNT_MAX: usize = 1000;
/// A longer wait is no wait.
const SECONDS_MAX: f64 = 365.0 * 86_400.0;
/// Output that may lie on the disk and has not been recorded. Beyond it the task waits.
const SPOOL_BYTES: u64 = 64 << 20;

/// What is wanted, checked as far as it can be. Each order is made when it is asked for: what they have in common may be large.
pub(super) fn read(
    arguments: &Arguments<'_>,
    desk: &Desk,
    who: &str,
) -> Result<impl Iterator<Item = Order> + use<>, Refusal> {
    let count = arguments.count("count", 1, COUNT_MAX)?;
    let first = order(arguments, desk, who)?;
    first.check().map_err(|bad| refused(&first, bad))?;
    let numbered = move |number: usize| {
        let mut order = first.clone();
        // A worker has an environment already.
        if !is_request(&order) {
            let variable = ("AXIOM_TASK_NUMBER".to_owned(), number.to_string());
            order.spec.env.extend([variable]);
        }
        if count > 1 {
            order.key = order.key.map(|key| format!("{key}/{number}"));
        }
        order
    };
    Ok((0..count).map(numbered))
}

/// What it is to read first.
fn input(arguments: &Arguments<'_>) -> Result<Option<Input>, Refusal> {
    let (text, ends) = (arguments.text("input")?, arguments.flag("end_input", false)?);
    let bytes = text.unwrap_or_default().as_bytes().to_vec();
    if bytes.len() > INPUT_BYTES_MAX {
        let message = format!("`input` has {} B; {INPUT_BYTES_MAX} are allowed", bytes.len());
        return Err(Refusal::wrong(message).hint("give it through a file, or with `send`"));
    }
    Ok((text.is_some() || ends).then_some(Input { bytes, ends }))
}

fn is_request(order: &Order) -> bool {
    matches!(order.spec.executor, Executor::Worker(_))
}

/// In the words of whoever gave the order.
fn refused(order: &Order, bad: BadSpec) -> Refusal {
    match is_request(order) && bad.field.starts_with("argv") {
        true => BadSpec {
            field: "request".to_owned(),
            ..bad
        },
        false => bad,
    }
    .into()
}

/// One of them, as a task of its own would be.
pub(super) fn order(arguments: &Arguments<'_>, desk: &Desk, who: &str) -> Result<Order, Refusal> {
    let rules = &desk.rules;
    let agent = agent(arguments, desk)?;
    let chosen = match &agent {
        // The configuration itself says where it runs.
        Some((_, agent)) => Chosen::Alone(agent.executor.clone()),
        None => rules.choose(arguments.text("executor")?)?,
    };
    let argv = match (&agent, &chosen) {
        (Some((_, agent)), _) => agent.command.clone(),
        (None, Chosen::Alone(_)) => command(arguments)?,
        (None, Chosen::Pool(name, pool)) => of_pool(arguments, name, pool)?,
    };
    let executor = chosen.walls().clone();
    let folder = match arguments.text("folder")? {
        Some(path) => rules.place("folder", path, &executor)?,
        None => rules.workplace().to_owned(),
    };
    if !folder.is_dir() {
        return Err(Refusal::wrong(format!(
            "`folder`: {} is no folder",
            folder.display()
        )));
    }
    if let Chosen::Pool(name, pool) = &chosen
        && pool.kind == PoolKind::Python
    {
        rules.check_open(name, pool, &folder)?;
    }
    let mut env = match &chosen {
        Chosen::Pool(_, pool) if pool.kind != PoolKind::Python => BTreeMap::new(),
        _ => rules.env(&executor),
    };
    env.extend(agent.iter().flat_map(|(_, agent)| agent.env.clone()));
    env.extend(variables(arguments)?);
    let places = |field: &str| {
        let named = texts(arguments, field)?;
        let places = named.iter().map(|path| rules.place(field, path, &executor));
        places.collect::<Result<Vec<_>, _>>()
    };
    let grants = match &agent {
        Some((_, agent)) => agent.grants.clone(),
        None => Grants {
            network: network(arguments)?,
            read: places("read")?,
            write: places("write")?,
            folder: match arguments.flag("read_only", false)? {
                true => Access::Read,
                false => Access::Write,
            },
        },
    };
    let mut asked = limits(arguments)?;
    if let Some((_, agent)) = &agent {
        asked = or(asked, &agent.limits);
    }
    let has_memory = asked.memory_bytes.is_some();
    let limits = rules.limits(&asked)?;
    let (executor, limits, pool) = match chosen {
        Chosen::Alone(executor) => (executor, limits, None),
        Chosen::Pool(name, pool) => (pool.executor(), of_its_own(limits, asked), Some(name.to_owned())),
    };
    let spec = Spec {
        // The supervisor chooses another one.
        id: "a".to_owned(),
        argv,
        env,
        folder,
        terminal: terminal(arguments)?,
        limits,
        executor,
        grants,
        spool_bytes: SPOOL_BYTES,
    };
    let by = Who::new(who, arguments.text("why")?.unwrap_or_default());
    let parent = arguments.text("parent")?;
    let parent = parent
        .map(|beginning| desk.find(beginning))
        .transpose()
        .map_err(|refusal| Refusal {
            message: format!("`parent`: {}", refusal.message),
            ..refusal
        })?;
    Ok(Order {
        name: arguments.text("name")?.unwrap_or_default().to_owned(),
        agent: agent.map(|(name, _)| name.to_owned()),
        prompt: arguments.text("prompt")?.unwrap_or_default().to_owned(),
        pool,
        class: class(arguments)?,
        input: input(arguments)?,
        parent: parent.map(|id| id.to_string()),
        restart: restart(arguments)?,
        start_within: seconds(arguments, "start_within_s", SECONDS_MAX)?,
        key: arguments.text("key")?.map(str::to_owned),
        counted_bytes: rules.counted_bytes(has_memory),
        ..Order::new(spec, by)
    })
}

/// The coding agent of the configuration that is to be started, by its name.
fn agent<'a>(arguments: &Arguments<'a>, desk: &'a Desk) -> Result<Option<(&'a str, &'a Agent)>, Refusal> {
    let (name, prompt) = (arguments.text("agent")?, arguments.text("prompt")?);
    let Some(name) = name else {
        return match prompt {
            None => Ok(None),
            Some(_) => Err(Refusal::wrong("`prompt` is for an agent").hint("say which: `agent`")),
        };
    };
    let profiles = &desk.agents;
    let Some(agent) = profiles.get(name) else {
        let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
        let hint = did_you_mean(name, &known).unwrap_or_else(|| match known[..] {
            [] => "there are none: the gateway's configuration has no [agents]".to_owned(),
            _ => format!("there are {}", known.join(", ")),
        });
        return Err(Refusal::wrong(format!("`agent`: there is no {name:?}")).hint(hint));
    };
    if prompt.is_none_or(|prompt| prompt.trim().is_empty()) {
        return Err(Refusal::wrong("`prompt` is missing").hint("say what the agent is to do"));
    }
    let profiled = [
        "command",
        "shell",
        "request",
        "executor",
        "network",
        "read",
        "write",
        "read_only",
    ];
    if let Some(given) = profiled.into_iter().find(|name| arguments.get(name).is_some()) {
        let message = format!(
            "`{given}` is not asked for an agent: its profile in the gateway's configuration says it"
        );
        return Err(Refusal::wrong(message).hint("leave it out"));
    }
    Ok(Some((name, agent)))
}

/// What is asked, and where nothing is, what the profile says.
fn or(asked: Limits, profile: &Limits) -> Limits {
    Limits {
        memory_bytes: asked.memory_bytes.or(profile.memory_bytes),
        cpu_millis: asked.cpu_millis.or(profile.cpu_millis),
        pids: asked.pids.or(profile.pids),
        wall: asked.wall.or(profile.wall),
        disk_bytes: asked.disk_bytes.or(profile.disk_bytes),
        disk_io_bytes_s: asked.disk_io_bytes_s.or(profile.disk_io_bytes_s),
        open_files: asked.open_files.or(profile.open_files),
        output_bytes: asked.output_bytes.or(profile.output_bytes),
        unattended: asked.unattended.or(profile.unattended),
    }
}

/// What a task of a pool is: a command of Python, or a request.
fn of_pool(arguments: &Arguments<'_>, name: &str, pool: &Pool) -> Result<Vec<String>, Refusal> {
    if pool.kind != PoolKind::Python {
        if let Some(given) = ["command", "shell", "folder"]
            .into_iter()
            .find(|field| arguments.get(field).is_some())
        {
            let message = format!(
                "`{given}` means nothing to the workers of the pool {name:?}, which have started already"
            );
            return Err(Refusal::wrong(message).hint("give what they are to answer as `request`"));
        }
        return Ok(vec![match arguments.get("request") {
            Some(Json::String(text)) => text.clone(),
            // On one line, as workers read it.
            Some(value @ Json::Object(_)) => value.to_string(),
            Some(other) => return Err(must_be("request", "an object, or a string", other).into()),
            None => {
                return Err(Refusal::wrong("`request` is missing").hint("it is what the worker is to answer"));
            }
        }]);
    }
    let hint = "give the interpreter and what it runs as `command`, like [\"python3\", \"job.py\"]";
    if arguments.get("shell").is_some() {
        let message = format!("`shell` is for `sh`; the pool {name:?} runs Python");
        return Err(Refusal::wrong(message).hint(hint));
    }
    let argv = command(arguments)?;
    let program = argv.first().map_or("", String::as_str);
    match pool.is_interpreter(program) {
        true => Ok(argv),
        false => {
            let message = format!("`command[0]` is {program:?}; the pool {name:?} runs Python");
            Err(Refusal::wrong(message).hint(hint))
        }
    }
}

fn command(arguments: &Arguments<'_>) -> Result<Vec<String>, Refusal> {
    if arguments.get("request").is_some() {
        return Err(Refusal::wrong("`request` is for a worker")
            .hint("say which pool of workers is to have it: `executor`"));
    }
    match (arguments.get("command"), arguments.text("shell")?) {
        (Some(_), None) => {
            let argv = texts(arguments, "command")?;
            match argv.first().is_none_or(String::is_empty) {
                true => Err(Refusal::wrong("`command` names no program")
                    .hint("give program and arguments, like [\"make\", \"test\"]")),
                false => Ok(argv),
            }
        }
        (None, Some(script)) if script.trim().is_empty() => Err(Refusal::wrong("`shell` is empty")),
        (None, Some(script)) => Ok(["sh", "-c", script].map(str::to_owned).into()),
        (Some(_), Some(_)) => Err(Refusal::wrong("give `command` or `shell`, not both")),
        (None, None) => Err(Refusal::wrong("`command` is missing")
            .hint("give program and arguments as `command`, or a line for `sh -c` as `shell`")),
    }
}

fn texts(arguments: &Arguments<'_>, name: &str) -> Result<Vec<String>, Refusal> {
    let Some(value) = arguments.get(name) else {
        return Ok(Vec::new());
    };
    let items = value.as_array().and_then(|items| {
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>()
    });
    items.ok_or_else(|| must_be(name, "an array of strings", value).into())
}

fn variables(arguments: &Arguments<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut env = BTreeMap::new();
    for (name, value) in members(arguments, "env")? {
        let text = value
            .as_str()
            .ok_or_else(|| must_be(&format!("env.{name}"), "a string", value))?;
        env.insert(name.clone(), text.to_owned());
    }
    Ok(env)
}

/// The members of an object; none if it is not there.
fn members<'a>(
    arguments: &Arguments<'a>,
    name: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Json)>, Refusal> {
    let value = arguments.get(name);
    let object = value
        .map(|value| value.as_object().ok_or_else(|| must_be(name, "an object", value)))
        .transpose()?;
    Ok(object.into_iter().flat_map(Map::iter))
}

fn unknown_member(object: &str, name: &str, known: &[&str]) -> Refusal {
    let hint = did_you_mean(name, known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
    Refusal::wrong(format!("`{object}.{name}` means nothing")).hint(hint)
}

fn terminal(arguments: &Arguments<'_>) -> Result<Option<Size>, Refusal> {
    if arguments.get("terminal").is_none() {
        return Ok(None);
    }
    let mut size = Size {
        columns: 80,
        rows: 24,
    };
    for (name, value) in members(arguments, "terminal")? {
        let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
        let number = number
            .filter(|number| *number > 0)
            .ok_or_else(|| must_be(&format!("terminal.{name}"), "an integer from 1 to 65535", value));
        match name.as_str() {
            "columns" => size.columns = number?,
            "rows" => size.rows = number?,
            _ => return Err(unknown_member("terminal", name, &["columns", "rows"])),
        }
    }
    Ok(Some(size))
}

fn network(arguments: &Arguments<'_>) -> Result<Network, Refusal> {
    match arguments.text("network")? {
        None | Some("none") => Ok(Network::None),
        Some("loopback") => Ok(Network::Loopback),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(Refusal::wrong(format!("`network`: there is no {other:?}"))
            .hint("there are `none`, `loopback` (itself at 127.0.0.1) and `host`")),
    }
}

fn class(arguments: &Arguments<'_>) -> Result<Urgency, Refusal> {
    let Some(name) = arguments.text("class")? else {
        return Ok(Urgency::default());
    };
    let found = Urgency::ALL.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, class)| class).ok_or_else(|| {
        Refusal::wrong(format!("`class`: there is no {name:?}"))
            .hint("there are `critical`, `high`, `normal` and `low`")
    })
}

fn restart(arguments: &Arguments<'_>) -> Result<Restart, Refusal> {
    let mut restart = Restart::default();
    for (name, value) in members(arguments, "restart")? {
        match name.as_str() {
            "when" => {
                restart.when = match value.as_str() {
                    Some("never") => When::Never,
                    Some("on-failure") => When::OnFailure,
                    Some("always") => When::Always,
                    _ => {
                        return Err(
                            must_be("restart.when", "`never`, `on-failure` or `always`", value).into(),
                        );
                    }
                }
            }
            "pause_s" => {
                let pause = value
                    .as_f64()
                    .filter(|seconds| (0.0..=60.0).contains(seconds))
                    .ok_or_else(|| must_be("restart.pause_s", "a number of seconds from 0 to 60", value))?;
                restart.pause = Pause(Duration::from_secs_f64(pause));
            }
            "times" => {
                let times = value.as_u64().and_then(|times| u32::try_from(times).ok());
                let times = times.ok_or_else(|| must_be("restart.times", "a whole number", value))?;
                restart.times = Times(times);
            }
            _ => return Err(unknown_member("restart", name, RESTART)),
        }
    }
    Ok(restart)
}

fn limits(arguments: &Arguments<'_>) -> Result<Limits, Refusal> {
    let mut limits = Limits::default();
    for (name, value) in members(arguments, "limits")? {
        let field = format!("limits.{name}");
        let whole = || {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| must_be(&field, "a whole number", value))
        };
        match name.as_str() {
            "memory" => limits.memory_bytes = Some(bytes(&field, value)?),
            "cpu" => limits.cpu_millis = Some(cpus(&field, value)?),
            "pids" => limits.pids = Some(whole()?),
            "wall" => limits.wall = Some(time(&field, value)?),
            "output" => limits.output_bytes = Some(bytes(&field, value)?),
            "files" => limits.open_files = Some(whole()?),
            "disk" => limits.disk_bytes = Some(bytes(&field, value)?),
            "disk_io" => limits.disk_io_bytes_s = Some(bytes(&field, value)?),
            _ => return Err(unknown_member("limits", name, LIMITS)),
        }
    }
    Ok(limits)
}

/// A number of bytes, or a size like `256MiB`.
fn bytes(field: &str, value: &Json) -> Result<u64, Refusal> {
    let parsed = match value {
        Json::String(text) => units::bytes(text).ok().map(|bytes| bytes as u64),
        other => other.as_u64(),
    };
    parsed.ok_or_else(|| must_be(field, "a size like \"256MiB\", or a number of bytes", value).into())
}

/// A number of seconds, or a time like `10m`.
fn time(field: &str, value: &Json) -> Result<Duration, Refusal> {
    let parsed = match value {
        Json::String(text) => units::duration(text).ok(),
        other => other
            .as_f64()
            .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))
            .map(Duration::from_secs_f64),
    };
    parsed.ok_or_else(|| {
        must_be(
            field,
            "a time like \"30s\" or \"10m\", or a number of seconds",
            value,
        )
        .into()
    })
}

fn cpus(field: &str, value: &Json) -> Result<u32, Refusal> {
    let cpus = value.as_f64().filter(|cpus| (0.001..=1_000_000.0).contains(cpus));
    let cpus = cpus.ok_or_else(|| must_be(field, "a number of CPUs, like 2 or 0.5", value))?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between 1 and a thousand million"
    )]
    Ok((cpus * 1000.0).round() as u32)
}

/// A number of seconds up to `max`.
pub(crate) fn seconds(arguments: &Arguments<'_>, name: &str, max: f64) -> Result<Option<Duration>, Refusal> {
    let read = |value: &Json| {
        value
            .as_f64()
            .filter(|seconds| (0.0..=max).contains(seconds))
            .map(Duration::from_secs_f64)
            .ok_or_else(|| must_be(name, &format!("a number of seconds from 0 to {max}"), value))
    };
    Ok(arguments.get(name).map(read).transpose()?)
}
