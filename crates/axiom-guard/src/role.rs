//! What people usually are to a gateway, and what each of them may: five presets, which need no policy to be written.
//!
//! | | viewer | operator | developer | admin | auditor |
//! |---|---|---|---|---|---|
//! | see lists, read resources, get prompts | yes | yes | yes | yes | no |
//! | call tools | no | yes | yes | yes | no |
//! | see how servers and calls are | yes | yes | yes | yes | yes |
//! | read what was recorded | no | no | yes | yes | yes |
//! | start and steer tasks | no | no | yes | yes | no |
//! | change servers, policies and keys | no | no | no | yes | no |
//!
//! An auditor sees what was done and can do nothing; a developer can do what runs a command, which an operator of tools cannot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Operator,
    Developer,
    Admin,
    Auditor,
}

/// A kind of things to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Lists, resources, prompts, completion: what an MCP client reads.
    Read,
    /// `tools/call`.
    Call,
    /// The state of servers, calls in numbers.
    Look,
    /// Events, SQL over them, what a copy of the log is made from.
    Events,
    /// Tasks and agents: they run commands on the gateway's machine.
    Run,
    /// Servers, policies, keys.
    Govern,
}

impl Role {
    pub const ALL: [Role; 5] = [
        Role::Viewer,
        Role::Operator,
        Role::Developer,
        Role::Admin,
        Role::Auditor,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Developer => "developer",
            Role::Admin => "admin",
            Role::Auditor => "auditor",
        }
    }

    /// Whether the table above says yes.
    pub const fn may(self, deed: Deed) -> bool {
        match self {
            Role::Viewer => matches!(deed, Deed::Read | Deed::Look),
            Role::Operator => matches!(deed, Deed::Read | Deed::Look | Deed::Call),
            Role::Developer => !matches!(deed, Deed::Govern),
            Role::Admin => true,
            Role::Auditor => matches!(deed, Deed::Look | Deed::Events),
        }
    }
}

impl Deed {
    pub const ALL: [Deed; 6] = [
        Deed::Read,
        Deed::Call,
        Deed::Look,
        Deed::Events,
        Deed::Run,
        Deed::Govern,
    ];

    /// The rest of a sentence that begins with who may not.
    pub const fn as_str(self) -> &'static str {
        match self {
            Deed::Read => "read lists, resources and prompts",
            Deed::Call => "call tools",
            Deed::Look => "see how servers and calls are",
            Deed::Events => "read what was recorded",
            Deed::Run => "run commands as tasks",
            Deed::Govern => "change servers, policies or keys",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not one of the five.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role '{0}'; there are viewer, operator, developer, admin and auditor")]
pub struct NoRole(pub String);

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Role, NoRole> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| NoRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_it_is_written() {
        let source = include_str!("role.rs");
        let rows = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .skip(1)
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                cells
                    .into_iter()
                    .skip(1)
                    .take(5)
                    .map(|cell| cell == "yes")
                    .collect::<Vec<_>>()
            });
        let order = [
            Deed::Read,
            Deed::Call,
            Deed::Look,
            Deed::Events,
            Deed::Run,
            Deed::Govern,
        ];
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), order.len());
        for (deed, row) in order.into_iter().zip(rows) {
            let may: Vec<bool> = Role::ALL.into_iter().map(|role| role.may(deed)).collect();
            assert_eq!(may, row, "{deed:?}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).ok(), Some(role.as_str().into()));
        }
        let error = "root".parse::<Role>().expect_err("there is none");
        assert!(error.to_string().contains("'root'"), "{error}");
    }
}
