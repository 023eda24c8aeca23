//! How one JSON value differs from another, place by place.
//!
//! Values are compared as what they mean: the order of an object's members, white space and the escapes of a text are none
//! of it. Numbers are compared by their digits where those are too many for a machine's number.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::path::{Step, shown};
use super::recorded::MASK;
use super::{Ignored, times};

/// What does not matter in a comparison.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) ignored: Vec<Ignored>,
    /// What cannot be the same for a reason of ours. Nobody has to be told that it was ignored.
    pub(crate) unsaid: Vec<Ignored>,
    pub(crate) ignores_times: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// In the order of their places; the first [`DIFFERENCES_MAX`].
    pub(crate) differences: Vec<Difference>,
    pub(crate) count: usize,
    /// Places that were not looked at because somebody said so.
    pub(crate) ignored: usize,
    /// Places where a secret was recorded as a mask: they cannot be told apart.
    pub(crate) masked: usize,
}

/// A place where two values are not the same. What is not there is `None`.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) recorded: Option<Box<RawValue>>,
    pub(crate) now: Option<Box<RawValue>>,
}

/// Of a value that has nothing in common with the other, nobody reads every place.
pub(crate) const DIFFERENCES_MAX: usize = 100;

/// A value, one level of it.
enum Node<'a> {
    Object(BTreeMap<String, &'a RawValue>),
    Array(Vec<&'a RawValue>),
    Text(String),
    /// A number, `true`, `false` or `null`.
    Word(&'a str),
}

impl Rules {
    pub(crate) fn compare(&self, recorded: &RawValue, now: &RawValue) -> Comparison {
        let mut compared = Compared {
            rules: self,
            at: Vec::new(),
            comparison: Comparison::default(),
        };
        compared.values(recorded, now);
        compared.comparison
    }
}

impl Comparison {
    /// Of two answers that are not of one kind: a result and an error.
    pub(crate) fn of_kinds(recorded: &RawValue, now: &RawValue) -> Comparison {
        Comparison {
            differences: vec![Difference {
                path: shown(&[]),
                recorded: Some(recorded.to_owned()),
                now: Some(now.to_owned()),
            }],
            count: 1,
            ..Comparison::default()
        }
    }
}

struct Compared<'r> {
    rules: &'r Rules,
    at: Vec<Step>,
    comparison: Comparison,
}

impl Compared<'_> {
    fn values(&mut self, recorded: &RawValue, now: &RawValue) {
        if self.is_ignored() || recorded.get() == now.get() {
            return;
        }
        let (old, new) = (node(recorded), node(now));
        let is_same = match (&old, &new) {
            (Node::Object(old), Node::Object(new)) => return self.objects(old, new),
            (Node::Array(old), Node::Array(new)) => return self.arrays(old, new),
            (Node::Text(old), _) if old == MASK => {
                self.comparison.masked += 1;
                true
            }
            (Node::Text(old), Node::Text(new)) => self.texts(old, new),
            (Node::Word(old), Node::Word(new)) => {
                old == new
                    || is_same_number(old, new)
                    || (self.rules.ignores_times && times::are_both(old, new))
            }
            _ => false,
        };
        if !is_same {
            self.differ(Some(recorded), Some(now));
        }
    }

    fn objects(&mut self, old: &BTreeMap<String, &RawValue>, new: &BTreeMap<String, &RawValue>) {
        let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
        for key in keys {
            self.at.push(Step::Key(key.clone()));
            match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) => self.values(old, new),
                (old, new) => {
                    if !self.is_ignored() {
                        self.differ(old.copied(), new.copied());
                    }
                }
            }
            self.at.pop();
        }
    }

    /// Items are compared with those at the same place, from the front as long as they are the same, then from the back; what
    /// is between was changed, taken away or added.
    fn arrays(&mut self, old: &[&RawValue], new: &[&RawValue]) {
        let shorter = old.len().min(new.len());
        let mut back = 0;
        if old.len() != new.len() {
            let front = (0..shorter)
                .take_while(|at| self.is_same(*at, old[*at], new[*at]))
                .count();
            let from_back = |at: &usize| {
                let (old_at, new_at) = (old.len() - 1 - at, new.len() - 1 - at);
                self.is_same(old_at, old[old_at], new[new_at])
            };
            back = (0..shorter - front).take_while(from_back).count();
        }
        for at in 0..old.len().max(new.len()) - back {
            self.at.push(Step::Index(at));
            let (old, new) = (old[..old.len() - back].get(at), new[..new.len() - back].get(at));
            match (old, new) {
                (Some(old), Some(new)) => self.values(old, new),
                (None, None) => {}
                (old, new) => {
                    if !self.is_ignored() {
                        self.differ(old.copied(), new.copied());
                    }
                }
            }
            self.at.pop();
        }
    }

    fn is_same(&self, at: usize, old: &RawValue, new: &RawValue) -> bool {
        let mut place = self.at.clone();
        place.push(Step::Index(at));
        let mut compared = Compared {
            rules: self.rules,
            at: place,
            comparison: Comparison::default(),
        };
        compared.values(old, new);
        compared.comparison.count == 0
    }

    /// A recorded text with masks in it fits whatever stands where they are.
    fn texts(&mut self, old: &str, new: &str) -> bool {
        let blank = |text: &str| match self.rules.ignores_times {
            true => times::without(text).into_owned(),
            false => text.to_owned(),
        };
        let (old, new) = (blank(old), blank(new));
        if old == new {
            return true;
        }
        let fits = old.contains(MASK) && fits_masked(&old, &new);
        self.comparison.masked += usize::from(fits);
        fits
    }

    fn is_ignored(&mut self) -> bool {
        if self.rules.unsaid.iter().any(|unsaid| unsaid.is(&self.at)) {
            return true;
        }
        let is_ignored = self.rules.ignored.iter().any(|ignored| ignored.is(&self.at));
        self.comparison.ignored += usize::from(is_ignored);
        is_ignored
    }

    fn differ(&mut self, recorded: Option<&RawValue>, now: Option<&RawValue>) {
        self.comparison.count += 1;
        if self.comparison.differences.len() < DIFFERENCES_MAX {
            self.comparison.differences.push(Difference {
                path: shown(&self.at),
                recorded: recorded.map(ToOwned::to_owned),
                now: now.map(ToOwned::to_owned),
            });
        }
    }
}

fn node(value: &RawValue) -> Node<'_> {
    let text = value.get().trim();
    let read = match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str(text).ok().map(Node::Object),
        Some(b'[') => serde_json::from_str(text).ok().map(Node::Array),
        Some(b'"') => serde_json::from_str(text).ok().map(Node::Text),
        _ => None,
    };
    // A text with half a character in it is compared as it was written.
    read.unwrap_or(Node::Word(text))
}

/// `1.0`, `1` and `1e0`; not two numbers that only look the same to a machine.
fn is_same_number(left: &str, right: &str) -> bool {
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    if digits(left) > 15 || digits(right) > 15 {
        return false;
    }
    let number = |text: &str| text.parse::<f64>().ok();
    number(left).is_some() && number(left) == number(right)
}

/// Whether what stands between the masks stands in the other text too, in the same order.
fn fits_masked(masked: &str, text: &str) -> bool {
    let mut parts = masked.split(MASK);
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
