//! `/api/v1/events/...`: the event log's own blocks, for a node that keeps a copy and checks each as it arrives.
//!
//! `shard` says which shard it is and which offsets it has. `blocks?shard=N&from=OFFSET&wait=SECONDS` gives blocks from an
//! offset on, one behind the other as they lie on the disk; the seal of a segment goes before the first block of the next.
//! An answer ends after [`BYTES_MAX`], at the log's end or before a gap: whoever wants more asks again.
//!
//! | status | what it says |
//! |---|---|
//! | 200 | blocks |
//! | 204 | nothing came within `wait` |
//! | 400 | what was asked makes no sense |
//! | 403 | not for callers from other machines, unless `events.share` says so |
//! | 404 | no events are recorded here, or it is another shard |
//! | 409 | no block begins with this offset: whoever asks has another history |
//! | 410 | these events are not here any more; the body says where they go on |

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axiom_core::channel::{self, Receiver};
use axiom_core::{spawn, time};
use axiom_events::{Raw, ReadError, Reader};
use axiom_transport::server::{Body, BodyError};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};

use super::{json, text};
use crate::gateway::Gateway;
use crate::options::Options;

pub(super) const PREFIX: &str = "/api/v1/events/";

/// An answer ends with the block that exceeds it: what is lost when a connection breaks is soon there again.
const BYTES_MAX: usize = 8 << 20;
/// Blocks that are read before the caller has taken them.
const BLOCKS_AHEAD: usize = 2;
/// Proxies cut what is silent for a minute.
const WAIT_MAX: Duration = Duration::from_secs(50);

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    shard: Option<u16>,
    from: Option<u64>,
    wait: Duration,
}

/// Refuses callers from other machines unless events are shared: what was recorded is everybody's calls, and nobody is
/// asked who they are. Where none are recorded there is nothing to refuse.
pub(super) fn stranger(peer: SocketAddr, options: &Options) -> Option<Response<Body>> {
    refused_to(peer, keeps_out(options))
}

/// What callers from other machines are told, if they are told anything.
pub(super) fn keeps_out(options: &Options) -> Option<&'static str> {
    let is_shared = options.events.as_ref().is_none_or(|events| events.share);
    (!is_shared).then_some(
        "events are given to callers on the gateway's own machine, who call it by a loopback name and without a proxy; to \
         others with share = true in its section [events]\n",
    )
}

/// The refusal, where there is one and the caller is of another machine.
pub(super) fn refused_to(peer: SocketAddr, words: Option<&'static str>) -> Option<Response<Body>> {
    let words = words.filter(|_| !peer.ip().to_canonical().is_loopback())?;
    Some(text(StatusCode::FORBIDDEN, words))
}

/// `path` is what follows [`PREFIX`].
pub(super) async fn handle(
    gateway: &Arc<Gateway>,
    peer: SocketAddr,
    method: &Method,
    path: &str,
    query: &str,
) -> Response<Body> {
    if !matches!(path, "shard" | "blocks") {
        return text(
            StatusCode::NOT_FOUND,
            "not found; there are `shard` and `blocks` here\n",
        );
    }
    if method != Method::GET {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "this is read with GET\n");
        let headers = refusal.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        return refusal;
    }
    if let Some(refusal) = stranger(peer, &gateway.plan().options) {
        return refusal;
    }
    let options = gateway.plan().options.events.clone();
    let (Some(options), Some(reader)) = (options, gateway.recorder.reader()) else {
        return text(
            StatusCode::NOT_FOUND,
            "this gateway records no events; a section [events] in its configuration makes it\n",
        );
    };
    if path == "shard" {
        let body = serde_json::json!({
            "shard": options.shard,
            "first_offset": reader.first(),
            "end_offset": reader.end(),
        });
        return json(StatusCode::OK, body.to_string().into_bytes());
    }
    let asked = match Asked::parse(query) {
        Ok(asked) => asked,
        Err(what) => return text(StatusCode::BAD_REQUEST, format!("{what}\n")),
    };
    if let Some(shard) = asked.shard.filter(|shard| *shard != options.shard) {
        let ours = options.shard;
        return text(
            StatusCode::NOT_FOUND,
            format!("shard {shard} is not recorded here; this gateway's is {ours}\n"),
        );
    }
    let from = asked.from.unwrap_or_else(|| reader.first());
    let mut end = reader.watch_end();
    let is_more = tokio::select! {
        // cancel-safe: it only waits.
        waited = time::timeout(asked.wait, end.wait_for(|end| end.offset > from || end.is_closed)) => {
            matches!(waited, Ok(Ok(end)) if end.offset > from)
        }
        // cancel-safe: nothing is consumed.
        () = gateway.drain_begun() => false,
    };
    if is_more {
        return answer(reader, from).await;
    }
    if from > reader.end() {
        return elsewhere(from, reader.end(), "the log ends before it");
    }
    let mut nothing = Response::new(Body::Empty);
    *nothing.status_mut() = StatusCode::NO_CONTENT;
    nothing
}

/// There is something at `from`, or there was.
async fn answer(reader: Reader, from: u64) -> Response<Body> {
    let first = match look(&reader, from).await {
        Ok((seal, Raw::Block(block))) => (seal, block),
        Ok((_, Raw::Gap(gap))) => {
            let is_retired = gap.start < reader.first();
            let why = if is_retired { "retired" } else { "damaged" };
            let body =
                serde_json::json!({"first_offset": gap.end, "missing": [gap.start, gap.end], "why": why});
            return json(StatusCode::GONE, body.to_string().into_bytes());
        }
        // It was there a moment ago, so it comes to be read again.
        Ok((_, Raw::End)) => return text(StatusCode::SERVICE_UNAVAILABLE, "the log is being closed\n"),
        Err(error) => {
            tracing::error!(%error, from, "events that another node wants cannot be read");
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the log cannot be read now\n");
        }
    };
    let begins = first.1.offsets.start;
    if begins != from {
        return elsewhere(
            from,
            begins,
            "it is in the middle of a block, which begins before it",
        );
    }
    let (tx, rx) = channel::bounded(BLOCKS_AHEAD);
    drop(spawn("blocks for another node", async move {
        let mut next = Some(first);
        let mut bytes = 0;
        while let Some((seal, block)) = next.take() {
            bytes += block.bytes.len();
            let at = block.offsets.end;
            for piece in seal.into_iter().chain([block.bytes]) {
                if tx.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
            if bytes > BYTES_MAX {
                return;
            }
            match look(&reader, at).await {
                Ok((seal, Raw::Block(block))) => next = Some((seal, block)),
                Ok((_, Raw::Gap(_) | Raw::End)) => {}
                Err(error) => {
                    tracing::error!(%error, at, "events that another node wants cannot be read");
                    let reason = "the log cannot be read".to_owned();
                    // Whoever has gone does not want to know.
                    let _gone = tx.send(Err(BodyError { reason })).await.is_err();
                }
            }
        }
    }));
    let mut response = Response::new(Body::stream(Blocks(rx)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.axiom.blocks"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    response
}

/// What is at an offset, and the seal of the segment that ends there.
async fn look(reader: &Reader, at: u64) -> Result<(Option<Bytes>, Raw), ReadError> {
    let reader = reader.clone();
    let looking = spawn::blocking(move || Ok((reader.seal_before(at)?, reader.raw(at)?)));
    looking.join().await.unwrap_or(Ok((None, Raw::End)))
}

fn elsewhere(from: u64, at: u64, why: &str) -> Response<Body> {
    let body = serde_json::json!({"from": from, "at": at, "why": why});
    json(StatusCode::CONFLICT, body.to_string().into_bytes())
}

impl Asked {
    fn parse(query: &str) -> Result<Asked, String> {
        let mut asked = Asked::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = |what: &str| format!("`{key}` must be {what}");
            match key {
                "shard" => asked.shard = Some(value.parse().map_err(|_| bad("a number up to 65535"))?),
                "from" => asked.from = Some(value.parse().map_err(|_| bad("an offset"))?),
                "wait" => {
                    let seconds = value.parse().map_err(|_| bad("a number of seconds"))?;
                    asked.wait = Duration::from_secs(seconds).min(WAIT_MAX);
                }
                _ => {
                    return Err(format!(
                        "there is no `{key}`; there are `shard`, `from` and `wait`"
                    ));
                }
            }
        }
        Ok(asked)
    }
}

/// Pieces as they are read.
struct Blocks(Receiver<Result<Bytes, BodyError>>);

impl HttpBody for Blocks {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::EventsOptions;

    #[test]
    fn strangers_get_no_events_unless_they_are_shared() {
        let peer = |address: &str| address.parse::<SocketAddr>().expect("an address");
        let options = |share| {
            let mut events = EventsOptions::new("none".into());
            events.share = share;
            Options {
                events: Some(events),
                ..Options::default()
            }
        };
        let (alone, shared, unrecorded) = (options(false), options(true), Options::default());
        for ours in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            assert!(stranger(peer(ours), &alone).is_none(), "{ours}");
        }
        for theirs in ["192.0.2.1:9", "[2001:db8::1]:9", "[::ffff:192.0.2.1]:9"] {
            let refusal = stranger(peer(theirs), &alone).expect("it is refused");
            assert_eq!(refusal.status(), StatusCode::FORBIDDEN, "{theirs}");
            assert!(stranger(peer(theirs), &shared).is_none(), "{theirs}");
            assert!(stranger(peer(theirs), &unrecorded).is_none(), "{theirs}");
        }
    }

    #[test]
    fn what_is_asked_for() {
        let asked = |query| Asked::parse(query).expect("it makes sense");
        assert_eq!(asked(""), Asked::default());
        assert_eq!(
            asked("shard=7&from=120&wait=3"),
            Asked {
                shard: Some(7),
                from: Some(120),
                wait: Duration::from_secs(3),
            }
        );
        assert_eq!(asked("wait=100000").wait, WAIT_MAX);
        for query in ["shard=65536", "from=-1", "from", "wait=x", "form=1"] {
            assert!(Asked::parse(query).is_err(), "{query}");
        }
    }
}
