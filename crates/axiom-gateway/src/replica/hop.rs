//! The sign that a request comes from another replica: a sealed header that no client can make.
//!
//! It is made for one request and good for some seconds. A request that has it is never passed on again, and needs no
//! allowed Host: the replica that sent it has checked the client's.

use axiom_core::time;
use axiom_protocol::headers::MCP_SESSION_ID;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest::{Context, SHA256};

use crate::seal::{Purpose, Refused, Sealer};

/// The header.
const HOP: &str = "axiom-hop";
/// How long it is good, in seconds: time to travel, and what the clocks of two machines may differ.
pub(super) const LIFETIME_S: u64 = 10;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A client, whatever it claims.
    Client,
    /// Another replica.
    Replica,
    /// Another replica's sign, with another request or too late.
    Stale,
}

/// Tells a client's request from another replica's.
pub(crate) fn arrival(sealer: &Sealer, head: &Parts, body: &[u8]) -> Arrival {
    let Some(token) = head.headers.get(HOP) else {
        return Arrival::Client;
    };
    let opened = token
        .to_str()
        .map_err(|_| Refused::Foreign)
        .and_then(|token| sealer.unseal(Purpose::Hop, token));
    match opened {
        Ok(opened) if opened.plain == digest(head, body) => Arrival::Replica,
        // Late ones are refused and not served as a client's: with clocks apart, a request could travel for ever.
        Ok(_) | Err(Refused::Expired) => Arrival::Stale,
        Err(Refused::Foreign) => Arrival::Client,
    }
}

/// True if the request is another replica's by its headers alone. Whether it is *this* request shows with its body.
pub(crate) fn is_hop(sealer: &Sealer, headers: &HeaderMap) -> bool {
    let token = headers.get(HOP).and_then(|token| token.to_str().ok());
    token.is_some_and(|token| sealer.open(Purpose::Hop, token).is_some())
}

/// The header for a request that is passed on.
pub(super) fn stamp(sealer: &Sealer, head: &Parts, body: &[u8]) -> (HeaderName, HeaderValue) {
    let expires = time::unix_seconds() + LIFETIME_S;
    let token = sealer.seal_until(Purpose::Hop, expires, &digest(head, body));
    let token = HeaderValue::from_maybe_shared(bytes::Bytes::from(token)).expect("base64 is visible ASCII");
    (HeaderName::from_static(HOP), token)
}

/// Of everything that decides what the request does.
fn digest(head: &Parts, body: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    let session = head.headers.get(MCP_SESSION_ID);
    let session = session.map(HeaderValue::as_bytes).unwrap_or_default();
    let place = head.uri.path_and_query().map_or("", |place| place.as_str());
    for part in [head.method.as_str().as_bytes(), place.as_bytes(), session] {
        context.update(part);
        context.update(b"\n");
    }
    context.update(body);
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SealKey;
    use http::Request;

    fn head(line: &str, session: &str, hop: Option<&str>) -> Parts {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("mcp-session-id", session);
        if let Some(hop) = hop {
            request = request.header(HOP, hop);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_hop_is_good_for_one_request() {
        let key = [SealKey::random()];
        let [a, b] = [Sealer::new(&key, Some("http://a:1")), Sealer::new(&key, None)];
        let (_, token) = stamp(&a, &head("POST /mcp", "s", None), b"{}");
        let token = token.to_str().unwrap();
        let check = |line, session, token: &str, body: &[u8], expected| {
            let head = head(line, session, Some(token));
            assert_eq!(arrival(&b, &head, body), expected, "{line} {session} {body:?}");
        };
        check("POST /mcp", "s", token, b"{}", Arrival::Replica);
        check("POST /mcp", "s", token, b"{ }", Arrival::Stale);
        check("POST /mcp", "t", token, b"{}", Arrival::Stale);
        check("POST /s/x/mcp", "s", token, b"{}", Arrival::Stale);
        check("DELETE /mcp", "s", token, b"{}", Arrival::Stale);
        assert!(is_hop(&b, &head("POST /mcp", "s", Some(token)).headers));

        let late = b.seal_until(
            Purpose::Hop,
            time::unix_seconds(),
            &digest(&head("POST /mcp", "s", None), b"{}"),
        );
        check("POST /mcp", "s", &late, b"{}", Arrival::Stale);
        assert!(!is_hop(&b, &head("POST /mcp", "s", Some(&late)).headers));

        let (_, forged) = stamp(&Sealer::default(), &head("POST /mcp", "s", None), b"{}");
        let forged = forged.to_str().unwrap();
        check("POST /mcp", "s", forged, b"{}", Arrival::Client);
        assert!(!is_hop(&b, &head("POST /mcp", "s", Some(forged)).headers));
        let session = b.seal(Purpose::Session, &digest(&head("POST /mcp", "s", None), b"{}"));
        check("POST /mcp", "s", &session, b"{}", Arrival::Client);
        assert_eq!(arrival(&b, &head("POST /mcp", "s", None), b"{}"), Arrival::Client);
    }
}
