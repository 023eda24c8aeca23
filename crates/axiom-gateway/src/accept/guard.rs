//! Web pages and proxies: a page must not reach a gateway on loopback by way of its visitor's browser, nor a stranger by way of
//! a proxy that runs beside it.
//!
//! A page under a name that leads to this machine (DNS rebinding) is known by its Host. A page that fetches is known by its
//! Origin. One that embeds an address, as a script or an image, sends no Origin; browsers say `Sec-Fetch-Site` then, but only to
//! loopback and over TLS. What is left may be asked and not read: each answer says that it is for no other page.

use std::net::{Ipv4Addr, SocketAddr};

use axiom_transport::server::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::text;
use crate::options::Options;

/// Whether a page of the same site asks, one of another, or nobody's (`none`: a person typed the address).
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Who may embed an answer.
const EMBEDDING: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// By what a proxy says for whom it asks.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Refuses a request whose Host or Origin is neither a loopback name nor configured, and one that a page of another origin
/// makes without saying which.
pub(super) fn check(options: &Options, headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
    let host = headers
        .get(header::HOST)
        .map(|value| value.to_str().unwrap_or("(not text)"));
    // HTTP/1.0 and hand-made requests may have no Host; a browser always sends one.
    if let Some(host) = host
        && !host_is_allowed(options, host)
    {
        let reason = format!(
            "host '{host}' is not allowed; if this gateway is meant to be reached by that name, add it to \
             [gateway] allowed_hosts\n"
        );
        return Err(Box::new(text(StatusCode::FORBIDDEN, reason)));
    }
    match headers.get(header::ORIGIN).map(|value| value.to_str()) {
        None => check_site(headers),
        Some(Ok(origin)) if origin_is_allowed(options, origin) => Ok(()),
        Some(origin) => {
            let origin = origin.unwrap_or("(not text)");
            let reason = format!(
                "origin '{origin}' is not allowed; if that page may use this gateway, add it to [gateway] \
                 allowed_origins\n"
            );
            Err(Box::new(text(StatusCode::FORBIDDEN, reason)))
        }
    }
}

/// For requests without Origin. Whoever says nothing of this is no browser of today.
fn check_site(headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
    let Some(site) = headers.get(SITE) else {
        return Ok(());
    };
    if matches!(site.as_bytes(), b"none" | b"same-origin") {
        return Ok(());
    }
    let reason = "a page of another origin makes this request, by a link or by embedding it, and is not allowed to; a person may \
                  open the address itself, and a page of [gateway] allowed_origins may fetch it\n";
    Err(Box::new(text(StatusCode::FORBIDDEN, reason)))
}

/// Keeps an answer out of pages of other origins, whatever they take it for.
pub(super) fn for_no_page(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(EMBEDDING, HeaderValue::from_static("same-origin"));
    response
}

/// The address of whoever asks, as far as it is known. A proxy on this machine asks for others, and where those are it may say
/// or not: then the address is the unspecified one, which is nobody's and no loopback one.
///
/// A proxy is known by another name than a loopback one in Host, by what proxies add, and by the version before HTTP/1.1,
/// which nginx speaks unless it is told otherwise. One that does none of this looks like a program of this machine.
pub(super) fn caller(peer: SocketAddr, version: Version, headers: &HeaderMap) -> SocketAddr {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_direct = version >= Version::HTTP_11
        && host.is_some_and(|host| is_loopback(without_port(host)))
        && !FORWARDED.iter().any(|name| headers.contains_key(*name));
    match is_direct || !peer.ip().to_canonical().is_loopback() {
        true => peer,
        false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    }
}

fn host_is_allowed(options: &Options, host: &str) -> bool {
    let name = without_port(host);
    is_loopback(name)
        || options
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name))
}

fn origin_is_allowed(options: &Options, origin: &str) -> bool {
    let host = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| is_loopback(without_port(host)))
        || options
            .allowed_origins
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

/// `[::1]:80` -> `[::1]`, `name:80` -> `name`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

fn is_loopback(name: &str) -> bool {
    matches!(name, "127.0.0.1" | "[::1]") || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(host: &'static str, origin: Option<&'static str>) -> bool {
        let options = Options {
            allowed_hosts: vec!["gateway.example".to_owned()],
            allowed_origins: vec!["https://app.example".to_owned()],
            ..Options::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        check(&options, &headers).is_ok()
    }

    #[test]
    fn loopback_and_configured_names_pass_and_nothing_else() {
        for (host, origin, expected) in [
            ("127.0.0.1:3000", None, true),
            ("localhost", None, true),
            ("LOCALHOST:1", None, true),
            ("[::1]:3000", None, true),
            ("gateway.example:443", None, true),
            ("evil.example", None, false),
            ("localhost.evil.example", None, false),
            ("127.0.0.1.evil.example:80", None, false),
            ("127.0.0.1", Some("http://localhost:5173"), true),
            ("127.0.0.1", Some("https://app.example"), true),
            ("127.0.0.1", Some("https://evil.example"), false),
            ("127.0.0.1", Some("http://localhost.evil.example"), false),
            ("127.0.0.1", Some("null"), false),
        ] {
            assert_eq!(verdict(host, origin), expected, "{host} {origin:?}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_known_without_an_origin_too() {
        let verdict = |site: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:3000"));
            headers.insert(SITE, HeaderValue::from_static(site));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            check(&Options::default(), &headers).is_ok()
        };
        for (site, origin, expected) in [
            ("none", None, true),
            ("same-origin", None, true),
            ("same-site", None, false),
            ("cross-site", None, false),
            ("of-tomorrow", None, false),
            // It says who it is, and that counts.
            ("same-site", Some("http://localhost:5173"), true),
            ("cross-site", Some("https://evil.example"), false),
        ] {
            assert_eq!(verdict(site, origin), expected, "{site} {origin:?}");
        }
    }

    #[test]
    fn whoever_comes_by_a_proxy_is_not_of_this_machine() {
        let seen = |peer: &str, version, more: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in more {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            caller(peer.parse().expect("an address"), version, &headers)
        };
        let host = ("host", "127.0.0.1:3000");
        for peer in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9", "192.0.2.1:9"] {
            let direct = seen(peer, Version::HTTP_11, &[host]);
            assert_eq!(direct.to_string(), peer);
        }
        for name in ["localhost", "LOCALHOST:3000", "[::1]:3000"] {
            let direct = seen("127.0.0.1:9", Version::HTTP_11, &[("host", name)]);
            assert_eq!(direct.to_string(), "127.0.0.1:9", "{name}");
        }
        for more in [
            &[][..],
            &[("host", "gateway.example")],
            &[host, ("forwarded", "for=192.0.2.1")],
            &[host, ("via", "1.1 proxy")],
            &[host, ("x-forwarded-for", "127.0.0.1")],
            &[host, ("x-forwarded-proto", "https")],
            &[host, ("x-real-ip", "192.0.2.1")],
        ] {
            for peer in ["127.0.0.1:9", "[::ffff:127.0.0.1]:9"] {
                let behind = seen(peer, Version::HTTP_11, more);
                assert!(behind.ip().is_unspecified(), "{peer} {more:?}");
            }
        }
        let nginx = seen("127.0.0.1:9", Version::HTTP_10, &[host]);
        assert!(nginx.ip().is_unspecified());
    }
}
