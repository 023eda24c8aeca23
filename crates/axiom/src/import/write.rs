//! Puts drafts into `axiom.toml` so that everything already there keeps its place, its order and its comments.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value as TomlValue};

use super::draft::Draft;
use crate::config::tree::{Entry, Node, Value};
use crate::config::{Format, Problem, decode, parse};

/// A draft and how it stands to the file that it goes into.
#[derive(Debug)]
pub struct Plan {
    pub draft: Draft,
    pub standing: Standing,
}

/// How a draft stands to the servers that are already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    New,
    /// A server of that name is there and reached in the same way.
    Same,
    /// A server of that name is there and is another one. It is never overwritten.
    Conflict,
}

impl Standing {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Standing::New => "new",
            Standing::Same => "same",
            Standing::Conflict => "conflict",
        }
    }
}

/// Compares drafts with the servers that `text` has, and with each other: of two with one name the first stands.
///
/// # Errors
/// `text` is not valid TOML.
pub fn plan(text: &str, drafts: Vec<Draft>, planned: &[Plan]) -> Result<Vec<Plan>, Problem> {
    let root = parse(text, Format::Toml)?;
    let existing = root.get("servers").map(Node::entries).unwrap_or_default();
    let mut known: Vec<(String, Node)> = existing
        .iter()
        .map(|entry| (entry.key.clone(), entry.node.clone()))
        .collect();
    known.extend(
        planned
            .iter()
            .filter(|plan| plan.standing == Standing::New)
            .map(|plan| named(&plan.draft)),
    );
    let mut plans = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let (name, section) = named(&draft);
        let standing = match known.iter().find(|(known, _)| *known == name) {
            None => Standing::New,
            Some((_, there)) if same_launch(there, &section) => Standing::Same,
            Some(_) => Standing::Conflict,
        };
        if standing == Standing::New {
            known.push((name, section));
        }
        plans.push(Plan { draft, standing });
    }
    Ok(plans)
}

fn named(draft: &Draft) -> (String, Node) {
    (draft.name.clone(), draft.to_entry().node)
}

/// Whether both start or reach the same thing; times and switches may differ.
fn same_launch(a: &Node, b: &Node) -> bool {
    ["command", "env", "cwd", "url", "transport", "headers"]
        .iter()
        .all(|key| match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => same_value(a, b),
            (None, None) => true,
            // `env = {}` says the same as no `env`.
            (Some(one), None) | (None, Some(one)) => one.is_table() && one.entries().is_empty(),
        })
}

/// Equal but for positions and the order of keys.
fn same_value(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Table(entries), Value::Table(others)) => {
            entries.len() == others.len()
                && entries.iter().all(|entry| {
                    b.get(&entry.key)
                        .is_some_and(|other| same_value(&entry.node, other))
                })
        }
        (a, b) => a == b,
    }
}

/// The text with the new servers added.
///
/// # Errors
/// `text` is not valid TOML, or the servers do not fit into it (`servers` is no table there).
pub fn merged<'p>(text: &str, plans: impl Iterator<Item = &'p Plan>) -> Result<String, MergeError> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| MergeError::Syntax(error.message().to_owned()))?;
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let servers = document.entry("servers").or_insert(Item::Table(implicit));
    for plan in plans.filter(|plan| plan.standing == Standing::New) {
        let Entry { key, node, .. } = plan.draft.to_entry();
        check(&key, &node)?;
        match servers {
            Item::Table(servers) => {
                servers.insert(&key, Item::Table(section(&node)));
            }
            Item::Value(TomlValue::InlineTable(servers)) => {
                servers.insert(key, TomlValue::InlineTable(inline(&node)));
            }
            _ => return Err(MergeError::NoTable),
        }
    }
    if text.parse::<DocumentMut>().is_ok_and(|before| before.is_empty()) {
        // All that was there is comments, which would stand at the end now.
        document.set_trailing("");
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return Ok(format!("{text}{gap}{document}"));
    }
    Ok(document.to_string())
}

/// Asks our own decoder about one section. What variables hold is not known yet: a word, nothing (so that defaults
/// count) or an address will do.
fn check(name: &str, node: &Node) -> Result<(), MergeError> {
    let mut servers = Table::new();
    servers.insert(name, Item::Table(section(node)));
    let mut document = DocumentMut::new();
    document.insert("servers", Item::Table(servers));
    let text = document.to_string();
    let mut refused = Ok(());
    for value in ["x", "", "http://x"] {
        let decoded = decode(&text, Format::Toml, &|_| Some(value.to_owned()));
        match decoded.problems.iter().find(|problem| problem.is_error()) {
            None => return Ok(()),
            Some(problem) => refused = refused.and(Err(MergeError::Refused(problem.message.clone()))),
        }
    }
    refused
}

/// Why servers could not be added to a text.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("the file is not valid TOML: {0}")]
    Syntax(String),
    #[error("`servers` is not a table in the file")]
    NoTable,
    /// The translated server breaks a rule of our configuration.
    #[error("an imported server is not valid: {0}")]
    Refused(String),
}

fn section(node: &Node) -> Table {
    let mut table = Table::new();
    for entry in node.entries() {
        table.insert(&entry.key, Item::Value(value(&entry.node)));
    }
    // An empty line before each section.
    table.decor_mut().set_prefix("\n");
    table
}

fn inline(node: &Node) -> InlineTable {
    node.entries()
        .iter()
        .map(|entry| (entry.key.as_str(), value(&entry.node)))
        .collect()
}

fn value(node: &Node) -> TomlValue {
    match &node.value {
        Value::Array(items) => TomlValue::Array(items.iter().map(value).collect::<Array>()),
        Value::Table(_) => TomlValue::InlineTable(inline(node)),
        Value::Bool(flag) => TomlValue::from(*flag),
        Value::Integer(number) => TomlValue::from(*number),
        Value::String(text) | Value::Number(text) | Value::Datetime(text) => TomlValue::from(text.as_str()),
        Value::Null => TomlValue::from(""),
    }
}

/// Replaces a file in one step: whoever reads sees the old text or the new one, also after a crash. A link stays a link.
///
/// # Errors
/// Any step on the way to the new file; the old one is then untouched.
pub fn replace(path: &Path, text: &str, privacy: Privacy) -> std::io::Result<()> {
    let target = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let name = target
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let temporary = folder.join(format!(".{name}.new-{}", std::process::id()));
    let written = write_new(&temporary, text, fs_err::metadata(&target).ok().as_ref(), privacy)
        .and_then(|()| fs_err::rename(&temporary, &target));
    if let Err(error) = written {
        // The first error is the one to tell; the leftover is only untidy.
        let _removed = fs_err::remove_file(&temporary).is_ok();
        return Err(error);
    }
    fs_err::File::open(&folder)?.sync_all()
}

/// Who may read a file that did not exist before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Whoever the system lets by default.
    Usual,
    /// Only its owner: there are secrets in it.
    Owner,
}

fn write_new(
    path: &Path,
    text: &str,
    like: Option<&std::fs::Metadata>,
    privacy: Privacy,
) -> std::io::Result<()> {
    let mut file = fs_err::File::create(path)?;
    match like {
        Some(metadata) => file.set_permissions(metadata.permissions())?,
        None if privacy == Privacy::Owner => only_owner(&file)?,
        None => {}
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn only_owner(file: &fs_err::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn only_owner(_file: &fs_err::File) -> std::io::Result<()> {
    Ok(())
}

/// Copies `path` to `path.bak-<n>`, the first `n` that is free, and says which.
///
/// # Errors
/// The copy could not be made whole.
pub fn back_up(path: &Path) -> std::io::Result<PathBuf> {
    let text = fs_err::read(path)?;
    for number in 1..BACKUPS_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".bak-{number}"));
        let backup = PathBuf::from(name);
        match fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&backup)
        {
            Ok(mut file) => {
                file.set_permissions(fs_err::metadata(path)?.permissions())?;
                file.write_all(&text)?;
                file.sync_all()?;
                return Ok(backup);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other(format!(
        "{} has too many backups",
        path.display()
    )))
}

/// More imports than anyone makes by hand.
const BACKUPS_MAX: u32 = 10_000;
