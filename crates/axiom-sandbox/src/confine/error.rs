//! What went wrong, at which step, and what a person may do about it.
//!
//! The child tells its parent over a pipe, as a record of fixed size that needs no memory: 12 bytes, three numbers of
//! 4 bytes in the machine's own order: the step, the errno, and which of several (folders, mounts, rules) it was.

use std::fmt;

use rustix::io::Errno;

/// A command that was not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfineError {
    pub step: Step,
    /// Which one, where a step has several: a path, the program.
    pub on: Option<String>,
    /// As the system gives it. A fault of the plan itself is `EINVAL`.
    pub errno: i32,
    /// For a person: what to do about it, or why the machine may refuse.
    pub hint: Option<&'static str>,
}

/// Why the command itself did not run, when everything around it was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecFault {
    NoSuchProgram,
    NotExecutable,
    /// The program is there; what its first line or its header names is not.
    BadInterpreter,
    /// Arguments too long, not enough memory, and so on: see the errno.
    Other,
}

impl ConfineError {
    pub(super) fn new(step: Step, errno: Errno) -> Self {
        ConfineError {
            step,
            on: None,
            errno: errno.raw_os_error(),
            hint: hint(step, errno),
        }
    }

    pub(super) fn on(self, what: impl Into<String>) -> Self {
        ConfineError {
            on: Some(what.into()),
            ..self
        }
    }

    /// A plan that contradicts itself or asks for what does not exist.
    pub(super) fn plan(hint: &'static str) -> Self {
        ConfineError {
            hint: Some(hint),
            ..ConfineError::new(Step::Plan, Errno::INVAL)
        }
    }

    /// Set if the command is at fault and not what was set up around it.
    pub fn exec_fault(&self) -> Option<ExecFault> {
        match self.step {
            Step::ExecInterpreter => Some(ExecFault::BadInterpreter),
            Step::Exec => Some(match Errno::from_raw_os_error(self.errno) {
                Errno::NOENT | Errno::NOTDIR => ExecFault::NoSuchProgram,
                Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::ISDIR => ExecFault::NotExecutable,
                _ => ExecFault::Other,
            }),
            _ => None,
        }
    }
}

impl std::error::Error for ConfineError {}

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.step)?;
        if let Some(on) = &self.on {
            write!(f, " ({on})")?;
        }
        write!(f, ": {}", Errno::from_raw_os_error(self.errno))?;
        match self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// One row for each step: its name, and what it does, as "could not ..." goes on.
macro_rules! steps {
    ($($step:ident => $does:literal,)*) => {
        /// A step on the way to a confined command, in about the order in which they are taken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step {
            $($step,)*
        }

        const STEPS: &[Step] = &[$(Step::$step,)*];

        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Step::$step => $does,)*
                })
            }
        }
    };
}

steps! {
    Plan => "make sense of the plan",
    Prepare => "open a pipe to the child",
    Start => "start a process with namespaces of its own",
    JoinCgroup => "enter the task's cgroup",
    MapIds => "map user and group ids",
    Stdio => "set up stdin, stdout and stderr",
    CloseFiles => "close inherited files",
    Session => "start a session",
    CgroupNamespace => "enter a cgroup namespace",
    HostName => "set the host's name",
    Loopback => "bring up the loopback interface",
    MakeRoot => "make a root of its own",
    MakeEntry => "make a folder or file in the root",
    Bind => "bind into the root",
    MountTmpfs => "mount a private folder in memory",
    MountDevpts => "mount private terminals",
    MountProc => "mount a private /proc",
    MaskProc => "mask a part of /proc",
    CopyRoot => "copy what all roots have in common",
    EnterRoot => "leave the old root behind",
    Limits => "set limits",
    Priority => "set the priority",
    BoundingSet => "bound the capabilities",
    Identity => "change the user",
    Capabilities => "drop capabilities",
    WorkingFolder => "enter the working folder",
    NoNewPrivileges => "rule out new privileges",
    Landlock => "restrict files and network with Landlock",
    LandlockRule => "add a Landlock rule",
    Seccomp => "filter system calls",
    Init => "start the task's init",
    HandOver => "hand the command over to a sandbox that stands",
    Terminal => "make stdin the controlling terminal",
    Exec => "run the program",
    ExecInterpreter => "run the program's interpreter",
}

fn hint(step: Step, errno: Errno) -> Option<&'static str> {
    let denied = matches!(errno, Errno::PERM | Errno::ACCESS);
    let missing = matches!(errno, Errno::NOSYS | Errno::OPNOTSUPP);
    Some(match step {
        Step::Start if denied => {
            "this user may make no namespaces here: start it as root, or allow user namespaces for it"
        }
        Step::Start if errno == Errno::NOSPC => {
            "the machine allows no more namespaces: see /proc/sys/user/max_user_namespaces and its neighbours"
        }
        Step::Start if missing => "it needs Linux 5.7 or later",
        Step::JoinCgroup if denied => "the cgroup does not belong to this user",
        Step::MapIds => "without root only one's own ids can be mapped",
        Step::MountProc if denied => {
            "the machine allows no new /proc inside a container whose own /proc is masked"
        }
        Step::MakeRoot | Step::CopyRoot | Step::MountTmpfs | Step::MountDevpts | Step::Bind if denied => {
            "a user namespace without privileges, or a security module of the machine, forbids mounts"
        }
        Step::Bind | Step::MaskProc if missing => "it needs Linux 5.12 or later",
        Step::Bind | Step::MakeEntry if errno == Errno::LOOP => {
            "a symbolic link is in the way, and none is followed where a task could have put it"
        }
        Step::Landlock if missing => "the kernel has no Landlock, or it is not among the modules in use",
        Step::Landlock => "the kernel's Landlock is older than what the plan asks for",
        Step::LandlockRule => "the path must exist as the task sees it",
        Step::Identity if denied => "only root may switch to another user",
        Step::WorkingFolder => "it is a path as the task sees it, and its user must be allowed to enter it",
        Step::Seccomp if errno == Errno::INVAL => "the kernel was built without system call filters",
        Step::Terminal => "stdin must be a terminal that controls no other session",
        Step::Exec if errno == Errno::NOENT => "no such program, as the task sees it",
        Step::Exec if errno == Errno::NOEXEC => {
            "neither a program for this machine nor a script with a first line"
        }
        Step::Exec if denied => {
            "the file is not executable for the task's user, or lies where nothing may be run"
        }
        Step::ExecInterpreter => "the program is there, but not the interpreter or loader that it names",
        _ => return None,
    })
}

/// A step that failed in the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) step: Step,
    pub(super) errno: Errno,
    /// Which of several, counted from 0.
    pub(super) item: u32,
}

/// Bytes of a fault on the pipe.
pub(super) const RECORD_BYTES: usize = 12;

impl Fault {
    pub(super) fn to_record(self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..4].copy_from_slice(&(self.step as u32).to_ne_bytes());
        record[4..8].copy_from_slice(&self.errno.raw_os_error().to_ne_bytes());
        record[8..].copy_from_slice(&self.item.to_ne_bytes());
        record
    }

    /// `None` if it is no such record.
    pub(super) fn from_record(record: [u8; RECORD_BYTES]) -> Option<Self> {
        let [s0, s1, s2, s3, e0, e1, e2, e3, i0, i1, i2, i3] = record;
        let step = usize::try_from(u32::from_ne_bytes([s0, s1, s2, s3])).ok()?;
        Some(Fault {
            step: *STEPS.get(step)?,
            errno: Errno::from_raw_os_error(i32::from_ne_bytes([e0, e1, e2, e3])),
            item: u32::from_ne_bytes([i0, i1, i2, i3]),
        })
    }
}

/// Says at which step a system call failed.
pub(super) trait At<T> {
    fn at(self, step: Step) -> Result<T, Fault>;
    fn at_item(self, step: Step, item: u32) -> Result<T, Fault>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.at_item(step, 0)
    }

    fn at_item(self, step: Step, item: u32) -> Result<T, Fault> {
        self.map_err(|errno| Fault { step, errno, item })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_pipe() {
        for (step, item) in STEPS.iter().zip(0..) {
            let fault = Fault {
                step: *step,
                errno: Errno::PERM,
                item,
            };
            assert_eq!(Fault::from_record(fault.to_record()), Some(fault));
        }
        assert_eq!(Fault::from_record([0xff; RECORD_BYTES]), None);
    }

    #[test]
    fn an_error_names_its_step_and_has_a_hint() {
        let error = ConfineError::new(Step::MountProc, Errno::PERM);
        assert_eq!(
            error.to_string(),
            "could not mount a private /proc: Operation not permitted (os error 1)\n\
             hint: the machine allows no new /proc inside a container whose own /proc is masked"
        );
        assert_eq!(error.exec_fault(), None);
        let error = ConfineError::new(Step::Exec, Errno::NOENT).on("/no/such");
        assert_eq!(error.exec_fault(), Some(ExecFault::NoSuchProgram));
    }
}
