//! A container: a bundle in the task's folder, and a runtime that runs it as our child.
//!
//! ```text
//! bundle/config.json    what the container is to be: see bundle
//! bundle/root           where nobody names a root: empty, and the machine's programs are mounted in it
//! bundle/state          what the runtime keeps of it
//! bundle/log            what the runtime says of itself; its errors are the reason of a task that did not start
//! ```
//!
//! Whatever the container leaves behind becomes ours, as we are its sub-reaper, so a kill finds it as in any process; then the runtime
//! is told to delete what it has made, with a deadline. A container would outlive us if we were killed, so a shell waits for that and has
//! it deleted. The command is the container's first process, which does not end
//! by signals that it has no handler for, except when it is killed.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::exit::How;
use crate::machine::Ability;
use crate::spawner::NotStarted;
use crate::spawner::start::not_started;
use crate::spawner::walls::Ground;
use crate::spec::{self, Spec};
use crate::wait;

use super::process::Child;
use super::{Executor, Held, Slot, disk};

mod bundle;

/// A runtime needs some hundredths of a second to pause, resume or delete a container.
const RUNTIME_TIME: Duration = Duration::from_secs(5);
/// Of what a runtime says of itself, at most so much is read.
const LOG_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug)]
pub(crate) struct Oci<'a> {
    pub(super) settings: &'a spec::Oci,
}

/// A bundle that is written.
struct Written<'a> {
    spec: &'a Spec,
    runtime: Runtime,
}

/// A container that runs, or is about to.
#[derive(Debug)]
struct Container {
    child: Child,
    runtime: Runtime,
    _guard: Guard,
    is_paused: bool,
}

/// A shell that waits until we are gone.
#[derive(Debug)]
struct Guard {
    shell: std::process::Child,
}

/// The command line of a runtime for one container.
#[derive(Debug)]
struct Runtime {
    program: String,
    arguments: Vec<String>,
    bundle: PathBuf,
    id: String,
}

impl Executor for Oci<'_> {
    fn prepare<'a>(&self, spec: &'a Spec, _: &'a Ground) -> Result<Box<dyn Slot + 'a>, NotStarted> {
        if !rustix::process::geteuid().is_root() {
            return Err(NotStarted::new("the executor `oci` needs root here")
                .hint("the executor `sandbox` works for other users as well"));
        }
        disk::check(&spec.folder, &spec.grants, spec.limits.disk_bytes)?;
        let no_bundle =
            |error: std::io::Error| NotStarted::new(format!("its bundle cannot be written: {error}"));
        // A shim is in the task's folder.
        let bundle = std::env::current_dir().map_err(no_bundle)?.join("bundle");
        bundle::write(spec, self.settings, &bundle).map_err(no_bundle)?;
        let runtime = Runtime {
            program: self.settings.runtime.clone(),
            arguments: self.settings.arguments.clone(),
            bundle,
            id: format!("axiom-{}", spec.id),
        };
        Ok(Box::new(Written { spec, runtime }))
    }
}

impl Slot for Written<'_> {
    fn start(self: Box<Self>, stdio: [OwnedFd; 3]) -> Result<Box<dyn Held>, NotStarted> {
        let Written { spec, runtime } = *self;
        let guard = runtime.guard().map_err(|error| {
            let why = format!("nothing ends its container if its shim is killed: /bin/sh: {error}");
            NotStarted::new(why).hint("the executor `sandbox` needs no shell")
        })?;
        let mut command = runtime.command();
        command
            .args(["run", "--bundle"])
            .arg(&runtime.bundle)
            .arg(&runtime.id);
        match Child::start(command, spec.terminal.is_some(), stdio) {
            Ok(child) => Ok(Box::new(Container {
                child,
                runtime,
                _guard: guard,
                is_paused: false,
            })),
            Err(error) => {
                drop(guard);
                runtime.forget();
                let how = Ability::how_to_get(&runtime.program).unwrap_or("is it installed?");
                Err(NotStarted {
                    hint: Some(format!(
                        "{how}; its folder has to be in the PATH of whoever starts tasks"
                    )),
                    ..not_started(&runtime.program, &error)
                })
            }
        }
    }
}

impl Runtime {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg("--root")
            .arg(self.bundle.join("state"))
            .arg("--log")
            .arg(self.bundle.join("log"))
            .args(["--log-format", "json"]);
        command
    }

    /// It reads from us until nobody can write any more.
    fn guard(&self) -> std::io::Result<Guard> {
        let command = self.command();
        let shell = Command::new("/bin/sh")
            .args(["-c", r#"read -r _ || exec "$0" "$@""#])
            .arg(command.get_program())
            .args(command.get_args())
            .args(["delete", "--force", &self.id])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Guard { shell })
    }

    /// Tells it something about its container, and waits for it; not for ever.
    fn tell(&self, words: &[&str]) -> Result<(), String> {
        let said = words.join(" ");
        let failed = |error: &dyn std::fmt::Display| format!("{} {said}: {error}", self.program);
        let child = self
            .command()
            .args(words)
            .arg(&self.id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| failed(&error))?;
        let ended = wait::until(RUNTIME_TIME, || child.try_wait().map(|status| status.is_some()));
        match ended {
            Ok(true) => {
                let status = child.wait().map_err(|error| failed(&error))?;
                match status.success() {
                    true => Ok(()),
                    false => Err(failed(&self.error().unwrap_or_else(|| status.to_string()))),
                }
            }
            Ok(false) => {
                child.kill().ok();
                child.wait().ok();
                Err(failed(&format!("no answer within {RUNTIME_TIME:?}")))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// What it last complained of.
    fn error(&self) -> Option<String> {
        use std::io::Read as _;
        #[derive(serde::Deserialize)]
        struct Line {
            level: String,
            msg: String,
        }
        let mut log = String::new();
        let file = fs_err::File::open(self.bundle.join("log")).ok()?;
        file.take(LOG_BYTES_MAX).read_to_string(&mut log).ok()?;
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let errors = lines.filter(|line| line.level == "error" || line.level == "fatal");
        errors.map(|line| line.msg).next_back()
    }

    /// Whatever it has made of the container goes, and the bundle with it. A bundle that stays costs nothing.
    fn forget(&self) {
        if self.bundle.join("state").join(&self.id).exists()
            && let Err(why) = self.tell(&["delete", "--force"])
        {
            tracing::warn!(task = %self.id, why, "a container was not deleted");
            return;
        }
        fs_err::remove_dir_all(&self.bundle).ok();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have gone already, with all else that was below us.
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

impl Held for Container {
    fn pid(&self) -> Pid {
        self.child.pid()
    }

    fn ending(&self) -> BorrowedFd<'_> {
        self.child.ending()
    }

    fn ended(&mut self, spec: &Spec) -> std::io::Result<Option<How>> {
        let how = self.child.ended(spec)?;
        // A command's own code comes without a complaint of the runtime's.
        let complaint = match how {
            Some(How::Code(code)) if code != 0 => self.runtime.error(),
            _ => None,
        };
        Ok(complaint.map_or(how, |why| {
            let why = format!("{} did not run it: {why}", self.runtime.program);
            Some(How::NotStarted { why })
        }))
    }

    fn kill(&mut self) {
        if self.is_paused {
            // What is paused would not hear of it.
            self.runtime.tell(&["resume"]).ok();
        }
        self.child.kill();
    }

    /// The runtime passes it on to the command.
    fn signal(&self, signal: Signal) -> Result<(), String> {
        rustix::process::kill_process(self.child.pid(), signal)
            .map_err(|error| format!("its runtime takes no signal: {error}"))
    }

    fn freeze(&mut self, freeze: bool) -> Result<(), String> {
        self.runtime.tell(&[if freeze { "pause" } else { "resume" }])?;
        self.is_paused = freeze;
        Ok(())
    }

    fn clear(&mut self, is_well: bool) {
        self.child.clear(is_well);
        self.runtime.forget();
    }
}
