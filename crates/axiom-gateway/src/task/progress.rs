//! Progress of a task. The token of the call that began it stays good for the task's whole life, long after that call was
//! answered: what comes under it then is put under the client's own token again, and goes to the client that gave it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axiom_protocol::rewrite::Edit;
use bytes::Bytes;

use crate::message::Message;
use crate::session::Session;

/// Tokens that one link keeps; of more, the oldest are forgotten. Progress is lossy by nature.
const TOKENS_MAX: usize = 1_000;

/// The tokens of one link's calls that may have become tasks.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<VecDeque<Token>>);

#[derive(Debug)]
struct Token {
    /// As the server knows it.
    ours: Bytes,
    /// As the client sent it.
    client: Bytes,
    session: Weak<Session>,
}

impl Tokens {
    pub(crate) fn keep(&self, ours: &Bytes, client: &Bytes, session: &Arc<Session>) {
        let mut tokens = self.lock();
        tokens.retain(|token| token.session.strong_count() > 0);
        if tokens.len() >= TOKENS_MAX {
            tokens.pop_front();
        }
        tokens.push_back(Token {
            ours: ours.clone(),
            client: client.clone(),
            session: Arc::downgrade(session),
        });
    }

    /// A notice of progress that belongs to no call in flight: whose it is, and how that client reads it. `None` if it is
    /// nobody's.
    pub(crate) fn restore(&self, notice: &Message) -> Option<(Arc<Session>, Bytes)> {
        let at = notice.envelope.param.progress_token?;
        let tokens = self.lock();
        let token = tokens
            .iter()
            .find(|token| token.ours == notice.raw(Some(at)).unwrap_or_default())?;
        let with = &token.client;
        Some((token.session.upgrade()?, notice.with(&mut [Edit { at, with }])))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Token>> {
        // No critical section leaves it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
