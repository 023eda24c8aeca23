//! One item of `tools/list`, read as far as it can be: a server that describes a tool oddly hides no other.

use serde_json::value::RawValue;

use super::Members;

/// What a command needs to know of a tool.
#[derive(Debug)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// Schemas of its arguments.
    pub properties: Members,
    /// Names of the arguments that must be given.
    pub required: Vec<String>,
}

impl Tool {
    pub fn of(item: &RawValue) -> Self {
        let item = Members::of(item);
        let schema = item.members("inputSchema");
        Tool {
            name: item.text("name"),
            description: item.text("description"),
            properties: schema.members("properties"),
            required: schema.read("required").unwrap_or_default(),
        }
    }
}
