//! Parses the head of an answer and decides how its body ends (RFC 9112, section 6.3).

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::framing::Framing;

/// The longest head we accept. Servers with large cookies or policies reach 16 KiB.
pub(super) const HEAD_BYTES_MAX: usize = u16::MAX as usize;

/// The most header lines we accept.
const HEADERS_MAX: usize = 128;

/// A parsed head; the body's bytes are still in the buffer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: Headers,
    pub(super) framing: Framing,
    /// The connection may carry another exchange once the body is read.
    pub(super) reusable: bool,
    /// How long the server keeps an idle connection, if it says so.
    pub(super) idle_max: Option<Duration>,
}

/// Takes the head of the final answer off the front of `received`, skipping interim (1xx) ones.
/// `None` means that more bytes are needed.
pub(super) fn parse(received: &mut BytesMut) -> Result<Option<Head>, &'static str> {
    loop {
        let Some(head) = parse_one(received)? else {
            return if received.len() > HEAD_BYTES_MAX {
                Err("its head is too long")
            } else {
                Ok(None)
            };
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("it switches protocols without being asked");
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
    }
}

fn parse_one(received: &mut BytesMut) -> Result<Option<Head>, &'static str> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        received,
        &mut lines,
    );
    let head_bytes = match parsed {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("it has too many headers"),
        Err(_) => return Err("its head does not parse"),
    };
    if head_bytes > HEAD_BYTES_MAX {
        return Err("its head is too long");
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or("its status is out of range")?;
    let mut about = AboutConnection::new(response.version == Some(1));
    for line in response.headers.iter() {
        about.note(line.name, line.value)?;
    }
    let (framing, reusable) = about.framing(status);
    let idle_max = about.idle_max;
    let headers = Headers {
        head: received.split_to(head_bytes).freeze(),
    };
    Ok(Some(Head {
        status,
        headers,
        framing,
        reusable,
        idle_max,
    }))
}

/// The header lines of an answer, as they came. Few of them are ever looked at, so they are searched and not indexed.
#[derive(Clone, Default)]
pub struct Headers {
    /// A head that has been parsed: every line is valid, none is folded.
    head: Bytes,
}

impl Headers {
    /// The value of the first line called `name`.
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.iter()
            .find(|(given, _)| given.eq_ignore_ascii_case(name.as_str().as_bytes()))
            .map(|(_, value)| value)
    }

    /// The same as a value to send on, which shares the head's memory.
    pub fn value(&self, name: &HeaderName) -> Option<HeaderValue> {
        let value = self.get(name)?;
        HeaderValue::from_maybe_shared(self.head.slice_ref(value)).ok()
    }

    /// True if the body is of the media type `essence` (lower case, such as `application/json`), whatever its parameters.
    pub fn says(&self, essence: &str) -> bool {
        self.get(&header::CONTENT_TYPE).is_some_and(|given| {
            let given = given.split(|byte| *byte == b';').next().unwrap_or_default();
            given.trim_ascii().eq_ignore_ascii_case(essence.as_bytes())
        })
    }

    /// Names and values in the order they came, those about the connection included.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut lines = self.head.split(|byte| *byte == b'\n');
        // The status line.
        lines.next();
        lines.filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = line.split_at(colon);
            Some((name, value.get(1..)?.trim_ascii()))
        })
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        let names = self.iter().map(|(name, _)| String::from_utf8_lossy(name));
        f.debug_list().entries(names).finish()
    }
}

/// What the head says of the connection and of where the body ends.
struct AboutConnection {
    content_length: Option<u64>,
    chunked: bool,
    reusable: bool,
    idle_max: Option<Duration>,
}

impl AboutConnection {
    fn new(http_1_1: bool) -> Self {
        AboutConnection {
            content_length: None,
            chunked: false,
            reusable: http_1_1,
            idle_max: None,
        }
    }

    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // By length first: most lines are none of these.
        match name.len() {
            14 if is("content-length") => self.content_length(value)?,
            17 if is("transfer-encoding") => self.transfer_encoding(value)?,
            10 if is("connection") => self.connection(value),
            10 if is("keep-alive") => self.idle_max = idle_max(value),
            _ => {}
        }
        Ok(())
    }

    /// The same length twice is one length; two different ones are a broken or hostile server.
    fn content_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        for part in value.split(|byte| *byte == b',') {
            let length = decimal(part.trim_ascii()).ok_or("its content-length is not a number")?;
            if self.content_length.is_some_and(|earlier| earlier != length) {
                return Err("it has two different content-lengths");
            }
            self.content_length = Some(length);
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err("its transfer-encoding is not plain chunked");
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.reusable = false;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.reusable = true;
            }
        }
    }

    /// Where the body ends, and whether the connection may be used again after it.
    fn framing(&self, status: StatusCode) -> (Framing, bool) {
        let bodiless = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        match self.content_length {
            _ if bodiless => (Framing::Done, self.reusable),
            // Both at once: chunked wins, and the connection is not trusted any further.
            length if self.chunked => (Framing::chunked(), self.reusable && length.is_none()),
            Some(length) => (Framing::length(length), self.reusable),
            None => (Framing::UntilClose, false),
        }
    }
}

/// `timeout=5`: the server closes after five idle seconds (Node's default). We stop a second earlier, because a request
/// sent in that moment would be lost.
fn idle_max(value: &[u8]) -> Option<Duration> {
    let options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let seconds = options
        .filter_map(|option| option.strip_prefix(b"timeout="))
        .find_map(decimal)?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}
