//! The API keys that there are: a file, which `axiom keys` writes and a gateway reads again when it changes.
//!
//! The file has no secret in it, but who may write it lets in whomever they like. It is replaced as a whole, so a reader sees it
//! before a change or after it, and two that change it at once take turns.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::{ApiKey, KeyHash, KeyId};
use crate::principal::{DEFAULT_TENANT, Principal, Source};
use crate::role::Role;

pub use file::{Change, FileError};

mod file;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub id: KeyId,
    /// Whose it is. A key that replaces another has the same name: it is the same principal.
    pub name: String,
    #[serde(default = "default_tenant", skip_serializing_if = "is_default_tenant")]
    pub tenant: String,
    pub role: Role,
    hash: KeyHash,
    /// Unix seconds, like all times here.
    pub created: u64,
    /// From when on it is good no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
    /// The key that was made to take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<KeyId>,
}

/// How a key is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Good,
    Expired,
    Revoked,
}

/// All keys, to be asked by each request.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    entries: HashMap<KeyId, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    hash: KeyHash,
    principal: Arc<Principal>,
    revoked: Option<u64>,
}

/// Why a key opens nothing. The client is told no more than that; this is for the log of whoever keeps the gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no key {id}")]
    Unknown { id: KeyId },
    #[error("the key says that it is {id}, and is not")]
    Forged { id: KeyId },
    #[error("key {id} was revoked")]
    Revoked { id: KeyId },
    #[error("key {id} has expired")]
    Expired { id: KeyId },
}

impl Keyring {
    /// Reads the file of keys. One that is not there has none.
    ///
    /// # Errors
    /// When it cannot be read or understood: then nobody must be let in by what was understood of it.
    pub fn load(path: &Path) -> Result<Keyring, FileError> {
        Ok(Keyring::of(&records(path)?))
    }

    fn of(records: &[Record]) -> Keyring {
        let entries = records
            .iter()
            .map(|record| (record.id.clone(), Entry::of(record)));
        Keyring {
            entries: entries.collect(),
        }
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// When it opens nothing now.
    pub fn principal(&self, key: &ApiKey, now_unix_s: u64) -> Result<&Arc<Principal>, Refused> {
        let id = || key.id().clone();
        let entry = self
            .entries
            .get(key.id())
            .ok_or_else(|| Refused::Unknown { id: id() })?;
        if !entry.hash.is_of(key) {
            return Err(Refused::Forged { id: id() });
        }
        if entry.revoked.is_some() {
            return Err(Refused::Revoked { id: id() });
        }
        if entry.principal.is_over(now_unix_s) {
            return Err(Refused::Expired { id: id() });
        }
        Ok(&entry.principal)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn of(record: &Record) -> Entry {
        let Record {
            tenant, name, role, ..
        } = record;
        let principal = Principal::new(Source::Key, tenant, name, *role, record.expires);
        Entry {
            hash: record.hash,
            principal: Arc::new(principal),
            revoked: record.revoked,
        }
    }
}

impl Record {
    pub fn standing(&self, now_unix_s: u64) -> Standing {
        match (self.revoked, self.expires) {
            (Some(_), _) => Standing::Revoked,
            (None, Some(expires)) if expires <= now_unix_s => Standing::Expired,
            _ => Standing::Good,
        }
    }
}

/// All keys of the file, in the order in which they were made.
///
/// # Errors
/// When it cannot be read or understood.
pub fn records(path: &Path) -> Result<Vec<Record>, FileError> {
    file::read(path)
}

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// 1 to 64 characters; two good keys of one name are refused unless one replaces the other.
    pub name: String,
    pub tenant: String,
    pub role: Role,
    pub expires: Option<u64>,
}

/// Why there is no change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("a name has 1 to {NAME_CHARS_MAX} letters, digits, '.', '-', '_' or '@'; '{name}' is none")]
    Name { name: String },
    #[error(
        "there is a good key of that name already, {id}; `axiom keys rotate {id}` makes one to take its place"
    )]
    Taken { id: KeyId },
    #[error("there are {KEYS_MAX} keys already; remove some that are revoked or expired")]
    TooMany,
    #[error("there is no key {what}; `axiom keys list` shows all")]
    Unknown { what: String },
    #[error("{count} keys have the name '{name}'; say which by its id")]
    Ambiguous { name: String, count: usize },
    #[error("key {id} is {} already", match .standing { Standing::Revoked => "revoked", _ => "expired" })]
    Over { id: KeyId, standing: Standing },
}

const NAME_CHARS_MAX: usize = 64;
/// More than anybody makes by hand, and little enough to be read at every change.
const KEYS_MAX: usize = 10_000;

/// Makes a key and notes it. The key is returned once and kept nowhere.
///
/// # Errors
/// Nothing has changed then.
pub fn create(path: &Path, wanted: &Wanted, now_unix_s: u64) -> Result<(ApiKey, Record), ChangeError> {
    let Wanted {
        name,
        tenant,
        role,
        expires,
    } = wanted;
    for name in [name, tenant] {
        if !is_name(name) {
            return Err(ChangeError::Name { name: name.clone() });
        }
    }
    let mut change = Change::begin(path)?;
    let is_taken = |record: &&Record| {
        record.name == *name && record.tenant == *tenant && record.standing(now_unix_s) == Standing::Good
    };
    if let Some(taken) = change.records.iter().find(is_taken) {
        let id = taken.id.clone();
        return Err(ChangeError::Taken { id });
    }
    let made = add(&mut change, (name, tenant, *role), *expires, now_unix_s)?;
    change.commit()?;
    Ok(made)
}

/// Makes a key to take the place of another one, which stays good for `overlap_s` seconds so that whoever uses it can change.
/// The new one is good as long from now as the old one was from when it was made.
///
/// # Errors
/// Nothing has changed then.
pub fn rotate(
    path: &Path,
    which: &str,
    overlap_s: u64,
    now_unix_s: u64,
) -> Result<(ApiKey, Record), ChangeError> {
    let mut change = Change::begin(path)?;
    let at = find(&change.records, which, now_unix_s)?;
    let old = change.records.get(at).cloned().expect("it was found");
    let lifetime = old.expires.map(|expires| expires.saturating_sub(old.created));
    let expires = lifetime.map(|lifetime| now_unix_s.saturating_add(lifetime));
    let made = add(
        &mut change,
        (&old.name, &old.tenant, old.role),
        expires,
        now_unix_s,
    )?;
    if let Some(old) = change.records.get_mut(at) {
        let over = now_unix_s.saturating_add(overlap_s);
        old.expires = Some(old.expires.map_or(over, |expires| expires.min(over)));
        old.replaced_by = Some(made.1.id.clone());
    }
    change.commit()?;
    Ok(made)
}

/// Ends a key at once.
///
/// # Errors
/// Nothing has changed then.
pub fn revoke(path: &Path, which: &str, now_unix_s: u64) -> Result<Record, ChangeError> {
    let mut change = Change::begin(path)?;
    let at = find(&change.records, which, now_unix_s)?;
    let record = change.records.get_mut(at).expect("it was found");
    record.revoked = Some(now_unix_s);
    let record = record.clone();
    change.commit()?;
    Ok(record)
}

fn add(
    change: &mut Change,
    (name, tenant, role): (&str, &str, Role),
    expires: Option<u64>,
    now_unix_s: u64,
) -> Result<(ApiKey, Record), ChangeError> {
    if change.records.len() >= KEYS_MAX {
        return Err(ChangeError::TooMany);
    }
    let key = loop {
        let key = ApiKey::random();
        // An id has 50 bits: two may be the same.
        if change.records.iter().all(|record| record.id != *key.id()) {
            break key;
        }
    };
    let record = Record {
        id: key.id().clone(),
        name: name.to_owned(),
        tenant: tenant.to_owned(),
        role,
        hash: key.hash(),
        created: now_unix_s,
        expires,
        revoked: None,
        replaced_by: None,
    };
    change.records.push(record.clone());
    Ok((key, record))
}

/// The one good key of this id or name.
fn find(records: &[Record], which: &str, now_unix_s: u64) -> Result<usize, ChangeError> {
    if let Some(at) = records.iter().position(|record| record.id.as_str() == which) {
        let record = records.get(at).expect("it was found");
        let id = record.id.clone();
        return match record.standing(now_unix_s) {
            Standing::Good => Ok(at),
            standing => Err(ChangeError::Over { id, standing }),
        };
    }
    let good = records
        .iter()
        .enumerate()
        .filter(|(_, record)| record.name == which && record.standing(now_unix_s) == Standing::Good);
    let good: Vec<usize> = good.map(|(at, _)| at).collect();
    match good[..] {
        [] => Err(ChangeError::Unknown {
            what: which.to_owned(),
        }),
        [one] => Ok(one),
        _ => Err(ChangeError::Ambiguous {
            name: which.to_owned(),
            count: good.len(),
        }),
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte);
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn default_tenant() -> String {
    DEFAULT_TENANT.to_owned()
}

fn is_default_tenant(tenant: &str) -> bool {
    tenant == DEFAULT_TENANT
}

/// Where the keys are in a folder for what the guard keeps.
pub fn path_in(dir: &Path) -> PathBuf {
    dir.join("keys.json")
}

#[cfg(test)]
mod tests;
