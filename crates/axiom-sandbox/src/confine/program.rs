//! The command in the kernel's words.

use std::ffi::{CStr, CString};

use super::error::Step;
use super::plan::Command;
use super::raw::Strings;
use super::{ConfineError, kernel_path};

/// Where programs are looked for without a `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// What has to be worked out of a command.
#[derive(Debug)]
pub(super) struct Words {
    /// Tried one after the other, as a shell does with `PATH`.
    pub(super) programs: Vec<CString>,
    pub(super) working_folder: CString,
}

/// All that a process needs to become the command.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub(super) programs: Strings<'a>,
    pub(super) argv: Strings<'a>,
    pub(super) environment: Strings<'a>,
    pub(super) working_folder: &'a CStr,
    pub(super) terminal: bool,
}

impl Words {
    pub(super) fn of(command: &Command) -> Result<Self, ConfineError> {
        command.check()?;
        Ok(Words {
            programs: programs(command)?,
            working_folder: kernel_path(&command.working_folder)?,
        })
    }

    pub(super) fn program<'a>(&'a self, command: &'a Command) -> Program<'a> {
        Program {
            programs: Strings::new(&self.programs),
            argv: Strings::new(&command.argv),
            environment: Strings::new(&command.environment),
            working_folder: &self.working_folder,
            terminal: command.terminal,
        }
    }

    /// A fault, with the name of what it was about if that is the command's.
    pub(super) fn explain(&self, command: &Command, error: ConfineError) -> ConfineError {
        let on = match error.step {
            Step::Exec | Step::ExecInterpreter => command.argv.first(),
            Step::WorkingFolder => Some(&self.working_folder),
            _ => None,
        };
        match on {
            Some(on) => error.on(on.to_string_lossy()),
            None => error,
        }
    }
}

fn programs(command: &Command) -> Result<Vec<CString>, ConfineError> {
    let Some(name) = command.argv.first() else {
        return Err(ConfineError::plan("it names no program"));
    };
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        return Ok(vec![name.clone()]);
    }
    let set = command.environment.iter().map(|variable| variable.as_bytes());
    let path = set.filter_map(|variable| variable.strip_prefix(b"PATH=")).next();
    let folders = path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':');
    // An empty folder would be the working folder, where a task may put anything under any name.
    let folders = folders.filter(|folder| !folder.is_empty());
    Ok(folders.map(|folder| in_folder(folder, name)).collect())
}

fn in_folder(folder: &[u8], name: &CStr) -> CString {
    let path = [folder, b"/", name.to_bytes()].concat();
    CString::new(path).expect("parts of C strings contain no zero byte")
}
