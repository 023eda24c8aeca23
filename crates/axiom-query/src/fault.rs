//! What went wrong with a query: whose fault it is, where in the text, and what to do.

use std::fmt;

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::error::DataFusionError as Error;

use crate::notes::joined;
use crate::store::StoreError;

/// The setting that DataFusion names when there is no more temporary space; it has no kind of error of its own for it.
const TEMPORARY_LIMIT: &str = "max_temp_directory_size";

const VERIFY: &str = "`axiom events verify` tells what can be read";

/// A query that has no (whole) answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    pub message: String,
    /// Line and column in the query, both from 1.
    pub at: Option<(u64, u64)>,
    pub hint: Option<String>,
}

/// What sort of fault it is; its name does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It is not SQL, or SQL about things that are not there.
    Query,
    /// It is SQL that would change something.
    Refused,
    /// It needs more memory, or more temporary space, than it may have.
    Memory,
    Timeout,
    Cancelled,
    /// Too many queries run already.
    Busy,
    /// There is no event store.
    Absent,
    /// The query or its answer has more bytes, or the answer more rows, than it may have.
    TooLarge,
    /// Events cannot be read, and the rows without them would pass for all.
    Incomplete,
    /// The files cannot be read, or a defect of ours.
    Failed,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Code::Query => "query",
            Code::Refused => "refused",
            Code::Memory => "memory",
            Code::Timeout => "timeout",
            Code::Cancelled => "cancelled",
            Code::Busy => "busy",
            Code::Absent => "absent",
            Code::TooLarge => "too_large",
            Code::Incomplete => "incomplete",
            Code::Failed => "failed",
        }
    }

    /// The status of an HTTP response that says it.
    pub fn status(self) -> u16 {
        match self {
            Code::Query => 400,
            Code::Refused => 403,
            Code::Absent => 404,
            Code::TooLarge => 413,
            Code::Memory => 507,
            Code::Busy => 503,
            Code::Timeout => 504,
            Code::Cancelled => 499,
            Code::Incomplete | Code::Failed => 500,
        }
    }
}

impl Fault {
    pub fn new(code: Code, message: impl Into<String>) -> Fault {
        Fault {
            code,
            message: message.into(),
            at: None,
            hint: None,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    /// An answer that lacks something, in a form that cannot say so.
    pub(crate) fn incomplete(warnings: &[String]) -> Fault {
        Fault::new(
            Code::Incomplete,
            format!("the answer would not be whole: {}", joined(warnings)),
        )
    }

    /// As JSON: an object with `error`.
    pub fn json(&self) -> serde_json::Value {
        let at = self
            .at
            .map(|(line, column)| serde_json::json!({"line": line, "column": column}));
        let mut error = serde_json::json!({"code": self.code.name(), "message": self.message});
        for (key, value) in [("at", at), ("hint", self.hint.clone().map(Into::into))] {
            if let Some(value) = value {
                error[key] = value;
            }
        }
        serde_json::json!({ "error": error })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.at {
            Some((line, column)) if !self.message.contains("Line:") => {
                write!(f, " (line {line}, column {column})")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        match error {
            StoreError::Absent { .. } => Fault::new(Code::Absent, error.to_string())
                .hint("a gateway records there once it was started with it as `events.dir`"),
            _ => Fault::new(Code::Failed, error.to_string()).hint(VERIFY),
        }
    }
}

impl From<DataFusionError> for Fault {
    fn from(error: DataFusionError) -> Fault {
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        let root = error.find_root();
        if let Some(fault) = ours_within(root) {
            return fault.clone();
        }
        let message = first_part(root);
        if message.contains(TEMPORARY_LIMIT) {
            return Fault::new(
                Code::Memory,
                "the query needs more temporary space on the disk than queries may take",
            )
            .hint("ask for less at once: fewer columns, a shorter time, fewer groups");
        }
        let (code, hint) = match root {
            Error::SQL(..) => (Code::Query, Some("the manual of the dialect is PostgreSQL's; columns named like a keyword go in double quotes".to_owned())),
            Error::SchemaError(schema, _) => (Code::Query, schema_hint(schema)),
            Error::Plan(message) if message.contains("not found") && message.contains("table") => {
                (Code::Query, Some("the tables are events, calls and tasks; `axiom sql --schema` lists their columns".to_owned()))
            }
            Error::Plan(_) | Error::NotImplemented(_) | Error::Configuration(_) => (Code::Query, None),
            Error::ResourcesExhausted(_) => (
                Code::Memory,
                Some("ask for less at once: fewer columns, a shorter time, a smaller LIMIT; or give it more with --memory".to_owned()),
            ),
            // What reads Parquet passes on the words alone.
            Error::ArrowError(arrow, _) if matches!(**arrow, ArrowError::ParquetError(_)) => (Code::Failed, Some(VERIFY.to_owned())),
            Error::ArrowError(..) | Error::Execution(_) => (Code::Query, None),
            Error::External(_) | Error::IoError(_) | Error::ParquetError(_) | Error::ObjectStore(_) => (Code::Failed, Some(VERIFY.to_owned())),
            _ => (Code::Failed, None),
        };
        Fault {
            code,
            at: span
                .map(|span| (span.start.line, span.start.column))
                .or_else(|| place_in(&message)),
            message,
            hint,
        }
    }
}

/// A fault that went through DataFusion or Parquet and came out again.
fn ours_within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Fault> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault);
        }
        at = error.source();
    }
    None
}

/// What an error says without the names of DataFusion's own types.
fn first_part(error: &Error) -> String {
    let text = match error {
        Error::SQL(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    };
    let known = [
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "External error: ",
        "Resources exhausted: ",
        "Invalid or Unsupported Configuration: ",
        "This feature is not implemented: ",
        "Arrow error: ",
        "Parquet argument error: ",
        "Parquet error: ",
        "External: ",
        "sql parser error: ",
    ];
    let mut text = text.as_str();
    while let Some(rest) = known.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text.trim_end().replace("axiom.public.", "")
}

/// The parser says where within its message.
fn place_in(message: &str) -> Option<(u64, u64)> {
    let (_, place) = message.rsplit_once("Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = column.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((line.parse().ok()?, digits.parse().ok()?))
}

fn schema_hint(error: &SchemaError) -> Option<String> {
    matches!(error, SchemaError::FieldNotFound { .. }).then(|| {
        "`axiom sql --schema` lists the columns; texts go in single quotes, not in double ones".to_owned()
    })
}
