//! Many calls on one pipe: each goes out under an id of ours, and what comes back is sorted by it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use axiom_core::mailbox::{Mailbox, mailbox};
use axiom_core::time;
use axiom_protocol::envelope::{self, Kind};
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::Era;
use axiom_protocol::rewrite::Edit;
use axiom_transport::pipe::{Closed, PipeReceiver, PipeSender};
use bytes::Bytes;

use super::asides::meant;
use super::link::{Link, Outgoing};
use crate::exchange::{CallState, Exchange, Ids, Letter, Source};
use crate::fault::Fault;
use crate::message::Message;
use crate::session::Session;
use crate::task::words;

/// A pipe with calls on it.
#[derive(Debug)]
pub(super) struct Duplex {
    tx: PipeSender,
    next_id: AtomicU64,
    pending: Mutex<HashMap<u64, Pending>>,
    /// Set once the handshake is done; until then only answers are expected.
    link: OnceLock<Weak<Link>>,
}

#[derive(Debug)]
struct Pending {
    mailbox: Mailbox<Letter>,
    /// The legacy session that made the call.
    session: Option<Arc<Session>>,
    /// Whether log lines may belong to the call. A modern one says so itself.
    takes_logs: bool,
    /// The task that it waits for.
    task: Option<String>,
    /// Whether the server's questions are steps of the call.
    takes_questions: bool,
    /// It has asked, and its client has not come back yet.
    is_parked: bool,
    /// Nobody waits for it any more, but the server may be at it still, and ask.
    given_up: Option<time::Instant>,
}

/// How long a call that was given up is still counted among those that a question may belong to.
const GIVEN_UP_MAX: Duration = Duration::from_secs(300);
/// Questions that wait for one call. A server gone wild asks more.
const QUESTIONS_MAX: usize = 64;
/// Notices that wait for one slow client. Progress is lossy by nature: of more, the oldest are dropped.
const NOTICES_MAX: usize = 256;
/// A line that is no MCP, as far as it is worth logging.
const GARBAGE_CHARS: usize = 200;

impl Duplex {
    pub(super) fn new(tx: PipeSender) -> Arc<Duplex> {
        Arc::new(Duplex {
            tx,
            next_id: AtomicU64::new(1),
            pending: Mutex::default(),
            link: OnceLock::new(),
        })
    }

    pub(super) fn attach(&self, link: &Arc<Link>) {
        // Set once per duplex, right after its handshake.
        let _already = self.link.set(Arc::downgrade(link)).is_err();
    }

    /// A request before there is a link: the handshake's.
    pub(super) async fn request(
        &self,
        method: &str,
        params: &[u8],
        limits: &envelope::Limits,
    ) -> Result<Message, Letter> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (mailbox, mut letters) = mailbox(NOTICES_MAX);
        self.lock().insert(
            id,
            Pending {
                mailbox,
                session: None,
                takes_logs: false,
                task: None,
                takes_questions: false,
                is_parked: false,
                given_up: None,
            },
        );
        let bytes = Bytes::from(reply::request(id.to_string().as_bytes(), method, params));
        debug_assert!(Message::scan(bytes.clone(), limits).is_ok());
        if let Err(closed) = self.tx.send(bytes).await {
            self.lock().remove(&id);
            return Err(Letter::Down(closed_fault("", &closed)));
        }
        loop {
            match letters.next().await {
                Letter::Answer(message) => return Ok(message),
                Letter::Down(fault) => return Err(Letter::Down(fault)),
                Letter::Notice(_) | Letter::Question(_) | Letter::Asked(_) => {}
            }
        }
    }

    pub(super) fn close(&self) {
        self.tx.close();
    }

    /// Puts a client's call on the pipe under an id of ours, which is its progress token too.
    pub(super) async fn call(
        self: &Arc<Self>,
        link: &Arc<Link>,
        outgoing: Outgoing<'_>,
    ) -> Result<Exchange, Fault> {
        let Outgoing {
            message,
            mut edits,
            session,
            takes_questions,
            is_ours,
            ..
        } = outgoing;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let upstream_id = Bytes::from(id.to_string());
        let task = words::waits_for(message, &edits);
        let client_id = message
            .envelope
            .id
            .map(|at| message.slice(at))
            .unwrap_or_default();
        edits.extend(message.envelope.id.map(|at| Edit {
            at,
            with: &upstream_id,
        }));
        let mut client_token = None;
        if let Some(at) = message.envelope.in_meta.progress_token {
            client_token = Some(message.slice(at));
            edits.push(Edit {
                at,
                with: &upstream_id,
            });
        }
        let bytes = one_line(message.with(&mut edits));

        let (mailbox, letters) = mailbox(NOTICES_MAX);
        self.lock().insert(
            id,
            Pending {
                mailbox,
                session: session.cloned(),
                task,
                takes_logs: match link.era() {
                    // One of our own must not make a client's call one of two.
                    Era::Legacy => !is_ours,
                    Era::Modern => message.envelope.in_meta.log_level.is_some(),
                },
                takes_questions,
                is_parked: false,
                given_up: None,
            },
        );
        let ids = Ids {
            client_id,
            upstream_id: upstream_id.clone(),
            token_replaced: true,
            client_token,
        };
        let call = CallState::new(Arc::clone(link), upstream_id);
        // Made before the message is sent, so that a caller who gives up half-way leaves nothing behind.
        let mut exchange = Exchange::new(
            Arc::clone(link),
            Source::Letters(letters),
            ids,
            Arc::clone(&call),
            session.cloned(),
            None,
        );
        // A server that does not read is as silent as one that does not answer.
        let silence = link.upstream.options.call_timeout;
        let sent = tokio::select! {
            biased;
            // cancel-safe: a message is sent whole or not at all
            sent = time::timeout(silence, self.tx.send(bytes)) => sent,
            // cancel-safe: the flag stays set
            () = call.wait_cancelled() => {
                // Whoever cancelled it has told the server.
                exchange.cancel_on_drop(false);
                return Err(Fault::Cancelled);
            }
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(closed)) => return Err(link_fault(link, &closed)),
            Err(_) => {
                return Err(Fault::Timeout {
                    server: link.upstream.name.to_string(),
                    after: silence,
                });
            }
        }
        if link.is_down() {
            return Err(link.fault());
        }
        Ok(exchange)
    }

    pub(super) async fn send(&self, link: &Link, bytes: Bytes) -> Result<(), Fault> {
        self.tx
            .send(one_line(bytes))
            .await
            .map_err(|closed| link_fault(link, &closed))
    }

    /// Nobody waits for call `upstream_id` any more. One that may have been asked something is kept in mind until the
    /// server ends it, within [`GIVEN_UP_MAX`]: what it asks is no other call's.
    pub(super) fn forget(&self, upstream_id: &[u8]) {
        let Some(id) = parse_id(upstream_id) else { return };
        let now = time::now();
        let mut pending = self.lock();
        match pending.get_mut(&id) {
            Some(call) if call.takes_questions => call.given_up = Some(now),
            _ => drop(pending.remove(&id)),
        }
        pending.retain(|_, call| call.given_up.is_none_or(|since| now - since < GIVEN_UP_MAX));
    }

    /// True while a call on it waits for its client.
    pub(super) fn has_parked(&self) -> bool {
        self.lock()
            .values()
            .any(|call| call.is_parked && call.given_up.is_none())
    }

    pub(super) fn set_parked(&self, upstream_id: &[u8], parked: bool) {
        if let Some(id) = parse_id(upstream_id)
            && let Some(pending) = self.lock().get_mut(&id)
        {
            pending.is_parked = parked;
        }
    }

    /// Ends every call with `fault`.
    pub(super) fn fail_all(&self, fault: &Fault) {
        self.tx.close();
        for (_, pending) in self.lock().drain() {
            // A caller who is gone needs no answer.
            let _gone = pending.mailbox.post(Letter::Down(fault.clone())).is_err();
        }
    }

    /// Reads the pipe until it ends, and says how it ended.
    pub(super) async fn read(
        self: Arc<Self>,
        mut rx: PipeReceiver,
        limits: envelope::Limits,
        server: Arc<str>,
    ) -> Closed {
        loop {
            match rx.recv().await {
                Ok(bytes) => match Message::scan(bytes.clone(), &limits) {
                    Ok(message) => self.sort(message),
                    Err(error) => {
                        let line: String = String::from_utf8_lossy(&bytes)
                            .chars()
                            .take(GARBAGE_CHARS)
                            .collect();
                        tracing::warn!(server = %server, %error, line, "a line that is no MCP was ignored");
                        let answered = error.id.and_then(|at| parse_id(at.of(&bytes)));
                        if let Some(id) = answered {
                            let reason = format!("its answer is not readable: {error}");
                            self.fail(
                                id,
                                Fault::Protocol {
                                    server: server.to_string(),
                                    reason,
                                },
                            );
                        }
                    }
                },
                Err(closed) => return closed,
            }
        }
    }

    fn fail(&self, id: u64, fault: Fault) {
        if let Some(pending) = self.lock().remove(&id) {
            // A caller who is gone needs no answer.
            let _gone = pending.mailbox.post(Letter::Down(fault)).is_err();
        }
    }

    fn sort(&self, message: Message) {
        match message.kind() {
            Kind::Response | Kind::Error => self.answer(message),
            Kind::Notification => self.notice(message),
            Kind::Request => self.question(message),
        }
    }

    fn answer(&self, message: Message) {
        let pending = message
            .id()
            .and_then(parse_id)
            .and_then(|id| self.lock().remove(&id));
        match pending {
            Some(pending) => {
                // A caller who is gone needs no answer.
                let _gone = pending.mailbox.post(Letter::Answer(message)).is_err();
            }
            None => {
                tracing::debug!("an answer to no call in flight was dropped (cancelled earlier, perhaps)")
            }
        }
    }

    fn notice(&self, message: Message) {
        let is_modern = || {
            let link = self.link.get().and_then(Weak::upgrade);
            link.is_some_and(|link| link.era() == Era::Modern)
        };
        if message.method() == Method::Cancelled && is_modern() {
            // A modern server ends a subscription this way. A session server means a question of its own.
            let ended = message.raw(message.envelope.param.request_id).and_then(parse_id);
            let is_call = ended.is_some_and(|id| self.lock().contains_key(&id));
            if let (Some(id), true) = (ended, is_call) {
                let reason = "it gave the request up".to_owned();
                return self.fail(
                    id,
                    Fault::Died {
                        server: self.server(),
                        reason,
                    },
                );
            }
        }
        if let Some(mailbox) = self.addressee(&message) {
            // A caller who is gone needs no notice.
            let _gone = mailbox.post_lossy(Letter::Notice(message)).is_err();
        } else if let Some(link) = self.link.get().and_then(Weak::upgrade) {
            link.observe(&message);
            link.deliver(&message);
        }
    }

    /// The call a notification belongs to: by its token, by its subscription, or because there is only one.
    fn addressee(&self, message: &Message) -> Option<Mailbox<Letter>> {
        let pending = self.lock();
        let named = match message.method() {
            Method::Progress => message.raw(message.envelope.param.progress_token),
            Method::LogMessage => return logged_in(&pending, message).map(|call| call.mailbox.clone()),
            _ => message.raw(message.envelope.in_meta.subscription_id),
        };
        pending
            .get(&parse_id(named?)?)
            .map(|pending| pending.mailbox.clone())
    }

    /// A server's question on a pipe names no call. On a private link it goes with any call of its owner; on a shared
    /// one only a single call in flight makes clear who is meant.
    fn question(&self, message: Message) {
        let Some(link) = self.link.get().and_then(Weak::upgrade) else {
            return;
        };
        let message = match self.asked_of_caller(&link, message) {
            None => return,
            Some(message) => message,
        };
        let message = &message;
        let caller = {
            let pending = self.lock();
            let mut newest: Vec<(&u64, &Pending)> = pending
                .iter()
                .filter(|(_, pending)| pending.session.is_some())
                .collect();
            newest.sort_unstable_by_key(|(id, _)| **id);
            let sole = newest.len() == 1 || link.private_to.is_some();
            newest
                .pop()
                .filter(|_| sole)
                .map(|(_, pending)| (pending.mailbox.clone(), pending.session.clone()))
        };
        match caller {
            Some((mailbox, session)) => {
                if let Some(question) = link.question(message, session.as_ref())
                    && let Err(Letter::Question(question)) = mailbox.post(Letter::Question(question))
                    && let Some(session) = session
                {
                    // The caller left just now; its client is still there to be asked.
                    session.send(&question, link.upstream.limits.replay_bytes_max);
                }
            }
            None => link.question_to_owner(message),
        }
    }

    /// Gives a question to the one call that it can belong to, where clients answer by calling again. Gives it back if
    /// there is no such call.
    fn asked_of_caller(&self, link: &Arc<Link>, message: Message) -> Option<Message> {
        let pending = self.lock();
        if !pending.values().any(|call| call.takes_questions) {
            return Some(message);
        }
        // A session's call may be meant as well.
        let callers = pending
            .values()
            .filter(|call| call.takes_questions || call.session.is_some());
        let callers = callers.map(|call| (call.task.as_deref(), call));
        let of = words::related_id(&message);
        let mailbox = meant(callers, of.as_deref())
            .filter(|call| call.takes_questions && call.given_up.is_none())
            .map(|call| call.mailbox.clone());
        drop(pending);
        if link.is_ping(&message) {
            return None;
        }
        let id = message.id().unwrap_or_default().to_vec();
        let question = Letter::Asked(Box::new(message));
        let posted = mailbox.map(|mailbox| mailbox.post_within(question, QUESTIONS_MAX).is_ok());
        match posted {
            Some(true) => {}
            Some(false) => link.refuse(&id, "the call has ended, or has asked too much"),
            None => link.refuse(
                &id,
                "several calls are in progress: it is not clear whose client is asked",
            ),
        }
        None
    }

    fn server(&self) -> String {
        let link = self.link.get().and_then(Weak::upgrade);
        link.map_or_else(String::new, |link| link.upstream.name.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        // No critical section leaves the map half-changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pipes carry one message per line. A raw line break can only stand between tokens, where a space does as well.
fn one_line(bytes: Bytes) -> Bytes {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        Bytes::from(
            bytes
                .iter()
                .map(|byte| {
                    if matches!(byte, b'\n' | b'\r') {
                        b' '
                    } else {
                        *byte
                    }
                })
                .collect::<Vec<_>>(),
        )
    } else {
        bytes
    }
}

/// The call that a log line belongs to: the one that waits for the task it names, or else the only one there is. A wait
/// for a task lasts as long as the task, and does not make a plain call one of two: what a task logs names the task.
fn logged_in<'a>(pending: &'a HashMap<u64, Pending>, message: &Message) -> Option<&'a Pending> {
    let calls = || pending.values().filter(|call| call.takes_logs);
    if let Some(task) = words::related_id(message) {
        return calls().find(|call| call.task.as_ref() == Some(&task));
    }
    let has_plain = calls().any(|call| call.task.is_none());
    let mut meant = calls().filter(|call| call.task.is_none() || !has_plain);
    meant.next().filter(|_| meant.next().is_none())
}

fn link_fault(link: &Link, closed: &Closed) -> Fault {
    if link.is_down() {
        link.fault()
    } else {
        closed_fault(&link.upstream.name, closed)
    }
}

pub(super) fn closed_fault(server: &str, closed: &Closed) -> Fault {
    Fault::Died {
        server: server.to_owned(),
        reason: closed.to_string(),
    }
}

fn parse_id(raw: &[u8]) -> Option<u64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}
