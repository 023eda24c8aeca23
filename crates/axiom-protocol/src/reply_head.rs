//! The id of an answer that need not be read whole.
//!
//! Servers write the id before the result, most of them in the first 40 bytes. Then a 64 KiB result streams through
//! after its first chunk was looked at.

use crate::cursor::Cursor;
use crate::envelope::Kind;
use crate::{ScanFault, Span};

/// What the first bytes of an answer tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyHead {
    /// The top-level id stands here, whole.
    Id {
        id: Span,
        /// Known if the next deciding key stood in the head as well. [`Kind::Request`] means it is no answer at all.
        kind: Option<Kind>,
    },
    /// The head is cut too early, or a container comes before the id: use [`ReplyScanner`](crate::ReplyScanner).
    NotInHead,
    /// A batch, or something else.
    NotAnObject,
}

/// Looks at the head of an answer: up to the first member whose value is an object or an array, no further.
///
/// The head may be cut anywhere. Nothing behind it is judged: whether the whole is JSON, or has a second id, is for
/// the one who reads it to find out.
pub fn peek_reply(raw_prefix: &[u8]) -> ReplyHead {
    let head = raw_prefix.get(..HEAD_BYTES_MAX).unwrap_or(raw_prefix);
    let mut cursor = Cursor::of_head(head);
    match cursor.peek() {
        Some(b'{') => {}
        None => return ReplyHead::NotInHead,
        Some(_) => return ReplyHead::NotAnObject,
    }
    let mut found = Found::default();
    // An error here means no more than that the head ends.
    _ = found.read(&mut cursor);
    match found.id {
        Some(id) if !found.id_twice => ReplyHead::Id {
            id,
            kind: found.kind.map(|kind| kind.with_id()),
        },
        _ => ReplyHead::NotInHead,
    }
}

/// An id behind so many bytes of other scalars is not worth the search.
const HEAD_BYTES_MAX: usize = 4096;

#[derive(Default)]
struct Found {
    id: Option<Span>,
    id_twice: bool,
    kind: Option<Kind>,
}

impl Found {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ScanFault> {
        let mut first = true;
        cursor.open()?;
        while let Some(key) = cursor.key(&mut first)? {
            let (is_id, kind) = cursor.name(key, |name| (name == b"id", Kind::of_key(name)));
            let value = cursor.peek();
            // A null may stand beside the real one, and says nothing alone: see the whole message.
            if !matches!(value, None | Some(b'n')) {
                self.kind = self.kind.or(kind);
            }
            if matches!(value, None | Some(b'{' | b'[')) {
                return Ok(());
            }
            let span = cursor.value()?;
            // A number at the very end may go on in the next chunk.
            if is_id && cursor.peek().is_some() {
                self.id_twice = self.id.replace(span).is_some();
            }
        }
        Ok(())
    }
}

impl Kind {
    /// The kind that this top-level key stands for, as far as one key tells.
    pub(crate) fn of_key(name: &[u8]) -> Option<Kind> {
        match name {
            b"result" => Some(Kind::Response),
            b"error" => Some(Kind::Error),
            b"method" => Some(Kind::Notification),
            _ => None,
        }
    }

    /// A notification with an id is a request.
    pub(crate) fn with_id(self) -> Kind {
        if self == Kind::Notification {
            Kind::Request
        } else {
            self
        }
    }
}
