//! One hash for a list of blocks, such that a short proof shows that a block is in it.
//!
//! The tree is the one of RFC 6962 (section 2.1) with BLAKE3: a leaf is the hash of 0 and a block's hash, a node that of 1 and
//! its two children, and the left side of a node is the largest power of two below the number of its leaves.

use crate::block::Hash;

/// The root over these leaves; zeros over none.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::default(),
        [only] => leaf(*only),
        _ => {
            let (left, right) = leaves.split_at(left_len(leaves.len()));
            node(root(left), root(right))
        }
    }
}

/// What must be hashed with leaf `index` to get to the root, from the leaf upwards. Empty if there is no such leaf.
pub fn proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() <= 1 || index >= leaves.len() {
        return Vec::new();
    }
    let middle = left_len(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut path, other) = if index < middle {
        (proof(left, index), root(right))
    } else {
        (proof(right, index - middle), root(left))
    };
    path.push(other);
    path
}

/// True if `proof` shows that `block` is leaf `index` of `count` under `root`.
pub fn proves(block: Hash, index: usize, count: usize, proof: &[Hash], root: Hash) -> bool {
    climb(block, index, count, proof) == Some(root)
}

fn climb(block: Hash, index: usize, count: usize, proof: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    if count == 1 {
        return proof.is_empty().then(|| leaf(block));
    }
    let (other, below) = proof.split_last()?;
    let middle = left_len(count);
    if index < middle {
        Some(node(climb(block, index, middle, below)?, *other))
    } else {
        Some(node(*other, climb(block, index - middle, count - middle, below)?))
    }
}

/// The largest power of two below `len`, which is at least 2.
fn left_len(len: usize) -> usize {
    1 << (len - 1).ilog2()
}

fn leaf(block: Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[0]).update(&block.0);
    Hash(*hasher.finalize().as_bytes())
}

fn node(left: Hash, right: Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[1]).update(&left.0).update(&right.0);
    Hash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_has_a_proof_and_no_other_block_fits_it() {
        for count in 1..40 {
            let leaves: Vec<Hash> = (0..count).map(|n: u8| Hash([n; 32])).collect();
            let root = root(&leaves);
            for index in 0..leaves.len() {
                let path = proof(&leaves, index);
                assert!(proves(leaves[index], index, leaves.len(), &path, root));
                assert!(!proves(Hash([200; 32]), index, leaves.len(), &path, root));
                assert!(!proves(leaves[index], index + 1, leaves.len(), &path, root));
                assert!(path.len() <= 6, "{count} leaves, {} steps", path.len());
            }
        }
    }

    #[test]
    fn the_order_of_blocks_matters() {
        let (a, b) = (Hash([1; 32]), Hash([2; 32]));
        assert_ne!(root(&[a, b]), root(&[b, a]));
    }
}
