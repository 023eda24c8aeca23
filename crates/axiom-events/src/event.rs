//! What is recorded, as its producer says it and as a reader gets it back.

use std::fmt;

/// Bytes that a tenant, stream, task or kind may have.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes that a body may have. Larger things belong into a file or an object store, and their address into the body.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event<'a> {
    /// Nanoseconds since 1970, by the producer's clock. Order is the log's, not the clock's.
    pub time: i64,
    /// Whose it is. Retention and deletion go by tenant.
    pub tenant: &'a str,
    /// The sequence that it is the next event of. Never empty.
    pub stream: &'a str,
    /// The task or call that it is about; empty if it is about none.
    pub task: &'a str,
    /// What sort of thing happened, for example `gateway.call`. Never empty.
    pub kind: &'a str,
    pub level: Level,
    /// The W3C trace that it happened in.
    pub trace: Option<TraceId>,
    /// Chosen by the producer, unique in its shard: an event that comes again with the same id is recorded once.
    /// Give one to every event of an append or to none: only then is the whole of it recognised.
    pub id: Option<EventId>,
    pub format: Format,
    pub body: &'a [u8],
}

/// An event and its places: in its shard and in its stream. Both count from 0, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<'a> {
    pub offset: u64,
    pub version: u64,
    pub event: Event<'a>,
}

/// How much an event asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    /// Somebody must act now.
    Critical,
}

/// What a body's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    #[default]
    Binary,
    /// UTF-8, as far as its producer knows.
    Text,
    Json,
}

/// A W3C trace id, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A producer's own id of an event, for example a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u128);

/// Why an event cannot be recorded. It is its producer's fault, and the same event will be refused again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    #[error("an event's {field} is empty")]
    Empty { field: &'static str },
    #[error("an event's {field} has {bytes} B, the limit is {NAME_BYTES_MAX} B")]
    NameTooLong { field: &'static str, bytes: usize },
    #[error("an event's body has {bytes} B, the limit is {BODY_BYTES_MAX} B")]
    BodyTooLong { bytes: usize },
}

impl Event<'_> {
    /// Whether it keeps to the limits above.
    pub(crate) fn fit(&self) -> Result<(), Unfit> {
        for (field, name) in [("stream", self.stream), ("kind", self.kind)] {
            if name.is_empty() {
                return Err(Unfit::Empty { field });
            }
        }
        let names = [
            ("tenant", self.tenant),
            ("stream", self.stream),
            ("task", self.task),
            ("kind", self.kind),
        ];
        for (field, name) in names {
            if name.len() > NAME_BYTES_MAX {
                let bytes = name.len();
                return Err(Unfit::NameTooLong { field, bytes });
            }
        }
        fit_body(self.body)
    }
}

pub(crate) fn fit_body(body: &[u8]) -> Result<(), Unfit> {
    match body.len() {
        bytes if bytes > BODY_BYTES_MAX => Err(Unfit::BodyTooLong { bytes }),
        _ => Ok(()),
    }
}

impl Level {
    pub const ALL: [Level; 6] = [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Critical,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Critical => "critical",
        }
    }
}

impl std::str::FromStr for Level {
    type Err = ();

    fn from_str(name: &str) -> Result<Level, ()> {
        let found = Level::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or(())
    }
}

impl Format {
    pub const ALL: [Format; 3] = [Format::Binary, Format::Text, Format::Json];
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
