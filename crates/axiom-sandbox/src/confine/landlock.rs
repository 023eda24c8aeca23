//! Landlock: rules about files, ports and signals that a process lays upon itself and can never lift.
//!
//! Rules name paths as the task sees them (its own `/tmp`, its own `/proc`), and these exist only once its root stands. So
//! the rules are made in the child, with three system calls that need no memory, and not by a library before the start.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::{At as _, Fault, Step};
use super::{ConfineError, kernel_path, raw};

/// What is allowed; everything else of the kind is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Landlock {
    /// Files and folders with all below them, as the task sees them. Without any, nothing can be opened.
    pub trees: Vec<(PathBuf, TreeAccess)>,
    /// `None` leaves TCP to the other walls. Needs version 4 of Landlock's interface.
    pub tcp: Option<TcpPorts>,
    /// Only processes of the same task can be signalled. Needs version 6.
    pub scope_signals: bool,
    /// Only abstract Unix sockets of the same task can be connected. Needs version 6.
    pub scope_abstract_sockets: bool,
    /// Takes what the kernel has, down to nothing. Otherwise a kernel that cannot keep all of it is refused.
    pub best_effort: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeAccess {
    Read,
    ReadExecute,
    ReadWrite,
    ReadWriteExecute,
    /// Reads, writes and steers devices; makes and removes nothing.
    Devices,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpPorts {
    pub bind: Vec<u16>,
    pub connect: Vec<u16>,
}

impl Landlock {
    pub fn allow(&mut self, path: impl AsRef<Path>, access: TreeAccess) {
        self.trees.push((path.as_ref().to_owned(), access));
    }
}

/// The version of the kernel's Landlock interface: 4 and later have TCP ports, 6 and later scopes. `None` without Landlock.
pub fn landlock_version() -> Option<u32> {
    raw::landlock_version().ok()
}

/// Rules in the kernel's words, for the version that runs here.
#[derive(Debug)]
pub(super) struct Rules {
    handled: raw::LandlockHandled,
    trees: Vec<(CString, u64)>,
    ports: Vec<(u64, u64)>,
}

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_FOLDER: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const STEER_DEVICE: u64 = 1 << 15;
/// Rights of files; the others make sense on folders only, and the kernel refuses them elsewhere.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | STEER_DEVICE;
/// Making and removing: folders, files, sockets, pipes, links, and moving between folders. Devices are not among them.
const CHANGE: u64 = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13;
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
const SCOPE_ABSTRACT_SOCKETS: u64 = 1;
const SCOPE_SIGNALS: u64 = 1 << 1;

/// The rights on files that each version of the interface knows.
fn known_rights(version: u32) -> u64 {
    match version {
        0 => 0,
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    }
}

impl TreeAccess {
    fn rights(self) -> u64 {
        const READ: u64 = READ_FILE | READ_FOLDER;
        const WRITE: u64 = WRITE_FILE | TRUNCATE | CHANGE;
        match self {
            TreeAccess::Read => READ,
            TreeAccess::ReadExecute => READ | EXECUTE,
            TreeAccess::ReadWrite => READ | WRITE,
            TreeAccess::ReadWriteExecute => READ | WRITE | EXECUTE,
            TreeAccess::Devices => READ | WRITE_FILE | TRUNCATE | STEER_DEVICE,
        }
    }
}

/// `None` if best effort on this kernel is nothing.
pub(super) fn compile(landlock: &Landlock) -> Result<Option<Rules>, ConfineError> {
    let version = match raw::landlock_version() {
        Ok(version) => version,
        Err(_) if landlock.best_effort => return Ok(None),
        Err(errno) => return Err(ConfineError::new(Step::Landlock, errno)),
    };
    if version < version_needed(landlock) && !landlock.best_effort {
        return Err(ConfineError::new(Step::Landlock, Errno::INVAL).on(format!("version {version}")));
    }
    rules(landlock, version).map(Some)
}

/// Before version 3 a file could be truncated against the rules.
fn version_needed(landlock: &Landlock) -> u32 {
    if landlock.scope_signals || landlock.scope_abstract_sockets {
        6
    } else if landlock.tcp.is_some() {
        4
    } else {
        3
    }
}

fn rules(landlock: &Landlock, version: u32) -> Result<Rules, ConfineError> {
    let files = known_rights(version);
    let tcp = landlock.tcp.as_ref().filter(|_| version >= 4);
    let scope = |asked: bool, bit: u64| if asked && version >= 6 { bit } else { 0 };
    let trees = landlock.trees.iter();
    let mut ports = Vec::new();
    if let Some(tcp) = tcp {
        ports.extend(tcp.bind.iter().map(|port| (u64::from(*port), BIND_TCP)));
        ports.extend(tcp.connect.iter().map(|port| (u64::from(*port), CONNECT_TCP)));
    }
    Ok(Rules {
        handled: raw::LandlockHandled {
            files,
            network: if tcp.is_some() { BIND_TCP | CONNECT_TCP } else { 0 },
            scoped: scope(landlock.scope_abstract_sockets, SCOPE_ABSTRACT_SOCKETS)
                | scope(landlock.scope_signals, SCOPE_SIGNALS),
        },
        trees: trees
            .map(|(path, access)| Ok((kernel_path(path)?, access.rights() & files)))
            .collect::<Result<_, ConfineError>>()?,
        ports,
    })
}

impl Rules {
    /// Runs in the child, once its root stands.
    pub(super) fn apply(&self) -> Result<(), Fault> {
        let ruleset = raw::landlock_ruleset(&self.handled).at(Step::Landlock)?;
        for ((path, rights), item) in self.trees.iter().zip(0..) {
            let tree = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .at_item(Step::LandlockRule, item)?;
            let is_folder = rustix::fs::fstat(&tree)
                .map(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir())
                .at_item(Step::LandlockRule, item)?;
            let rights = if is_folder { *rights } else { rights & OF_FILES };
            raw::landlock_allow_tree(&ruleset, &tree, rights).at_item(Step::LandlockRule, item)?;
        }
        for (port, rights) in &self.ports {
            raw::landlock_allow_port(&ruleset, *port, *rights).at(Step::Landlock)?;
        }
        raw::landlock_restrict(&ruleset).at(Step::Landlock)
    }

    /// What to name when a rule fails.
    pub(super) fn path(&self, item: usize) -> Option<&CString> {
        self.trees.get(item).map(|(path, _)| path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_gets_what_it_knows_or_is_refused() {
        let landlock = Landlock {
            trees: vec![("/".into(), TreeAccess::ReadWriteExecute)],
            tcp: Some(TcpPorts::default()),
            scope_signals: true,
            ..Landlock::default()
        };
        assert_eq!(version_needed(&landlock), 6);
        let old = rules(&landlock, 1).unwrap();
        assert_eq!(
            (old.handled.files, old.handled.network, old.handled.scoped),
            (0x1fff, 0, 0)
        );
        assert_eq!(old.trees[0].1 & !0x1fff, 0);
        let new = rules(&landlock, 6).unwrap();
        assert_eq!(
            (new.handled.files, new.handled.network, new.handled.scoped),
            (0xffff, 3, 2)
        );
    }
}
