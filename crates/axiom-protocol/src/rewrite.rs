//! Changing a message by byte ranges: what is not named stays as it was received, to the byte.

use crate::Span;
use crate::text::push_quoted;
use crate::walk::{is_key, members};

/// Replaces the bytes at a span; an empty span (`start == end`) inserts before it.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    pub at: Span,
    pub with: &'a [u8],
}

/// The text with all edits made, in one allocation. The edits are sorted by place; two at one place keep their order.
/// They must not overlap; in a release build an overlapping edit is left out.
pub fn splice(raw: &[u8], edits: &mut [Edit<'_>]) -> Vec<u8> {
    edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
    debug_assert!(
        edits.windows(2).all(|pair| pair[0].at.end <= pair[1].at.start),
        "edits overlap"
    );
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let removed: usize = edits.iter().map(|edit| edit.at.len()).sum();
    let mut out = Vec::with_capacity((raw.len() + added).saturating_sub(removed));
    let mut copied = 0;
    for edit in edits.iter() {
        let (start, end) = (edit.at.start as usize, edit.at.end as usize);
        let Some(kept) = raw.get(copied..start) else {
            continue;
        };
        out.extend_from_slice(kept);
        out.extend_from_slice(edit.with);
        copied = end;
    }
    out.extend_from_slice(raw.get(copied..).unwrap_or_default());
    out
}

/// The object at `object` with some members set and some removed; the others stay as they are and where they are.
///
/// A key in `set` keeps its place if it was there, and goes last, in the order of `set`, if not. A key that appears
/// several times is set where it appears first; the others are removed. A key in both lists is set. Values in `set`
/// must be JSON. White space between members goes, that inside them stays. What is no object counts as an empty one.
pub fn object_with(raw: &[u8], object: Span, set: &[(&str, &[u8])], remove: &[&str]) -> Vec<u8> {
    let added: usize = set.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
    let mut out = Vec::with_capacity(object.len().max(2) + added);
    let mut placed = vec![false; set.len()];
    out.push(b'{');
    for (key, value) in members(raw, object) {
        let named = |name: &str| is_key(raw, key, name);
        match set.iter().position(|(name, _)| named(name)) {
            Some(index) if !placed[index] => {
                placed[index] = true;
                comma(&mut out);
                // The key as it is spelled, with its colon and the space around it.
                out.extend_from_slice(
                    Span {
                        start: key.start,
                        end: value.start,
                    }
                    .of(raw),
                );
                out.extend_from_slice(set[index].1);
            }
            None if !remove.iter().any(|name| named(name)) => {
                comma(&mut out);
                out.extend_from_slice(
                    Span {
                        start: key.start,
                        end: value.end,
                    }
                    .of(raw),
                );
            }
            _ => {}
        }
    }
    for ((key, value), _) in set.iter().zip(placed).filter(|(_, placed)| !placed) {
        comma(&mut out);
        push_quoted(&mut out, key);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

/// Before every member but the first.
fn comma(out: &mut Vec<u8>) {
    if out.len() > 1 {
        out.push(b',');
    }
}
