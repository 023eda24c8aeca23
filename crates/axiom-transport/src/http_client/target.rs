//! Where requests go: parsed and rendered once, so that a request only appends what differs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderName, HeaderValue, header};
use url::Url;

use super::dial::DIAL_TIMEOUT;
use super::error::TargetError;

/// A server's URL with the headers that every request to it carries. Cheap to clone; clones share pooled connections.
#[derive(Clone)]
pub struct Target {
    inner: Arc<Inner>,
    dial_timeout: Duration,
    silence_max: Option<Duration>,
}

struct Inner {
    pool_key: u64,
    url: Url,
    https: bool,
    host: String,
    port: u16,
    /// `host:port`, for messages.
    at: Arc<str>,
    fixed: Vec<(HeaderName, HeaderValue)>,
    /// All of a request's head between the method and the headers of one call.
    rendered: Vec<u8>,
}

impl Target {
    /// Parses `url` (`http` or `https`) and the headers to send with every request. A user and password in the URL
    /// become a Basic `authorization` header unless `headers` has one.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong and never shows a header's value.
    pub fn parse(url: &str, headers: &BTreeMap<String, String>) -> Result<Target, TargetError> {
        Self::parse_as(url, headers, ["http", "https"], "http or https")
    }

    /// As [`Target::parse`], for other schemes: `[plain, secure]`.
    pub(crate) fn parse_as(
        url: &str,
        headers: &BTreeMap<String, String>,
        [plain, secure]: [&str; 2],
        expected: &'static str,
    ) -> Result<Target, TargetError> {
        let parsed = Url::parse(url).map_err(|cause| TargetError::Url {
            url: url.to_owned(),
            cause,
        })?;
        let https = match parsed.scheme() {
            scheme if scheme == plain => false,
            scheme if scheme == secure => true,
            other => {
                return Err(TargetError::Scheme {
                    scheme: other.to_owned(),
                    expected,
                });
            }
        };
        let host = parsed.host_str().filter(|host| !host.is_empty());
        let host = host
            .ok_or_else(|| TargetError::Host { url: url.to_owned() })?
            .to_owned();
        let port = parsed.port().unwrap_or(if https { 443 } else { 80 });
        let mut fixed = fixed_headers(headers)?;
        let named = |name: HeaderName| fixed.iter().any(|(fixed, _)| *fixed == name);
        let login = login(&parsed).filter(|_| !named(header::AUTHORIZATION));
        if !named(header::USER_AGENT) {
            fixed.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
        }
        fixed.extend(login.map(|value| (header::AUTHORIZATION, value)));
        Ok(Target::build(next_pool_key(), parsed, https, host, port, fixed))
    }

    /// Another path on the same server, with the same headers and the same pooled connections.
    pub fn with_url(&self, url: Url) -> Target {
        let Inner {
            pool_key,
            https,
            host,
            port,
            fixed,
            ..
        } = &*self.inner;
        let target = Target::build(*pool_key, url, *https, host.clone(), *port, fixed.clone());
        target.patient_like(self)
    }

    /// The same, but a connection must stand within this time. For servers whose answer to a failure cannot wait.
    pub fn with_dial_timeout(mut self, dial_timeout: Duration) -> Target {
        self.dial_timeout = dial_timeout;
        self
    }

    /// The same, but a connection on which nothing is heard of the other machine for this long is broken, also in the
    /// middle of an exchange. A server that thinks for longer is not silent: its kernel still confirms what it receives.
    pub fn with_silence_max(mut self, silence_max: Duration) -> Target {
        self.silence_max = Some(silence_max);
        self
    }

    fn patient_like(mut self, other: &Target) -> Target {
        self.dial_timeout = other.dial_timeout;
        self.silence_max = other.silence_max;
        self
    }

    pub(super) fn dial_timeout(&self) -> Duration {
        self.dial_timeout
    }

    pub(super) fn silence_max(&self) -> Option<Duration> {
        self.silence_max
    }

    /// The same server, path and pooled connections, with further headers on every request. They are rendered once, so a
    /// request does not pay for them. A header that the target has already stays as it is.
    pub fn with_headers(&self, headers: &[(HeaderName, HeaderValue)]) -> Target {
        let Inner {
            pool_key,
            url,
            https,
            host,
            port,
            fixed,
            ..
        } = &*self.inner;
        let mut all = fixed.clone();
        for (name, value) in headers {
            if !fixed.iter().any(|(fixed, _)| fixed == name) {
                all.push((name.clone(), value.clone()));
            }
        }
        let target = Target::build(*pool_key, url.clone(), *https, host.clone(), *port, all);
        target.patient_like(self)
    }

    fn build(
        pool_key: u64,
        url: Url,
        https: bool,
        host: String,
        port: u16,
        fixed: Vec<(HeaderName, HeaderValue)>,
    ) -> Target {
        let rendered = render(&url, &host, &fixed);
        let at = format!("{host}:{port}").into();
        Target {
            dial_timeout: DIAL_TIMEOUT,
            silence_max: None,
            inner: Arc::new(Inner {
                pool_key,
                url,
                https,
                host,
                port,
                at,
                fixed,
                rendered,
            }),
        }
    }

    /// `host:port`.
    pub fn at(&self) -> &Arc<str> {
        &self.inner.at
    }

    pub fn url(&self) -> &Url {
        &self.inner.url
    }

    pub(crate) fn is_https(&self) -> bool {
        self.inner.https
    }

    /// Without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        self.inner.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        self.inner.port
    }

    pub(crate) fn fixed(&self) -> &[(HeaderName, HeaderValue)] {
        &self.inner.fixed
    }

    pub(super) fn pool_key(&self) -> u64 {
        self.inner.pool_key
    }

    /// The head of a request from the space after the method to the last fixed header.
    pub(super) fn rendered(&self) -> &[u8] {
        &self.inner.rendered
    }
}

impl fmt::Debug for Target {
    /// Neither header values nor the query, which may both hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.inner.fixed.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Target")
            .field("at", &self.inner.at)
            .field("path", &self.inner.url.path())
            .field("headers", &names)
            .finish()
    }
}

const USER_AGENT: &str = concat!("axiom/", env!("CARGO_PKG_VERSION"));

/// Headers that belong to the connection. A configured one would break the framing of every request.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn fixed_headers(headers: &BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderValue)>, TargetError> {
    let mut fixed = Vec::with_capacity(headers.len() + 1);
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let parsed = parsed.map_err(|_| TargetError::HeaderName { name: name.clone() })?;
        if RESERVED.contains(&parsed.as_str()) {
            return Err(TargetError::Reserved { name: name.clone() });
        }
        let mut value = HeaderValue::from_bytes(value.trim().as_bytes())
            .map_err(|_| TargetError::HeaderValue { name: name.clone() })?;
        value.set_sensitive(true);
        fixed.push((parsed, value));
    }
    Ok(fixed)
}

fn login(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let plain = format!(
        "{}:{}",
        decoded(url.username()),
        decoded(url.password().unwrap_or_default())
    );
    let text = format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(plain)
    );
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Percent-decoded, through the one decoder that `url` exports.
fn decoded(text: &str) -> String {
    let query = format!("v={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn render(url: &Url, host: &str, fixed: &[(HeaderName, HeaderValue)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    push(&[b" ", url.path().as_bytes()]);
    if let Some(query) = url.query() {
        push(&[b"?", query.as_bytes()]);
    }
    push(&[b" HTTP/1.1\r\n"]);
    if !fixed.iter().any(|(name, _)| *name == header::HOST) {
        // `Url::port` is `None` for the scheme's default port, which a Host header leaves out too.
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        push(&[b"host: ", host.as_bytes(), port.as_bytes(), b"\r\n"]);
    }
    for (name, value) in fixed {
        push(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    out
}

fn next_pool_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
