//! Distinct names and their numbers, all of them in one piece of memory.
//!
//! A name is hashed once, by whoever saw it first, and keeps its hash on its way: from a producer's batch into a block, and
//! from there into the index. Thousands of tasks at once are thousands of names in each block.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;

use hashbrown::HashTable;

/// One for all, so that the same name has the same hash everywhere, and chosen anew for each process: names come from outside.
static HASHING: LazyLock<foldhash::fast::RandomState> = LazyLock::new(Default::default);

/// Names, numbered from 0 in the order in which they came.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    /// One after the other.
    text: String,
    places: Vec<Place>,
    /// Numbers by the names' hashes.
    numbers: HashTable<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    hash: u64,
    end: usize,
}

/// What each name takes beside its text.
const NAME_BYTES: usize = size_of::<Place>() + 2 * size_of::<u32>();

impl Names {
    /// The name's number, which is the next one if it is new. `guess` is a number that it may well have.
    pub(crate) fn number(&mut self, name: &str, guess: Option<u32>) -> u32 {
        match guess {
            Some(guess) if self.get_name(guess) == Some(name) => guess,
            _ => self.number_by(name, hash(name)),
        }
    }

    /// For each name of others, in their order, its number here.
    pub(crate) fn numbers_of<'a>(&'a mut self, others: &'a Names) -> impl Iterator<Item = u32> {
        let others = others.iter().zip(&others.places);
        others.map(|(name, place)| self.number_by(name, place.hash))
    }

    /// The number here of a name that has this number there.
    pub(crate) fn number_of(&mut self, others: &Names, number: u32) -> u32 {
        self.number_by(others.name(number), others.places[number as usize].hash)
    }

    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.get_by(name, hash(name))
    }

    /// Adds a name under the next number, also if it has one already.
    pub(crate) fn push(&mut self, name: &str) -> u32 {
        self.push_by(name, hash(name))
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        self.get_name(number).expect("every number was given to a name")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.places.iter().map(move |place| {
            let name = self.text.get(start..place.end);
            start = place.end;
            name.expect("a name ends where the next one begins")
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Makes it empty and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.places.clear();
        self.numbers.clear();
    }

    /// What they take in memory, near enough for a limit.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.places.len() * NAME_BYTES
    }

    /// The memory that they hold, used or not.
    pub(crate) fn capacity_bytes(&self) -> usize {
        let table = self.numbers.capacity() * 2 * size_of::<u32>();
        self.text.capacity() + self.places.capacity() * size_of::<Place>() + table
    }

    fn number_by(&mut self, name: &str, hash: u64) -> u32 {
        match self.get_by(name, hash) {
            Some(number) => number,
            None => self.push_by(name, hash),
        }
    }

    fn get_by(&self, name: &str, hash: u64) -> Option<u32> {
        let is_it =
            |number: &u32| self.places[*number as usize].hash == hash && self.get_name(*number) == Some(name);
        self.numbers.find(hash, is_it).copied()
    }

    fn push_by(&mut self, name: &str, hash: u64) -> u32 {
        let number = u32::try_from(self.places.len()).expect("there are fewer names than 2^32");
        self.text.push_str(name);
        let end = self.text.len();
        self.places.push(Place { hash, end });
        let places = &self.places;
        self.numbers
            .insert_unique(hash, number, |number| places[*number as usize].hash);
        number
    }

    fn get_name(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        let end = self.places.get(number)?.end;
        let start = number.checked_sub(1).map_or(0, |before| self.places[before].end);
        self.text.get(start..end)
    }
}

/// The same names with the same numbers.
impl PartialEq for Names {
    fn eq(&self, other: &Names) -> bool {
        self.text == other.text && self.places == other.places
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = HASHING.build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a list that is searched from its beginning.
        #[test]
        fn names_are_numbered_as_in_a_list(
            added in proptest::collection::vec(("[a-c]{0,3}", 0..4u8), 0..40),
            others in proptest::collection::vec("[a-c]{0,3}", 0..10),
        ) {
            let (mut names, mut list): (Names, Vec<String>) = Default::default();
            for (name, how) in added {
                let at = list.iter().position(|known| *known == name);
                let (number, is_new) = match how {
                    0 => (names.push(&name), true),
                    how => (names.number(&name, Some(u32::from(how))), at.is_none()),
                };
                if is_new {
                    list.push(name.clone());
                    prop_assert_eq!(number as usize, list.len() - 1);
                } else {
                    prop_assert_eq!(names.name(number), name);
                }
            }
            prop_assert_eq!(names.len(), list.len());
            prop_assert!(names.iter().eq(list.iter().map(String::as_str)));
            let mut there = Names::default();
            for name in &others {
                there.number(name, None);
            }
            let known = others.iter().map(|name| names.get(name).is_some());
            let expected = others.iter().map(|name| list.contains(name));
            prop_assert!(known.eq(expected));
            for number in 0..u32::try_from(there.len()).unwrap() {
                let ours = names.clone().number_of(&there, number);
                prop_assert_eq!(ours, names.clone().number(there.name(number), None));
            }
            let ours: Vec<u32> = names.numbers_of(&there).collect();
            prop_assert!(ours.iter().map(|number| names.name(*number)).eq(there.iter()));
            names.clear();
            prop_assert_eq!(names.get("a"), None);
            prop_assert_eq!(names, Names::default());
        }
    }
}
