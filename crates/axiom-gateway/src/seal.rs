//! Sealed tokens: state that a client carries for us and can neither read nor change.
//!
//! Layout: `nonce (12) || AES-256-GCM(plaintext) || tag (16)`, as unpadded base64url. The purpose is bound as additional
//! data, so that a token of one kind is never taken for another. The key lives as long as the process: a token from an
//! earlier run is refused, and the client starts a new session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Session,
    Cursor,
    /// A call that waits for its client.
    Parked,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Session => b"axiom session 1",
            Purpose::Cursor => b"axiom cursor 1",
            Purpose::Parked => b"axiom parked 1",
        }
    }
}

/// Seals and opens tokens with one random key.
pub(crate) struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// A sealer with a fresh random key.
    ///
    /// # Panics
    /// If the operating system has no randomness: nothing may be sealed then.
    pub(crate) fn new() -> Sealer {
        let random = SystemRandom::new();
        let mut key = [0; 32];
        random
            .fill(&mut key)
            .expect("the operating system gives random bytes");
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length");
        Sealer {
            key: LessSafeKey::new(key),
            random,
        }
    }

    /// Sixteen random bytes, for ids.
    pub(crate) fn random_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.random
            .fill(&mut id)
            .expect("the operating system gives random bytes");
        id
    }

    /// A token that carries `plain`. Visible ASCII, so it may be a header value.
    pub(crate) fn seal(&self, purpose: Purpose, plain: &[u8]) -> String {
        let mut nonce = [0; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .expect("the operating system gives random bytes");
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.label()),
                &mut sealed,
            )
            .expect("a token is far below the cipher's limit");
        let mut token = nonce.to_vec();
        token.append(&mut sealed);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What was sealed; `None` for a token that is not ours, was changed, or has another purpose.
    pub(crate) fn open(&self, purpose: Purpose, token: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        if bytes.len() < NONCE_LEN {
            return None;
        }
        let mut sealed = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(purpose.label()), &mut sealed)
            .ok()?;
        Some(plain.to_vec())
    }
}

impl Default for Sealer {
    fn default() -> Self {
        Sealer::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_it_sealed_for_the_same_purpose() {
        let sealer = Sealer::new();
        let token = sealer.seal(Purpose::Session, b"state");
        assert_eq!(
            sealer.open(Purpose::Session, &token).as_deref(),
            Some(&b"state"[..])
        );
        assert_eq!(sealer.open(Purpose::Cursor, &token), None);
        assert_eq!(Sealer::new().open(Purpose::Session, &token), None);
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                sealer.open(Purpose::Session, std::str::from_utf8(&changed).unwrap()),
                None,
                "byte {index}"
            );
        }
        assert_eq!(sealer.open(Purpose::Session, ""), None);
    }
}
