use proptest::prelude::*;

use super::*;
use crate::streams::Expected;

fn streams(next: &[(String, u64)]) -> Streams {
    let mut streams = Streams::default();
    for (name, next) in next {
        streams.set_next(name, *next);
    }
    streams
}

fn sorted(streams: &Streams) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = streams
        .iter()
        .map(|(name, next)| (name.to_string(), next))
        .collect();
    all.sort();
    all
}

fn some() -> impl Strategy<Value = Vec<(String, u64)>> {
    let next = prop_oneof![0..3u64, Just(u64::MAX), any::<u64>()];
    let name = prop_oneof![4 => "[a-d]{1,3}", 1 => Just("ü".repeat(127))];
    proptest::collection::btree_map(name, next, 0..20).prop_map(|all| all.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_saved_is_loaded(next in some(), offset in any::<u64>()) {
        let bytes = encode(offset, &streams(&next));
        let mut loaded = Streams::default();
        prop_assert_eq!(decode(&bytes, offset, &mut loaded), Some(()));
        // What has no event yet is no stream.
        let expected: Vec<(String, u64)> = next.into_iter().filter(|(_, next)| *next > 0).collect();
        prop_assert_eq!(sorted(&loaded), expected);
        prop_assert_eq!(decode(&bytes, offset.wrapping_add(1), &mut Streams::default()), None);
    }

    #[test]
    fn changed_bytes_with_a_good_checksum_are_harmless(
        next in some(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in proptest::option::of(any::<prop::sample::Index>()),
        more in proptest::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut bytes = encode(9, &streams(&next));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        bytes.extend(more);
        if bytes.len() >= 8 {
            bytes[..4].copy_from_slice(&MAGIC);
            let crc = crc32c::crc32c(&bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        }
        let mut loaded = Streams::default();
        let is_sound = decode(&bytes, 9, &mut loaded).is_some();
        if !is_sound {
            prop_assert_eq!(loaded.len(), 0, "some of it was taken over");
        }
        for (name, _) in sorted(&loaded) {
            let _holds = loaded.check(&name, Expected::Exact(0)).is_ok();
        }
    }
}
