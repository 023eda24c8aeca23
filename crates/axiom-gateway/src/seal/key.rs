//! A key as an operator keeps it: 32 random bytes, written as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Length of a key in bytes.
const KEY_LEN: usize = 32;

/// Says which key sealed a token; tells nothing about the key.
pub(super) type KeyId = [u8; ID_LEN];
pub(super) const ID_LEN: usize = 4;

/// A key that seals what clients carry for the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey {
    bytes: [u8; KEY_LEN],
}

/// Why a text is no key. The text is a secret and never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealKeyError {
    #[error("not standard base64")]
    NotBase64,
    #[error("a key of {got} bytes, not of {KEY_LEN}")]
    WrongLength { got: usize },
}

impl SealKey {
    /// A fresh one.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    pub fn random() -> SealKey {
        let mut bytes = [0; KEY_LEN];
        SystemRandom::new()
            .fill(&mut bytes)
            .expect("the operating system gives random bytes");
        SealKey { bytes }
    }

    /// Reads a key as [`to_text`](SealKey::to_text) writes it, and `openssl rand -base64 32`.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn parse(text: &str) -> Result<SealKey, SealKeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| SealKeyError::NotBase64)?;
        let bytes = <[u8; KEY_LEN]>::try_from(&bytes[..])
            .map_err(|_| SealKeyError::WrongLength { got: bytes.len() })?;
        Ok(SealKey { bytes })
    }

    /// The key itself, as a line for a key file.
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.bytes
    }

    pub(super) fn id(&self) -> KeyId {
        let digest = digest(&SHA256, &[b"axiom key id", &self.bytes[..]].concat());
        let mut id = KeyId::default();
        id.copy_from_slice(&digest.as_ref()[..ID_LEN]);
        id
    }
}

impl std::fmt::Debug for SealKey {
    /// Never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_line_of_base64() {
        let key = SealKey::random();
        assert_eq!(SealKey::parse(&key.to_text()), Ok(key.clone()));
        assert_ne!(key, SealKey::random());
        assert_eq!(format!("{key:?}"), "SealKey");
        for (text, why) in [
            ("", SealKeyError::WrongLength { got: 0 }),
            ("c2hvcnQ=", SealKeyError::WrongLength { got: 5 }),
            ("not base64!", SealKeyError::NotBase64),
            (&format!("{}\n", key.to_text()), SealKeyError::NotBase64),
            // Unpadded.
            (key.to_text().trim_end_matches('='), SealKeyError::NotBase64),
        ] {
            assert_eq!(SealKey::parse(text), Err(why), "{text:?}");
        }
    }
}
