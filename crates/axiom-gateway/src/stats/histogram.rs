//! How long calls took, in few numbers: durations that differ by less than an eighth are counted together.
//!
//! A duration in microseconds falls into a bucket by its highest bit and the three bits below it. A percentile is the middle
//! of its bucket, so it is within 6.25 % of the true one.

use serde::{Deserialize, Serialize};

/// Bits below the highest one that tell buckets apart.
const BITS: u32 = 3;

/// Counted durations: bucket and count, ascending by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Histogram(Vec<(u16, u64)>);

impl Histogram {
    pub(super) fn add(&mut self, micros: u64) {
        self.add_many(bucket(micros), 1);
    }

    pub(super) fn add_all(&mut self, other: &Histogram) {
        for (bucket, count) in &other.0 {
            self.add_many(*bucket, *count);
        }
    }

    fn add_many(&mut self, bucket: u16, count: u64) {
        match self.0.binary_search_by_key(&bucket, |(known, _)| *known) {
            Ok(place) => self.0[place].1 += count,
            Err(place) => self.0.insert(place, (bucket, count)),
        }
    }

    /// The duration in microseconds that this share of calls did not exceed; `None` if there are none.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.0.iter().map(|(_, count)| count).sum();
        // The nth of them, from 1.
        let nth = (total * percent).div_ceil(100).max(1);
        let mut before = 0;
        for (bucket, count) in &self.0 {
            before += count;
            if before >= nth {
                return Some(middle(*bucket));
            }
        }
        None
    }
}

fn bucket(micros: u64) -> u16 {
    let small = 1 << BITS;
    if micros < small {
        return u16::try_from(micros).unwrap_or(0);
    }
    let above = 63 - micros.leading_zeros() - BITS;
    let within = (micros >> above) - small;
    u16::try_from(u64::from(above + 1) * small + within).unwrap_or(u16::MAX)
}

fn middle(bucket: u16) -> u64 {
    let (small, bucket) = (1u64 << BITS, u64::from(bucket));
    if bucket < small {
        return bucket;
    }
    let above = u32::try_from(bucket / small - 1).unwrap_or(0);
    let first = (small + bucket % small) << above;
    first + ((1u64 << above) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_duration_has_a_bucket() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), 495);
        assert_eq!(Histogram::default().percentile(50), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_within_a_sixteenth(
            mut durations in proptest::collection::vec(0u64..1 << 40, 1..300),
            percent in 1u64..=100,
        ) {
            let mut histogram = Histogram::default();
            durations.iter().for_each(|micros| histogram.add(*micros));
            durations.sort_unstable();
            let nth = (durations.len() as u64 * percent).div_ceil(100).max(1);
            let exact = durations[usize::try_from(nth - 1).unwrap()];
            let told = histogram.percentile(percent).unwrap();
            prop_assert!(told.abs_diff(exact) <= exact / 16, "{told} for {exact}");
        }
    }
}
