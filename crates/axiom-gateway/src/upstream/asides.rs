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
    calls: Mutex<HashMap<u64, Mailbox<Box<Message>>>>,
    next: AtomicU64,
}

/// A call's ear for such questions. Dropping it takes the call out.
#[derive(Debug)]
pub(crate) struct Aside {
    asides: Arc<Asides>,
    key: u64,
    questions: Letters<Box<Message>>,
}

/// The only one of the calls in progress, if there is only one: a wrong guess would show one client's question to another.
pub(super) fn sole<T>(mut calls: impl Iterator<Item = T>) -> Option<T> {
    let only = calls.next()?;
    calls.next().is_none().then_some(only)
}

impl Asides {
    pub(super) fn listen(self: &Arc<Self>) -> Aside {
        let (mailbox, questions) = mailbox(QUESTIONS_MAX);
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, mailbox);
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
        match sole(calls.values()) {
            Some(mailbox) => mailbox.post_within(question, QUESTIONS_MAX),
            None => Err(question),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Mailbox<Box<Message>>>> {
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

    /// A question that has come already.
    pub(crate) fn left_over(&mut self) -> Option<Box<Message>> {
        self.questions.waiting()
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
        assert_eq!(sole("".chars()), None);
        assert_eq!(sole("a".chars()), Some('a'));
        assert_eq!(sole("ab".chars()), None);
    }
}
