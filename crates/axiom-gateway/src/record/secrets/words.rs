//! Which words name a secret, and what a secret looks like in running text: in logs, headers, addresses, and JSON within
//! JSON.

use std::borrow::Cow;
use std::ops::Range;

use super::MASK;

/// What becomes of a word that may be a secret and may be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) enum Doubt {
    /// A word that looks drawn by chance may be a key, and a key `sort_key` may name one.
    Masks,
    /// Only what says of itself that it is a secret is taken for one: so commit hashes, cursors and ids stay.
    Keeps,
}

/// A key that holds one of these, whatever its case and separators.
const KEYS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "credential",
    "cookie",
    "sessionid",
    "requeststate",
    "connectionstring",
];
/// A key that is exactly one of these.
const WHOLE_KEYS: &[&str] = &["pwd", "pass", "auth", "otp", "jwt", "bearer", "pat", "dsn"];
/// The same, where doubt masks.
const DOUBTFUL_KEYS: &[&str] = &["pin", "sid", "sig", "signature"];
/// A key that ends in one of these, as a word of its own.
const LAST_WORDS: &[&str] = &["pwd", "pass", "auth", "pat"];
/// The same, where doubt masks: `sort_key` ends so too.
const DOUBTFUL_LAST_WORDS: &[&str] = &["key"];
/// Keys that hold a word of the above and no secret.
const HARMLESS: &[&str] = &["progresstoken"];
/// The same, where doubt does not mask: places in a list, and what kind of token another one is.
const HARMLESS_IF_KEPT: &[&str] = &[
    "pagetoken",
    "nexttoken",
    "continuationtoken",
    "synctoken",
    "tokentype",
];

/// How services begin the keys that they hand out.
const ISSUED: &[&str] = &[
    "sk-",
    "sk_",
    "pk_live",
    "rk_live",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "hf_",
    "npm_",
    "pypi-",
    "dop_v1_",
    "lin_api_",
    "ntn_",
    "secret_",
    "shpat_",
    "SG.",
    "eyJ",
];
/// The shortest of them that is one.
const ISSUED_LEN_MIN: usize = 16;
/// The shortest run of letters and digits that nobody has made up.
const RANDOM_LEN_MIN: usize = 32;

/// A name without case and separators.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Whether what stands under this name is a secret.
pub(super) fn is_secret_key(name: &str, doubt: Doubt) -> bool {
    let key = plain(name);
    let masks = doubt == Doubt::Masks;
    if HARMLESS.contains(&key.as_str()) || (!masks && HARMLESS_IF_KEPT.iter().any(|word| key.ends_with(word)))
    {
        return false;
    }
    let is = |keys: &[&str]| keys.contains(&key.as_str());
    let ends = |words: &[&str]| words.iter().any(|word| ends_in_word(name, word));
    KEYS.iter().any(|word| key.contains(word))
        || is(WHOLE_KEYS)
        || ends(LAST_WORDS)
        || (masks && (is(DOUBTFUL_KEYS) || ends(DOUBTFUL_LAST_WORDS)))
}

/// `ssh_key`, `ssh-key`, `sshKey`; not `monkey`. The word alone, like `key`, says nothing.
fn ends_in_word(name: &str, word: &str) -> bool {
    let Some(start) = name.len().checked_sub(word.len()).filter(|start| *start > 0) else {
        return false;
    };
    let (Some(front), Some(end)) = (name.get(..start), name.get(start..)) else {
        return false;
    };
    let before = front.chars().next_back().unwrap_or_default();
    let begins_anew =
        !before.is_alphanumeric() || (before.is_lowercase() && end.starts_with(char::is_uppercase));
    begins_anew && end.eq_ignore_ascii_case(word) && front.chars().any(char::is_alphanumeric)
}

/// The text with every secret in it masked.
pub(super) fn mask(text: &str, doubt: Doubt) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        match next_secret(text, at, doubt) {
            Some(found) => {
                out.push_str(text.get(copied..found.start).unwrap_or_default());
                out.push_str(MASK);
                copied = found.end;
                at = found.end.max(at + 1);
                while !text.is_char_boundary(at) {
                    at += 1;
                }
            }
            None => break,
        }
    }
    if copied == 0 && out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// The first secret at `from` or behind it; never empty.
fn next_secret(text: &str, from: usize, doubt: Doubt) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        if let Some(found) = private_key(text, at).or_else(|| userinfo(text, at)) {
            return Some(found);
        }
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let end = word_end(bytes, at);
        let found = named(text, at..end, doubt)
            .or_else(|| after_scheme(text, at..end))
            .or_else(|| issued(text, at, doubt));
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return Some(found);
        }
        at = end;
    }
    None
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || byte >= 0x80
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count()
}

/// `password = x`, `"password": "x"`, `\"password\":\"x\"`, `Authorization: Bearer x`.
fn named(text: &str, word: Range<usize>, doubt: Doubt) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = skip(bytes, word.end, b"\"'\\ \t");
    // Most words are no names: that is seen sooner than whether one is a secret's.
    let separator = *bytes.get(at).filter(|byte| matches!(byte, b':' | b'='))?;
    if !is_secret_key(text.get(word)?, doubt) {
        return None;
    }
    at = skip(bytes, at + 1, b"=> \t\n\r");
    let slashes = bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
    let end = match bytes.get(at + slashes) {
        Some(quote @ (b'"' | b'\'')) => {
            at += slashes + 1;
            quoted_end(bytes, at, *quote, slashes)
        }
        // What follows a colon may have spaces in it; what follows an equals sign ends at one.
        _ if separator == b':' => line_end(bytes, at),
        _ => {
            at + bytes[at..]
                .iter()
                .take_while(|byte| !b" \t\r\n&;,\"'`)}]".contains(byte))
                .count()
        }
    };
    Some(at..end)
}

/// Where a quoted value ends whose quote has this many backslashes in front.
fn quoted_end(bytes: &[u8], from: usize, quote: u8, slashes: usize) -> usize {
    let mut before = 0;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match *byte {
            b'\\' => before += 1,
            byte if byte == quote && before <= slashes => return at - before.min(slashes),
            _ => before = 0,
        }
    }
    bytes.len()
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..]
        .iter()
        .take_while(|byte| !b"\r\n".contains(byte))
        .count()
}

fn skip(bytes: &[u8], mut at: usize, these: &[u8]) -> usize {
    while bytes.get(at).is_some_and(|byte| these.contains(byte)) {
        at += 1;
    }
    at
}

/// `Bearer x`, wherever it stands.
fn after_scheme(text: &str, word: Range<usize>) -> Option<Range<usize>> {
    let scheme = text.get(word.clone())?;
    if !["bearer", "basic"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return None;
    }
    let bytes = text.as_bytes();
    let from = skip(bytes, word.end, b" \t");
    let end = token_end(bytes, from);
    (from > word.end && end - from >= 8).then_some(from..end)
}

/// The forms in which services hand out keys, and in doubt what looks drawn by chance.
fn issued(text: &str, from: usize, doubt: Doubt) -> Option<Range<usize>> {
    let end = token_end(text.as_bytes(), from);
    let token = text.get(from..end)?;
    let has_prefix = token.len() >= ISSUED_LEN_MIN && ISSUED.iter().any(|prefix| token.starts_with(prefix));
    (has_prefix || (doubt == Doubt::Masks && is_random(token))).then_some(from..end)
}

fn token_end(bytes: &[u8], from: usize) -> usize {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+/=~".contains(byte);
    from + bytes[from..].iter().take_while(|byte| is_token(byte)).count()
}

/// Long, one word, and letters mixed with many digits: no path, no name, no sentence.
fn is_random(token: &str) -> bool {
    let word = token.trim_end_matches('=');
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    word.len() >= RANDOM_LEN_MIN && digits >= 6 && letters >= 6 && digits + letters == word.len()
}

/// `://user:password@`: what stands between the slashes and the last `@`.
fn userinfo(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    if !bytes.get(at..)?.starts_with(b"://") {
        return None;
    }
    let from = at + 3;
    let len = bytes[from..]
        .iter()
        .take_while(|byte| !b" \t\r\n/?#\"'\\<>".contains(byte))
        .count();
    let last = bytes[from..from + len].iter().rposition(|byte| *byte == b'@')?;
    (last > 0).then_some(from..from + last)
}

/// A private key in PEM, to its end or that of the text.
fn private_key(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..).filter(|rest| rest.starts_with("-----BEGIN "))?;
    let head_end = rest.get(11..)?.find("-----")? + 16;
    if !rest.get(..head_end)?.contains("PRIVATE KEY") {
        return None;
    }
    let end = rest.find("-----END ").and_then(|end| {
        let tail = rest.get(end + 9..)?;
        Some(end + 9 + tail.find("-----")? + 5)
    });
    Some(at..at + end.unwrap_or(rest.len()))
}
