//! A command, and the walls that it is put behind: what it gets and what it is kept from.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::ConfineError;
use super::landlock::Landlock;
use super::seccomp::Profile;
use super::view::RootView;

/// What is to run, and with what.
#[derive(Debug)]
pub struct Command {
    /// The first is the program: a path as the task sees it, or a name that is looked for in the `PATH` of `environment`.
    pub argv: Vec<CString>,
    /// All of it, as `NAME=value`; nothing is inherited.
    pub environment: Vec<CString>,
    /// As the task sees it.
    pub working_folder: PathBuf,
    /// stdin, stdout and stderr. The same terminal three times for a command on a terminal; made outside, it has no name
    /// in the task's own `/dev/pts`, but `/dev/tty` is it.
    pub stdio: [OwnedFd; 3],
    /// Makes stdin the controlling terminal of the command's session. The session is new in any case.
    pub terminal: bool,
}

/// The walls around one command, which may stand before it is known.
///
/// [`Plan::new`] begins with the strictest; what a task needs beyond that is opened field by field.
#[derive(Debug)]
pub struct Plan {
    pub rlimits: Rlimits,
    pub cgroup: Cgroup,
    pub namespaces: Namespaces,
    /// Its own host name; only with a `uts` namespace.
    pub host_name: Option<CString>,
    pub network: Network,
    pub identity: Identity,
    /// `None` leaves the command on the host's own file system. Needs the `pid` and `mount` namespaces.
    pub root: Option<RootView>,
    pub landlock: Option<Landlock>,
    pub seccomp: Option<Profile>,
    /// Setuid programs give nothing. Landlock and system call filters need it.
    pub no_new_privs: bool,
    /// Capabilities that are kept, bit by number; 0 drops all.
    pub capabilities_kept: u64,
    /// For instance `0o077`.
    pub umask: u32,
    /// From -20 to 19. Cgroup weights say more: see there.
    pub nice: i32,
    /// The task ends when the thread that started it does. Needs the `pid` namespace.
    pub ends_with_parent: bool,
}

/// Limits of each single process. There is none for address space: it breaks programs that reserve more than they use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rlimits {
    /// Open files of each process. `None` leaves what the parent has.
    pub open_files: Option<u64>,
    /// Bytes of the largest file that it may write. Beyond it the process gets a signal.
    pub file_bytes: Option<u64>,
}

/// Where the command is counted and limited, from its first instruction on.
#[derive(Debug)]
pub enum Cgroup {
    /// Its parent's.
    Inherited,
    /// A folder of cgroup v2: the process is born in it.
    V2(OwnedFd),
    /// A `cgroup.procs` or `tasks` file of each hierarchy of cgroup v1, open for writing.
    V1(Vec<OwnedFd>),
}

/// Which of the machine's name spaces are its own. The network and the users have types of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// Sees no other processes, and all of its own end with it.
    pub pid: bool,
    pub mount: bool,
    pub ipc: bool,
    pub uts: bool,
    pub cgroup: bool,
}

impl Namespaces {
    pub const ALL: Namespaces = Namespaces {
        pid: true,
        mount: true,
        ipc: true,
        uts: true,
        cgroup: true,
    };
    pub const NONE: Namespaces = Namespaces {
        pid: false,
        mount: false,
        ipc: false,
        uts: false,
        cgroup: false,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// No interface is up: nothing can be reached.
    None,
    /// An own 127.0.0.1, for programs that talk to themselves.
    Loopback,
    /// The machine's own, abstract Unix sockets included: only Landlock's scope keeps those apart.
    Host,
}

/// As whom the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// As its parent.
    Inherited,
    /// As this user, with no groups beside this one. Only root can give that.
    Switched { uid: u32, gid: u32 },
    /// In a user namespace in which these are the only ids: what a parent that is not root can give.
    ///
    /// The outside ids need access to all that is bound into the root. Supplementary groups of a parent that is not root
    /// stay with the command; there is no way to drop them.
    Mapped {
        inside_uid: u32,
        inside_gid: u32,
        outside_uid: u32,
        outside_gid: u32,
    },
}

impl Command {
    /// In the root folder, with nothing in its environment.
    pub fn new(argv: Vec<CString>, stdio: [OwnedFd; 3]) -> Self {
        Command {
            argv,
            environment: Vec::new(),
            working_folder: PathBuf::from("/"),
            stdio,
            terminal: false,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfineError> {
        if self.argv.is_empty() {
            return Err(ConfineError::plan("it names no program"));
        }
        if !self.working_folder.is_absolute() {
            return Err(ConfineError::plan("the working folder is an absolute path"));
        }
        Ok(())
    }
}

impl Plan {
    /// The strictest plan for a command in this root: all namespaces of its own, no network, the user of its parent.
    pub fn new(root: RootView) -> Self {
        Plan {
            rlimits: Rlimits::default(),
            cgroup: Cgroup::Inherited,
            namespaces: Namespaces::ALL,
            host_name: None,
            network: Network::None,
            identity: Identity::Inherited,
            root: Some(root),
            landlock: None,
            seccomp: Some(Profile::Ordinary),
            no_new_privs: true,
            capabilities_kept: 0,
            umask: 0o022,
            nice: 0,
            ends_with_parent: false,
        }
    }

    /// Refuses a plan that could only be kept in part.
    pub(super) fn check(&self) -> Result<(), ConfineError> {
        let faults = [
            (
                self.root.is_some() && !(self.namespaces.mount && self.namespaces.pid),
                "a root of its own needs namespaces for mounts and processes",
            ),
            (
                self.ends_with_parent && !self.namespaces.pid,
                "only a task with a namespace for its processes ends with its parent",
            ),
            (
                self.host_name.is_some() && !self.namespaces.uts,
                "a host name of its own needs a uts namespace",
            ),
            (
                !self.no_new_privs && (self.seccomp.is_some() || self.landlock.is_some()),
                "Landlock and system call filters need no_new_privs",
            ),
            (self.umask > 0o777, "a umask has nine bits"),
            (!(-20..=19).contains(&self.nice), "nice goes from -20 to 19"),
        ];
        match faults.iter().find(|(broken, _)| *broken) {
            Some((_, hint)) => Err(ConfineError::plan(hint)),
            None => Ok(()),
        }
    }
}
