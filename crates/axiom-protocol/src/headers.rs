//! The HTTP headers of MCP, and the rule of 2026-07-28 that they say the same as the body.
//!
//! Whoever routes or decides on a header must know that the body agrees with it, else a client could show one tool
//! to the policy and call another.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::text::text;
use crate::{Envelope, Kind, Method, Span, codes};

pub const MCP_SESSION_ID: &str = "mcp-session-id";
pub const MCP_PROTOCOL_VERSION: &str = "mcp-protocol-version";
pub const MCP_METHOD: &str = "mcp-method";
pub const MCP_NAME: &str = "mcp-name";
/// What stands before the name of a mirrored tool argument.
pub const MCP_PARAM_PREFIX: &str = "mcp-param-";
pub const LAST_EVENT_ID: &str = "last-event-id";

/// How often a header stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    Missing,
    One(&'a [u8]),
    /// More than once, so nobody can say what it means.
    Many,
}

/// The headers of a request. Names are asked for in lower case and match any case.
pub trait HeaderLookup {
    /// Finds a header's value, with or without the white space around it.
    fn get(&self, name: &str) -> Lookup<'_>;
}

/// Why headers are refused. The text is written for the client; the answer is HTTP 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    #[error("Header mismatch: {header} header is missing")]
    Missing { header: Cow<'static, str> },
    #[error("Header mismatch: {header} header is repeated")]
    Repeated { header: Cow<'static, str> },
    #[error("Header mismatch: {header} header {problem}")]
    Malformed {
        header: Cow<'static, str>,
        problem: ValueError,
    },
    #[error("Header mismatch: {header} header value '{in_header}' does not match body value '{in_body}'")]
    Mismatch {
        header: Cow<'static, str>,
        in_header: String,
        in_body: String,
    },
    #[error("Header mismatch: {header} header is present but the body has no such value")]
    NotInBody { header: Cow<'static, str> },
    #[error("Header mismatch: the body has '{key}' twice, so the {header} header cannot be checked")]
    Ambiguous { header: Cow<'static, str>, key: String },
    #[error("params._meta must have a string \"io.modelcontextprotocol/protocolVersion\"")]
    MetaVersionMissing,
}

impl HeaderError {
    /// -32020, or -32602 if it is the body that lacks its version.
    pub fn code(&self) -> i64 {
        match self {
            Self::MetaVersionMissing => codes::INVALID_PARAMS,
            _ => codes::HEADER_MISMATCH,
        }
    }
}

/// Why one header value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("has a character outside visible ASCII")]
    InvalidCharacter,
    #[error("holds invalid Base64")]
    InvalidBase64,
    #[error("holds Base64 of something that is not UTF-8")]
    NotUtf8,
}

const SENTINEL_START: &str = "=?base64?";
const SENTINEL_END: &str = "?=";

/// The text a header value stands for: itself, or what `=?base64?...?=` wraps. White space around it is dropped.
///
/// # Errors
/// Characters other than visible ASCII, space and tab; a wrapped value that is not padded Base64 of UTF-8.
pub fn decode_value(value: &[u8]) -> Result<Cow<'_, str>, ValueError> {
    let value = plain(value)?;
    let Some(wrapped) = value
        .strip_prefix(SENTINEL_START)
        .and_then(|rest| rest.strip_suffix(SENTINEL_END))
    else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(wrapped).map_err(|_| ValueError::InvalidBase64)?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| ValueError::NotUtf8)
}

/// How to write `text` as a header value: as it is if that is safe, else wrapped in `=?base64?...?=`.
///
/// A tab and the empty text are wrapped too: both are legal, but some servers turn a tab into a space and some drop
/// an empty header.
pub fn encode_value(text: &str) -> Cow<'_, str> {
    let looks_wrapped = text.starts_with(SENTINEL_START) && text.ends_with(SENTINEL_END);
    let loses_space = text.trim_matches(' ').len() != text.len();
    let visible = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if visible && !text.is_empty() && !loses_space && !looks_wrapped {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{SENTINEL_START}{}{SENTINEL_END}", STANDARD.encode(text)))
}

/// Checks the standard headers of a 2026-07-28 request against its body.
///
/// `MCP-Protocol-Version` must equal the version in `_meta`, `Mcp-Method` the method, and `Mcp-Name` the name, URI or
/// task id that the method is about. For a notification, for which the revision defines no headers, only what is
/// there is checked. A missing name in the body is not judged here, as long as the header is missing too.
///
/// # Errors
/// The first header that is missing, repeated, malformed or different.
pub fn check_modern(headers: &impl HeaderLookup, raw: &[u8], envelope: &Envelope) -> Result<(), HeaderError> {
    if matches!(envelope.kind, Kind::Response | Kind::Error) {
        return Ok(());
    }
    let required = envelope.kind == Kind::Request;
    if let Some(span) = envelope.method_span {
        METHOD.check(headers, raw, span, required)?;
    }
    match name_source(envelope) {
        Source::At(span) => NAME.check(headers, raw, span, required)?,
        Source::Lacking => NAME.check_absent(headers)?,
        Source::NoRule => {}
    }
    match envelope.in_meta.protocol_version {
        Some(span) => VERSION.check(headers, raw, span, required),
        None if required => Err(HeaderError::MetaVersionMissing),
        None => Ok(()),
    }
}

const VERSION: Header<'_> = Header {
    name: MCP_PROTOCOL_VERSION,
    label: "MCP-Protocol-Version",
    wrapped: false,
};
const METHOD: Header<'_> = Header {
    name: MCP_METHOD,
    label: "Mcp-Method",
    wrapped: false,
};
const NAME: Header<'_> = Header {
    name: MCP_NAME,
    label: "Mcp-Name",
    wrapped: true,
};

/// What `Mcp-Name` mirrors.
enum Source {
    At(Span),
    /// The method has a name, this message does not.
    Lacking,
    /// The method has none.
    NoRule,
}

fn name_source(envelope: &Envelope) -> Source {
    let span = match envelope.method {
        Method::ToolsCall | Method::PromptsGet => envelope.param.name,
        Method::ResourcesRead => envelope.param.uri,
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => envelope.param.task_id,
        _ => return Source::NoRule,
    };
    span.map_or(Source::Lacking, Source::At)
}

/// One header and how it is written in messages to people.
pub(crate) struct Header<'a> {
    pub(crate) name: &'a str,
    pub(crate) label: &'a str,
    /// Whether the value may be wrapped in Base64.
    pub(crate) wrapped: bool,
}

impl Header<'_> {
    fn check(
        &self,
        headers: &impl HeaderLookup,
        raw: &[u8],
        body: Span,
        required: bool,
    ) -> Result<(), HeaderError> {
        let Some(value) = self.one(headers)? else {
            return if required {
                Err(HeaderError::Missing { header: self.label() })
            } else {
                Ok(())
            };
        };
        let spelled = body.of(raw);
        if is_plainly(spelled, value) {
            return self.visible(value).map(|_| ());
        }
        let in_header = self.read(value)?;
        match text(raw, body) {
            Some(in_body) if in_body == in_header => Ok(()),
            Some(in_body) => Err(self.mismatch(&in_header, &in_body)),
            None => Err(self.mismatch(&in_header, &String::from_utf8_lossy(spelled))),
        }
    }

    pub(crate) fn check_absent(&self, headers: &impl HeaderLookup) -> Result<(), HeaderError> {
        match headers.get(self.name) {
            Lookup::Missing => Ok(()),
            _ => Err(HeaderError::NotInBody { header: self.label() }),
        }
    }

    /// The value without the white space around it.
    pub(crate) fn one<'h>(&self, headers: &'h impl HeaderLookup) -> Result<Option<&'h [u8]>, HeaderError> {
        match headers.get(self.name) {
            Lookup::Missing => Ok(None),
            Lookup::One(value) => Ok(Some(trim(value))),
            Lookup::Many => Err(HeaderError::Repeated { header: self.label() }),
        }
    }

    pub(crate) fn read<'h>(&self, value: &'h [u8]) -> Result<Cow<'h, str>, HeaderError> {
        if self.wrapped {
            decode_value(value).map_err(|problem| HeaderError::Malformed {
                header: self.label(),
                problem,
            })
        } else {
            self.visible(value).map(Cow::Borrowed)
        }
    }

    fn visible<'h>(&self, value: &'h [u8]) -> Result<&'h str, HeaderError> {
        plain(value).map_err(|problem| HeaderError::Malformed {
            header: self.label(),
            problem,
        })
    }

    pub(crate) fn mismatch(&self, in_header: &str, in_body: &str) -> HeaderError {
        HeaderError::Mismatch {
            header: self.label(),
            in_header: shown(in_header),
            in_body: shown(in_body),
        }
    }

    pub(crate) fn label(&self) -> Cow<'static, str> {
        Cow::Owned(self.label.to_owned())
    }
}

/// Whether the JSON string `spelled` is `value` in quotes, and neither can mean anything but itself. Most headers are
/// settled by this without decoding.
fn is_plainly(spelled: &[u8], value: &[u8]) -> bool {
    spelled
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        == Some(value)
        && !value.contains(&b'\\')
        && !value.starts_with(SENTINEL_START.as_bytes())
}

/// Visible ASCII, space and tab, trimmed.
fn plain(value: &[u8]) -> Result<&str, ValueError> {
    let value = trim(value);
    if !value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e)) {
        return Err(ValueError::InvalidCharacter);
    }
    std::str::from_utf8(value).map_err(|_| ValueError::InvalidCharacter)
}

/// HTTP's optional white space is space and tab, no more.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Error texts carry at most this much of a value that a stranger chose.
const SHOWN_CHARS_MAX: usize = 80;

fn shown(value: &str) -> String {
    let mut chars = value
        .chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char });
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
