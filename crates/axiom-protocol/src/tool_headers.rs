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
            Some((mirror.name.clone(), Argument::of(raw, span).header_value()?))
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
        let argument = Argument::of(raw, body);
        let Some(value) = header.one(headers)? else {
            return if argument.is_mirrored() {
                Err(HeaderError::Missing {
                    header: header.label(),
                })
            } else {
                Ok(())
            };
        };
        let in_header = header.read(value)?;
        if argument.says(&in_header) {
            Ok(())
        } else {
            Err(header.mismatch(&in_header, &argument.shown()))
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

/// An argument's value, by what a header can say of it.
enum Argument<'a> {
    /// `None` if it holds half of a surrogate pair.
    Text(Option<Cow<'a, str>>),
    Number(&'a str),
    Boolean(&'a str),
    /// An object or an array. Clients cannot mirror it and the server will refuse it.
    Structure(&'a str),
}

impl<'a> Argument<'a> {
    fn of(raw: &'a [u8], span: Span) -> Self {
        let spelled = std::str::from_utf8(span.of(raw)).unwrap_or_default();
        match spelled.as_bytes().first() {
            Some(b'"') => Self::Text(text(raw, span)),
            Some(b't' | b'f') => Self::Boolean(spelled),
            Some(b'{' | b'[') | None => Self::Structure(spelled),
            Some(_) => Self::Number(spelled),
        }
    }

    /// Whether every client must send a header for it. Integers that a double cannot hold are not sent by clients
    /// that count in doubles, and servers of that kind do not ask for them.
    fn is_mirrored(&self) -> bool {
        match self {
            Self::Text(_) | Self::Boolean(_) => true,
            Self::Number(spelled) => {
                Decimal::parse(spelled.as_bytes()).is_some_and(|number| number.is_safe())
            }
            Self::Structure(_) => false,
        }
    }

    fn says(&self, in_header: &str) -> bool {
        match self {
            Self::Text(text) => text.as_deref() == Some(in_header),
            Self::Number(spelled) => same_number(in_header.as_bytes(), spelled.as_bytes()),
            Self::Boolean(spelled) => *spelled == in_header,
            Self::Structure(_) => false,
        }
    }

    fn header_value(&self) -> Option<String> {
        match self {
            Self::Text(text) => text.as_deref().map(|text| encode_value(text).into_owned()),
            Self::Number(spelled) => {
                let integer = Decimal::parse(spelled.as_bytes()).and_then(Decimal::to_integer);
                Some(integer.unwrap_or_else(|| (*spelled).to_owned()))
            }
            Self::Boolean(spelled) => Some((*spelled).to_owned()),
            Self::Structure(_) => None,
        }
    }

    fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text.as_deref().unwrap_or("\u{fffd}")),
            Self::Number(spelled) | Self::Boolean(spelled) | Self::Structure(spelled) => {
                Cow::Borrowed(spelled)
            }
        }
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
