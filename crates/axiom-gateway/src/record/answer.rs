//! What an answer says of itself, found without reading all of it.
//!
//! Most answers are small and plain results. They are searched for two words; only an answer that has one is read.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::LazyLock;

use axiom_protocol::method::Method;
use axiom_protocol::text::text;
use axiom_protocol::walk;
use bytes::Bytes;
use memchr::memmem::Finder;

use super::Outcome;
use crate::upstream::whole;

const IS_ERROR: &[u8] = b"\"isError\"";
const INPUT_REQUIRED: &[u8] = b"\"input_required\"";
/// What is searched for in every answer is prepared once.
static FIND_IS_ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(IS_ERROR));
/// What both words begin with, so that one search does.
static FIND_EITHER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"i"));
/// Bytes in which a search over a seam between two pieces finds every word above, and what follows it.
const SEAM_BYTES: usize = 32;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub outcome: Outcome,
    pub code: Option<i64>,
}

/// A search that goes on while the rest of a long answer passes. What it finds at any depth counts: inside of a JSON
/// string the words would have other quotes.
#[derive(Debug)]
pub(super) struct Look {
    seen: Seen,
    seam: Seam,
}

/// The end of the pieces that were searched, and room for the beginning of the next one.
#[derive(Debug)]
struct Seam {
    bytes: [u8; 2 * SEAM_BYTES],
    len: usize,
}

/// Reads what an answer says of itself, as far as it is here.
pub(super) fn judge(parts: &VecDeque<Bytes>, is_result: bool, has_rest: bool, method: Method) -> Seen {
    let plain = |outcome| Seen { outcome, code: None };
    if !is_result {
        let code = error_code(&joined(parts));
        return Seen {
            outcome: Outcome::Error,
            code,
        };
    }
    let may_fail = method == Method::ToolsCall;
    if !may_say_more(parts, may_fail) {
        return plain(Outcome::Result);
    }
    if has_rest {
        // It is in the part that is here, and the object that it belongs to may not be.
        return plain(if says_error(&joined(parts)) {
            Outcome::ToolError
        } else {
            Outcome::Result
        });
    }
    let raw = joined(parts);
    let result = walk::get(&raw, whole(&raw), "result");
    let member = |key| result.and_then(|result| walk::get(&raw, result, key));
    if may_fail && member("isError").is_some_and(|at| at.of(&raw) == b"true") {
        return plain(Outcome::ToolError);
    }
    let kind = member("resultType").and_then(|at| text(&raw, at));
    plain(match kind.as_deref() {
        Some("input_required") => Outcome::InputRequired,
        _ => Outcome::Result,
    })
}

/// The value that an answer gives: of a long one what is here of it, and of what is no answer everything.
pub(super) fn response(raw: &[u8]) -> &[u8] {
    let member = |key| walk::get(raw, whole(raw), key).map(|at| at.of(raw));
    member("result").or_else(|| member("error")).unwrap_or(raw)
}

pub(super) fn joined(parts: &VecDeque<Bytes>) -> Cow<'_, [u8]> {
    if parts.len() == 1 {
        return Cow::Borrowed(parts.front().map_or(&[], |part| &part[..]));
    }
    let mut joined = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        joined.extend_from_slice(part);
    }
    Cow::Owned(joined)
}

fn error_code(raw: &[u8]) -> Option<i64> {
    let error = walk::get(raw, whole(raw), "error")?;
    let code = walk::get(raw, error, "code")?;
    std::str::from_utf8(code.of(raw)).ok()?.parse().ok()
}

/// Whether one of the two words is there. Most answers come in three pieces, of which the middle one is the client's id;
/// they are put together only if a word may lie across the end of one.
fn may_say_more(parts: &VecDeque<Bytes>, may_fail: bool) -> bool {
    let says_more = |bytes: &[u8]| {
        // The client's id is mostly shorter than either word.
        bytes.len() >= IS_ERROR.len()
            && FIND_EITHER.find_iter(bytes).any(|at| {
                let here = bytes.get(at..).unwrap_or_default();
                here.starts_with(INPUT_REQUIRED) || (may_fail && here.starts_with(IS_ERROR))
            })
    };
    let mut fronts = parts.iter().take(parts.len().saturating_sub(1));
    parts.iter().any(|part| says_more(part))
        || (fronts.any(|part| ends_in_a_word(part)) && says_more(&joined(parts)))
}

/// Whether one of the two words may begin at the end of this, and go on behind it.
fn ends_in_a_word(bytes: &[u8]) -> bool {
    let end = &bytes[bytes.len().saturating_sub(INPUT_REQUIRED.len() - 1)..];
    memchr::memchr_iter(b'"', end).any(|at| {
        [IS_ERROR, INPUT_REQUIRED]
            .iter()
            .any(|word| word.starts_with(&end[at..]))
    })
}

impl Default for Seam {
    fn default() -> Seam {
        let bytes = [0; 2 * SEAM_BYTES];
        Seam { bytes, len: 0 }
    }
}

impl Seam {
    /// Whether something is found in the next piece, or in what lies across its beginning.
    fn pass(&mut self, piece: &[u8], finds: impl Fn(&[u8]) -> bool) -> bool {
        let before = self.len;
        let head = &piece[..piece.len().min(SEAM_BYTES)];
        let filled = before + head.len();
        self.bytes[before..filled].copy_from_slice(head);
        let is_found = (before > 0 && finds(&self.bytes[..filled])) || finds(piece);
        if let Some(end) = piece.last_chunk::<SEAM_BYTES>() {
            self.bytes[..SEAM_BYTES].copy_from_slice(end);
            self.len = SEAM_BYTES;
        } else {
            let surplus = filled.saturating_sub(SEAM_BYTES);
            self.bytes.copy_within(surplus..filled, 0);
            self.len = filled - surplus;
        }
        is_found
    }
}

/// Whether `"isError": true` stands somewhere.
fn says_error(bytes: &[u8]) -> bool {
    FIND_IS_ERROR.find_iter(bytes).any(|at| {
        let after = bytes.get(at + IS_ERROR.len()..).unwrap_or_default();
        let mut after = after.trim_ascii_start();
        after = after.strip_prefix(b":").unwrap_or_default();
        after.trim_ascii_start().starts_with(b"true")
    })
}

impl Look {
    pub(super) fn new(seen: Seen, parts: &VecDeque<Bytes>) -> Look {
        let mut seam = Seam::default();
        for part in parts {
            seam.pass(part, |_| false);
        }
        Look { seen, seam }
    }

    pub(super) fn at(&mut self, piece: &[u8]) {
        if self.seen.outcome == Outcome::Result && self.seam.pass(piece, says_error) {
            self.seen.outcome = Outcome::ToolError;
        }
    }

    pub(super) fn seen(self) -> Seen {
        self.seen
    }
}
