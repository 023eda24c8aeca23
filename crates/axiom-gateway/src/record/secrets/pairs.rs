//! Objects of which one member says what another one is: `{"name":"DB_PASSWORD","type":"secret","value":"hunter2"}`, in
//! whatever order and with whatever else between.
//!
//! What the name says is known only when the object has ended, so this is a pass of its own, before anything is copied.

use axiom_protocol::text::text;

use super::words::{Doubt, is_secret_key, plain};
use super::{skip_space, span, string_end};

const NAMES: &[&str] = &["name", "key", "header", "field", "variable"];
const VALUES: &[&str] = &["value", "values", "content", "text"];
/// Of these, what is masked while nobody knows yet whether a name follows. The others are what most answers are made of.
const DOUBTFUL_VALUES: &[&str] = &["value", "values"];

pub(super) fn is_name(key: &str) -> bool {
    NAMES.contains(&plain(key).as_str())
}

pub(super) fn is_value(key: &str) -> bool {
    VALUES.contains(&plain(key).as_str())
}

/// The members of a JSON text that belong together so, by the place where their values begin.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(usize, Part)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Says that there is a secret beside it.
    Name,
    /// Is it.
    Secret,
}

/// An object that has begun and not ended.
struct Open {
    /// Where its members begin among those that are noted.
    members: usize,
    has_name: bool,
    has_secret_name: bool,
}

/// A member that may belong to a pair.
struct Member {
    value_at: usize,
    part: Part,
    is_doubtful: bool,
}

/// One pass over a JSON text.
struct Search<'a> {
    raw: &'a [u8],
    doubt: Doubt,
    open: Vec<Open>,
    members: Vec<Member>,
    found: Vec<(usize, Part)>,
}

impl Pairs {
    /// In `raw`, which is only the beginning of a JSON text if `is_whole` is false.
    pub(super) fn of(raw: &[u8], is_whole: bool, doubt: Doubt) -> Pairs {
        let mut search = Search {
            raw,
            doubt,
            open: Vec::new(),
            members: Vec::new(),
            found: Vec::new(),
        };
        search.look(is_whole);
        let mut found = search.found;
        // What stands inside ends before what is around it.
        found.sort_unstable_by_key(|(at, _)| *at);
        Pairs(found)
    }

    /// What the value that begins here is, if it is part of a pair.
    pub(super) fn at(&self, value_at: usize) -> Option<Part> {
        let place = self.0.binary_search_by_key(&value_at, |(at, _)| *at).ok()?;
        Some(self.0[place].1)
    }
}

impl Search<'_> {
    fn look(&mut self, is_whole: bool) {
        let mut at = 0;
        while let Some(byte) = self.raw.get(at) {
            at = match byte {
                b'"' => self.string(at),
                b'{' => {
                    self.open.push(Open {
                        members: self.members.len(),
                        has_name: false,
                        has_secret_name: false,
                    });
                    at + 1
                }
                b'}' => {
                    if let Some(open) = self.open.pop() {
                        self.end(&open, true);
                    }
                    at + 1
                }
                _ => at + 1,
            };
        }
        // The rest is still to come, and its name with it.
        while let Some(open) = self.open.pop() {
            self.end(&open, is_whole);
        }
    }

    /// Looks at a string, which may be a key; says where to go on.
    fn string(&mut self, at: usize) -> usize {
        let end = string_end(self.raw, at);
        let colon_at = skip_space(self.raw, end);
        let Some(open) = self
            .open
            .last_mut()
            .filter(|_| self.raw.get(colon_at) == Some(&b':'))
        else {
            return end;
        };
        let Some(key) = text(self.raw, span(at, end)) else {
            return end;
        };
        let value_at = skip_space(self.raw, colon_at + 1);
        let key = plain(&key);
        if VALUES.contains(&key.as_str()) {
            self.members.push(Member {
                value_at,
                part: Part::Secret,
                is_doubtful: DOUBTFUL_VALUES.contains(&key.as_str()),
            });
        } else if NAMES.contains(&key.as_str()) && self.raw.get(value_at) == Some(&b'"') {
            open.has_name = true;
            let says = text(self.raw, span(value_at, string_end(self.raw, value_at)));
            // What nobody can read may name one.
            if says.is_none_or(|says| is_secret_key(&says, self.doubt)) {
                open.has_secret_name = true;
                self.members.push(Member {
                    value_at,
                    part: Part::Name,
                    is_doubtful: false,
                });
            }
        }
        value_at
    }

    /// An object has ended, or is cut off where its name may follow.
    fn end(&mut self, open: &Open, is_whole: bool) {
        let may_be_named = !is_whole && !open.has_name;
        let members = self.members.drain(open.members..);
        if !open.has_secret_name && !may_be_named {
            return drop(members);
        }
        let counts = |member: &Member| open.has_secret_name || member.is_doubtful;
        let found: Vec<(usize, Part)> = members
            .filter(counts)
            .map(|member| (member.value_at, member.part))
            .collect();
        // A name alone says something about what follows on its object.
        if found.iter().any(|(_, part)| *part == Part::Secret) {
            self.found.extend(found);
        }
    }
}
