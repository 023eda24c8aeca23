//! The pass over a message that makes its envelope.

use crate::cursor::Cursor;
use crate::envelope::{Envelope, Kind, Limits, Member, MetaSpans, ParamSpans, ResultSpans, SUBSCRIPTION_ID};
use crate::fault::{ScanError, ScanFault};
use crate::text::text;
use crate::{Method, Span};

/// Reads one message: checks that all of it is JSON within the limits and that it is a JSON-RPC message of MCP,
/// and notes where its deciding parts are. Allocates nothing, does not recurse.
///
/// A key listed in [`Envelope`] that appears twice is refused, also if one is spelled with escapes: two readers of
/// such a message could act on different halves of it. Everything else passes as it is: unknown members, numbers of
/// any length, key order.
///
/// # Errors
/// [`ScanFault::NotJson`] wins over every complaint about a message that is JSON; those carry the id if there is one.
pub fn scan(raw: &[u8], limits: &Limits) -> Result<Envelope, ScanError> {
    let mut pass = Pass::new(raw, limits)?;
    match pass.root() {
        Ok(()) => pass.finish(),
        Err(fault @ ScanFault::TooDeep { .. }) => Err(ScanError {
            fault,
            id: pass.id_to_answer(),
        }),
        Err(fault) => Err(fault.into()),
    }
}

struct Pass<'a> {
    raw: &'a [u8],
    cursor: Cursor<'a>,
    envelope: Envelope,
    jsonrpc: Option<Span>,
    /// With two ids nobody knows which one to answer.
    id_twice: bool,
    /// The first complaint. The pass goes on after it, to learn the id and whether the rest is JSON at all.
    fault: Option<ScanFault>,
}

impl<'a> Pass<'a> {
    fn new(raw: &'a [u8], limits: &Limits) -> Result<Self, ScanFault> {
        let cursor = Cursor::new(raw, limits)?;
        let envelope = Envelope {
            kind: Kind::Notification,
            object: Span::default(),
            id: None,
            method: Method::None,
            method_span: None,
            params: None,
            param: ParamSpans::default(),
            meta: None,
            in_meta: MetaSpans::default(),
            result: None,
            in_result: ResultSpans::default(),
            error: None,
            error_code: None,
        };
        Ok(Self {
            raw,
            cursor,
            envelope,
            jsonrpc: None,
            id_twice: false,
            fault: None,
        })
    }

    fn root(&mut self) -> Result<(), ScanFault> {
        if self.cursor.peek() != Some(b'{') {
            self.cursor.value()?;
            self.complain(ScanFault::NotAnObject);
            return self.cursor.end();
        }
        let start = self.cursor.at();
        let mut first = true;
        self.cursor.open()?;
        while let Some(key) = self.cursor.key(&mut first)? {
            let envelope = &mut self.envelope;
            let (slot, name, span) = match self.cursor.name(key, Root::parse) {
                Root::JsonRpc => (&mut self.jsonrpc, "jsonrpc", self.cursor.value()?),
                Root::Id => {
                    self.id_twice |= envelope.id.is_some();
                    (&mut envelope.id, "id", self.cursor.value()?)
                }
                Root::Method => (&mut envelope.method_span, "method", self.cursor.value()?),
                Root::Params => {
                    let span = self.params()?;
                    (&mut self.envelope.params, "params", span)
                }
                Root::Result => {
                    let span = self.result()?;
                    (&mut self.envelope.result, "result", span)
                }
                Root::Error => {
                    let span = self.error()?;
                    (&mut self.envelope.error, "error", span)
                }
                Root::Unknown => {
                    self.cursor.value()?;
                    continue;
                }
            };
            note(slot, name, span, &mut self.fault);
        }
        self.envelope.object = Span::new(start, self.cursor.at());
        self.cursor.end()
    }

    fn params(&mut self) -> Result<Span, ScanFault> {
        if self.cursor.peek() != Some(b'{') {
            self.complain(ScanFault::InvalidParams);
            return self.cursor.value();
        }
        let start = self.cursor.at();
        let mut first = true;
        let mut reference = None;
        self.cursor.open()?;
        while let Some(key) = self.cursor.key(&mut first)? {
            match self.cursor.name(key, |name| self.envelope.param.member(name)) {
                Member::Slot(slot, name) => note(slot, name, self.cursor.value()?, &mut self.fault),
                Member::Meta => {
                    let span = self.meta()?;
                    note(&mut self.envelope.meta, "params._meta", span, &mut self.fault);
                }
                Member::Reference => {
                    let span = self.reference()?;
                    note(&mut reference, "params.ref", span, &mut self.fault);
                }
                Member::Unknown => _ = self.cursor.value()?,
            }
        }
        Ok(Span::new(start, self.cursor.at()))
    }

    fn meta(&mut self) -> Result<Span, ScanFault> {
        if self.cursor.peek() != Some(b'{') {
            self.complain(ScanFault::InvalidMeta);
        }
        self.members(|envelope, name| envelope.in_meta.member(name))
    }

    fn reference(&mut self) -> Result<Span, ScanFault> {
        self.members(|envelope, name| match name {
            b"name" => Member::Slot(&mut envelope.param.reference_name, "params.ref.name"),
            b"uri" => Member::Slot(&mut envelope.param.reference_uri, "params.ref.uri"),
            _ => Member::Unknown,
        })
    }

    /// Notes the members of an object without looking into their values; skips any other value.
    fn members(
        &mut self,
        member: impl for<'e> Fn(&'e mut Envelope, &[u8]) -> Member<'e>,
    ) -> Result<Span, ScanFault> {
        if self.cursor.peek() != Some(b'{') {
            return self.cursor.value();
        }
        let start = self.cursor.at();
        let mut first = true;
        self.cursor.open()?;
        while let Some(key) = self.cursor.key(&mut first)? {
            let member = self.cursor.name(key, |name| member(&mut self.envelope, name));
            let span = self.cursor.value()?;
            if let Member::Slot(slot, name) = member {
                note(slot, name, span, &mut self.fault);
            }
        }
        Ok(Span::new(start, self.cursor.at()))
    }

    fn result(&mut self) -> Result<Span, ScanFault> {
        if self.cursor.peek() != Some(b'{') {
            return self.cursor.value();
        }
        let start = self.cursor.at();
        let mut first = true;
        self.cursor.open()?;
        while let Some(key) = self.cursor.key(&mut first)? {
            match self.cursor.name(key, |name| self.envelope.in_result.member(name)) {
                Member::Slot(slot, name) => note(slot, name, self.cursor.value()?, &mut self.fault),
                Member::Meta if self.cursor.peek() == Some(b'{') => {
                    let span = self.members(|envelope, name| match name {
                        SUBSCRIPTION_ID => {
                            Member::Slot(&mut envelope.in_result.subscription_id, "subscriptionId")
                        }
                        _ => Member::Unknown,
                    })?;
                    note(
                        &mut self.envelope.in_result.meta,
                        "result._meta",
                        span,
                        &mut self.fault,
                    );
                }
                _ => _ = self.cursor.value()?,
            }
        }
        Ok(Span::new(start, self.cursor.at()))
    }

    fn error(&mut self) -> Result<Span, ScanFault> {
        if self.cursor.peek() != Some(b'{') {
            return self.cursor.value();
        }
        let start = self.cursor.at();
        let mut first = true;
        let mut code = None;
        self.cursor.open()?;
        while let Some(key) = self.cursor.key(&mut first)? {
            let is_code = self.cursor.name(key, |name| name == b"code");
            let span = self.cursor.value()?;
            if is_code {
                note(&mut code, "error.code", span, &mut self.fault);
            }
        }
        self.envelope.error_code =
            code.and_then(|span| std::str::from_utf8(span.of(self.raw)).ok()?.parse().ok());
        Ok(Span::new(start, self.cursor.at()))
    }

    /// The whole text is JSON: is it a message?
    fn finish(mut self) -> Result<Envelope, ScanError> {
        let fault = self.fault.take().or_else(|| self.classify().err());
        match fault {
            None => Ok(self.envelope),
            Some(fault) => Err(ScanError {
                id: self.id_to_answer(),
                fault,
            }),
        }
    }

    fn classify(&mut self) -> Result<(), ScanFault> {
        let jsonrpc = self.jsonrpc.ok_or(ScanFault::MissingJsonRpc)?;
        if jsonrpc.of(self.raw) != b"\"2.0\"" && text(self.raw, jsonrpc).as_deref() != Some("2.0") {
            return Err(ScanFault::WrongJsonRpc);
        }
        let envelope = &mut self.envelope;
        // Some servers write `"error":null` beside a result, or the reverse. What they mean is clear.
        if let (Some(result), Some(error)) = (envelope.result, envelope.error) {
            if error.of(self.raw) == b"null" {
                envelope.error = None;
            } else if result.of(self.raw) == b"null" {
                envelope.result = None;
            }
        }
        envelope.kind = match (envelope.method_span, envelope.result, envelope.error, envelope.id) {
            (Some(_), None, None, Some(_)) => Kind::Request,
            (Some(_), None, None, None) => Kind::Notification,
            (None, Some(_), None, Some(_)) => Kind::Response,
            (None, Some(_), None, None) => return Err(ScanFault::MissingId),
            (None, None, Some(_), _) => Kind::Error,
            _ => return Err(ScanFault::UnknownKind),
        };
        if let Some(id) = envelope.id
            && !matches!(id.of(self.raw), [b'"' | b'-' | b'0'..=b'9', ..])
            && !(envelope.kind == Kind::Error && id.of(self.raw) == b"null")
        {
            return Err(ScanFault::InvalidId);
        }
        if let Some(span) = envelope.method_span {
            envelope.method = method(self.raw, span).ok_or(ScanFault::InvalidMethod)?;
        }
        Ok(())
    }

    /// Only an id that is one: not a second one, not an object.
    fn id_to_answer(&self) -> Option<Span> {
        let id = self.envelope.id.filter(|_| !self.id_twice)?;
        matches!(id.of(self.raw), [b'"' | b'-' | b'0'..=b'9', ..]).then_some(id)
    }

    fn complain(&mut self, fault: ScanFault) {
        self.fault.get_or_insert(fault);
    }
}

/// Fills a slot; a second time is a complaint.
#[inline]
fn note(slot: &mut Option<Span>, key: &'static str, span: Span, fault: &mut Option<ScanFault>) {
    if slot.replace(span).is_some() {
        fault.get_or_insert(ScanFault::DuplicateKey { key });
    }
}

fn method(raw: &[u8], span: Span) -> Option<Method> {
    match span.of(raw) {
        [b'"', name @ .., b'"'] if memchr::memchr(b'\\', name).is_none() => Some(Method::parse(name)),
        _ => text(raw, span).map(|name| Method::parse(name.as_bytes())),
    }
}

enum Root {
    JsonRpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Unknown,
}

impl Root {
    fn parse(name: &[u8]) -> Self {
        match name {
            b"jsonrpc" => Self::JsonRpc,
            b"id" => Self::Id,
            b"method" => Self::Method,
            b"params" => Self::Params,
            b"result" => Self::Result,
            b"error" => Self::Error,
            _ => Self::Unknown,
        }
    }
}
