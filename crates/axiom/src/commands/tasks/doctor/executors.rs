//! Which executors work, by starting a task in each; which limits each can keep; and which pools of the configuration can be had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{Attached, End, Event, Spawner};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::machine::{Ability, Report, Verdict};
use axiom_sandbox::pool::{ZygoteOptions, Zygotes};
use axiom_sandbox::spec::{Executor, Grants, Oci, Spec};
use axiom_sandbox::wire::Request;
use serde::Serialize;

use crate::config::Pool;
use crate::outcome::Failed;

use super::super::run::{new_id, spawner};
use super::pools::{self, TriedPool};

/// What may run containers, the one that is used first.
const RUNTIMES: [Ability; 3] = [Ability::Runc, Ability::Crun, Ability::Runsc];
/// A task that reads one file and ends takes some milliseconds; on a busy machine a second.
const TASK_TIME: Duration = Duration::from_secs(10);
/// Bytes of output that are kept of it.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// One executor.
#[derive(Debug, Serialize)]
pub(super) struct Tried {
    pub(super) name: &'static str,
    pub(super) works: bool,
    pub(super) reason: String,
    /// What to do instead. Empty if it works.
    pub(super) how: String,
    /// The task saw a filter of system calls around itself.
    pub(super) is_filtered: bool,
    pub(super) limits: Vec<Kept>,
}

/// One limit.
#[derive(Debug, Serialize)]
pub(super) struct Kept {
    pub(super) name: &'static str,
    pub(super) is_kept: bool,
    pub(super) reason: String,
}

/// # Errors
/// When there is no room for a folder to try it in.
pub(super) async fn try_all(
    machine: &Report,
    pools: BTreeMap<String, Pool>,
) -> Result<(Vec<Tried>, Vec<TriedPool>), Failed> {
    let place = Place::make()?;
    let spawner = spawner()?;
    let zygotes = Zygotes::new(&place.0.join("tasks"), ZygoteOptions::new("python3", env()));
    let mut tried = Vec::new();
    for name in ["process", "sandbox", "oci", "zygote"] {
        let executor = match name {
            "process" => Ok(Executor::Process),
            "sandbox" => Ok(Executor::Sandbox),
            "oci" => runtime(machine),
            _ => zygote(machine, &zygotes, &spawner).await,
        };
        let outcome = match &executor {
            Ok(executor) => try_one(&spawner, &place.0, executor).await,
            Err(missing) => Err(missing.clone()),
        };
        let (works, reason, how, is_filtered) = match outcome {
            Ok(found) => (true, found.reason, String::new(), found.is_filtered),
            Err((why, how)) => (false, why, how, false),
        };
        let limits = match executor {
            Ok(executor) if works => limits(&executor, machine),
            _ => Vec::new(),
        };
        tried.push(Tried {
            name,
            works,
            reason,
            how,
            is_filtered,
            limits,
        });
    }
    zygotes.end().await;
    let pools = pools::try_all(&spawner, &place.0.join("tasks"), &env(), pools).await;
    Ok((tried, pools))
}

/// What is missing, and how to get it.
type Missing = (String, String);

/// A container of the first runtime that is there.
fn runtime(machine: &Report) -> Result<Executor, Missing> {
    let found = |ability: &Ability| {
        let about = machine.about(*ability);
        about.is_some_and(|capability| capability.finding.verdict == Verdict::Yes)
    };
    match RUNTIMES.iter().find(|ability| found(ability)) {
        Some(ability) => Ok(Executor::Oci(Oci {
            runtime: ability.name().to_owned(),
            arguments: Vec::new(),
            root: None,
        })),
        None => Err((
            "neither runc, crun nor runsc is in PATH".to_owned(),
            Ability::Runc.how().to_owned(),
        )),
    }
}

async fn zygote(machine: &Report, zygotes: &Zygotes, spawner: &Spawner) -> Result<Executor, Missing> {
    if let Some(capability) = machine.about(Ability::Python3)
        && capability.finding.verdict != Verdict::Yes
    {
        return Err((
            format!("python3: {}", capability.finding.reason),
            capability.how.clone(),
        ));
    }
    zygotes.place(spawner).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let how = error.hint().unwrap_or_default().to_owned();
        (format!("{error}{}", cause.unwrap_or_default()), how)
    })
}

/// A folder of ours alone, gone with this.
struct Place(PathBuf);

impl Place {
    fn make() -> std::io::Result<Place> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("axiom-doctor-{}", new_id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Place(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs_err::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a folder was left behind");
        }
    }
}

struct Found {
    reason: String,
    is_filtered: bool,
}

/// What was found, or why not and what to do.
async fn try_one(spawner: &Spawner, place: &Path, executor: &Executor) -> Result<Found, (String, String)> {
    let failed = |error: std::io::Error| (error.to_string(), String::new());
    let folder = place.join(executor.name());
    fs_err::create_dir(&folder).map_err(failed)?;
    let folder = fs_err::canonicalize(folder).map_err(failed)?;
    let limits = Limits {
        wall: Some(TASK_TIME),
        ..Limits::default()
    };
    let spec = trial(executor.clone(), folder, limits);
    let began = time::now();
    if let Err(error) = spawner.start(&place.join("tasks"), &spec).await {
        let hint = error.hint().unwrap_or_default().to_owned();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        return Err((format!("{error}{}", cause.unwrap_or_default()), hint));
    }
    let ended = time::timeout(2 * TASK_TIME, watch(&place.join("tasks").join(&spec.id))).await;
    let (how, output) = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(failed(error)),
        Err(_) => {
            let why = format!("a task was started and had not ended after {:?}", 2 * TASK_TIME);
            return Err((why, String::new()));
        }
    };
    if how != How::Code(0) {
        return Err((
            format!("a task was started and ended with {how:?}"),
            String::new(),
        ));
    }
    let millis = began.elapsed().as_millis();
    Ok(Found {
        reason: format!(
            "a task ran and ended within {millis} ms{}",
            walls(executor, &output)
        ),
        is_filtered: has(&output, "Seccomp:", "2"),
    })
}

/// Whether a line of the kernel's `status` says that.
fn has(status: &str, name: &str, value: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.is_some_and(|line| line.trim() == value)
}

/// Tells what the kernel says about itself.
fn trial(executor: Executor, folder: PathBuf, limits: Limits) -> Spec {
    let argv: &[&str] = match executor {
        Executor::Zygote(_) => &["python3", "-c", "print(open('/proc/self/status').read())"],
        _ => &["cat", "/proc/self/status"],
    };
    Spec {
        id: new_id(),
        argv: argv.iter().map(|text| (*text).to_owned()).collect(),
        env: env(),
        folder,
        terminal: None,
        limits,
        executor,
        grants: Grants::default(),
        spool_bytes: 1 << 20,
    }
}

fn env() -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    BTreeMap::from([("PATH".to_owned(), path)])
}

async fn watch(folder: &Path) -> std::io::Result<(How, String)> {
    let mut attached = Attached::open(folder).await?;
    attached.ask(Request::EndInput).ok();
    let mut output = Vec::new();
    loop {
        match attached.next().await? {
            Event::Output { bytes, .. } if output.len() < OUTPUT_BYTES_MAX => output.extend(bytes),
            Event::Ended(End::Exit(exit)) => {
                return Ok((exit.how, String::from_utf8_lossy(&output).into_owned()));
            }
            Event::Ended(End::Lost) => {
                return Err(std::io::Error::other(
                    "what held a task was killed before the task ended",
                ));
            }
            _ => {}
        }
    }
}

/// The walls that a task in a sandbox saw around itself.
fn walls(executor: &Executor, status: &str) -> String {
    if matches!(executor, Executor::Process | Executor::Zygote(_)) {
        return String::new();
    }
    let walls = [
        ("a filter of system calls", has(status, "Seccomp:", "2")),
        ("no new privileges", has(status, "NoNewPrivs:", "1")),
        ("no powers of root", has(status, "CapEff:", "0000000000000000")),
    ];
    let (had, missing): (Vec<_>, Vec<_>) = walls.into_iter().partition(|(_, has)| *has);
    let names = |walls: Vec<(&str, bool)>| {
        let names: Vec<&str> = walls.into_iter().map(|(name, _)| name).collect();
        names.join(", ")
    };
    match missing.is_empty() {
        true => format!(", with {}", names(had)),
        false => format!(", with {}; without {}", names(had), names(missing)),
    }
}

/// What `axiom run --limit` knows, by its names there.
fn limits(executor: &Executor, machine: &Report) -> Vec<Kept> {
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    let known: [(&str, Limits, Option<Ability>); 7] = [
        ("wall", with(|limits| limits.wall = Some(TASK_TIME)), None),
        ("output", with(|limits| limits.output_bytes = Some(1)), None),
        (
            "memory",
            with(|limits| limits.memory_bytes = Some(1 << 30)),
            Some(Ability::GroupMemory),
        ),
        (
            "cpu",
            with(|limits| limits.cpu_millis = Some(1000)),
            Some(Ability::GroupCpu),
        ),
        (
            "pids",
            with(|limits| limits.pids = Some(64)),
            Some(Ability::GroupPids),
        ),
        (
            "files",
            with(|limits| limits.open_files = Some(256)),
            Some(Ability::Rlimits),
        ),
        (
            "disk",
            with(|limits| limits.disk_bytes = Some(1 << 20)),
            Some(Ability::MountTmpfs),
        ),
    ];
    let kept = |(name, limits, ability): (&'static str, Limits, Option<Ability>)| {
        let (is_kept, reason) = match trial(executor.clone(), "/var/empty".into(), limits).check() {
            Err(bad) => (false, bad.problem),
            Ok(()) => match ability.and_then(|ability| machine.about(ability)) {
                None => (true, String::new()),
                Some(capability) => (
                    capability.finding.verdict == Verdict::Yes,
                    capability.finding.reason.clone(),
                ),
            },
        };
        Kept {
            name,
            is_kept,
            reason,
        }
    };
    known.into_iter().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_are_told_as_they_are() {
        let all = "Name:\tcat\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let told = ", with a filter of system calls, no new privileges, no powers of root";
        assert_eq!(walls(&Executor::Sandbox, all), told);
        let fewer = "CapEff:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t0\n";
        let told = ", with no new privileges; without a filter of system calls, no powers of root";
        assert_eq!(walls(&Executor::Sandbox, fewer), told);
        assert_eq!(walls(&Executor::Process, all), "");
    }
}
