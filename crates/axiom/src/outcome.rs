//! How a command ends: its exit code, and what is said about a failure.

use std::process::ExitCode;

use crate::config::load::LoadError;
use crate::terminal::Terminal;

/// The exit codes, as `axiom --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Failure = 1,
    /// The command line itself is wrong.
    Usage = 2,
    /// A file, server or tool does not exist.
    NotFound = 3,
    Denied = 4,
    /// A server or the gateway cannot be reached, is busy, or took too long.
    Unavailable = 5,
    Interrupted = 130,
}

impl Exit {
    /// What another program of ours ended with; what is none of these codes is a failure.
    pub fn from_code(code: i32) -> Exit {
        let all = [
            Exit::Ok,
            Exit::Usage,
            Exit::NotFound,
            Exit::Denied,
            Exit::Unavailable,
            Exit::Interrupted,
        ];
        let found = all.into_iter().find(|exit| *exit as i32 == code);
        found.unwrap_or(Exit::Failure)
    }
}

/// For `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0    success
  1    failure
  2    wrong use of the command line
  3    not found (file, server or tool)
  4    denied
  5    unavailable or timed out
  130  interrupted";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A failure on its way to a person.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    /// One sentence.
    pub message: String,
    /// Drawn problems, shown before the message. Often empty.
    pub details: String,
    /// What to try.
    pub hint: Option<String>,
}

impl Failed {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failed {
            exit,
            message: message.into(),
            details: String::new(),
            hint: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on stderr.
    pub fn tell(&self, terminal: &Terminal) {
        if !self.details.is_empty() {
            terminal.say(self.details.trim_end());
        }
        terminal.say(format_args!("{} {}", terminal.red("error:"), self.message));
        if let Some(hint) = &self.hint {
            terminal.say(format_args!("{} {hint}", terminal.bold("hint:")));
        }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failure,
        };
        Failed::new(exit, error.to_string())
    }
}

impl Failed {
    /// A configuration that cannot be used.
    pub fn from_load(error: &LoadError, terminal: &Terminal) -> Self {
        let exit = match error {
            LoadError::NotFound { .. } => Exit::NotFound,
            LoadError::Read { .. } | LoadError::Invalid { .. } => Exit::Failure,
        };
        Failed {
            details: error.details(terminal.look()),
            ..Failed::new(exit, error.to_string())
        }
    }
}
