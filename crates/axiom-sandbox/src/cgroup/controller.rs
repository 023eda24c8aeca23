//! What a kernel can limit or count, and under which name each version knows it.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    Memory,
    Cpu,
    /// Version 1 counts CPU time apart from limiting it. Version 2 always counts.
    CpuTime,
    Pids,
    Io,
    /// Version 1 stops groups with a controller. Version 2 does it without one.
    Freezer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    V1,
    V2,
}

impl Controller {
    pub const ALL: [Controller; 6] = [
        Controller::Memory,
        Controller::Cpu,
        Controller::CpuTime,
        Controller::Pids,
        Controller::Io,
        Controller::Freezer,
    ];

    /// What a version 2 tree must delegate to us.
    pub(super) const DELEGATED: [Controller; 4] = [
        Controller::Memory,
        Controller::Cpu,
        Controller::Pids,
        Controller::Io,
    ];

    /// Its name in version 1, which is also how it is mounted.
    pub(super) fn name_v1(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::CpuTime => "cpuacct",
            Controller::Pids => "pids",
            Controller::Io => "blkio",
            Controller::Freezer => "freezer",
        }
    }

    /// Its name in version 2, where it is one that can be switched on.
    pub(super) fn name_v2(self) -> &'static str {
        match self {
            Controller::Io => "io",
            other => other.name_v1(),
        }
    }

    pub(super) fn from_name_v1(name: &str) -> Option<Controller> {
        Controller::ALL
            .into_iter()
            .find(|controller| controller.name_v1() == name)
    }
}

impl Version {
    pub fn number(self) -> u8 {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }
}
