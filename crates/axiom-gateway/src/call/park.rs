//! A modern client at a session server: what the server asks in the middle of the call becomes the call's answer
//! (`input_required`), and the call itself is parked until the client calls again.

use std::sync::Arc;

use axiom_core::time;
use axiom_protocol::method::Method;
use axiom_protocol::rewrite::object_with;
use axiom_protocol::text::push_quoted;
use axiom_protocol::walk;
use axiom_protocol::{codes, reply};
use bytes::Bytes;

use super::{Declared, ONE_BREATH, Pause, Unasked};
use crate::exchange::{Exchange, Final, Heard, Step};
use crate::fault::Fault;
use crate::log_level::severity;
use crate::message::Message;
use crate::parking::{Bound, Parked, Parking, Question, bound_to};
use crate::plan::Endpoint;
use crate::upstream::{Link, whole};

/// The client's side of such a call.
pub(crate) struct Park {
    parking: Arc<Parking>,
    endpoint: Arc<Endpoint>,
    /// The client's request, which a state is bound to.
    request: Message,
    declared: Declared,
    /// The least severe log level the client wants; without one it wants no log lines.
    log_level: Option<String>,
    /// What the server has asked and nobody has answered yet.
    open: Vec<Question>,
    round: u32,
    /// Runs while more questions may follow.
    breath: Option<Pause>,
    /// What the server wanted to ask and the client did not declare.
    lacking: Option<&'static str>,
    /// Who is to be told, if the call ends with questions open.
    link: Option<Arc<Link>>,
}

/// Questions of one call that its client has not answered.
pub(crate) const OPEN_MAX: usize = 64;

impl Park {
    pub(crate) fn new(parking: &Arc<Parking>, endpoint: &Arc<Endpoint>, message: &Message) -> Park {
        Park {
            parking: Arc::clone(parking),
            endpoint: Arc::clone(endpoint),
            request: message.clone(),
            declared: Declared::of(message),
            log_level: message
                .text(message.envelope.in_meta.log_level)
                .map(std::borrow::Cow::into_owned),
            open: Vec::new(),
            round: 0,
            breath: None,
            lacking: None,
            link: None,
        }
    }

    /// Cancel-safe: questions are kept in `self`.
    pub(super) async fn next(&mut self, exchange: &mut Option<Exchange>) -> Step {
        loop {
            let Some(on_its_way) = exchange.as_mut() else {
                return std::future::pending().await;
            };
            let heard = match self.breath.as_mut() {
                None => on_its_way.hear().await,
                Some(breath) => tokio::select! {
                    biased;
                    // cancel-safe: see `Exchange::next`
                    heard = on_its_way.hear() => heard,
                    // cancel-safe: the pause is kept in self
                    () = breath.as_mut() => {
                        self.breath = None;
                        let Some(exchange) = exchange.take() else { continue };
                        return Step::Done(self.park(exchange));
                    }
                },
            };
            match heard {
                Heard::Asked(question) => {
                    let link = Arc::clone(on_its_way.link());
                    self.note(&link, &question);
                }
                Heard::Step(Step::Notice(notice)) if !self.wants(&notice, on_its_way) => {}
                Heard::Step(step) => return step,
            }
        }
    }

    /// Keeps a question for the client, or refuses it.
    fn note(&mut self, link: &Arc<Link>, question: &Message) {
        let id = question.id().unwrap_or_default();
        if self.open.len() >= OPEN_MAX {
            return link.refuse(id, "too many questions to this client are open");
        }
        let number = format!("{}-{}", self.round + 1, self.open.len() + 1);
        match self.declared.question(question, &number) {
            Ok(question) => self.open.push(question),
            Err(unasked) => {
                link.refuse(id, unasked.reason());
                if let Unasked::Lacking(required) = unasked {
                    // The server may know what to do without. If it does not, this is why.
                    self.lacking = Some(required);
                }
                return;
            }
        }
        self.link = Some(Arc::clone(link));
        self.breath
            .get_or_insert_with(|| Box::pin(time::sleep(ONE_BREATH)));
    }

    /// What a failure of the call is due to, if the server could not ask what it wanted to know.
    pub(super) fn explained(&self, answer: Final, link: &Link) -> Result<Final, Fault> {
        let Some(required) = self.lacking else {
            return Ok(answer);
        };
        let failed = !answer.is_result
            || answer.parts.front().is_some_and(|whole| {
                let message = Message::scan(whole.clone(), &link.limits()).ok();
                message.is_some_and(|message| {
                    let result = message.envelope.result;
                    result
                        .and_then(|result| walk::get(&message.bytes, result, "isError"))
                        .is_some_and(|at| at.of(&message.bytes) == b"true")
                })
            });
        if failed {
            return Err(Fault::MissingCapability {
                server: link.upstream.name.to_string(),
                required,
            });
        }
        Ok(answer)
    }

    /// Sends the client away with what the server asked, and keeps the call.
    fn park(&mut self, exchange: Exchange) -> Result<Final, Fault> {
        let id = exchange.client_id();
        let open = std::mem::take(&mut self.open);
        let requests = input_requests(&open);
        let state = self.parking.park(exchange, open, self.round + 1, &self.bound())?;
        Ok(input_required(&id, &requests, &state))
    }

    /// A call that its client has come back to. Its answers are on their way to the server already.
    pub(crate) fn resumed(
        parking: &Arc<Parking>,
        endpoint: &Arc<Endpoint>,
        message: &Message,
        round: u32,
    ) -> Park {
        let mut park = Park::new(parking, endpoint, message);
        park.round = round;
        park
    }

    fn bound(&self) -> Bound {
        bound_to(&self.endpoint.path, &self.request)
    }

    /// The server wants the user to visit pages before it is asked again; the call itself is over.
    pub(super) fn visit_first(
        &self,
        link: &Arc<Link>,
        client_id: Bytes,
        data: &[u8],
    ) -> Result<Final, Fault> {
        if !self.declared.url {
            return Err(Fault::MissingCapability {
                server: link.upstream.name.to_string(),
                required: "{\"elicitation\":{\"url\":{}}}",
            });
        }
        let open: Vec<Question> = walk::get(data, whole(data), "elicitations")
            .filter(|list| list.of(data).starts_with(b"["))
            .into_iter()
            .flat_map(|list| walk::elements(data, list))
            .filter(|item| item.of(data).starts_with(b"{"))
            .enumerate()
            .map(|(index, item)| {
                let mut ask = b"{\"method\":\"elicitation/create\",\"params\":".to_vec();
                ask.extend_from_slice(&object_with(
                    item.of(data),
                    whole(item.of(data)),
                    &[("mode", b"\"url\"")],
                    &["elicitationId"],
                ));
                ask.push(b'}');
                Question {
                    key: format!("visit-{}", index + 1),
                    upstream_id: Bytes::new(),
                    ask: Bytes::from(ask),
                }
            })
            .collect();
        if open.is_empty() {
            return Err(link
                .upstream
                .protocol_fault("it asks for a visit and names no page"));
        }
        let state = self.parking.afresh(&self.bound());
        Ok(input_required(&client_id, &input_requests(&open), &state))
    }

    /// A modern client hears only what belongs to its request: progress, and log lines if it asked for them.
    fn wants(&self, notice: &Bytes, exchange: &Exchange) -> bool {
        let link = exchange.link();
        let Ok(message) = Message::scan(notice.clone(), &link.limits()) else {
            return false;
        };
        match message.method() {
            Method::Progress => exchange.has_token(),
            Method::LogMessage => self.log_level.as_deref().is_some_and(|least| {
                let level = message.text(message.envelope.param.level);
                severity(level.as_deref().unwrap_or_default()) >= severity(least)
            }),
            _ => {
                link.deliver(&message);
                false
            }
        }
    }
}

impl Drop for Park {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            for question in &self.open {
                link.refuse(&question.upstream_id, "the call has ended");
            }
        }
    }
}

/// Answers the open questions of a claimed call from `inputResponses`. What is left open must be asked again: what was
/// not answered, and what the server could not be told.
pub(crate) async fn answer_open(parked: &mut Parked, message: &Message) -> Result<(), Fault> {
    match parked.link() {
        Some(link) => answer_questions(&mut parked.open, &link, message).await,
        None => Err(Fault::StateLost),
    }
}

/// The same for questions that are not a call's.
pub(crate) async fn answer_questions(
    open: &mut Vec<Question>,
    link: &Arc<Link>,
    message: &Message,
) -> Result<(), Fault> {
    let raw = &message.bytes;
    let responses = message
        .envelope
        .param
        .input_responses
        .filter(|at| at.of(raw).starts_with(b"{"));
    let mut index = 0;
    while let Some(question) = open.get(index) {
        let given = responses
            .and_then(|at| walk::get(raw, at, &question.key))
            .map(|at| at.of(raw))
            .filter(|value| value.starts_with(b"{"));
        let Some(value) = given else {
            index += 1;
            continue;
        };
        let answer = Bytes::from(reply::result(&question.upstream_id, value));
        match link.send(answer).await {
            Ok(()) => drop(open.remove(index)),
            Err(_) if link.is_down() => return Err(link.fault()),
            Err(fault) => {
                tracing::warn!(server = %link.upstream.name, %fault, "an answer could not be delivered; it is asked for again");
                index += 1;
            }
        }
    }
    Ok(())
}

/// What a client gets that left questions open.
pub(crate) fn ask_again(
    parking: &Parking,
    parked: Parked,
    client_id: &[u8],
    bound: &Bound,
) -> Result<Final, Fault> {
    let requests = input_requests(&parked.open);
    let state = parking.park_again(parked, bound)?;
    Ok(input_required(client_id, &requests, &state))
}

/// Whether the client did what it was sent away for, where nothing is parked.
pub(crate) fn has_visited(message: &Message) -> bool {
    let raw = &message.bytes;
    let responses = message.envelope.param.input_responses;
    responses
        .filter(|at| at.of(raw).starts_with(b"{"))
        .into_iter()
        .flat_map(|at| walk::members(raw, at))
        .all(|(_, value)| {
            let action = walk::get(raw, value, "action");
            action.is_none_or(|action| action.of(raw) == b"\"accept\"")
        })
}

pub(crate) fn input_requests(open: &[Question]) -> Vec<u8> {
    let mut requests = b"{".to_vec();
    for (index, question) in open.iter().enumerate() {
        if index > 0 {
            requests.push(b',');
        }
        push_quoted(&mut requests, &question.key);
        requests.push(b':');
        requests.extend_from_slice(&question.ask);
    }
    requests.push(b'}');
    requests
}

fn input_required(client_id: &[u8], requests: &[u8], state: &str) -> Final {
    let mut result = b"{\"resultType\":\"input_required\",\"inputRequests\":".to_vec();
    result.extend_from_slice(requests);
    result.extend_from_slice(b",\"requestState\":");
    push_quoted(&mut result, state);
    result.push(b'}');
    Final::whole(Bytes::from(reply::result(client_id, &result)))
}

/// True for a session server's error that sends the user to pages first.
pub(crate) fn is_visit_first(code: Option<i64>) -> bool {
    code == Some(codes::URL_ELICITATION)
}
