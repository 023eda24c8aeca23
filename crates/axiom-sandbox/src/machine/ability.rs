//! Everything that a machine may be able to do, with its name and how to get it.

use serde::{Deserialize, Serialize};

use crate::cgroup::Controller;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ability {
    GroupMemory,
    GroupCpu,
    GroupPids,
    GroupIo,
    GroupFreeze,
    Pressure,
    NamespaceUser,
    NamespacePid,
    NamespaceMount,
    NamespaceNet,
    NamespaceIpc,
    NamespaceUts,
    MountTmpfs,
    MountOverlay,
    Landlock,
    Seccomp,
    Rlimits,
    Runc,
    Crun,
    Runsc,
    Bwrap,
    Python3,
    Node,
    Z3,
    Git,
}

/// A namespace as the kernel and `unshare` call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Namespace {
    /// An option of `unshare`.
    pub(super) option: &'static str,
    /// In `/proc/sys/user`.
    pub(super) sysctl: &'static str,
}

const GROUP: &str =
    "start Axiom as root or in a delegated group: systemd-run --user --scope -p Delegate=yes axiom ...";
const NAMESPACE: &str = "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, \
    kernel.apparmor_restrict_unprivileged_userns=0), or start Axiom as root; in a container, allow `unshare` in its seccomp profile";

impl Ability {
    pub const ALL: [Ability; 25] = [
        Ability::GroupMemory,
        Ability::GroupCpu,
        Ability::GroupPids,
        Ability::GroupIo,
        Ability::GroupFreeze,
        Ability::Pressure,
        Ability::NamespaceUser,
        Ability::NamespacePid,
        Ability::NamespaceMount,
        Ability::NamespaceNet,
        Ability::NamespaceIpc,
        Ability::NamespaceUts,
        Ability::MountTmpfs,
        Ability::MountOverlay,
        Ability::Landlock,
        Ability::Seccomp,
        Ability::Rlimits,
        Ability::Runc,
        Ability::Crun,
        Ability::Runsc,
        Ability::Bwrap,
        Ability::Python3,
        Ability::Node,
        Ability::Z3,
        Ability::Git,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Ability::GroupMemory => "group-memory",
            Ability::GroupCpu => "group-cpu",
            Ability::GroupPids => "group-pids",
            Ability::GroupIo => "group-io",
            Ability::GroupFreeze => "group-freeze",
            Ability::Pressure => "pressure",
            Ability::NamespaceUser => "namespace-user",
            Ability::NamespacePid => "namespace-pid",
            Ability::NamespaceMount => "namespace-mount",
            Ability::NamespaceNet => "namespace-net",
            Ability::NamespaceIpc => "namespace-ipc",
            Ability::NamespaceUts => "namespace-uts",
            Ability::MountTmpfs => "mount-tmpfs",
            Ability::MountOverlay => "mount-overlay",
            Ability::Landlock => "landlock",
            Ability::Seccomp => "seccomp",
            Ability::Rlimits => "rlimits",
            Ability::Runc => "runc",
            Ability::Crun => "crun",
            Ability::Runsc => "runsc",
            Ability::Bwrap => "bwrap",
            Ability::Python3 => "python3",
            Ability::Node => "node",
            Ability::Z3 => "z3",
            Ability::Git => "git",
        }
    }

    /// What a person can do to have it.
    pub fn how(self) -> &'static str {
        match self {
            Ability::GroupMemory | Ability::GroupCpu | Ability::GroupPids | Ability::GroupFreeze => GROUP,
            Ability::GroupIo => {
                "delegate the controller `io` (Delegate=io), and have the tasks' folder on a real disk"
            }
            Ability::Pressure => "start the kernel with psi=1",
            Ability::NamespaceUser
            | Ability::NamespacePid
            | Ability::NamespaceMount
            | Ability::NamespaceNet
            | Ability::NamespaceIpc
            | Ability::NamespaceUts => NAMESPACE,
            Ability::MountTmpfs => NAMESPACE,
            Ability::MountOverlay => "needs mount namespaces, and overlayfs in user namespaces (kernel 5.11)",
            Ability::Landlock => {
                "needs kernel 5.13 with landlock in its list of security modules (boot option lsm=landlock,...)"
            }
            Ability::Seccomp => "needs a kernel with CONFIG_SECCOMP_FILTER",
            Ability::Rlimits => "have a shell in PATH that may lower its own limits (ulimit -n)",
            Ability::Runc => "install the package runc",
            Ability::Crun => "install the package crun",
            Ability::Runsc => "install gVisor (the program runsc)",
            Ability::Bwrap => "install the package bubblewrap",
            Ability::Python3 => "install the package python3",
            Ability::Node => "install the package nodejs",
            Ability::Z3 => "install the package z3",
            Ability::Git => "install the package git",
        }
    }

    /// How to get a program, if it is one of these, for the sentence that says that it is missing.
    pub fn how_to_get(program: &str) -> Option<&'static str> {
        let name = program.rsplit('/').next().unwrap_or_default();
        let mut all = Ability::ALL.into_iter();
        all.find(|ability| ability.program() == Some(name))
            .map(Ability::how)
    }

    pub(super) fn controller(self) -> Option<Controller> {
        match self {
            Ability::GroupMemory => Some(Controller::Memory),
            Ability::GroupCpu => Some(Controller::Cpu),
            Ability::GroupPids => Some(Controller::Pids),
            Ability::GroupIo => Some(Controller::Io),
            Ability::GroupFreeze => Some(Controller::Freezer),
            _ => None,
        }
    }

    pub(super) fn namespace(self) -> Option<Namespace> {
        let (option, sysctl) = match self {
            Ability::NamespaceUser => ("--user", "max_user_namespaces"),
            Ability::NamespacePid => ("--pid", "max_pid_namespaces"),
            Ability::NamespaceMount => ("--mount", "max_mnt_namespaces"),
            Ability::NamespaceNet => ("--net", "max_net_namespaces"),
            Ability::NamespaceIpc => ("--ipc", "max_ipc_namespaces"),
            Ability::NamespaceUts => ("--uts", "max_uts_namespaces"),
            _ => return None,
        };
        Some(Namespace { option, sysctl })
    }

    /// True if it is had by installing a program of this name.
    pub fn is_program(self) -> bool {
        self.program().is_some()
    }

    /// A program whose name is that of the ability.
    pub(super) fn program(self) -> Option<&'static str> {
        match self {
            Ability::Runc
            | Ability::Crun
            | Ability::Runsc
            | Ability::Bwrap
            | Ability::Python3
            | Ability::Node
            | Ability::Z3
            | Ability::Git => Some(self.name()),
            _ => None,
        }
    }
}
