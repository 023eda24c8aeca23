//! Host and Origin: a web page must not reach a gateway on loopback by way of its visitor's browser (DNS rebinding).

use axiom_transport::server::Body;
use http::{HeaderMap, Response, StatusCode, header};

use super::text;
use crate::options::Options;

/// Refuses a request whose Host or Origin is neither a loopback name nor configured.
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
        None => Ok(()),
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
    use http::HeaderValue;

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
}
