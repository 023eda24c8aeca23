//! Questions that a session server on HTTP asks on its standing stream, where nothing says which call they are about:
//! for the one call in progress that they can belong to. One that names a task belongs to whoever waits for that task.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axiom_core::mailbox::{Letters, Mailbox, mailbox};

use crate::message::Message;
use crate::task::words;

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
    /// The task that the call waits for.
    task: Option<String>,
    mailbox: Mailbox<Box<Message>>,
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

/// The one call that a question can belong to. `of` is the task that it names, each call comes with the one it waits for.
pub(super) fn meant<'a, T>(
    calls: impl Iterator<Item = (Option<&'a str>, T)> + Clone,
    of: Option<&str>,
) -> Option<T> {
    let mut waiting = calls.clone().filter(|(task, _)| of.is_some() && *task == of);
    if let Some((_, call)) = waiting.next() {
        return Some(call);
    }
    // Whoever waits for a task is not meant by what names none, unless there is nobody else.
    let mut others = calls.clone().filter(|(task, _)| task.is_none()).peekable();
    match others.peek() {
        Some(_) => sole(others).map(|(_, call)| call),
        None => sole(calls).map(|(_, call)| call),
    }
}

impl Asides {
    pub(super) fn listen(self: &Arc<Self>, task: Option<String>) -> Aside {
        let (mailbox, questions) = mailbox(QUESTIONS_MAX);
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, Ear { task, mailbox });
        Aside {
            asides: Arc::clone(self),
            key,
            questions,
        }
    }

    /// Gives a question to the call it can only belong to, or back.
    pub(super) fn take(&self, question: Message) -> Result<(), Box<Message>> {
        let of = words::related_id(&question);
        let question = Box::new(question);
        let calls = self.lock();
        let ears = calls.values().map(|ear| (ear.task.as_deref(), &ear.mailbox));
        match meant(ears, of.as_deref()) {
            Some(mailbox) => mailbox.post_within(question, QUESTIONS_MAX),
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
    use super::meant;

    #[test]
    fn who_can_only_be_meant() {
        let plain = (None, "a");
        let (first, second) = ((Some("t"), "b"), (Some("u"), "c"));
        for (calls, of, expected) in [
            (&[][..], None, None),
            (&[plain], None, Some("a")),
            (&[plain, plain], None, None),
            (&[plain, first], None, Some("a")),
            (&[first], None, Some("b")),
            (&[first, second], None, None),
            (&[plain, first, second], Some("t"), Some("b")),
            (&[plain, plain, second], Some("u"), Some("c")),
            (&[plain, first], Some("x"), Some("a")),
            (&[plain, plain, first], Some("x"), None),
        ] {
            assert_eq!(meant(calls.iter().copied(), of), expected, "{calls:?} {of:?}");
        }
    }
}
