//! The secrets that the gateway itself was given: headers, environment, and what was filled in from its own environment.
//! Whoever repeats one, in whatever dress, it does not get into the log.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use memchr::memmem::Finder;
use url::Url;

use super::MASK;
use super::words::{Doubt, is_secret_key};
use crate::options::{Endpoint, Options};

/// A shorter value is no secret worth the name, and would be found everywhere.
const LEN_MIN: usize = 4;
/// A shorter one counts as a word of its own only: `prod` is none in `product`.
const ANYWHERE_LEN_MIN: usize = 8;
/// What is set in many environments and keeps nothing from anybody.
const HARMLESS_VALUES: &[&str] = &["true", "false", "none", "null", "debug", "info", "warn", "error"];
/// Headers whose values say what is sent, not who sends it.
const HARMLESS_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "host",
    "origin",
    "user-agent",
];
/// JSON in a text in JSON in a text: deeper than that nobody looks either.
const LAYERS_MAX: usize = 4;

/// Values that are masked wherever they stand.
#[derive(Default)]
pub(super) struct Known {
    needles: Vec<Needle>,
    values: BTreeSet<String>,
}

struct Needle {
    finder: Finder<'static>,
    is_whole_word: bool,
}

impl std::fmt::Debug for Known {
    /// They are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known")
            .field("values", &self.values.len())
            .finish()
    }
}

impl Known {
    /// What these options hold, and what was known before.
    pub(super) fn of(options: &Options, before: Option<&Known>) -> Known {
        let mut values = BTreeSet::new();
        values.extend(options.from_environment.0.iter().cloned());
        let redis = options.events.as_ref().and_then(|events| events.redis.as_ref());
        values.extend(redis.into_iter().flat_map(|redis| in_address(&redis.url)));
        for server in options.servers.values() {
            match &server.endpoint {
                Endpoint::Stdio { command, env, .. } => {
                    let named = env.iter().filter(|(name, _)| is_secret_key(name, Doubt::Masks));
                    values.extend(named.map(|(_, value)| value.clone()));
                    values.extend(arguments(command));
                }
                Endpoint::Http { url, headers }
                | Endpoint::Sse { url, headers }
                | Endpoint::WebSocket { url, headers } => {
                    let is_harmless =
                        |name: &str| HARMLESS_HEADERS.contains(&name.to_ascii_lowercase().as_str());
                    let telling = headers.iter().filter(|(name, _)| !is_harmless(name));
                    values.extend(telling.flat_map(|(_, value)| credentials(value)));
                    values.extend(in_address(url));
                }
                Endpoint::InProcess(_) => {}
            }
        }
        let mut known = Known::new(values);
        if let Some(before) = before
            && !before.values.is_subset(&known.values)
        {
            known = Known::new(known.values.union(&before.values).cloned());
        }
        known
    }

    pub(super) fn new(values: impl IntoIterator<Item = String>) -> Known {
        let is_secret = |value: &String| {
            value.trim().len() >= LEN_MIN && !HARMLESS_VALUES.contains(&value.to_lowercase().as_str())
        };
        let values: BTreeSet<String> = values.into_iter().filter(is_secret).collect();
        let dressed: BTreeSet<String> = values.iter().flat_map(|value| dressed(value.trim())).collect();
        let needles = dressed.iter().map(|value| Needle {
            finder: Finder::new(value.as_bytes()).into_owned(),
            is_whole_word: value.len() < ANYWHERE_LEN_MIN,
        });
        Known {
            needles: needles.collect(),
            values,
        }
    }

    /// The text without them, whether they stand there as they are or with some of their characters escaped.
    pub(super) fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found = Vec::new();
        self.each_layer(text, |layer| {
            for needle in &self.needles {
                found.extend(needle.places(&layer.bytes).map(|place| layer.place(place)));
            }
        });
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable_by_key(|place| (place.start, place.end));
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for place in found {
            if place.start >= copied {
                out.push_str(text.get(copied..place.start).unwrap_or_default());
                out.push_str(MASK);
            }
            copied = copied.max(place.end);
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// Where a text that was cut ends before what may be the beginning of one of them.
    pub(super) fn sure_end(&self, text: &str) -> usize {
        let mut end = text.len();
        self.each_layer(text, |layer| {
            end = end.min(layer.end);
            for needle in &self.needles {
                let whole = needle.finder.needle();
                let from = layer.bytes.len().saturating_sub(whole.len() - 1);
                let half = (from..layer.bytes.len()).find(|at| whole.starts_with(&layer.bytes[*at..]));
                if let Some(half) = half {
                    end = end.min(layer.place(half..half).start);
                }
            }
        });
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        end
    }

    /// The text, and what it is without its escapes, without those that then show, and so on.
    fn each_layer(&self, text: &str, mut look: impl FnMut(&Layer)) {
        if self.needles.is_empty() {
            return;
        }
        let mut layer = Layer::outermost(text);
        for _deeper in 0..LAYERS_MAX {
            look(&layer);
            match layer.without_escapes() {
                Some(inner) => layer = inner,
                None => return,
            }
        }
        look(&layer);
    }
}

impl Needle {
    fn places<'n>(&'n self, bytes: &'n [u8]) -> impl Iterator<Item = Range<usize>> + 'n {
        let len = self.finder.needle().len();
        let is_word = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        self.finder
            .find_iter(bytes)
            .filter(move |at| !self.is_whole_word || !(is_word(at.wrapping_sub(1)) || is_word(at + len)))
            .map(move |at| at..at + len)
    }
}

/// A text without some layers of escapes, and where each of its bytes comes from.
struct Layer {
    bytes: Vec<u8>,
    /// For each byte, where in the outermost text what it stands for begins. Empty for that text itself.
    from: Vec<usize>,
    /// The outermost text up to what may be half an escape.
    end: usize,
}

impl Layer {
    fn outermost(text: &str) -> Layer {
        Layer {
            bytes: text.as_bytes().to_vec(),
            from: Vec::new(),
            end: text.len(),
        }
    }

    fn origin(&self, at: usize) -> usize {
        match self.from.is_empty() {
            true => at,
            false => self.from.get(at).copied().unwrap_or(self.end),
        }
    }

    fn place(&self, at: Range<usize>) -> Range<usize> {
        self.origin(at.start)..self.origin(at.end)
    }

    /// `None` if there is nothing to undo.
    fn without_escapes(&self) -> Option<Layer> {
        memchr::memchr(b'\\', &self.bytes)?;
        let mut inner = Layer {
            bytes: Vec::with_capacity(self.bytes.len()),
            from: Vec::with_capacity(self.bytes.len()),
            end: self.end,
        };
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let (plain, len) = match rest {
                [b'\\', ..] => match escape(rest) {
                    Some(found) => found,
                    None => {
                        inner.end = self.origin(at);
                        break;
                    }
                },
                [byte, ..] => (Plain::Byte(*byte), 1),
                [] => break,
            };
            let start = inner.bytes.len();
            match plain {
                Plain::Byte(byte) => inner.bytes.push(byte),
                Plain::Char(char) => inner
                    .bytes
                    .extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            let origin = self.origin(at);
            inner.from.extend((start..inner.bytes.len()).map(|_| origin));
            at += len;
        }
        Some(inner)
    }
}

/// What an escape stands for.
enum Plain {
    Byte(u8),
    Char(char),
}

/// What stands first in `rest`, which begins with a backslash, and how many bytes it has. `None` if its end is missing.
fn escape(rest: &[u8]) -> Option<(Plain, usize)> {
    let plain = match rest.get(1)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'"' | b'\\' | b'/' | b'\'' => rest[1],
        b'x' => {
            let code = hex(rest.get(2..4)?);
            return Some(
                code.and_then(char::from_u32)
                    .map_or(LITERAL, |char| (Plain::Char(char), 4)),
            );
        }
        b'u' => return unicode(rest),
        _ => return Some(LITERAL),
    };
    Some((Plain::Byte(plain), 2))
}

/// A backslash that escapes nothing.
const LITERAL: (Plain, usize) = (Plain::Byte(b'\\'), 1);

fn unicode(rest: &[u8]) -> Option<(Plain, usize)> {
    let Some(high) = hex(rest.get(2..6)?) else {
        return Some(LITERAL);
    };
    if let Some(char) = char::from_u32(high) {
        return Some((Plain::Char(char), 6));
    }
    let low = match rest.get(6..12) {
        Some([b'\\', b'u', digits @ ..]) => hex(digits),
        Some(_) => None,
        // Its other half may be missing.
        None if rest.len() == 6 || b"\\u".starts_with(&rest[6..rest.len().min(8)]) => return None,
        None => None,
    };
    let pair = low.filter(|low| (0xdc00..0xe000).contains(low) && (0xd800..0xdc00).contains(&high));
    let char = pair.and_then(|low| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
    Some(match char {
        Some(char) => (Plain::Char(char), 12),
        None => (Plain::Char(char::REPLACEMENT_CHARACTER), 6),
    })
}

fn hex(digits: &[u8]) -> Option<u32> {
    let value = |sum, digit: &u8| Some(sum * 16 + char::from(*digit).to_digit(16)?);
    digits.iter().try_fold(0, value)
}

/// A value in the forms in which programs pass it on: as it is, in an address, in base64.
fn dressed(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), in_url(value)];
    if value.len() >= ANYWHERE_LEN_MIN {
        forms.push(BASE64_STANDARD_NO_PAD.encode(value));
    }
    forms
}

pub(super) fn in_url(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A header's value, and the secret in `Bearer secret` and in `Basic` with its base64.
fn credentials(value: &str) -> Vec<String> {
    let mut found = vec![value.to_owned()];
    let Some((scheme, secret)) = value.trim().split_once(' ') else {
        return found;
    };
    found.push(secret.trim().to_owned());
    let decoded = BASE64_STANDARD.decode(secret.trim()).ok();
    if scheme.eq_ignore_ascii_case("basic")
        && let Some(pair) = decoded.and_then(|bytes| String::from_utf8(bytes).ok())
    {
        found.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
        found.push(pair);
    }
    found
}

/// The password in an address, and what its query has under names of secrets.
fn in_address(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Some(password) = url.password() {
        let pair = format!("p={password}").into_bytes();
        let plain = url::form_urlencoded::parse(&pair);
        found.extend(plain.map(|(_, plain)| plain.into_owned()));
        found.push(password.to_owned());
    }
    let pairs = url.query_pairs();
    let named = pairs.filter(|(name, _)| is_secret_key(name, Doubt::Masks));
    found.extend(named.map(|(_, value)| value.into_owned()));
    found
}

/// `--token x` and `--token=x`.
fn arguments(command: &[String]) -> Vec<String> {
    let names_one = |word: &str| word.starts_with('-') && is_secret_key(word, Doubt::Masks);
    let mut found = Vec::new();
    for (word, next) in command.iter().zip(command.iter().skip(1).map(Some).chain([None])) {
        match (word.split_once('='), next) {
            (Some((name, value)), _) if names_one(name) => found.push(value.to_owned()),
            (None, Some(next)) if names_one(word) && !next.starts_with('-') => found.push(next.clone()),
            _ => {}
        }
    }
    found
}
