//! What was fetched from an object store, in pieces, the latest of them in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Of a piece: what a store sends in the time that it takes to answer at all.
const PIECE_BYTES: u64 = 256 << 10;
/// Memory for pieces.
const CACHE_BYTES: usize = 64 << 20;

/// Pieces of objects. An object's bytes never change under the same name.
#[derive(Debug, Default)]
pub(super) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pieces: HashMap<(Arc<str>, u64), (Bytes, u64)>,
    /// By when they were last used.
    ages: BTreeMap<u64, (Arc<str>, u64)>,
    clock: u64,
    bytes: usize,
}

impl Cache {
    /// These bytes of an object of `length` bytes. What is missing in a row is fetched at once.
    pub(super) fn read<E>(
        &self,
        location: &str,
        length: u64,
        range: Range<u64>,
        fetch: impl Fn(Range<u64>) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let wanted = range.start / PIECE_BYTES..range.end.div_ceil(PIECE_BYTES);
        let name: Arc<str> = location.into();
        let mut found: BTreeMap<u64, Bytes> = BTreeMap::new();
        {
            let mut inner = self.lock();
            for piece in wanted.clone() {
                if let Some(bytes) = inner.get(&name, piece) {
                    found.insert(piece, bytes);
                }
            }
        }
        let mut at = wanted.start;
        while at < wanted.end {
            if found.contains_key(&at) {
                at += 1;
                continue;
            }
            let end = (at..wanted.end)
                .find(|piece| found.contains_key(piece))
                .unwrap_or(wanted.end);
            let fetched = fetch(at * PIECE_BYTES..length.min(end * PIECE_BYTES))?;
            let mut rest = fetched;
            for piece in at..end {
                let bytes = rest.split_to(rest.len().min(usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX)));
                // A copy: a piece must not keep its neighbours in memory.
                let bytes = Bytes::copy_from_slice(&bytes);
                self.lock().put(&name, piece, bytes.clone());
                found.insert(piece, bytes);
            }
            at = end;
        }
        let mut out = BytesMut::new();
        for (piece, bytes) in found {
            let begin = piece * PIECE_BYTES;
            let within = |at: u64| {
                usize::try_from(at.saturating_sub(begin))
                    .unwrap_or(usize::MAX)
                    .min(bytes.len())
            };
            out.extend_from_slice(&bytes[within(range.start)..within(range.end)]);
        }
        Ok(out.freeze())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn get(&mut self, name: &Arc<str>, piece: u64) -> Option<Bytes> {
        let (bytes, age) = self.pieces.get_mut(&(Arc::clone(name), piece))?;
        let owner = self.ages.remove(age)?;
        self.clock += 1;
        *age = self.clock;
        self.ages.insert(self.clock, owner);
        Some(bytes.clone())
    }

    fn put(&mut self, name: &Arc<str>, piece: u64, bytes: Bytes) {
        self.clock += 1;
        self.bytes += bytes.len();
        let key = (Arc::clone(name), piece);
        if let Some((before, age)) = self.pieces.insert(key.clone(), (bytes, self.clock)) {
            self.bytes -= before.len();
            self.ages.remove(&age);
        }
        self.ages.insert(self.clock, key);
        while self.bytes > CACHE_BYTES
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            if let Some((bytes, _)) = self.pieces.remove(&oldest) {
                self.bytes -= bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    fn object(length: u64) -> Vec<u8> {
        (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect()
    }

    #[test]
    fn gives_the_bytes_that_are_wanted_and_fetches_them_once() {
        let length = 3 * PIECE_BYTES + 100;
        let all = object(length);
        let cache = Cache::default();
        let fetches = Cell::new(0);
        let read = |range: Range<u64>| {
            let fetch = |range: Range<u64>| {
                fetches.set(fetches.get() + 1);
                let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                Ok::<_, Infallible>(Bytes::copy_from_slice(&all[range]))
            };
            cache.read("a", length, range, fetch).unwrap()
        };
        let part = |range: Range<u64>| {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            all[range].to_vec()
        };
        let middle = PIECE_BYTES + 10..PIECE_BYTES + 20;
        assert_eq!(read(middle.clone()), part(middle));
        assert_eq!(fetches.get(), 1);
        // The first and the last two pieces are missing: two fetches around the one that is there.
        assert_eq!(read(0..length), part(0..length));
        assert_eq!(fetches.get(), 3);
        let end = length - 7..length;
        assert_eq!(read(end.clone()), part(end));
        assert_eq!(read(5..5), Vec::<u8>::new());
        assert_eq!(fetches.get(), 3);
    }

    #[test]
    fn keeps_within_its_memory() {
        let cache = Cache::default();
        let length = PIECE_BYTES * 600;
        for piece in 0..600 {
            let from = piece * PIECE_BYTES;
            let fetch = |range: Range<u64>| {
                let bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
                Ok::<_, Infallible>(Bytes::from(bytes))
            };
            cache.read("a", length, from..from + 1, fetch).unwrap();
        }
        let inner = cache.lock();
        assert!(inner.bytes <= CACHE_BYTES, "{}", inner.bytes);
        let held: usize = inner.pieces.values().map(|(bytes, _)| bytes.len()).sum();
        assert_eq!(inner.bytes, held);
        assert_eq!(inner.pieces.len(), inner.ages.len());
    }
}
