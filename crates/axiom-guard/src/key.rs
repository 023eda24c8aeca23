//! An API key, as a client shows it: `axk_7hj2m0q8vd_` and 57 more characters.
//!
//! ```text
//! axk _ 10 characters: the id _ 52 characters: 256 random bits, then 5 characters: a checksum
//! ```
//! Every character is a digit or a small letter without i, l, o and u, so that a key survives being read aloud, selected by a double
//! click and put into a URL by mistake. The id is no secret: lists, logs and audits name a key by it. The prefix lets scanners of
//! source code find a key that was committed; the checksum tells a mistyped key from one that is not known, without asking anybody.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// With what every key begins.
pub const PREFIX: &str = "axk_";
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID_CHARS: usize = 10;
const SECRET_BYTES: usize = 32;
/// 256 bits, five in each.
const SECRET_CHARS: usize = 52;
const CHECK_CHARS: usize = 5;

/// By what a key is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

/// A key itself. It is shown once, when it is made, and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: KeyId,
    secret: [u8; SECRET_BYTES],
}

/// What is kept of a key: who has it cannot make the key of it. 256 random bits need no slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(blake3::Hash);

/// Why a text is no key. It may be a secret, so it is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    #[error("it does not begin with {PREFIX}")]
    Foreign,
    #[error("it does not have the form of a key: {PREFIX}, an id, and {} characters", SECRET_CHARS + CHECK_CHARS)]
    Shape,
    #[error("its checksum is wrong: it was mistyped or cut")]
    Mistyped,
}

impl ApiKey {
    /// A fresh one.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    pub fn random() -> ApiKey {
        let mut bytes = [0; ID_CHARS + SECRET_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .expect("the operating system gives random bytes");
        let (id, secret) = bytes.split_first_chunk::<ID_CHARS>().expect("it is longer");
        let id = id.iter().map(|byte| letter(*byte)).collect();
        ApiKey {
            id: KeyId(id),
            secret: secret.try_into().expect("the rest is as long as a secret"),
        }
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What is kept of it.
    pub fn hash(&self) -> KeyHash {
        let mut hasher = blake3::Hasher::new_derive_key("axiom api key 1");
        hasher.update(self.id.0.as_bytes());
        hasher.update(&self.secret);
        KeyHash(hasher.finalize())
    }

    /// What somebody would make who knows an id and no secret.
    #[cfg(test)]
    pub(crate) fn forged(id: KeyId, other: &ApiKey) -> ApiKey {
        let secret = other.secret;
        ApiKey { id, secret }
    }

    /// The key, to be given to whoever is to use it.
    pub fn to_text(&self) -> String {
        let secret = encode(&self.secret);
        let check = checksum(&self.id.0, &secret);
        format!("{PREFIX}{}_{secret}{check}", self.id.0)
    }
}

impl FromStr for ApiKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<ApiKey, NoKey> {
        let rest = text.strip_prefix(PREFIX).ok_or(NoKey::Foreign)?;
        let (id, rest) = rest.split_once('_').ok_or(NoKey::Shape)?;
        let id = KeyId::try_from(id.to_owned()).map_err(|_| NoKey::Shape)?;
        if rest.len() != SECRET_CHARS + CHECK_CHARS {
            return Err(NoKey::Shape);
        }
        let (secret, check) = rest.split_at_checked(SECRET_CHARS).ok_or(NoKey::Shape)?;
        let bytes = decode(secret).ok_or(NoKey::Shape)?;
        if checksum(&id.0, secret) != check {
            return Err(NoKey::Mistyped);
        }
        Ok(ApiKey { id, secret: bytes })
    }
}

impl fmt::Debug for ApiKey {
    /// Never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

impl KeyId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = String;

    fn try_from(text: String) -> Result<KeyId, String> {
        let is_id = text.len() == ID_CHARS && text.bytes().all(|byte| ALPHABET.contains(&byte));
        match is_id {
            true => Ok(KeyId(text)),
            false => Err(format!(
                "'{text}' is no id of a key: it has {ID_CHARS} digits and small letters"
            )),
        }
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.0
    }
}

impl KeyHash {
    /// Whether it is this key's, in a time that tells nothing about either.
    pub fn is_of(&self, key: &ApiKey) -> bool {
        // Compares in constant time.
        self.0 == key.hash().0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// How a hash is written, with the name of what it is: there may be others one day.
const HASH_PREFIX: &str = "blake3:";

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        format!("{HASH_PREFIX}{}", hash.0.to_hex())
    }
}

impl TryFrom<String> for KeyHash {
    type Error = String;

    fn try_from(text: String) -> Result<KeyHash, String> {
        let hex = text
            .strip_prefix(HASH_PREFIX)
            .ok_or_else(|| format!("the hash of a key begins with {HASH_PREFIX}"))?;
        let hash = blake3::Hash::from_hex(hex).map_err(|error| format!("no hash of a key: {error}"))?;
        Ok(KeyHash(hash))
    }
}

fn letter(bits: u8) -> char {
    let at = usize::from(bits & 31);
    char::from(ALPHABET.get(at).copied().unwrap_or_default())
}

/// Five bits in each character, the last of which has a single one.
fn encode(secret: &[u8; SECRET_BYTES]) -> String {
    let bit = |at: usize| secret.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    (0..SECRET_CHARS)
        .map(|char| letter((0..5).fold(0, |bits, at| bits << 1 | bit(char * 5 + at))))
        .collect()
}

/// Each secret has one text: bits that stand for nothing must be none.
fn decode(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let mut bits = text
        .bytes()
        .map(|byte| ALPHABET.iter().position(|letter| *letter == byte));
    let mut secret = [0; SECRET_BYTES];
    for char in 0..SECRET_CHARS {
        let value = bits.next()??;
        for at in 0..5 {
            let is_set = value >> (4 - at) & 1 == 1;
            match secret.get_mut((char * 5 + at) / 8) {
                Some(byte) if is_set => *byte |= 0x80 >> ((char * 5 + at) % 8),
                None if is_set => return None,
                _ => {}
            }
        }
    }
    Some(secret)
}

/// For typing errors, not for those who mean harm.
fn checksum(id: &str, secret: &str) -> String {
    let digest = blake3::hash(format!("axiom api key checksum 1 {id}_{secret}").as_bytes());
    digest
        .as_bytes()
        .iter()
        .take(CHECK_CHARS)
        .map(|byte| letter(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_never_shown_otherwise() {
        let key = ApiKey::random();
        let text = key.to_text();
        assert_eq!(text.len(), 4 + 10 + 1 + 57);
        assert_eq!(text.parse(), Ok(key.clone()));
        assert!(key.hash().is_of(&key));
        assert!(!key.hash().is_of(&ApiKey::random()));
        let secret = text.rsplit_once('_').expect("it has parts").1;
        let hash = String::from(key.hash());
        for shown in [format!("{key:?}"), format!("{:?}", key.hash()), hash] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn what_is_no_key_says_why() {
        let text = ApiKey::random().to_text();
        let cut: String = text.chars().take(text.len() - 1).collect();
        for (text, why) in [
            (String::new(), NoKey::Foreign),
            ("Bearer x".to_owned(), NoKey::Foreign),
            ("axk_".to_owned(), NoKey::Shape),
            (cut, NoKey::Shape),
            (format!("{text}0"), NoKey::Shape),
            (text.to_uppercase().replacen("AXK_", "axk_", 1), NoKey::Shape),
            (text.replacen("axk_", "axk_é", 1), NoKey::Shape),
        ] {
            assert_eq!(text.parse::<ApiKey>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_wrong_character_anywhere_is_noticed() {
        let key = ApiKey::random();
        let text = key.to_text();
        for at in PREFIX.len()..text.len() {
            for other in ALPHABET.iter().chain(b"_") {
                let mut bytes = text.clone().into_bytes();
                if bytes[at] == *other {
                    continue;
                }
                bytes[at] = *other;
                let changed = String::from_utf8(bytes).expect("it is ASCII");
                // A checksum of 25 bits is wrong once in 33 million times.
                assert!(changed.parse::<ApiKey>().is_err(), "{at} {changed}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_secret_has_one_text(secret: [u8; 32]) {
            let text = encode(&secret);
            prop_assert_eq!(text.len(), SECRET_CHARS);
            prop_assert_eq!(decode(&text), Some(secret));
        }

        #[test]
        fn no_text_panics(text: String) {
            prop_assert!(text.parse::<ApiKey>().is_err());
            let text = format!("{PREFIX}{text}");
            prop_assert!(text.parse::<ApiKey>().is_err());
        }
    }
}
