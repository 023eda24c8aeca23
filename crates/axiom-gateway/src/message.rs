//! One MCP message: the bytes as they came, and where in them the fields are that the gateway acts on.

use axiom_protocol::envelope::{self, Envelope, Kind, Limits, ScanError};
use axiom_protocol::method::Method;
use axiom_protocol::rewrite::{Edit, splice};
use axiom_protocol::span::Span;
use axiom_protocol::text::text;
use bytes::Bytes;

/// A scanned message. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub bytes: Bytes,
    pub envelope: Envelope,
}

impl Message {
    /// Scans `bytes` once.
    pub(crate) fn scan(bytes: Bytes, limits: &Limits) -> Result<Message, ScanError> {
        let envelope = envelope::scan(&bytes, limits)?;
        Ok(Message { bytes, envelope })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.envelope.kind
    }

    pub(crate) fn method(&self) -> Method {
        self.envelope.method
    }

    /// The id token as it was sent, e.g. `7` or `"7"`.
    pub(crate) fn id(&self) -> Option<&[u8]> {
        self.envelope.id.map(|span| span.of(&self.bytes))
    }

    pub(crate) fn raw(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| span.of(&self.bytes))
    }

    /// A string field, unescaped. `None` if it is absent or no string.
    pub(crate) fn text(&self, span: Option<Span>) -> Option<std::borrow::Cow<'_, str>> {
        text(&self.bytes, span?)
    }

    /// The method as text, also when it is one we do not know.
    pub(crate) fn method_text(&self) -> std::borrow::Cow<'_, str> {
        self.text(self.envelope.method_span).unwrap_or_default()
    }

    /// The message with some ranges replaced.
    pub(crate) fn with(&self, edits: &mut [Edit<'_>]) -> Bytes {
        Bytes::from(splice(&self.bytes, edits))
    }

    /// The `result` object as a slice that shares the message's bytes.
    pub(crate) fn result(&self) -> Option<Bytes> {
        self.envelope.result.map(|span| self.slice(span))
    }

    pub(crate) fn slice(&self, span: Span) -> Bytes {
        self.bytes.slice(span.start as usize..span.end as usize)
    }
}
