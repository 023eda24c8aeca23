//! Calls that wait for their clients.
//!
//! A session server asks in the middle of a call; a client of 2026-07-28 answers by calling again. In between the call
//! stays where it is, on its way at the server, and its client holds a `requestState` that says which one it is. So a
//! tool runs once, however often its client has to come back.
//!
//! The state is sealed and bound to the request it belongs to: it is good for the same method with the same parameters
//! at the same endpoint, for one answer, until it expires. Anything else is refused before the server hears of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::time::{self, Instant};
use bytes::Bytes;
use ring::digest::{Context, SHA256};

use crate::exchange::Exchange;
use crate::fault::Fault;
use crate::message::Message;
use crate::seal::{Purpose, Sealer};
use crate::upstream::Link;

/// All calls that wait for their clients.
pub(crate) struct Parking {
    sealer: Arc<Sealer>,
    lot: Mutex<HashMap<u128, Parked>>,
    parked_max: usize,
    ttl: Duration,
}

/// A call on its way at a server that has asked something.
pub(crate) struct Parked {
    /// Taken out when the call goes on.
    exchange: Option<Exchange>,
    /// What the server asked and the client has not answered.
    pub open: Vec<Question>,
    /// Times the client was sent away with questions, this one included.
    pub round: u32,
    until: Instant,
}

/// A server's request in the middle of a call.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Its name in `inputRequests`.
    pub key: String,
    /// The id under which the server waits for the answer.
    pub upstream_id: Bytes,
    /// The request as a value of `inputRequests`: `{"method":...,"params":...}`.
    pub ask: Bytes,
}

/// A digest of who asks for what: method and parameters without what differs when a client comes back.
pub(crate) type Bound = [u8; 32];

/// Everybody, as long as there are no identities.
pub(crate) const PRINCIPAL: &[u8] = b"local";

/// What a good `requestState` leads to.
pub(crate) enum Claimed {
    Parked(Box<Parked>),
    /// Nothing waits: the request is to be made as if for the first time.
    Afresh,
}

/// Names the state of a request that is simply made again.
const AFRESH: u128 = 0;

impl std::fmt::Debug for Parking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parking")
            .field("calls", &self.lock().len())
            .finish()
    }
}

impl Parking {
    pub(crate) fn new(sealer: Arc<Sealer>, parked_max: usize, ttl: Duration) -> Parking {
        Parking {
            sealer,
            lot: Mutex::default(),
            parked_max,
            ttl,
        }
    }

    /// How long a call waits for its client.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Parks a call and returns the state that leads back to it. Fails, and ends the call, if too many wait already.
    pub(crate) fn park(
        &self,
        exchange: Exchange,
        open: Vec<Question>,
        round: u32,
        bound: &Bound,
    ) -> Result<String, Fault> {
        let id = u128::from_be_bytes(self.sealer.random_id());
        exchange.set_parked(true);
        exchange.link().upstream.tally.parked();
        let parked = Parked {
            exchange: Some(exchange),
            open,
            round,
            until: time::now() + self.ttl,
        };
        let mut lot = self.lock();
        if lot.len() >= self.parked_max {
            drop(lot);
            let parked_max = self.parked_max;
            parked.give_up("too many calls wait for their clients");
            return Err(Fault::TooManyParked { parked_max });
        }
        lot.insert(id, parked);
        drop(lot);
        Ok(self.seal(id, round, bound))
    }

    /// Parks a claimed call once more, with what is still open.
    pub(crate) fn park_again(&self, mut parked: Parked, bound: &Bound) -> Result<String, Fault> {
        let exchange = parked.exchange.take().ok_or(Fault::StateLost)?;
        let open = std::mem::take(&mut parked.open);
        self.park(exchange, open, parked.round + 1, bound)
    }

    /// A state that leads to no call: the client is only to do something and ask again.
    pub(crate) fn afresh(&self, bound: &Bound) -> String {
        self.seal(AFRESH, 0, bound)
    }

    fn seal(&self, id: u128, round: u32, bound: &Bound) -> String {
        let until = time::unix_seconds() + self.ttl.as_secs();
        let mut plain = Vec::with_capacity(60);
        plain.extend_from_slice(&id.to_be_bytes());
        plain.extend_from_slice(&until.to_be_bytes());
        plain.extend_from_slice(&round.to_be_bytes());
        plain.extend_from_slice(bound);
        self.sealer.seal(Purpose::Parked, &plain)
    }

    /// Takes the call that `state` leads to off the lot: nobody else can have it.
    pub(crate) fn claim(&self, state: &str, bound: &Bound) -> Result<Claimed, Fault> {
        let refused = |why: &str| Err(Fault::InvalidParams(format!("params.requestState {why}")));
        let Some(plain) = self.sealer.open(Purpose::Parked, state) else {
            return refused("is not one of this gateway's, or was changed");
        };
        let Some((id, until, round, bound_to)) = decode(&plain) else {
            return refused("is not one of this gateway's");
        };
        if time::unix_seconds() > until {
            return Err(Fault::StateLost);
        }
        if bound_to != bound {
            return refused("belongs to another request");
        }
        if id == AFRESH {
            return Ok(Claimed::Afresh);
        }
        let mut lot = self.lock();
        // An earlier round's state is no key to a later one.
        if lot.get(&id).is_none_or(|parked| parked.round != round) {
            return Err(Fault::StateLost);
        }
        let parked = lot.remove(&id).ok_or(Fault::StateLost)?;
        drop(lot);
        if let Some(exchange) = &parked.exchange {
            exchange.link().upstream.tally.unparked();
            exchange.set_parked(false);
        }
        Ok(Claimed::Parked(Box::new(parked)))
    }

    /// Gives up the calls whose clients did not come back in time.
    pub(crate) fn sweep(&self) {
        let now = time::now();
        let late: Vec<Parked> = self
            .lock()
            .extract_if(|_, parked| parked.until < now)
            .map(|(_, parked)| parked)
            .collect();
        for parked in late {
            tracing::info!(
                server = parked.server(),
                "a client did not come back with an answer"
            );
            parked.give_up("the client did not answer in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Parked>> {
        // No critical section leaves the map half-changed.
        self.lot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    /// Answers the server that it will get no answer, and cancels the call by dropping it.
    fn give_up(mut self, reason: &str) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        exchange.link().upstream.tally.unparked();
        for question in self.open.drain(..) {
            exchange.link().refuse(&question.upstream_id, reason);
        }
    }

    /// The call, to go on with. Its questions have been answered.
    pub(crate) fn into_exchange(mut self) -> Option<Exchange> {
        debug_assert!(
            self.open.is_empty(),
            "a call goes on when everything was answered"
        );
        self.exchange.take()
    }

    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.exchange.as_ref().map(|exchange| Arc::clone(exchange.link()))
    }

    pub(crate) fn server(&self) -> &str {
        self.exchange.as_ref().map_or("", Exchange::server)
    }
}

/// A claimed call that does not come to anything leaves no question of its server open.
impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            for question in &self.open {
                exchange
                    .link()
                    .refuse(&question.upstream_id, "the call has ended");
            }
        }
    }
}

/// True if an opened state leads to a call that waits, so that only the gateway that has it can go on.
pub(crate) fn is_of_a_call(plain: &[u8]) -> bool {
    decode(plain).is_some_and(|(id, ..)| id != AFRESH)
}

fn decode(plain: &[u8]) -> Option<(u128, u64, u32, &Bound)> {
    let (id, rest) = plain.split_first_chunk::<16>()?;
    let (until, rest) = rest.split_first_chunk::<8>()?;
    let (round, rest) = rest.split_first_chunk::<4>()?;
    let bound = rest.as_array::<32>()?;
    Some((
        u128::from_be_bytes(*id),
        u64::from_be_bytes(*until),
        u32::from_be_bytes(*round),
        bound,
    ))
}

/// Fields of `params` that differ when a client comes back with the same request.
const NOT_BOUND: [&str; 3] = ["inputResponses", "requestState", "_meta"];

/// What a request's state is bound to. Parameters count by their value, not by how a client happens to write them.
pub(crate) fn bound_to(endpoint: &str, message: &Message) -> Bound {
    let params: serde_json::Value = message
        .raw(message.envelope.params)
        .and_then(|params| serde_json::from_slice(params).ok())
        .unwrap_or_default();
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    part(PRINCIPAL);
    part(endpoint.as_bytes());
    part(message.method_text().as_bytes());
    if let serde_json::Value::Object(mut fields) = params {
        fields.retain(|name, _| !NOT_BOUND.contains(&name.as_str()));
        // Members come sorted by name.
        part(serde_json::Value::Object(fields).to_string().as_bytes());
    }
    let mut bound = Bound::default();
    bound.copy_from_slice(context.finish().as_ref());
    bound
}

#[cfg(test)]
mod tests {
    use axiom_protocol::envelope::Limits;

    use super::*;

    fn bound(params: &str) -> Bound {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let message = Message::scan(Bytes::from(text), &Limits::default()).unwrap();
        bound_to("/mcp", &message)
    }

    #[test]
    fn a_request_is_the_same_when_its_client_comes_back() {
        let first = bound(r#"{"name":"t","arguments":{"a":1,"b":[2]},"_meta":{"progressToken":1}}"#);
        let again = bound(
            r#"{"requestState":"x","inputResponses":{"q":{}}, "arguments":{"b":[2],"a":1},"name":"t","_meta":{}}"#,
        );
        assert_eq!(first, again);
        for other in [
            r#"{"name":"u","arguments":{"a":1,"b":[2]}}"#,
            r#"{"name":"t","arguments":{"a":1,"b":[3]}}"#,
            r#"{"name":"t"}"#,
        ] {
            assert_ne!(first, bound(other), "{other}");
        }
    }

    #[test]
    fn a_state_is_good_for_its_request_and_its_time() {
        let parking = Parking::new(Arc::default(), 1, Duration::from_secs(60));
        let (mine, other) = (bound(r#"{"name":"t"}"#), bound(r#"{"name":"u"}"#));
        let state = parking.afresh(&mine);
        assert!(matches!(parking.claim(&state, &mine), Ok(Claimed::Afresh)));
        let refusal = |state: &str, bound| match parking.claim(state, bound) {
            Err(fault) => fault.to_string(),
            Ok(_) => panic!("{state} was taken"),
        };
        assert!(refusal(&state, &other).contains("another request"));
        assert!(refusal(&format!("{state}A"), &mine).contains("was changed"));
        assert!(refusal("", &mine).contains("was changed"));
        let nowhere = parking.seal(7, 1, &mine);
        assert!(matches!(parking.claim(&nowhere, &mine), Err(Fault::StateLost)));
        let elsewhere = Parking::new(Arc::default(), 1, Duration::from_secs(60)).afresh(&mine);
        assert!(refusal(&elsewhere, &mine).contains("was changed"));
    }
}
