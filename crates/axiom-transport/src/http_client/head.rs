//! Parses the head of an answer and decides how its body ends (RFC 9112, section 6.3).

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::framing::Framing;

/// The longest head we accept. Servers with large cookies or policies reach 16 KiB. Offsets into it fit in a `u16`.
pub(super) const HEAD_BYTES_MAX: usize = u16::MAX as usize;

/// The most header lines we accept.
const HEADERS_MAX: usize = 128;

/// A parsed head; the body's bytes are still in the buffer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
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
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or("its status is out of range")?;
    let http_1_1 = response.version == Some(1);
    // Where each header lies, so that the head can be split off and its values shared instead of copied.
    let mut spans = [LineSpans::default(); HEADERS_MAX];
    let lines = response.headers.iter();
    let count = lines.len();
    let start = received.as_ptr().addr();
    for (spans, line) in spans.iter_mut().zip(lines) {
        *spans = LineSpans {
            name: span(line.name.as_bytes(), start)?,
            value: span(line.value, start)?,
        };
    }
    let head = received.split_to(head_bytes).freeze();
    let mut fields = Fields::new(count, http_1_1);
    for LineSpans { name, value } in spans.iter().take(count) {
        let name = head
            .get(usize::from(name.0)..usize::from(name.1))
            .unwrap_or_default();
        fields.add(name, head.slice(usize::from(value.0)..usize::from(value.1)))?;
    }
    fields.finish(status).map(Some)
}

/// Start and end of a header's name and value within the head.
#[derive(Debug, Clone, Copy, Default)]
struct LineSpans {
    name: (u16, u16),
    value: (u16, u16),
}

fn span(part: &[u8], head_start: usize) -> Result<(u16, u16), &'static str> {
    // An empty value may point anywhere.
    let start = if part.is_empty() {
        0
    } else {
        part.as_ptr().addr() - head_start
    };
    let end = u16::try_from(start + part.len()).map_err(|_| "its head is too long")?;
    let start = u16::try_from(start).map_err(|_| "its head is too long")?;
    Ok((start, end))
}

/// Collects header lines: those about the connection decide here, all others go to the caller.
struct Fields {
    headers: HeaderMap,
    content_length: Option<u64>,
    chunked: bool,
    reusable: bool,
    idle_max: Option<Duration>,
}

impl Fields {
    fn new(count: usize, http_1_1: bool) -> Self {
        let headers = HeaderMap::with_capacity(count);
        Fields {
            headers,
            content_length: None,
            chunked: false,
            reusable: http_1_1,
            idle_max: None,
        }
    }

    fn add(&mut self, name: &[u8], value: Bytes) -> Result<(), &'static str> {
        let name = HeaderName::from_bytes(name).map_err(|_| "a header name is not valid")?;
        match name {
            header::CONTENT_LENGTH => self.content_length(&value),
            header::TRANSFER_ENCODING => self.transfer_encoding(&value),
            header::CONNECTION => {
                self.connection(&value);
                Ok(())
            }
            header::TE | header::TRAILER | header::UPGRADE => Ok(()),
            name if name.as_str() == "keep-alive" => {
                self.idle_max = idle_max(&value);
                Ok(())
            }
            name if name.as_str() == "proxy-connection" => Ok(()),
            name => {
                let value =
                    HeaderValue::from_maybe_shared(value).map_err(|_| "a header value is not valid")?;
                let added = self.headers.try_append(name, value);
                added.map(|_| ()).map_err(|_| "it has too many headers")
            }
        }
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

    fn finish(self, status: StatusCode) -> Result<Head, &'static str> {
        let Fields {
            headers,
            content_length,
            chunked,
            mut reusable,
            idle_max,
        } = self;
        let bodiless = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let framing = match content_length {
            _ if bodiless => Framing::Done,
            // Both at once: chunked wins, and the connection is not trusted any further.
            length if chunked => {
                reusable &= length.is_none();
                Framing::chunked()
            }
            Some(length) => Framing::length(length),
            None => {
                reusable = false;
                Framing::UntilClose
            }
        };
        Ok(Head {
            status,
            headers,
            framing,
            reusable,
            idle_max,
        })
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
