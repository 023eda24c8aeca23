//! Distinct names by number.

use std::collections::HashMap;

/// Names, numbered in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Box<str>, u32, foldhash::fast::FixedState>,
    names: Vec<Box<str>>,
}

impl Names {
    /// The name's number. `guess` is one that it may well have: neighbours are often alike.
    pub(super) fn number(&mut self, name: &str, guess: Option<u32>) -> u32 {
        if let Some(guess) = guess
            && self.name(guess) == name
        {
            return guess;
        }
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("a row group has fewer names than 2^32");
        self.numbers.insert(name.into(), number);
        self.names.push(name.into());
        number
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    /// For each number its place among all names, sorted.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut sorted: Vec<usize> = (0..self.names.len()).collect();
        sorted.sort_unstable_by(|left, right| self.names[*left].cmp(&self.names[*right]));
        let mut ranks = vec![0; sorted.len()];
        for (rank, number) in (0..).zip(sorted) {
            ranks[number] = rank;
        }
        ranks
    }

    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.names.clear();
    }
}
