//! What "the same events" means, wherever and however they are stored.

use axiom_events::{Format, Recorded};

/// Small pieces are gathered: BLAKE3 is several times faster on large ones.
const GATHER_BYTES: usize = 64 << 10;

/// BLAKE3 over the canonical bytes of every event, in the order of their offsets.
///
/// An event's canonical bytes, numbers little-endian: offset (8), version (8), time (8), severity (1), format (1: 0 binary,
/// 1 text, 2 json), then tenant, stream, task and kind with their lengths (4 each) before them, then trace and id, each
/// a byte 0, or a byte 1 and 16 bytes (big-endian), then the body with its length (4) before it.
#[derive(Debug, Clone, Default)]
pub struct EventsHash {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl EventsHash {
    pub fn new() -> EventsHash {
        EventsHash::default()
    }

    pub fn push(&mut self, recorded: &Recorded<'_>) {
        let event = &recorded.event;
        let out = &mut self.gathered;
        out.extend_from_slice(&recorded.offset.to_le_bytes());
        out.extend_from_slice(&recorded.version.to_le_bytes());
        out.extend_from_slice(&event.time.to_le_bytes());
        out.push(event.level as u8);
        out.push(match event.format {
            Format::Binary => 0,
            Format::Text => 1,
            Format::Json => 2,
        });
        for name in [event.tenant, event.stream, event.task, event.kind] {
            bytes(out, name.as_bytes());
        }
        let ids = [
            event.trace.map(|trace| trace.0),
            event.id.map(|id| id.0.to_be_bytes()),
        ];
        for id in ids {
            out.push(u8::from(id.is_some()));
            out.extend_from_slice(&id.unwrap_or_default()[..if id.is_some() { 16 } else { 0 }]);
        }
        bytes(out, event.body);
        if out.len() >= GATHER_BYTES {
            self.hasher.update(out);
            out.clear();
        }
    }

    pub fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered);
        *self.hasher.finalize().as_bytes()
    }
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("names and bodies are shorter than 8 MiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}
