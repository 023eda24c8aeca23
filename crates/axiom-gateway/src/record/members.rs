//! A JSON object, written member by member behind whatever stands in some memory already.

use axiom_events::form;
use axiom_protocol::text::push_quoted;

/// What a member has beside its key and its value, and most values.
const ROOM_BYTES: usize = 48;

/// An object that is not closed yet.
#[derive(Debug)]
pub(super) struct Members<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    /// Numbers are blanks.
    is_form: bool,
}

impl<'o> Members<'o> {
    pub(super) fn of(out: &'o mut Vec<u8>) -> Members<'o> {
        let start = out.len();
        Members {
            out,
            start,
            is_form: false,
        }
    }

    /// The [form](axiom_events::form) of an object: in place of each number and each hex number there is a blank.
    pub(super) fn of_form(out: &'o mut Vec<u8>) -> Members<'o> {
        Members {
            is_form: true,
            ..Members::of(out)
        }
    }

    /// The first one's comma becomes the object's brace. Inlined, what stands around a key is a few stores.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        self.out.reserve(key.len() + ROOM_BYTES);
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Nothing comes any more.
    pub(super) fn close(self) {
        match self.out.get_mut(self.start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }

    /// A value that is JSON.
    #[inline]
    pub(super) fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }

    /// Any text, at most `bytes_max` bytes of it.
    pub(super) fn text(&mut self, key: &str, text: &str, bytes_max: usize) {
        self.key(key);
        push_quoted(self.out, cut(text, bytes_max));
    }

    /// A text that needs no escapes.
    #[inline]
    pub(super) fn word(&mut self, key: &str, word: &str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    #[inline]
    pub(super) fn number(&mut self, key: &str, number: u64) {
        if self.is_form {
            return self.raw(key, &[form::NUMBER as u8]);
        }
        self.raw(key, itoa::Buffer::new().format(number).as_bytes());
    }

    /// Also in a form it is there as it is.
    pub(super) fn signed(&mut self, key: &str, number: i64) {
        self.raw(key, itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn hex(&mut self, key: &str, number: u64) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        if self.is_form {
            return self.word(key, form::HEX.encode_utf8(&mut [0; 4]));
        }
        let digits = number
            .to_be_bytes()
            .map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        self.word(
            key,
            std::str::from_utf8(digits.as_flattened()).unwrap_or_default(),
        );
    }
}

/// The first `bytes_max` bytes of a text, or fewer where that would cut a character.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
