//! A server as a child process: started with its own process group, spoken to over stdin and stdout, and ended with
//! everything it ever started.
//!
//! Reading order: this file starts it; `stderr` keeps its last words; `supervise` waits for its end and brings it about;
//! `tree` finds and signals its processes (the one place that knows Linux).

mod stderr;
mod supervise;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::oneshot;
use tokio::net::unix::pipe;
use tokio::process::Command;

use crate::lines::{LineReader, LineWriter};
use crate::pipe::{Pipe, PipeReceiver, PipeSender};
use stderr::Stderr;
use supervise::{Fate, Supervisor};
use tree::{Mark, Tree};

/// How to start a server as a child process.
#[derive(Clone)]
pub struct ChildOptions {
    /// Program and arguments. A program without a slash is looked up in `PATH`.
    pub command: Vec<String>,
    /// Added to this process's own environment.
    pub env: BTreeMap<String, String>,
    /// Working directory; `None` is ours.
    pub cwd: Option<PathBuf>,
    /// A longer line on the child's stdout ends the conversation.
    pub message_bytes_max: usize,
    /// How long the child may take after its stdin was closed, and again after SIGTERM, before it is killed.
    pub grace: Duration,
}

impl fmt::Debug for ChildOptions {
    /// Without the environment's values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChildOptions {
            command,
            env,
            cwd,
            message_bytes_max,
            grace,
        } = self;
        f.debug_struct("ChildOptions")
            .field("command", command)
            .field("env", &env.keys().collect::<Vec<_>>())
            .field("cwd", cwd)
            .field("message_bytes_max", message_bytes_max)
            .field("grace", grace)
            .finish()
    }
}

/// Why a child did not start. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("the command is empty")]
    Empty,
    #[error("program {program:?} was not found\nhint: {hint}")]
    NotFound { program: String, hint: &'static str },
    #[error("program {program:?} may not be executed\nhint: {hint}")]
    NotExecutable { program: String, hint: &'static str },
    #[error("the working directory {} does not exist\nhint: create it, or correct `cwd`", cwd.display())]
    CwdMissing { cwd: PathBuf },
    #[error("failed to start {program:?}: {cause}")]
    Io { program: String, cause: io::Error },
}

/// A running child. Dropping it stops it in the background, as [`Child::stop`] does.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    fate: Fate,
    /// Dropping it asks the supervisor to stop.
    stop: oneshot::Sender<()>,
}

/// Starts a child process and returns the conversation with it.
///
/// # Errors
/// [`SpawnError`]; nothing is left running then.
///
/// # Panics
/// Outside a tokio runtime with I/O and time.
pub fn spawn_child(options: ChildOptions) -> Result<(Pipe, Child), SpawnError> {
    let program = options
        .command
        .first()
        .filter(|program| !program.is_empty())
        .ok_or(SpawnError::Empty)?;
    let mark = Mark::new();
    let mut process = command(&options, program, &mark)
        .spawn()
        .map_err(|cause| explain(program, options.cwd.as_deref(), cause))?;
    let failed = |cause| SpawnError::Io {
        program: program.clone(),
        cause,
    };
    let missing = || failed(io::Error::other("a standard stream was not piped"));
    let pid = process.id().ok_or_else(missing)?;
    let stdin = process.stdin.take().ok_or_else(missing)?.into_owned_fd();
    let stdin = stdin.and_then(pipe::Sender::from_owned_fd).map_err(failed)?;
    let stdout = process.stdout.take().ok_or_else(missing)?;
    let stderr = Stderr::collect(process.stderr.take().ok_or_else(missing)?);

    let (fate, verdict) = Fate::new(stderr.last_lines());
    let cause = Arc::new(fate.clone());
    let writer = LineWriter::new(stdin, Arc::clone(&cause) as _);
    let supervisor = Supervisor::new(process, Tree::new(pid, mark), options.grace, stderr, verdict);
    let stop = supervisor.start(writer.closer());
    let pipe = Pipe {
        tx: PipeSender::lines(Arc::new(writer)),
        rx: PipeReceiver::lines(LineReader::new(stdout, options.message_bytes_max, cause)),
    };
    tracing::info!(pid, program, "child started");
    Ok((pipe, Child { pid, fate, stop }))
}

impl Child {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The last lines that the child wrote to stderr, oldest first.
    pub fn stderr(&self) -> Vec<String> {
        self.fate.stderr()
    }

    /// Ends the child and everything it started: closes its stdin, waits, sends SIGTERM to the whole tree, waits, sends
    /// SIGKILL to what is left. Returns when no process of the tree is left, not even a zombie.
    ///
    /// # Cancel safety
    /// Dropping this future leaves the stopping to go on in the background.
    pub async fn stop(self) {
        let Child { fate, stop, .. } = self;
        drop(stop);
        fate.gone().await;
    }

    /// Waits until the child itself has ended. What it started may live a moment longer; it is then ended as well.
    ///
    /// # Cancel safety
    /// Safe: the status stays known.
    pub async fn exited(&mut self) -> ExitStatus {
        self.fate.exited().await
    }
}

fn command(options: &ChildOptions, program: &str, mark: &Mark) -> Command {
    let mut command = Command::new(program);
    command
        .args(options.command.iter().skip(1))
        .envs(&options.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A ctrl-c in the terminal is for us: we end the children in order.
        .process_group(0)
        .kill_on_drop(true);
    mark.put_into(&mut command);
    if let Some(cwd) = &options.cwd {
        command.current_dir(cwd);
    }
    command
}

/// Turns the system's "not found" into which of four things was not found.
fn explain(program: &str, cwd: Option<&Path>, cause: io::Error) -> SpawnError {
    if let Some(cwd) = cwd.filter(|cwd| !cwd.is_dir()) {
        return SpawnError::CwdMissing { cwd: cwd.to_owned() };
    }
    let program = program.to_owned();
    // A program with a slash is taken relative to the child's working directory.
    let path = program
        .contains('/')
        .then(|| cwd.unwrap_or(Path::new("")).join(&program));
    match cause.kind() {
        io::ErrorKind::NotFound => {
            let hint = match path {
                Some(path) if path.exists() => {
                    "the file exists, but the interpreter in its first line does not"
                }
                Some(_) => "check the path; a relative one starts at `cwd`",
                None => "install it, or give its full path; it is looked up in PATH",
            };
            SpawnError::NotFound { program, hint }
        }
        io::ErrorKind::PermissionDenied => {
            let hint = match path {
                Some(path) if path.is_dir() => "it is a directory",
                _ => "make the file executable with chmod +x, or start it through its interpreter",
            };
            SpawnError::NotExecutable { program, hint }
        }
        _ => SpawnError::Io { program, cause },
    }
}
