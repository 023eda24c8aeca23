//! Which events may be skipped at all, and which of them are.

use std::time::Duration;

use crate::event::{Event, Level};
use crate::writer::LOG_STREAM;

/// Streams of audits and of the log itself are never sampled, whatever a policy says.
const AUDIT_STREAMS: [&str; 2] = ["audit", LOG_STREAM];
/// Nor are kinds of the log's own.
const OWN_KINDS: &str = "axiom.*";

/// What a sampler does. Whether an event may be skipped is decided by its level, its stream, its kind and whether it has an id;
/// never by what its body says.
///
/// Never skipped are: errors and worse; events with an id of their own, which are somebody's state; streams `audit`, `audit.*`
/// and `axiom.log`; kinds `axiom.*`, among them gaps and counters; and every kind that is not in [`Policy::kinds`]. So what a
/// gateway records of itself is kept unless somebody names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Kinds that are sampled: whole, or with a `*` at the end for any rest.
    pub kinds: Vec<String>,
    /// Kinds that are kept though they are among those: where both fit the longer one decides, and this one if they are alike.
    pub keep: Vec<String>,
    /// So many of each template are kept in each task and window. After that the ones with a power of two: with a thousand alike
    /// and the default that makes eleven.
    pub first: u32,
    /// How long a window is, by the events' clock.
    pub window: Duration,
    /// One is kept if the one that was kept before is so long ago, by the events' clock.
    pub floor: Duration,
    /// When an event of level error comes, so many of its task that were skipped before it are kept after all...
    pub before_error: usize,
    /// ...and so many that come after it, whatever they are.
    pub after_error: u32,
    /// Bytes that a sampler may hold; 256 KiB to 32 MiB.
    pub bytes_max: usize,
}

impl Default for Policy {
    fn default() -> Policy {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Policy {
            kinds: own(&["task.output", "task.log"]),
            keep: own(&["gateway.*", "file.*", "tool.*", "llm.*", "intervention*"]),
            first: 4,
            window: Duration::from_secs(60),
            floor: Duration::from_secs(10),
            before_error: 20,
            after_error: 20,
            bytes_max: 16 << 20,
        }
    }
}

impl Policy {
    /// Whether this event may be skipped.
    pub fn samples(&self, event: &Event<'_>) -> bool {
        let is_state = event.id.is_some() || is_audit(event.stream);
        event.level < Level::Error && !is_state && self.samples_kind(event.kind)
    }

    /// Whether events of this kind may be skipped, some of them.
    pub fn samples_kind(&self, kind: &str) -> bool {
        let longest = |patterns: &[String]| {
            let fitting = patterns.iter().filter(|pattern| fits(pattern, kind));
            fitting.map(String::len).max()
        };
        let Some(sampled) = longest(&self.kinds) else {
            return false;
        };
        !fits(OWN_KINDS, kind) && longest(&self.keep).is_none_or(|kept| kept < sampled)
    }
}

fn is_audit(stream: &str) -> bool {
    AUDIT_STREAMS.iter().any(|audit| {
        let rest = stream.strip_prefix(audit);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn fits(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == pattern,
    }
}
