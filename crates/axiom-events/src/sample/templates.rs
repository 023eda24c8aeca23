//! Templates: what events have in common, found as they come.
//!
//! The tree is Drain's (He and others, 2017): events are told apart by sort and by their number of words, then by their first
//! word, and compared with the templates that are left, word by word. At least half of the words are the same in what belongs
//! together; where they differ the template gets a `<*>`. What is bounded: words of a body, first words of one length
//! ([`BRANCHES_MAX`]), templates that are compared ([`LEAF_MAX`]), and all templates, by number and by bytes; the one that was
//! not used for longest is forgotten first.
//!
//! Most bodies have been seen before, once what differs is masked. So the words' hashes together lead to the template at
//! once, and the tree is walked for new ones only.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::counter::TEMPLATE_BYTES_MAX;
use super::lru::Lru;
use super::tokens::Tokens;

/// Templates that are known at most.
pub const TEMPLATES_MAX: usize = 65_536;
/// First words that are told apart, among events of one sort and one length. Others share a leaf.
const BRANCHES_MAX: u32 = 128;
/// Templates in a leaf. What would be one more goes to the one that it is most like.
const LEAF_MAX: usize = 32;

/// In place of a word's hash: any word.
const ANY: u64 = 0;
const ANY_TEXT: &[u8] = b"<*>";

/// What a template takes beside its words: its place, its leaf and the branch that leads there.
const TEMPLATE_EXTRA_BYTES: usize = Lru::<Template>::PLACE_BYTES + 192;
/// What an entry takes that leads from hashes to a template.
const SHORTCUT_BYTES: usize = 48;

#[derive(Debug)]
pub(super) struct Templates {
    state: RandomState,
    templates: Lru<Template>,
    leaves: HashMap<u64, Leaf, RandomState>,
    /// How many leaves there are for first words, by sort and length.
    branches: HashMap<u64, u32, RandomState>,
    /// By all hashes of a body: place and id of its template.
    shortcuts: HashMap<u64, (u32, u64), RandomState>,
    shortcuts_max: usize,
    next_id: u64,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Template {
    /// Never given to another one.
    pub(super) id: u64,
    leaf: u64,
    hashes: Box<[u64]>,
    /// The words that it began with, a space between them.
    words: Box<[u8]>,
    /// As it is now.
    shown: Option<Arc<str>>,
}

#[derive(Debug)]
struct Leaf {
    branch: u64,
    /// It is counted among the branch's first words.
    is_counted: bool,
    templates: Vec<u32>,
}

impl Templates {
    pub(super) fn new(state: RandomState, bytes_max: usize) -> Templates {
        // A quarter for the shortcuts.
        let shortcuts_max = (bytes_max / 4 / SHORTCUT_BYTES).clamp(16, 2 * TEMPLATES_MAX);
        Templates {
            state,
            templates: Lru::default(),
            leaves: HashMap::default(),
            branches: HashMap::default(),
            shortcuts: HashMap::default(),
            shortcuts_max,
            next_id: 0,
            bytes: 0,
            bytes_max: bytes_max / 4 * 3,
        }
    }

    /// The place of the template of a body, and its id. `sort` is what must be the same for bodies to be compared at all.
    pub(super) fn find(&mut self, sort: u64, tokens: &Tokens) -> (u32, u64) {
        let hashes = tokens.hashes();
        let all = self.state.hash_one((sort, hashes));
        if let Some((at, id)) = self.shortcuts.get(&all)
            && self.templates.get(*at).is_some_and(|template| template.id == *id)
        {
            self.templates.touch(*at);
            return (*at, *id);
        }
        let leaf = self.leaf(sort, hashes);
        let at = match self.best(leaf, hashes) {
            Some(at) => {
                self.generalise(at, hashes);
                self.templates.touch(at);
                at
            }
            None => self.add(leaf, tokens),
        };
        let id = self.templates.get(at).map_or(u64::MAX, |template| template.id);
        if self.shortcuts.len() >= self.shortcuts_max {
            self.shortcuts.clear();
        }
        self.shortcuts.insert(all, (at, id));
        (at, id)
    }

    /// How a template reads; `None` if it was forgotten meanwhile.
    pub(super) fn text(&mut self, at: u32, id: u64) -> Option<Arc<str>> {
        let template = self.templates.get_mut(at).filter(|template| template.id == id)?;
        let shown = template.shown.take().unwrap_or_else(|| template.show());
        Some(Arc::clone(template.shown.insert(shown)))
    }

    pub(super) fn len(&self) -> usize {
        self.templates.len()
    }

    /// What they take in memory, near enough for a limit.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.shortcuts.len() * SHORTCUT_BYTES
    }

    /// The key of the leaf that these words belong to. It is there afterwards.
    fn leaf(&mut self, sort: u64, hashes: &[u64]) -> u64 {
        let branch = self.state.hash_one((sort, hashes.len()));
        let first = hashes.first().copied().unwrap_or(ANY);
        let own = self.state.hash_one((branch, first));
        if self.leaves.contains_key(&own) {
            return own;
        }
        let count = self.branches.entry(branch).or_default();
        let is_counted = *count < BRANCHES_MAX;
        let key = if is_counted {
            *count += 1;
            own
        } else {
            self.state.hash_one((branch, ANY))
        };
        self.leaves.entry(key).or_insert(Leaf {
            branch,
            is_counted,
            templates: Vec::new(),
        });
        key
    }

    /// The template of a leaf that is most like these words, if it is like them at all.
    fn best(&self, leaf: u64, hashes: &[u64]) -> Option<u32> {
        let leaf = self.leaves.get(&leaf)?;
        let same = |at: &u32| {
            let template = self.templates.get(*at)?;
            let pairs = template.hashes.iter().zip(hashes);
            Some((pairs.filter(|(left, right)| left == right).count(), *at))
        };
        // Of two that are alike the older one.
        let best = leaf.templates.iter().filter_map(same).reduce(
            |best, other| {
                if other.0 > best.0 { other } else { best }
            },
        );
        let (count, at) = best?;
        (2 * count >= hashes.len() || leaf.templates.len() >= LEAF_MAX).then_some(at)
    }

    fn generalise(&mut self, at: u32, hashes: &[u64]) {
        let Some(template) = self.templates.get_mut(at) else {
            return;
        };
        for (ours, theirs) in template.hashes.iter_mut().zip(hashes) {
            if *ours != *theirs && *ours != ANY {
                *ours = ANY;
                template.shown = None;
            }
        }
    }

    fn add(&mut self, leaf: u64, tokens: &Tokens) -> u32 {
        let template = Template {
            id: self.next_id,
            leaf,
            hashes: tokens.hashes().into(),
            words: tokens.text().into(),
            shown: None,
        };
        self.next_id += 1;
        let bytes = template.bytes();
        // Before it is there, or it might be the one to go.
        while self.templates.len() >= TEMPLATES_MAX || self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.templates.oldest() else {
                break;
            };
            self.forget(oldest, leaf);
        }
        self.bytes += bytes;
        let at = self.templates.insert(template);
        let leaf = self.leaves.get_mut(&leaf).expect("its leaf was not forgotten");
        leaf.templates.push(at);
        at
    }

    /// Forgets a template, and its leaf if nothing else is in it and it is not `needed`.
    fn forget(&mut self, at: u32, needed: u64) {
        let Some(template) = self.templates.remove(at) else {
            return;
        };
        self.bytes -= template.bytes();
        let Some(leaf) = self.leaves.get_mut(&template.leaf) else {
            return;
        };
        leaf.templates.retain(|other| *other != at);
        if !leaf.templates.is_empty() || template.leaf == needed {
            return;
        }
        let Leaf {
            branch, is_counted, ..
        } = *leaf;
        self.leaves.remove(&template.leaf);
        if is_counted && let Some(count) = self.branches.get_mut(&branch) {
            *count -= 1;
            if *count == 0 {
                self.branches.remove(&branch);
            }
        }
    }
}

impl Template {
    fn bytes(&self) -> usize {
        let shown = self.words.len().min(TEMPLATE_BYTES_MAX) + 16;
        self.hashes.len() * size_of::<u64>() + self.words.len() + shown + TEMPLATE_EXTRA_BYTES
    }

    fn show(&self) -> Arc<str> {
        let mut text = Vec::with_capacity(self.words.len());
        for (word, hash) in self.words.split(|byte| *byte == b' ').zip(&self.hashes) {
            if !text.is_empty() {
                text.push(b' ');
            }
            text.extend_from_slice(if *hash == ANY { ANY_TEXT } else { word });
            if text.len() > TEMPLATE_BYTES_MAX {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        let mut end = text.len().min(TEMPLATE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests;
