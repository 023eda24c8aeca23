//! Sealed tokens: state that a client carries for us and can neither read nor change.
//!
//! Layout: `key id (4) || nonce (12) || AES-256-GCM(plaintext) || tag (16)`, as unpadded base64url. The plaintext is
//! `expiry in Unix seconds (4, 0 is never) || owner length (1) || owner || what was sealed`. The purpose is bound as
//! additional data, so that a token of one kind is never taken for another.
//!
//! The key id says which key opens a token, so opening is one try however many keys there are. Keys come from the
//! configuration, where replicas share them and a restart finds them again. Without one a random key lives as long as the
//! process: then a token from an earlier run is refused, and the client starts again.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axiom_core::time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use key::{ID_LEN, KeyId};
pub use key::{SealKey, SealKeyError};

mod key;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Session,
    Cursor,
    /// The place where an HTTP+SSE client POSTs to.
    Sse,
    /// A call that waits for its client to come back.
    Parked,
    /// A request on its way from one replica to another.
    Hop,
    /// A server's task.
    Task,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Session => b"axiom session 2",
            Purpose::Cursor => b"axiom cursor 2",
            Purpose::Sse => b"axiom sse 1",
            Purpose::Parked => b"axiom parked 1",
            Purpose::Hop => b"axiom hop 1",
            Purpose::Task => b"axiom task 1",
        }
    }
}

/// Who sealed a token, and so has what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    Here,
    /// The replica that is reached under this base URL.
    Replica(Arc<str>),
    /// The token does not open, or names nobody: there is nobody else to ask.
    Unknown,
}

/// An opened token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub plain: Vec<u8>,
    pub owner: Owner,
    /// Unix seconds; `u64::MAX` for one that never expires.
    pub expires: u64,
}

/// Why a token does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not ours, changed, of another purpose, or sealed with a key that was taken away.
    Foreign,
    Expired,
}

/// Seals and opens tokens.
pub(crate) struct Sealer {
    /// Replaced whole on a reload.
    keys: ArcSwap<Keys>,
    /// Seals where no key is configured, and opens what it sealed after one was.
    of_process: SealKey,
    random: SystemRandom,
}

struct Keys {
    /// The first one seals, all of them open.
    keys: Vec<Key>,
    /// The base URL under which other replicas reach this one.
    here: Option<Arc<str>>,
    /// Those that it had before, which tokens of then still name.
    formerly: Vec<Arc<str>>,
}

/// A key, ready for use.
struct Key {
    id: KeyId,
    cipher: LessSafeKey,
    /// Makes the nonces of tokens that must come out the same each time.
    nonces: hmac::Key,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

/// Bytes before what was sealed: the expiry and the owner's length.
const HEAD_LEN: usize = 5;

impl Sealer {
    /// A sealer with these keys, the first of which seals, and with a random one if there are none.
    ///
    /// # Panics
    /// If the operating system has no randomness: nothing may be sealed then.
    pub(crate) fn new(keys: &[SealKey], here: Option<&str>) -> Sealer {
        let of_process = SealKey::random();
        Sealer {
            keys: ArcSwap::from_pointee(Keys::new(keys, &of_process, here, Vec::new())),
            of_process,
            random: SystemRandom::new(),
        }
    }

    /// From now on these keys and this address are in force. What another key sealed does not open any more.
    pub(crate) fn apply(&self, keys: &[SealKey], here: Option<&str>) {
        let before = self.keys.load();
        let mut formerly = before.formerly.clone();
        formerly.extend(before.here.clone().filter(|before| Some(&**before) != here));
        let keys = Keys::new(keys, &self.of_process, here, formerly);
        self.keys.store(Arc::new(keys));
    }

    /// Sixteen random bytes, for ids.
    pub(crate) fn random_id(&self) -> [u8; 16] {
        self.random_bytes()
    }

    fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random
            .fill(&mut bytes)
            .expect("the operating system gives random bytes");
        bytes
    }

    /// A token that carries `plain` and never expires. Visible ASCII, so it may be a header value.
    pub(crate) fn seal(&self, purpose: Purpose, plain: &[u8]) -> String {
        self.seal_until(purpose, u64::MAX, plain)
    }

    /// The same, good until the clock shows `expires` Unix seconds.
    pub(crate) fn seal_until(&self, purpose: Purpose, expires: u64, plain: &[u8]) -> String {
        let keys = self.keys.load();
        let plain = keys.with_head(expires, keys.here.as_deref(), plain);
        let nonce = self.random_bytes();
        keys.first().seal(purpose, nonce, &plain)
    }

    /// A token that never expires and is the same each time for the same `plain`, as long as the key and, where it is named,
    /// the owner are the same. Whoever sees two learns whether they are equal, and nothing else: the nonce is a keyed
    /// digest of all that is sealed.
    pub(crate) fn seal_alike(&self, purpose: Purpose, names_owner: bool, plain: &[u8]) -> String {
        let keys = self.keys.load();
        let owner = keys.here.as_deref().filter(|_| names_owner);
        let plain = keys.with_head(u64::MAX, owner, plain);
        let key = keys.first();
        let digest = hmac::sign(&key.nonces, &[purpose.label(), b"\0", &plain].concat());
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&digest.as_ref()[..NONCE_LEN]);
        key.seal(purpose, nonce, &plain)
    }

    /// What was sealed; `None` for a token that is not ours, was changed, has another purpose or has expired.
    pub(crate) fn open(&self, purpose: Purpose, token: &str) -> Option<Vec<u8>> {
        self.unseal(purpose, token).ok().map(|opened| opened.plain)
    }

    /// The same with all that the token says of itself.
    pub(crate) fn unseal(&self, purpose: Purpose, token: &str) -> Result<Opened, Refused> {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Refused::Foreign)?;
        let keys = self.keys.load();
        let opened = keys.open(purpose, &mut bytes).ok_or(Refused::Foreign)?;
        if opened.expires <= time::unix_seconds() {
            return Err(Refused::Expired);
        }
        Ok(opened)
    }

    /// Who has what the token stands for.
    pub(crate) fn owner(&self, purpose: Purpose, token: &str) -> Owner {
        self.unseal(purpose, token)
            .map_or(Owner::Unknown, |opened| opened.owner)
    }

    /// True if the key that sealed `token`, as it says itself, is still there.
    pub(crate) fn has_key_of(&self, token: &str) -> bool {
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        let keys = self.keys.load();
        bytes
            .first_chunk()
            .is_some_and(|id: &KeyId| keys.keys.iter().any(|key| key.id == *id))
    }
}

impl Default for Sealer {
    fn default() -> Self {
        Sealer::new(&[], None)
    }
}

impl Keys {
    fn new(
        configured: &[SealKey],
        of_process: &SealKey,
        here: Option<&str>,
        mut formerly: Vec<Arc<str>>,
    ) -> Keys {
        let keys = configured.iter().chain([of_process]);
        // A longer address would not fit into a token; the configuration refuses it.
        let here = here.filter(|here| here.len() <= usize::from(u8::MAX));
        formerly.sort_unstable();
        formerly.dedup();
        Keys {
            keys: keys.map(SealKey::ready).collect(),
            here: here.map(Arc::from),
            formerly,
        }
    }

    fn first(&self) -> &Key {
        self.keys.first().expect("there is at least the process's key")
    }

    fn with_head(&self, expires: u64, owner: Option<&str>, plain: &[u8]) -> Vec<u8> {
        let owner = owner.unwrap_or_default().as_bytes();
        let mut whole = Vec::with_capacity(HEAD_LEN + owner.len() + plain.len());
        // Until the year 2106.
        let expires = u32::try_from(expires).unwrap_or(0);
        whole.extend_from_slice(&expires.to_be_bytes());
        whole.push(u8::try_from(owner.len()).expect("an address is short: see `Keys::new`"));
        whole.extend_from_slice(owner);
        whole.extend_from_slice(plain);
        whole
    }

    fn open(&self, purpose: Purpose, token: &mut [u8]) -> Option<Opened> {
        let (id, rest) = token.split_first_chunk_mut::<ID_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk_mut::<NONCE_LEN>()?;
        let key = self.keys.iter().find(|key| key.id == *id)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .cipher
            .open_in_place(nonce, Aad::from(purpose.label()), sealed)
            .ok()?;
        let (expires, rest) = plain.split_first_chunk::<4>()?;
        let (owner_len, rest) = rest.split_first()?;
        let (owner, plain) = rest.split_at_checked(usize::from(*owner_len))?;
        let owner = std::str::from_utf8(owner).ok()?;
        Some(Opened {
            plain: plain.to_vec(),
            owner: match owner {
                "" => Owner::Unknown,
                owner
                    if self
                        .here
                        .iter()
                        .chain(&self.formerly)
                        .any(|ours| **ours == *owner) =>
                {
                    Owner::Here
                }
                owner => Owner::Replica(owner.into()),
            },
            expires: match u32::from_be_bytes(*expires) {
                0 => u64::MAX,
                expires => u64::from(expires),
            },
        })
    }
}

impl Key {
    fn seal(&self, purpose: Purpose, nonce: [u8; NONCE_LEN], plain: &[u8]) -> String {
        let overhead = ID_LEN + NONCE_LEN + AES_256_GCM.tag_len();
        let mut token = Vec::with_capacity(overhead + plain.len());
        token.extend_from_slice(&self.id);
        token.extend_from_slice(&nonce);
        token.extend_from_slice(plain);
        let (_, sealed) = token.split_at_mut(ID_LEN + NONCE_LEN);
        let tag = self
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.label()),
                sealed,
            )
            .expect("a token is far below the cipher's limit");
        token.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }
}

impl SealKey {
    fn ready(&self) -> Key {
        let cipher = UnboundKey::new(&AES_256_GCM, self.bytes()).expect("the key has the cipher's length");
        let of_key = hmac::Key::new(hmac::HMAC_SHA256, self.bytes());
        let nonces = hmac::sign(&of_key, b"axiom nonces of equal tokens 1");
        Key {
            id: self.id(),
            cipher: LessSafeKey::new(cipher),
            nonces: hmac::Key::new(hmac::HMAC_SHA256, nonces.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn opens(sealer: &Sealer, token: &str) -> bool {
        sealer.open(Purpose::Session, token).as_deref() == Some(b"state")
    }

    #[test]
    fn opens_only_what_it_sealed_for_the_same_purpose() {
        let sealer = Sealer::default();
        let token = sealer.seal(Purpose::Session, b"state");
        assert!(opens(&sealer, &token));
        for purpose in [
            Purpose::Cursor,
            Purpose::Sse,
            Purpose::Parked,
            Purpose::Hop,
            Purpose::Task,
        ] {
            assert_eq!(sealer.open(purpose, &token), None, "{purpose:?}");
        }
        assert_eq!(Sealer::default().open(Purpose::Session, &token), None);
        assert_eq!(sealer.open(Purpose::Session, ""), None);
    }

    #[test]
    fn every_other_text_is_refused() {
        let sealer = Sealer::new(&[SealKey::random()], Some("http://a:1"));
        // Three lengths: the last character of a token carries 6, 4 or 2 bits.
        for plain in ["", "a", "ab"] {
            let token = sealer.seal(Purpose::Session, plain.as_bytes());
            for index in 0..token.len() {
                for other in (0x21..0x7f_u8).filter(|other| *other != token.as_bytes()[index]) {
                    let mut changed = token.clone().into_bytes();
                    changed[index] = other;
                    let changed = String::from_utf8(changed).unwrap();
                    assert_eq!(
                        sealer.open(Purpose::Session, &changed),
                        None,
                        "{changed} for {token}"
                    );
                }
            }
            for longer in [
                format!("{token}="),
                format!("{token}A"),
                format!("{token} "),
                format!("{token}-TAMPERED"),
            ] {
                assert_eq!(sealer.open(Purpose::Session, &longer), None, "{longer}");
            }
            for len in 0..token.len() {
                let shorter: String = token.chars().take(len).collect();
                assert_eq!(sealer.open(Purpose::Session, &shorter), None);
            }
        }
    }

    #[test]
    fn tokens_that_are_alike() {
        let key = [SealKey::random()];
        let [a, b] = [Some("http://a:1"), Some("http://b:2")].map(|here| Sealer::new(&key, here));
        let token = a.seal_alike(Purpose::Task, false, b"task");
        assert_eq!(token, b.seal_alike(Purpose::Task, false, b"task"));
        assert_eq!(b.open(Purpose::Task, &token).as_deref(), Some(&b"task"[..]));
        assert_eq!(b.owner(Purpose::Task, &token), Owner::Unknown);
        for other in [
            a.seal_alike(Purpose::Task, false, b"tasks"),
            a.seal_alike(Purpose::Task, true, b"task"),
            a.seal_alike(Purpose::Cursor, false, b"task"),
            Sealer::default().seal_alike(Purpose::Task, false, b"task"),
        ] {
            // Another nonce, too: none is used for two texts.
            assert_ne!(other.as_bytes()[..20], token.as_bytes()[..20]);
        }
        let owned = a.seal_alike(Purpose::Task, true, b"task");
        assert_eq!(
            b.owner(Purpose::Task, &owned),
            Owner::Replica("http://a:1".into())
        );
    }

    #[test]
    fn a_token_expires() {
        let sealer = Sealer::default();
        let now = time::unix_seconds();
        let late = sealer.seal_until(Purpose::Session, now, b"state");
        assert_eq!(sealer.unseal(Purpose::Session, &late), Err(Refused::Expired));
        assert_eq!(sealer.owner(Purpose::Session, &late), Owner::Unknown);
        let token = sealer.seal_until(Purpose::Session, now + 60, b"state");
        let opened = sealer.unseal(Purpose::Session, &token).unwrap();
        assert_eq!(opened.expires, now + 60);
        let forever = sealer.seal(Purpose::Session, b"state");
        assert_eq!(
            sealer.unseal(Purpose::Session, &forever).unwrap().expires,
            u64::MAX
        );
    }

    #[test]
    fn keys_come_and_go() {
        let [old, new] = [SealKey::random(), SealKey::random()];
        let sealer = Sealer::new(&[], None);
        let of_process = sealer.seal(Purpose::Session, b"state");
        sealer.apply(from_ref(&old), None);
        let by_old = sealer.seal(Purpose::Session, b"state");
        assert!(opens(&sealer, &of_process), "a key was configured meanwhile");
        // Rotation: a new line first.
        sealer.apply(&[new.clone(), old.clone()], None);
        let by_new = sealer.seal(Purpose::Session, b"state");
        assert!(opens(&sealer, &by_old) && opens(&sealer, &by_new));
        // The old line is taken away.
        sealer.apply(from_ref(&new), None);
        assert!(!opens(&sealer, &by_old) && opens(&sealer, &by_new));
        assert!(!sealer.has_key_of(&by_old) && sealer.has_key_of(&by_new));
        // Another process with the same key, and one that only opens with it.
        assert!(opens(&Sealer::new(from_ref(&new), None), &by_new));
        assert!(opens(&Sealer::new(&[old.clone(), new], None), &by_new));
        assert!(!opens(&Sealer::new(&[old], None), &by_new));
    }

    #[test]
    fn a_token_names_who_sealed_it() {
        let key = [SealKey::random()];
        let [a, b, nobody] =
            [Some("http://a:1"), Some("http://b:2"), None].map(|here| Sealer::new(&key, here));
        let token = a.seal(Purpose::Parked, b"state");
        assert_eq!(a.owner(Purpose::Parked, &token), Owner::Here);
        for other in [&b, &nobody] {
            let owner = other.owner(Purpose::Parked, &token);
            assert_eq!(owner, Owner::Replica("http://a:1".into()));
        }
        assert_eq!(a.owner(Purpose::Session, &token), Owner::Unknown);
        let token = nobody.seal(Purpose::Parked, b"state");
        assert_eq!(a.owner(Purpose::Parked, &token), Owner::Unknown);
        assert_eq!(a.owner(Purpose::Parked, "not a token"), Owner::Unknown);

        // It moves, and moves back: what it sealed stays its own.
        let before = a.seal(Purpose::Parked, b"state");
        a.apply(&key, Some("http://a:3"));
        let after = a.seal(Purpose::Parked, b"state");
        a.apply(&key, None);
        a.apply(&key, Some("http://a:1"));
        for token in [before, after] {
            assert_eq!(a.owner(Purpose::Parked, &token), Owner::Here);
        }
    }
}
