//! What the tiers say of themselves in the log: which events are not kept any more, and who holds what, or does no longer.

use axiom_events::writer::LOG_STREAM;
use axiom_events::{Batch, Event, EventId, Format, Level};
use serde_json::{Value, json};

use crate::manifest::state::{Deed, Untold};
use crate::manifest::{Object, Tier};

/// The kind of an event that says which events are not kept any more.
pub const RETIRED_KIND: &str = "axiom.retired";
/// The kind of an event that says which events must not be deleted from now on, why, and who said so.
pub const HOLD_KIND: &str = "axiom.hold";
/// The kind of an event that says which of these holds holds no longer, and who said so.
pub const RELEASED_KIND: &str = "axiom.released";

pub(crate) fn retired(object: &Object, retired: u64, why: &str) -> Batch {
    let body = json!({
        "events": retired,
        "from_offset": object.offsets.start,
        "to_offset": object.offsets.end,
        "tier": match object.tier {
            Tier::Warm => "warm",
            Tier::Cold => "cold",
        },
        "why": why,
    });
    event(RETIRED_KIND, axiom_core::time::unix_nanos(), None, &body)
}

/// It has the same id whenever it is told.
pub(crate) fn hold(shard: u16, untold: &Untold) -> Batch {
    let Untold {
        sequence,
        deed,
        hold,
        by,
        at,
    } = untold;
    let mut body = json!({ "hold": hold.id, "by": by, "reason": hold.reason });
    let selected = [
        ("tenant", hold.tenant.as_ref().map(|name| json!(name))),
        ("stream", hold.stream.as_ref().map(|name| json!(name))),
        ("task", hold.task.as_ref().map(|name| json!(name))),
        ("from_ns", hold.from.map(|time| json!(time))),
        ("to_ns", hold.to.map(|time| json!(time))),
    ];
    for (name, value) in selected {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    let kind = match deed {
        Deed::Held => HOLD_KIND,
        Deed::Released => RELEASED_KIND,
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes());
    hasher.update(&shard.to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    event(kind, *at, Some(EventId(u128::from_le_bytes(id))), &body)
}

fn event(kind: &str, time: i64, id: Option<EventId>, body: &Value) -> Batch {
    let body = body.to_string();
    let event = Event {
        time,
        stream: LOG_STREAM,
        kind,
        level: Level::Info,
        id,
        format: Format::Json,
        body: body.as_bytes(),
        ..Event::default()
    };
    let mut batch = Batch::new();
    batch.push(&event).expect("the event keeps to the limits");
    batch
}
