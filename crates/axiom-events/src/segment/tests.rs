use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn heads_and_seals_come_back_and_every_change_of_a_byte_is_found(
        shard in any::<u16>(),
        numbers in any::<(u64, u64, i64)>(),
        hashes in any::<([u8; 32], [u8; 32])>(),
        at in 0..HEAD_BYTES,
        by in 1..=255u8,
    ) {
        let begin = Begin { shard, first_offset: numbers.0, created: numbers.2, before: Hash(hashes.0) };
        let mut bytes = begin.write();
        prop_assert_eq!(Begin::read(&bytes), Ok(begin));
        bytes[at] ^= by;
        prop_assert!(Begin::read(&bytes).is_err());

        let seal = Seal {
            shard,
            end_offset: numbers.0,
            blocks: numbers.1,
            last: Hash(hashes.0),
            root: Hash(hashes.1),
        };
        let mut bytes = seal.write();
        prop_assert_eq!(Seal::read(&bytes), Ok(seal));
        bytes[at] ^= by;
        prop_assert!(Seal::read(&bytes).is_err());
    }

    #[test]
    fn no_bytes_are_too_odd_to_be_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _refused = (Begin::read(&bytes).is_err(), Seal::read(&bytes).is_err());
        for magic in [MAGIC.as_slice(), &SEAL_MAGIC] {
            if let Some(front) = bytes.get_mut(..magic.len()) {
                front.copy_from_slice(magic);
                prop_assert!(Begin::read(&bytes).is_err() && Seal::read(&bytes).is_err());
            }
        }
    }
}

#[test]
fn names_of_segments() {
    let path = path(Path::new("folder"), 7);
    assert_eq!(path, Path::new("folder/00000000000000000007.seg"));
    assert_eq!(first_offset("00000000000000000007.seg"), Some(7));
    for other in [
        "7.seg",
        "+0000000000000000007.seg",
        "99999999999999999999.seg",
        "00000000000000000007.idx",
    ] {
        assert_eq!(first_offset(other), None, "{other}");
    }
}
