//! JSON texts for property tests: any spelling, any white space, and texts that are nearly JSON.

use proptest::collection::vec;
use proptest::prelude::*;

/// A value and how it is written.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    /// A scalar as it stands in the text.
    Scalar(String),
    Array(Vec<Document>, String),
    /// Keys with their quotes, as they stand in the text.
    Object(Vec<(String, Document)>, String),
}

impl Document {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(text) => out.push_str(text),
            Self::Array(items, space) => {
                out.push('[');
                out.push_str(space);
                for (index, item) in items.iter().enumerate() {
                    separate(index, space, out);
                    item.write(out);
                }
                out.push_str(space);
                out.push(']');
            }
            Self::Object(members, space) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    separate(index, space, out);
                    *out += key;
                    *out += space;
                    out.push(':');
                    *out += space;
                    value.write(out);
                }
                out.push_str(space);
                out.push('}');
            }
        }
    }
}

fn separate(index: usize, space: &str, out: &mut String) {
    if index > 0 {
        out.push_str(space);
        out.push(',');
    }
    out.push_str(space);
}

pub(crate) fn space() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \\t\\r\\n]{1,3}"]
}

fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?"
}

/// A JSON string in any spelling, without halves of surrogate pairs.
pub(crate) fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z_/. ]{1,12}",
        1 => "[^\"\\\\\\x00-\\x1f]{1,4}",
        2 => "\\\\[\"\\\\/bfnrt]",
        1 => "\\\\u00[0-9a-fA-F]{2}",
        1 => Just("\\ud83d\\uDE00".to_owned()),
    ];
    vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn scalar() -> impl Strategy<Value = Document> {
    prop_oneof![
        3 => string(),
        3 => number(),
        1 => prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned),
    ]
    .prop_map(Document::Scalar)
}

/// Any value; keys may repeat.
pub(crate) fn document() -> impl Strategy<Value = Document> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..6), space()).prop_map(|(items, space)| Document::Array(items, space)),
            (vec((string(), inner), 0..6), space())
                .prop_map(|(members, space)| Document::Object(members, space)),
        ]
    })
}

/// A change of one place of a text.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Remove(usize),
    Insert(usize, u8),
    Replace(usize, u8),
    Cut(usize),
}

impl Damage {
    pub(crate) fn inflict(&self, raw: &mut Vec<u8>) {
        let at = |index: usize, len: usize| index % len.max(1);
        match *self {
            _ if raw.is_empty() => {}
            Self::Remove(index) => _ = raw.remove(at(index, raw.len())),
            Self::Insert(index, byte) => raw.insert(at(index, raw.len()), byte),
            Self::Replace(index, byte) => {
                let index = at(index, raw.len());
                raw[index] = byte;
            }
            Self::Cut(index) => raw.truncate(at(index, raw.len())),
        }
    }
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![4 => prop::sample::select(b"{}[],:\"\\0123456789.-+eEtfnul \n\x01\x80\xc3u".to_vec()), 1 => any::<u8>()];
    let index = || any::<usize>();
    prop_oneof![
        index().prop_map(Damage::Remove),
        (index(), byte()).prop_map(|(index, byte)| Damage::Insert(index, byte)),
        (index(), byte()).prop_map(|(index, byte)| Damage::Replace(index, byte)),
        index().prop_map(Damage::Cut),
    ]
}
