//! A client with a session at a modern server: what the server wants to know first (`input_required`) is asked of the
//! client by real requests on its stream, and the server is called again with the answers, until it gives a result.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::mailbox::{Letters, mailbox};
use axiom_core::time;
use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::Revision;
use axiom_protocol::rewrite::object_with;
use axiom_protocol::span::Span;
use axiom_protocol::text::push_quoted;
use axiom_protocol::walk;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::Pause;
use crate::exchange::{CallState, Exchange, Step};
use crate::fault::Fault;
use crate::level::Unaskable;
use crate::message::Message;
use crate::session::{Answer, Asked, Session};
use crate::task::words::RELATED;
use crate::upstream::{Link, Outgoing, whole};

/// Times a server may ask in one call.
const ROUNDS_MAX: u32 = 32;
/// Questions in one round.
pub(crate) const QUESTIONS_MAX: usize = 64;

/// The client's side of such a call.
pub(crate) struct Rounds {
    session: Arc<Session>,
    /// The request as the server got it, to be made again.
    request: Message,
    headers: Vec<(HeaderName, HeaderValue)>,
    patience: Duration,
    done: u32,
    asking: Option<Asking>,
    /// How the call ends once the client was told that its answers are not wanted any more.
    ending: Option<(VecDeque<Bytes>, Fault)>,
}

/// One round of questions.
struct Asking {
    /// To be sent to the client.
    unsent: VecDeque<Bytes>,
    /// The questions that are not answered, by the server's names for them.
    open: BTreeMap<Arc<str>, Open>,
    letters: Letters<Answer>,
    /// Members of `inputResponses`, as far as they are known.
    answers: Vec<u8>,
    state: Option<Bytes>,
    too_late: Pause,
    /// By which the client may cancel the call while nothing of it is at the server.
    call: Arc<CallState>,
    client_id: Bytes,
}

/// A question that the client has not answered.
struct Open {
    /// The session's id for it.
    id: u64,
    method: Method,
}

impl Rounds {
    pub(crate) fn new(
        session: &Arc<Session>,
        request: Message,
        headers: Vec<(HeaderName, HeaderValue)>,
        patience: Duration,
    ) -> Rounds {
        Rounds {
            session: Arc::clone(session),
            request,
            headers,
            patience,
            done: 0,
            asking: None,
            ending: None,
        }
    }

    /// The server has asked.
    pub(super) fn begin(&mut self, link: &Arc<Link>, result: &[u8]) -> Result<(), Fault> {
        self.done += 1;
        if self.done > ROUNDS_MAX {
            let reason = format!("it asked its client more than {ROUNDS_MAX} times in one call");
            return Err(link.upstream.protocol_fault(reason));
        }
        let (mailbox, letters) = mailbox(QUESTIONS_MAX);
        let client_id = self.client_id();
        let call = CallState::at_no_server();
        self.session
            .with(|state| state.calls.insert(client_id.clone(), Arc::clone(&call)));
        let state = walk::get(result, whole(result), "requestState");
        let asking = self.asking.insert(Asking {
            unsent: VecDeque::new(),
            open: BTreeMap::new(),
            letters,
            answers: Vec::new(),
            state: state.map(|at| Bytes::copy_from_slice(at.of(result))),
            too_late: Box::pin(time::sleep(self.patience)),
            call,
            client_id,
        });
        let requests =
            walk::get(result, whole(result), "inputRequests").filter(|at| at.of(result).starts_with(b"{"));
        for (key, request) in requests.into_iter().flat_map(|at| walk::members(result, at)) {
            let key: Arc<str> = axiom_protocol::text::text(result, key).unwrap_or_default().into();
            let asked = Asked::ForCall {
                key: Arc::clone(&key),
                answers: mailbox.clone(),
            };
            let question = InputRequest::read(result, request).ok_or_else(|| {
                link.upstream
                    .protocol_fault("an input request of it is not readable")
            })?;
            let id = (asking.open.len() < QUESTIONS_MAX)
                .then(|| self.session.ask(asked))
                .flatten();
            let id = id.ok_or_else(|| Fault::NotAnswered {
                method: question.method.clone(),
                reason: "too many questions to this client are open".to_owned(),
            })?;
            match readable(link, self.session.revision(), question.under(id)) {
                Ok(readable) => {
                    asking.unsent.push_back(readable);
                    let method = Method::parse(question.method.as_bytes());
                    asking.open.insert(key, Open { id, method });
                }
                Err(unaskable) => {
                    drop(self.session.answered(id));
                    tracing::debug!(server = %link.upstream.name, %unaskable, "a question was not put");
                    asking.answer(&key, NOT_FILLED_IN);
                }
            }
        }
        Ok(())
    }

    /// The revision that the client speaks.
    pub(super) fn reader(&self) -> Revision {
        self.session.revision()
    }

    /// What comes next: of the call at the server, or of the questions to the client. `None` when the server was called
    /// again.
    ///
    /// Cancel-safe: questions and answers are kept in `self`.
    pub(super) async fn next(&mut self, link: &Arc<Link>, exchange: &mut Option<Exchange>) -> Option<Step> {
        if let Some((notices, fault)) = self.ending.as_mut() {
            return Some(match notices.pop_front() {
                Some(notice) => Step::Notice(notice),
                None => Step::Done(Err(fault.clone())),
            });
        }
        let Some(asking) = self.asking.as_mut() else {
            return match exchange.as_mut() {
                Some(exchange) => Some(exchange.next().await),
                None => std::future::pending().await,
            };
        };
        if let Some(question) = asking.unsent.pop_front() {
            return Some(Step::Notice(question));
        }
        while !asking.open.is_empty() {
            let call = Arc::clone(&asking.call);
            let outcome = tokio::select! {
                biased;
                // cancel-safe: a letter is taken only when it is returned
                answer = asking.letters.next() => asking.take(&answer),
                // cancel-safe: the flag stays set
                () = call.wait_cancelled() => Err(Fault::Cancelled),
                // cancel-safe: the sleep is kept in self
                () = asking.too_late.as_mut() => Err(Fault::NotAnswered {
                    method: "the server's question".to_owned(),
                    reason: format!("no answer within {} s", self.patience.as_secs()),
                }),
            };
            if let Err(fault) = outcome {
                self.end_with(fault);
                return None;
            }
        }
        let call = Arc::clone(&asking.call);
        if call.is_cancelled() {
            self.end_with(Fault::Cancelled);
            return None;
        }
        let again = match self.again(link) {
            Ok(again) => again,
            Err(fault) => return Some(Step::Done(Err(fault))),
        };
        // From here on nothing may be lost: the message is taken by the server whole or not at all.
        let outgoing = Outgoing {
            message: &again,
            edits: Vec::new(),
            headers: self.headers.clone(),
            session: Some(&self.session),
            takes_questions: false,
            is_ours: false,
        };
        match link.call(outgoing).await {
            Ok(next) => {
                let cancel = exchange.as_ref().is_none_or(Exchange::cancels_on_drop);
                let next = exchange.insert(next);
                next.cancel_on_drop(cancel);
                next.known_as(self.client_id());
                if call.is_cancelled() {
                    next.cancel();
                }
                self.leave();
                None
            }
            Err(fault) => {
                self.leave();
                Some(Step::Done(Err(fault)))
            }
        }
    }

    /// The request with the client's answers.
    fn again(&self, link: &Link) -> Result<Message, Fault> {
        let mut answers = b"{".to_vec();
        let mut set: Vec<(&str, &[u8])> = Vec::new();
        if let Some(asking) = &self.asking {
            answers.extend_from_slice(&asking.answers);
            answers.push(b'}');
            if !asking.answers.is_empty() {
                set.push(("inputResponses", &answers));
            }
            set.extend(asking.state.as_deref().map(|state| ("requestState", state)));
        }
        let id = format!("\"axiom-{}\"", self.done + 1);
        let params = self.request.raw(self.request.envelope.params).unwrap_or(b"{}");
        let params = object_with(params, whole(params), &set, &[]);
        let bytes = object_with(
            &self.request.bytes,
            self.request.envelope.object,
            // Another request, so another id.
            &[("id", id.as_bytes()), ("params", &params)],
            &[],
        );
        Message::scan(Bytes::from(bytes), &link.limits()).map_err(Fault::Unreadable)
    }

    fn client_id(&self) -> Bytes {
        let id = self.request.envelope.id.map(|at| self.request.slice(at));
        id.unwrap_or_default()
    }

    /// The client need not answer any more: it is told so, where it was asked.
    pub(super) fn end_with(&mut self, fault: Fault) {
        let open = self.asking.iter().flat_map(|asking| asking.open.values());
        let notices = open
            .map(|Open { id, .. }| {
                let params = format!("{{\"requestId\":{id},\"reason\":\"the call has ended\"}}");
                Bytes::from(reply::notification("notifications/cancelled", params.as_bytes()))
            })
            .collect();
        self.leave();
        self.ending = Some((notices, fault));
    }

    fn leave(&mut self) {
        let Some(asking) = self.asking.take() else { return };
        for Open { id, .. } in asking.open.values() {
            // Nobody reads what the client says to it now.
            drop(self.session.answered(*id));
        }
        self.session.with(|state| {
            let calls = &mut state.calls;
            if calls
                .get(&asking.client_id)
                .is_some_and(|call| Arc::ptr_eq(call, &asking.call))
            {
                calls.remove(&asking.client_id);
            }
        });
    }

    /// Sends something of the call to its client outside of it.
    pub(super) fn divert(&self, notice: &[u8], link: &Link) {
        self.session.send(notice, link.upstream.limits.replay_bytes_max);
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Asking {
    fn take(&mut self, answer: &Answer) -> Result<(), Fault> {
        let Answer { key, message } = answer;
        let Some(Open { method, .. }) = self.open.remove(key) else {
            return Ok(());
        };
        let value = match message.kind() {
            Kind::Response => message.raw(message.envelope.result).unwrap_or(b"{}"),
            // An error has no place in `inputResponses`. For a form there is a word that says the same.
            _ if method == Method::Elicit => NOT_FILLED_IN,
            _ => {
                let error = message.raw(message.envelope.error).unwrap_or_default();
                return Err(Fault::NotAnswered {
                    method: method.as_str().to_owned(),
                    reason: String::from_utf8_lossy(error).chars().take(300).collect(),
                });
            }
        };
        self.answer(key, value);
        Ok(())
    }

    fn answer(&mut self, key: &str, value: &[u8]) {
        if !self.answers.is_empty() {
            self.answers.push(b',');
        }
        push_quoted(&mut self.answers, key);
        self.answers.push(b':');
        self.answers.extend_from_slice(value);
    }
}

/// What a form comes to that nobody filled in.
pub(crate) const NOT_FILLED_IN: &[u8] = b"{\"action\":\"cancel\"}";

/// A question in the words of the client's revision.
pub(crate) fn readable(link: &Link, revision: Revision, question: Bytes) -> Result<Bytes, Unaskable> {
    let Ok(message) = Message::scan(question.clone(), &link.limits()) else {
        return Ok(question);
    };
    let levelled = link.levelled(&message, revision)?;
    Ok(levelled.map_or(question, |message| message.bytes))
}

/// A value of `inputRequests`.
pub(crate) struct InputRequest {
    pub method: String,
    params: Vec<u8>,
}

impl InputRequest {
    pub(crate) fn read(raw: &[u8], at: Span) -> Option<InputRequest> {
        let method = walk::get(raw, at, "method")?;
        let params = walk::get(raw, at, "params").map_or(&b"{}"[..], |params| params.of(raw));
        params.starts_with(b"{").then_some(InputRequest {
            method: axiom_protocol::text::text(raw, method)?.into_owned(),
            params: params.to_vec(),
        })
    }

    /// The same, as a question that belongs to a task.
    pub(crate) fn related_to(mut self, related: &[u8]) -> InputRequest {
        let raw = &self.params;
        let meta = walk::get(raw, whole(raw), "_meta").map_or(&b"{}"[..], |meta| meta.of(raw));
        let meta = object_with(meta, whole(meta), &[(RELATED, related)], &[]);
        self.params = object_with(raw, whole(raw), &[("_meta", &meta)], &[]);
        self
    }

    /// The same as a request of 2025-11-25, where a visit to a page has a name.
    pub(crate) fn under(&self, id: u64) -> Bytes {
        let raw = &self.params;
        let is_url = walk::get(raw, whole(raw), "mode").is_some_and(|mode| mode.of(raw) == b"\"url\"");
        let id = id.to_string();
        if !is_url {
            return Bytes::from(reply::request(id.as_bytes(), &self.method, raw));
        }
        let name = format!("\"axiom-{id}\"");
        let params = object_with(raw, whole(raw), &[("elicitationId", name.as_bytes())], &[]);
        Bytes::from(reply::request(id.as_bytes(), &self.method, &params))
    }
}
