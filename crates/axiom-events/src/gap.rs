//! What is missing is said in the log itself: how many events, and why.

use crate::batch::Batch;
use crate::event::{Event, Format, Level};
use crate::json::push_string;
use crate::writer::{GAP_KIND, LOG_STREAM};

/// A batch of the one event that says how many others are missing before it. It is of kind [`GAP_KIND`] in [`LOG_STREAM`], of
/// level error, and its body is `{"lost":12,"reason":"the log's queue was full"}`.
///
/// # Panics
/// When the tenant's name or the reason exceeds the limits of an event.
pub fn gap(tenant: &str, lost: u64, reason: &str) -> Batch {
    let mut body = format!("{{\"lost\":{lost},\"reason\":").into_bytes();
    push_string(&mut body, reason);
    body.push(b'}');
    let mut batch = Batch::new();
    let event = Event {
        time: axiom_core::time::unix_nanos(),
        tenant,
        stream: LOG_STREAM,
        kind: GAP_KIND,
        level: Level::Error,
        format: Format::Json,
        body: &body,
        ..Event::default()
    };
    batch.push(&event).expect("the gap event keeps to the limits");
    batch
}
