//! Questions that a session server on HTTP asks on its standing stream, where nothing says which call they are about:
//! for the one call in progress that they can belong to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axiom_core::mailbox::{Letters, Mailbox, mailbox};

use crate::message::Message;

/// Questions that wait for one call. A server gone wild asks more.
const QUESTIONS_MAX: usize = 64;

/// The calls on one link whose clients answer by calling again.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    calls: Mutex<HashMap<u64, Ear>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Ear {
    mailbox: Mailbox<Box<Message>>,
    is_parked: bool,
}

/// A call's ear for such questions. Dropping it takes the call out.
#[derive(Debug)]
pub(crate) struct Aside {
    asides: Arc<Asides>,
    key: u64,
    questions: Letters<Box<Message>>,
}

/// Which of the calls in progress a question can only belong to; `None` if that is not clear.
///
/// A call that waits for its client has asked already: another question is more likely another call's.
pub(super) fn sole<T>(calls: impl Iterator<Item = (T, bool)>) -> Option<T> {
    let (parked, running): (Vec<_>, Vec<_>) = calls.partition(|(_, is_parked)| *is_parked);
    let mut candidates = if running.is_empty() { parked } else { running };
    match candidates.len() {
        1 => candidates.pop().map(|(call, _)| call),
        _ => None,
    }
}

impl Asides {
    pub(super) fn listen(self: &Arc<Self>) -> Aside {
        let (mailbox, questions) = mailbox(QUESTIONS_MAX);
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let ear = Ear {
            mailbox,
            is_parked: false,
        };
        self.lock().insert(key, ear);
        Aside {
            asides: Arc::clone(self),
            key,
            questions,
        }
    }

    /// Gives a question to the call it can only belong to, or back.
    pub(super) fn take(&self, question: Message) -> Result<(), Box<Message>> {
        let question = Box::new(question);
        let calls = self.lock();
        match sole(calls.values().map(|ear| (&ear.mailbox, ear.is_parked))) {
            Some(mailbox) => mailbox.post(question),
            None => Err(question),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Ear>> {
        // No critical section leaves the map half-changed.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aside {
    /// The next question.
    ///
    /// # Cancel safety
    /// Safe: a question is removed only when it is returned.
    pub(crate) async fn next(&mut self) -> Box<Message> {
        self.questions.next().await
    }

    pub(crate) fn set_parked(&self, is_parked: bool) {
        if let Some(ear) = self.asides.lock().get_mut(&self.key) {
            ear.is_parked = is_parked;
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.asides.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::sole;

    #[test]
    fn who_can_only_be_meant() {
        let of = |calls: &[(char, bool)]| sole(calls.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[('a', false)]), Some('a'));
        assert_eq!(of(&[('a', true)]), Some('a'));
        assert_eq!(of(&[('a', true), ('b', false)]), Some('b'));
        assert_eq!(of(&[('a', true), ('b', true)]), None);
        assert_eq!(of(&[('a', false), ('b', false), ('c', true)]), None);
    }
}
