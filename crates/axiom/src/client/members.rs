//! JSON as it came: the text of each member, read only where somebody asks for it. So numbers keep their digits and
//! objects the order of their keys when they are printed.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The members of an object, each as its text. Of two with one key the last counts.
#[derive(Debug, Clone, Default)]
pub struct Members(BTreeMap<String, Box<RawValue>>);

impl Members {
    /// None for what is no object: a server may answer anything.
    pub fn of(value: &RawValue) -> Self {
        read(value).map(Members).unwrap_or_default()
    }

    /// The text of a member, `null` too.
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// A member as a `T`, if it is one.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.raw(key).and_then(read)
    }

    /// A member that should be a string; empty if it is none.
    pub fn text(&self, key: &str) -> String {
        self.read(key).unwrap_or_default()
    }

    /// The members of a member that should be an object.
    pub fn members(&self, key: &str) -> Self {
        self.raw(key).map(Members::of).unwrap_or_default()
    }

    /// The items of a member, if it is an array.
    pub fn items(&self, key: &str) -> Option<Vec<Box<RawValue>>> {
        self.read(key)
    }

    /// In the order of the alphabet.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn read<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// The items as one JSON array, each as it came.
pub fn array(items: &[Box<RawValue>]) -> String {
    let items: Vec<&str> = items.iter().map(|item| item.get()).collect();
    format!("[{}]", items.join(","))
}
