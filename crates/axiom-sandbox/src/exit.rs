//! How a task ended, as it stands in its folder.

use std::io;
use std::path::Path;

use rustix::process::WaitIdStatus;
use serde::{Deserialize, Serialize};

/// The end of a task. There is exactly one: whoever finds it in the task's folder need not ask anybody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub how: How,
    /// When its command was started and when it had ended, nanoseconds since 1970.
    pub started: i64,
    pub ended: i64,
    /// Bytes and frames of its output.
    pub output_bytes: u64,
    pub output_frames: u64,
}

/// In what way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By itself.
    Code(i32),
    /// By a signal that none of ours sent.
    Signal(i32),
    /// It went beyond one of its limits: which, and what that was.
    Limit { limit: String, value: String },
    /// Somebody wanted it.
    Killed { why: String },
    /// Its command could not be started.
    NotStarted { why: String },
    /// What ran it is gone, or does not do what it is for. Its command is ended as well.
    Broken { why: String },
}

impl How {
    pub(crate) fn of(status: &WaitIdStatus) -> How {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => How::Code(code),
            (None, signal) => How::Signal(signal.unwrap_or_default()),
        }
    }

    /// What a shell would say: the code, or 128 and the signal.
    pub fn code(&self) -> u8 {
        let code = match self {
            How::Code(code) => *code,
            How::Signal(signal) => 128 + signal,
            How::Limit { .. } | How::Killed { .. } | How::Broken { .. } => 137,
            How::NotStarted { .. } => 127,
        };
        u8::try_from(code & 0xff).unwrap_or(1)
    }
}

impl Exit {
    /// `None` if the task has not ended, or its shim died before it could say so, or the whole machine before it was on the disk.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(path: &Path) -> io::Result<Option<Exit>> {
        let bytes = match fs_err::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // A machine that was cut off leaves a file's name before its bytes.
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let exit = serde_json::from_slice(&bytes).map_err(|error| {
            let text = format!("{} does not say how a task ended: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(Some(exit))
    }

    /// Puts it there, all of it or nothing. It survives us, as the task's output does, and not the machine, as the task itself:
    /// to wait for the disk here would have a thousand tasks that end at once wait for each other.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let aside = path.with_extension("new");
        let json = serde_json::to_vec(self).map_err(io::Error::other)?;
        fs_err::write(&aside, json)?;
        fs_err::rename(&aside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cut_off_machine_left_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit.json");
        for left in [&b""[..], &[0; 64][..]] {
            std::fs::write(&path, left).unwrap();
            assert_eq!(Exit::read(&path).unwrap(), None);
        }
        let exit = Exit {
            how: How::Code(3),
            started: 1,
            ended: 2,
            output_bytes: 0,
            output_frames: 0,
        };
        exit.write(&path).unwrap();
        assert_eq!(Exit::read(&path).unwrap(), Some(exit));
        std::fs::write(&path, "{").unwrap();
        Exit::read(&path).unwrap_err();
    }
}
