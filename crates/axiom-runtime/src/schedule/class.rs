//! The four classes of work, and a value for each of them.

use std::fmt;
use std::ops::{Index, IndexMut};

/// How much somebody minds waiting. A class goes before those below it, up to their [`Patience`](super::Patience).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A person waits for it.
    Critical,
    /// A person sees it.
    High,
    Normal,
    /// Speculative: nobody has asked for it yet.
    Low,
}

impl Class {
    /// From the one that goes first.
    pub const ALL: [Class; 4] = [Class::Critical, Class::High, Class::Normal, Class::Low];
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Critical => "critical",
            Class::High => "high",
            Class::Normal => "normal",
            Class::Low => "low",
        })
    }
}

/// One value for each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerClass<V> {
    pub critical: V,
    pub high: V,
    pub normal: V,
    pub low: V,
}

impl<V> Index<Class> for PerClass<V> {
    type Output = V;

    fn index(&self, class: Class) -> &V {
        match class {
            Class::Critical => &self.critical,
            Class::High => &self.high,
            Class::Normal => &self.normal,
            Class::Low => &self.low,
        }
    }
}

impl<V> IndexMut<Class> for PerClass<V> {
    fn index_mut(&mut self, class: Class) -> &mut V {
        match class {
            Class::Critical => &mut self.critical,
            Class::High => &mut self.high,
            Class::Normal => &mut self.normal,
            Class::Low => &mut self.low,
        }
    }
}
