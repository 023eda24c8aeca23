//! Sessions by the id their clients send: unsealed when first seen, forgotten when idle, refused when ended.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axiom_core::time;
use axiom_protocol::revision::Revision;
use bytes::Bytes;

use super::{Hello, Session, SessionId, clock_seconds};
use crate::seal::{Opened, Owner, Purpose, Sealer};

/// All sessions that were used lately. Everything else about a session is in its id.
#[derive(Debug)]
pub(crate) struct SessionTable {
    sealer: Arc<Sealer>,
    ttl: Duration,
    live: RwLock<HashMap<Box<str>, Arc<Session>>>,
    /// Sessions that were ended before their time, until they would have expired anyway.
    ended: RwLock<HashMap<SessionId, u64>>,
}

/// A session object without state is dropped this long after its last use; its id brings it back.
const BARE_IDLE: Duration = Duration::from_secs(10);
/// Capabilities and client info up to here travel in the id; with more, the id would strain clients' header limits.
const SEALED_BYTES_MAX: usize = 3 << 10;
/// Sessions kept because their id would be too long. At most 64 MiB of what clients say of themselves.
const PINNED_MAX: usize = 1_024;
/// Ended sessions that are remembered. Beyond, the ones that would expire first are forgotten.
const ENDED_MAX: usize = 100_000;

impl SessionTable {
    pub(crate) fn new(sealer: Arc<Sealer>, ttl: Duration) -> SessionTable {
        SessionTable {
            sealer,
            ttl,
            live: RwLock::default(),
            ended: RwLock::default(),
        }
    }

    /// A new session. It is not remembered until it is [`mint`](SessionTable::mint)ed or lives on a pipe.
    pub(crate) fn begin(&self, hello: Hello) -> Arc<Session> {
        let mut session = Session::new(u128::from_be_bytes(self.sealer.random_id()), hello);
        session.until = time::unix_seconds().saturating_add(self.ttl.as_secs());
        session.pinned =
            session.hello.capabilities.len() + session.hello.client_info.len() > SEALED_BYTES_MAX;
        Arc::new(session)
    }

    /// The id for a session's client. Usually it says it all and nothing is remembered.
    pub(crate) fn mint(&self, session: &Arc<Session>) -> String {
        if session.pinned {
            let id = session.id.to_be_bytes();
            let token = self.sealer.seal_until(Purpose::Session, session.until, &id);
            self.make_room_for_pinned();
            self.remember(&token, session);
            return token;
        }
        let plain = encode(session.id, session.revision(), &session.hello);
        self.sealer.seal_until(Purpose::Session, session.until, &plain)
    }

    /// Sessions that their ids cannot carry are few, or somebody makes them up: then the longest idle one goes.
    fn make_room_for_pinned(&self) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let pinned = live.iter().filter(|(_, session)| session.pinned);
        if pinned.clone().count() >= PINNED_MAX {
            let oldest = pinned.max_by_key(|(_, session)| session.idle());
            if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
                live.remove(&oldest);
            }
        }
    }

    /// Keeps the session object under its id: for one that something already refers to.
    pub(crate) fn remember(&self, token: &str, session: &Arc<Session>) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.insert(token.into(), Arc::clone(session));
    }

    /// The session a client names. `None` if the id is not ours, has expired or was ended.
    pub(crate) fn find(&self, token: &str) -> Option<Arc<Session>> {
        if let Some(session) = read(&self.live).get(token) {
            session.touch();
            return Some(Arc::clone(session));
        }
        let Opened {
            plain,
            owner,
            expires,
        } = self.sealer.unseal(Purpose::Session, token).ok()?;
        let (id, agreed, hello) = decode(&plain)?;
        if read(&self.ended).contains_key(&id) {
            return None;
        }
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster: both must use the same object.
        let session = live.entry(token.into()).or_insert_with(|| {
            let mut session = Session::new(id, hello);
            session.until = expires;
            session.owner = match owner {
                Owner::Replica(owner) => Some(owner),
                Owner::Here | Owner::Unknown => None,
            };
            // A fresh cell takes its first value.
            let _fresh = session.agreed.set(agreed).is_ok();
            Arc::new(session)
        });
        Some(Arc::clone(session))
    }

    /// True for an id whose session was ended here.
    pub(crate) fn has_ended(&self, token: &str) -> bool {
        let opened = self.sealer.unseal(Purpose::Session, token).ok();
        let id = opened.and_then(|opened| opened.plain.first_chunk().copied());
        id.is_some_and(|id| read(&self.ended).contains_key(&SessionId::from_be_bytes(id)))
    }

    /// Ends a session for good.
    pub(crate) fn end(&self, token: &str) -> Option<Arc<Session>> {
        let session = self.find(token)?;
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= ENDED_MAX
            && let Some(oldest) = ended.iter().min_by_key(|(_, until)| **until).map(|(id, _)| *id)
        {
            ended.remove(&oldest);
        }
        ended.insert(session.id, clock_seconds() + self.ttl.as_secs());
        drop(ended);
        self.live
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(token);
        Some(session)
    }

    /// Forgets the sessions whose key was taken away: their ids must not be good for as long as they are in use.
    pub(crate) fn forget_without_key(&self) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.retain(|token, _| self.sealer.has_key_of(token));
    }

    /// Forgets what need not be remembered, and what may not be. Called from time to time.
    pub(crate) fn sweep(&self, idle_max: Duration) {
        let unix_now = time::unix_seconds();
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, session| {
            if session.until <= unix_now {
                return false;
            }
            let idle = session.idle();
            let keep = Arc::strong_count(session) > 1 || session.is_attached();
            keep || (idle < BARE_IDLE) || (!session.is_bare() && idle < idle_max)
        });
        // Rehashing is worth it only after a crowd has left.
        if live.capacity() > 1_024 + 4 * live.len() {
            live.shrink_to_fit();
        }
        drop(live);
        let now = clock_seconds();
        self.ended
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, until| *until > now);
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    // No critical section leaves a map half-changed.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// `id (16) agreed revision (1) asked revision (1)`, then endpoint, capabilities and client info, each with a two-byte
/// length.
fn encode(id: SessionId, agreed: Revision, hello: &Hello) -> Vec<u8> {
    let mut plain = Vec::with_capacity(64 + hello.capabilities.len() + hello.client_info.len());
    plain.extend_from_slice(&id.to_be_bytes());
    plain.push(agreed as u8);
    plain.push(hello.revision as u8);
    for field in [hello.endpoint.as_bytes(), &hello.capabilities, &hello.client_info] {
        let len = u16::try_from(field.len()).unwrap_or(0);
        plain.extend_from_slice(&len.to_be_bytes());
        plain.extend_from_slice(&field[..usize::from(len)]);
    }
    plain
}

fn decode(plain: &[u8]) -> Option<(SessionId, Revision, Hello)> {
    let (id, rest) = plain.split_first_chunk::<16>()?;
    let (agreed, rest) = rest.split_first()?;
    let (revision, mut rest) = rest.split_first()?;
    let known = |byte: u8| Revision::ALL.iter().copied().find(|known| *known as u8 == byte);
    let (agreed, revision) = (known(*agreed)?, known(*revision)?);
    let mut field = || -> Option<Vec<u8>> {
        let (len, tail) = rest.split_first_chunk::<2>()?;
        let (value, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = tail;
        Some(value.to_vec())
    };
    let endpoint = String::from_utf8(field()?).ok()?;
    let capabilities = Bytes::from(field()?);
    let client_info = Bytes::from(field()?);
    let hello = Hello {
        revision,
        endpoint,
        capabilities,
        client_info,
    };
    Some((u128::from_be_bytes(*id), agreed, hello))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SealKey;

    fn hello() -> Hello {
        Hello {
            revision: Revision::V2025_11_25,
            endpoint: "/mcp".to_owned(),
            capabilities: Bytes::from_static(b"{\"roots\":{}}"),
            client_info: Bytes::from_static(b"{\"name\":\"t\"}"),
        }
    }

    #[test]
    fn a_session_comes_back_from_its_id_alone() {
        let table = SessionTable::new(Arc::default(), Duration::from_secs(60));
        let begun = table.begin(hello());
        let token = table.mint(&begun);
        let session = table.find(&token).unwrap();
        assert_eq!((session.id, &session.hello), (begun.id, &hello()));
        assert!(session.interactive);
        drop(session);
        assert!(table.find("nonsense").is_none());
    }

    #[test]
    fn an_ended_session_stays_ended() {
        let table = SessionTable::new(Arc::default(), Duration::from_secs(60));
        let token = table.mint(&table.begin(hello()));
        assert!(table.end(&token).is_some());
        assert!(table.find(&token).is_none());
        assert!(table.end(&token).is_none());
    }

    /// Two processes with the same key, as replicas or one after the other.
    #[test]
    fn a_session_comes_back_in_another_process_with_the_key() {
        let key = [SealKey::random()];
        let table = |here| SessionTable::new(Arc::new(Sealer::new(&key, here)), Duration::from_secs(60));
        let (here, other) = (table(Some("http://a:1")), table(Some("http://b:1")));
        let begun = here.begin(hello());
        let token = here.mint(&begun);
        for (table, owner) in [(&table(Some("http://a:1")), None), (&other, Some("http://a:1"))] {
            let session = table.find(&token).unwrap();
            assert_eq!((session.id, &session.hello), (begun.id, &hello()));
            assert_eq!(session.owner.as_deref(), owner);
        }
    }

    #[test]
    fn a_session_expires_even_in_use() {
        let table = SessionTable::new(Arc::default(), Duration::ZERO);
        let begun = table.begin(hello());
        let token = table.mint(&begun);
        assert!(table.find(&token).is_none(), "its id has expired");
        table.remember(&token, &begun);
        assert!(table.find(&token).is_some());
        table.sweep(Duration::MAX);
        assert!(table.find(&token).is_none());
    }

    #[test]
    fn a_session_ends_with_its_key() {
        let [old, new] = [SealKey::random(), SealKey::random()];
        let sealer = Arc::new(Sealer::new(std::slice::from_ref(&old), None));
        let table = SessionTable::new(Arc::clone(&sealer), Duration::from_secs(60));
        let token = table.mint(&table.begin(hello()));
        let _in_use = table.find(&token).unwrap();
        sealer.apply(&[new.clone(), old], None);
        table.forget_without_key();
        assert!(table.find(&token).is_some());
        sealer.apply(&[new], None);
        table.forget_without_key();
        assert!(table.find(&token).is_none());
    }
}
