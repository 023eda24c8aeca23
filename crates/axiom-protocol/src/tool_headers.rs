//! `x-mcp-header`: which arguments of one tool are mirrored into `Mcp-Param-*` headers.
//!
//! Compiled once from the tool's `inputSchema`, so that a call costs one lookup per mirrored argument and no walk
//! over a schema.

use std::borrow::Cow;

use crate::Span;
use crate::headers::{Header, HeaderError, HeaderLookup, MCP_PARAM_PREFIX, encode_value};
use crate::number::Decimal;
use crate::text::text;
use crate::tool_schema::{Annotation, annotations};
use crate::walk::{is_key, members};

/// The mirrored arguments of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolHeaders {
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    /// Keys that lead from `arguments` to the value.
    path: Vec<String>,
    /// In lower case, for looking it up and sending it.
    name: String,
    /// As the schema writes it, for messages.
    label: String,
}

/// Why a tool must not be offered over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToolHeader {
    #[error("x-mcp-header must be a string")]
    NotAString,
    #[error("x-mcp-header must not be empty")]
    Empty,
    #[error("x-mcp-header '{header}' is not an HTTP field name")]
    NotAToken { header: String },
    #[error("x-mcp-header '{header}' is used twice")]
    Repeated { header: String },
    #[error("x-mcp-header '{header}' stands on a value that is not declared as integer, string or boolean")]
    NotPrimitive { header: String },
    #[error("x-mcp-header '{header}' cannot be reached from the root through \"properties\" alone")]
    Unreachable { header: String },
}

/// Reads the `x-mcp-header` annotations of a tool's `inputSchema`.
///
/// # Errors
/// An annotation that the specification does not allow: the whole tool is then invalid over HTTP.
pub fn compile(raw: &[u8], input_schema: Span) -> Result<ToolHeaders, InvalidToolHeader> {
    let mut mirrors: Vec<Mirror> = Vec::new();
    for annotation in annotations(raw, input_schema) {
        let mirror = Mirror::new(raw, annotation)?;
        if mirrors.iter().any(|other| other.name == mirror.name) {
            return Err(InvalidToolHeader::Repeated {
                header: header_of(&mirror.label),
            });
        }
        mirrors.push(mirror);
    }
    Ok(ToolHeaders { mirrors })
}

impl ToolHeaders {
    /// Whether no argument is mirrored, as with most tools.
    pub fn is_empty(&self) -> bool {
        self.mirrors.is_empty()
    }

    /// The mirrored headers' names in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.mirrors.iter().map(|mirror| mirror.name.as_str())
    }

    /// Checks that every mirrored argument and its header say the same.
    ///
    /// # Errors
    /// The first header that is missing, malformed or different, or is there although the argument is null or absent.
    pub fn check(
        &self,
        headers: &impl HeaderLookup,
        raw: &[u8],
        arguments: Option<Span>,
    ) -> Result<(), HeaderError> {
        self.mirrors
            .iter()
            .try_for_each(|mirror| mirror.check(headers, raw, arguments))
    }

    /// The headers that a call with these arguments must carry, names in lower case, values encoded.
    ///
    /// Arguments that are null, absent, objects or arrays have none; so have ones whose key appears twice.
    pub fn emit(&self, raw: &[u8], arguments: Option<Span>) -> Vec<(String, String)> {
        let value = |mirror: &Mirror| {
            let span = mirror.find(raw, arguments).ok()??;
            Some((mirror.name.clone(), mirrored(raw, span)?))
        };
        self.mirrors.iter().filter_map(value).collect()
    }
}

impl Mirror {
    fn new(raw: &[u8], annotation: Annotation) -> Result<Self, InvalidToolHeader> {
        let header = text(raw, annotation.header)
            .ok_or(InvalidToolHeader::NotAString)?
            .into_owned();
        if header.is_empty() {
            return Err(InvalidToolHeader::Empty);
        }
        if !header.bytes().all(is_token_byte) {
            return Err(InvalidToolHeader::NotAToken { header });
        }
        let Some(path) = annotation.path.filter(|path| !path.is_empty()) else {
            return Err(InvalidToolHeader::Unreachable { header });
        };
        let declared = annotation.declared.and_then(|span| text(raw, span));
        if !matches!(declared.as_deref(), Some("integer" | "string" | "boolean")) {
            return Err(InvalidToolHeader::NotPrimitive { header });
        }
        let name = format!("{MCP_PARAM_PREFIX}{}", header.to_ascii_lowercase());
        Ok(Self {
            path,
            name,
            label: format!("{LABEL_PREFIX}{header}"),
        })
    }

    fn check(
        &self,
        headers: &impl HeaderLookup,
        raw: &[u8],
        arguments: Option<Span>,
    ) -> Result<(), HeaderError> {
        let header = Header {
            name: &self.name,
            label: &self.label,
            wrapped: true,
        };
        let Some(body) = self.find(raw, arguments)? else {
            return header.check_absent(headers);
        };
        let value = header.one(headers)?.ok_or_else(|| HeaderError::Missing {
            header: header.label(),
        })?;
        let in_header = header.read(value)?;
        let spelled = body.of(raw);
        let (same, in_body) = match spelled.first() {
            Some(b'"') => {
                let in_body = text(raw, body);
                (
                    in_body.as_deref() == Some(&in_header),
                    in_body.unwrap_or_default(),
                )
            }
            Some(b'-' | b'0'..=b'9') => (
                same_number(in_header.as_bytes(), spelled),
                String::from_utf8_lossy(spelled),
            ),
            _ => (
                in_header.as_bytes() == spelled && !matches!(spelled, [b'{' | b'[', ..]),
                String::from_utf8_lossy(spelled),
            ),
        };
        if same {
            Ok(())
        } else {
            Err(header.mismatch(&in_header, &in_body))
        }
    }

    /// The argument's value; nothing if it is null or absent.
    ///
    /// # Errors
    /// A key on the way that appears twice: the server could read the other one.
    fn find(&self, raw: &[u8], arguments: Option<Span>) -> Result<Option<Span>, HeaderError> {
        let Some(mut at) = arguments else { return Ok(None) };
        for key in &self.path {
            let mut found = members(raw, at).filter(|(name, _)| is_key(raw, *name, key));
            let Some((_, value)) = found.next() else {
                return Ok(None);
            };
            if found.next().is_some() {
                return Err(HeaderError::Ambiguous {
                    header: Cow::Owned(self.label.clone()),
                    key: key.clone(),
                });
            }
            at = value;
        }
        Ok(Some(at).filter(|span| span.of(raw) != b"null"))
    }
}

const LABEL_PREFIX: &str = "Mcp-Param-";

fn header_of(label: &str) -> String {
    label.strip_prefix(LABEL_PREFIX).unwrap_or(label).to_owned()
}

/// How a value is written in a header.
fn mirrored(raw: &[u8], span: Span) -> Option<String> {
    let spelled = span.of(raw);
    match spelled.first()? {
        b'"' => text(raw, span).map(|value| encode_value(&value).into_owned()),
        b'-' | b'0'..=b'9' => Decimal::parse(spelled)
            .and_then(Decimal::to_integer)
            .or_else(|| String::from_utf8(spelled.to_vec()).ok()),
        b't' | b'f' => String::from_utf8(spelled.to_vec()).ok(),
        _ => None,
    }
}

fn same_number(left: &[u8], right: &[u8]) -> bool {
    match (Decimal::parse(left), Decimal::parse(right)) {
        (Some(left), Some(right)) => left.equals(&right),
        // Powers beyond what can be compared: then only the same spelling is the same number.
        _ => left == right,
    }
}

/// `tchar` of RFC 9110.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
