//! A call at a server, and how its answer is to be read by the client.
//!
//! Within an era a call is one exchange and its answer passes as it is, unless the server is newer than the client: then
//! what is new to the client is levelled. Across eras the answer is converted, and a server
//! that asks its client something asks in the other era's way: see `park` (a session server, a modern client) and
//! `rounds` (a modern server, a client with a session).

use std::sync::Arc;

use axiom_core::time;
use axiom_protocol::method::Method;
use axiom_protocol::revision::{Era, Revision};
use bytes::Bytes;

use crate::exchange::{Exchange, Final, Step, Waiting};
use crate::fault::Fault;
use crate::message::Message;
use crate::record::Record;
use crate::task::wait::Wait;
use crate::task::words::with_handles;
use crate::task::{self, Creation};
use crate::upstream::Link;

pub(crate) use declared::{Declared, Unasked};
pub(crate) use park::{
    OPEN_MAX, Park, answer_open, answer_questions, ask_again, has_visited, input_requests, is_visit_first,
};
pub(crate) use rounds::{InputRequest, NOT_FILLED_IN, QUESTIONS_MAX, Rounds, readable};

mod declared;
mod park;
mod rounds;

/// A call at a server.
pub(crate) struct Call {
    link: Arc<Link>,
    /// Taken out when the call is parked, which is its last step here.
    exchange: Option<Exchange>,
    method: Method,
    across: Option<Box<Across>>,
    /// Written at the last step, or when the call is given up.
    record: Record,
}

/// What a call across eras needs besides.
pub(crate) struct Across {
    side: Side,
    /// What it has to do with tasks.
    task: Option<Arc<Creation>>,
    converting: Option<Waiting<Converted>>,
}

/// Which way across.
#[allow(clippy::large_enum_variant, reason = "it lives in Across, which is boxed")]
pub(crate) enum Side {
    /// A modern client, a session server.
    Park(Park),
    /// A client with a session, a modern server.
    Rounds(Rounds),
    /// Not across after all: a client of this revision, a session server of a newer one.
    Older(Revision),
    /// Nor here, but the call has to do with tasks.
    Within,
    /// A client with a session waits for a modern server's task.
    Wait(Wait),
}

/// An answer of the other era.
#[derive(Debug)]
pub(crate) enum Converted {
    /// Readable to the client.
    Final(Final),
    /// A modern server wants to know something first: the `result`.
    InputRequired(Bytes),
    /// A session server wants the user to visit pages first: the error's `data`.
    VisitFirst(Bytes),
    /// There is a task, and the call goes on until it has ended.
    Goes(Box<Exchange>),
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("exchange", &self.exchange)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// A call whose answer the client reads as it is.
    pub(crate) fn straight(exchange: Exchange, method: Method) -> Call {
        Call {
            link: Arc::clone(exchange.link()),
            exchange: Some(exchange),
            method,
            across: None,
            record: Record::default(),
        }
    }

    pub(crate) fn across(exchange: Exchange, method: Method, side: Side) -> Call {
        let across = Across {
            side,
            task: None,
            converting: None,
        };
        Call {
            across: Some(Box::new(across)),
            ..Call::straight(exchange, method)
        }
    }

    /// A call that waits for a task, and is at no server itself.
    pub(crate) fn waiting(wait: Wait) -> Call {
        Call {
            link: Arc::clone(wait.link()),
            exchange: None,
            method: Method::TasksResult,
            across: Some(Box::new(Across {
                side: Side::Wait(wait),
                task: None,
                converting: None,
            })),
            record: Record::default(),
        }
    }

    /// The same call, with what it has to do with tasks.
    pub(crate) fn with_task(mut self, creation: Option<Creation>) -> Call {
        if let Some(across) = &mut self.across {
            across.task = creation.map(Arc::new);
        }
        self
    }

    /// A call at a server of a newer revision than the client's, within an era.
    pub(crate) fn levelled(exchange: Exchange, method: Method, client: Revision) -> Call {
        Call::across(exchange, method, Side::Older(client))
    }

    /// Leaves it to the call to end the record of its request.
    pub(crate) fn recorded_in(&mut self, mut record: Record) {
        record.at(&self.link);
        self.record = record;
    }

    /// What comes next of the call, readable to the client.
    ///
    /// # Cancel safety
    /// Safe: what was received is kept in `self`, an answer under conversion too.
    pub(crate) async fn next(&mut self) -> Step {
        let mut step = match (&mut self.across, &mut self.exchange) {
            (None, Some(exchange)) => exchange.next().await,
            (Some(_), _) => Box::pin(self.next_across()).await,
            // Nothing comes after the last step.
            (None, None) => std::future::pending().await,
        };
        if let Step::Done(outcome) = &mut step {
            self.record.settle(outcome);
        }
        step
    }

    async fn next_across(&mut self) -> Step {
        let Some(across) = self.across.as_mut() else {
            return std::future::pending().await;
        };
        loop {
            if let Some(converting) = across.converting.as_mut() {
                let converted = converting.as_mut().await;
                across.converting = None;
                let step = match (converted, &mut across.side) {
                    (Err(fault), _) => Step::Done(Err(fault)),
                    (Ok(Converted::Final(answer)), Side::Park(park)) => {
                        Step::Done(park.explained(answer, &self.link))
                    }
                    (Ok(Converted::Final(answer)), _) => Step::Done(Ok(answer)),
                    (Ok(Converted::Goes(mut exchange)), _) => {
                        let before = self.exchange.as_ref();
                        exchange.cancel_on_drop(before.is_none_or(Exchange::cancels_on_drop));
                        self.exchange = Some(*exchange);
                        continue;
                    }
                    (Ok(Converted::InputRequired(result)), Side::Rounds(rounds)) => {
                        if let Err(fault) = rounds.begin(&self.link, &result) {
                            rounds.end_with(fault);
                        }
                        continue;
                    }
                    (Ok(Converted::VisitFirst(data)), Side::Park(park)) => {
                        let ids = self.exchange.as_ref().map(Exchange::client_id);
                        Step::Done(park.visit_first(&self.link, ids.unwrap_or_default(), &data))
                    }
                    (Ok(Converted::InputRequired(_) | Converted::VisitFirst(_)), _) => Step::Done(Err(self
                        .link
                        .upstream
                        .protocol_fault("it answered in another era's way"))),
                };
                return step;
            }
            let step = match &mut across.side {
                Side::Park(park) => park.next(&mut self.exchange).await,
                Side::Older(_) | Side::Within => match &mut self.exchange {
                    Some(exchange) => exchange.next().await,
                    None => std::future::pending().await,
                },
                Side::Wait(wait) => wait.next().await,
                Side::Rounds(rounds) => match rounds.next(&self.link, &mut self.exchange).await {
                    Some(step) => step,
                    // The server was called again with the client's answers, or the client is told that they are not wanted.
                    None => continue,
                },
            };
            let unfinished = self.exchange.as_mut().and_then(Exchange::unfinished);
            let step = match (step, unfinished) {
                (Step::Done(outcome), Some((awaited, session))) => {
                    let client_id = self
                        .exchange
                        .as_ref()
                        .map(Exchange::client_id)
                        .unwrap_or_default();
                    let reader = across.side.reader();
                    let (link, method) = (Arc::clone(&self.link), self.method);
                    across.converting = Some(Box::pin(async move {
                        match awaited.again(outcome, &client_id, session.as_ref()).await? {
                            Ok(answer) => converted(answer, method, reader, link, None).await,
                            Err(exchange) => Ok(Converted::Goes(exchange)),
                        }
                    }));
                    continue;
                }
                (step, _) => step,
            };
            match step {
                // A parked call's last word is the gateway's own.
                Step::Done(Ok(answer)) if self.exchange.is_some() => {
                    let link = Arc::clone(&self.link);
                    let reader = across.side.reader();
                    let task = across.task.clone();
                    let converting = converted(answer, self.method, reader, link, task);
                    across.converting = Some(Box::pin(converting));
                }
                Step::Notice(notice) => {
                    let reader = across.side.reader();
                    let levelled = reader.and_then(|client| crate::level::notice(&notice, client));
                    let notice = levelled.map_or(notice, Bytes::from);
                    return Step::Notice(named(notice, &self.link, across));
                }
                step @ Step::Done(_) => return step,
            }
        }
    }

    /// The outcome, whole, without what comes before it.
    pub(crate) async fn finish(mut self) -> Result<Final, Fault> {
        let answer = self.outcome().await?;
        answer.gathered(self.link.limits().bytes_max, self.server()).await
    }

    /// The outcome as far as it has arrived. What comes before it goes to the client outside of the call.
    pub(crate) async fn outcome(&mut self) -> Result<Final, Fault> {
        loop {
            match self.next().await {
                // A question of the server is among them, perhaps: it must reach the client all the same.
                Step::Notice(notice) => self.divert(&notice),
                Step::Done(result) => return result,
            }
        }
    }

    fn divert(&self, notice: &[u8]) {
        match (&self.exchange, self.across.as_ref().map(|across| &across.side)) {
            (_, Some(Side::Rounds(rounds))) => rounds.divert(notice, &self.link),
            (_, Some(Side::Wait(wait))) => wait.divert(notice),
            (Some(exchange), _) => exchange.divert(notice),
            (None, _) => {}
        }
    }

    pub(crate) fn is_subscription(&self) -> bool {
        self.method == Method::SubscriptionsListen
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn server(&self) -> &str {
        &self.link.upstream.name
    }

    /// Whether giving the call up by dropping this tells the server to stop.
    pub(crate) fn cancel_on_drop(&mut self, cancel: bool) {
        if let Some(exchange) = &mut self.exchange {
            exchange.cancel_on_drop(cancel);
        }
    }

    /// True if dropping the call would tell the server to stop, or has nothing to stop.
    pub(crate) fn cancels_on_drop(&self) -> bool {
        self.exchange.as_ref().is_none_or(Exchange::cancels_on_drop)
    }
}

impl Side {
    /// A call within an era that has to do with tasks.
    pub(crate) fn within(method: Method, client: Revision, server: Revision) -> Side {
        match crate::level::concerns(method, client, server) {
            true => Side::Older(client),
            false => Side::Within,
        }
    }

    /// The revision that reads the answer, where it must be converted.
    fn reader(&self) -> Option<Revision> {
        match self {
            Side::Park(_) => Some(Revision::MODERN),
            Side::Rounds(rounds) => Some(rounds.reader()),
            Side::Older(client) => Some(*client),
            Side::Within | Side::Wait(_) => None,
        }
    }
}

/// The server's answer, readable to the client.
async fn converted(
    answer: Final,
    method: Method,
    reader: Option<Revision>,
    link: Arc<Link>,
    task: Option<Arc<Creation>>,
) -> Result<Converted, Fault> {
    let answer = match task {
        Some(task) => match task.read(answer, method, &link).await? {
            task::Read::Other(answer) => answer,
            task::Read::Told(answer) => return Ok(Converted::Final(answer)),
            task::Read::Goes(exchange) => return Ok(Converted::Goes(exchange)),
        },
        None => answer,
    };
    match reader {
        Some(reader) => crate::bridge::answer(answer, method, reader, link).await,
        None => Ok(Converted::Final(answer)),
    }
}

/// What a modern server tells of its tasks, with their handles. (A session server's words have them already.)
fn named(notice: Bytes, link: &Link, across: &Across) -> Bytes {
    let (Side::Within, Some(creation)) = (&across.side, &across.task) else {
        return notice;
    };
    if creation.client.era() == Era::Legacy {
        return notice;
    }
    match Message::scan(notice.clone(), &link.limits()) {
        Ok(message) => with_handles(&message, Method::None, &creation.naming),
        Err(_) => notice,
    }
}

/// The pause in which questions that a server asks in one breath are gathered.
const ONE_BREATH: std::time::Duration = std::time::Duration::from_millis(20);

/// A sleep to be kept while others are waited for too.
type Pause = std::pin::Pin<Box<time::Sleep>>;
