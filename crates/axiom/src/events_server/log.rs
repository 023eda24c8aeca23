//! The files, opened anew for each question, and how an event is shown to a model.

use std::path::PathBuf;
use std::sync::Arc;

use axiom_events::disk::Machine;
use axiom_events::{Next, ReadError, Reader, Recorded};
use axiom_tiers::{Shelves, StoreOptions};
use serde_json::{Value as Json, json};

use crate::builtin::arguments::Complaint;
use crate::compose::{open_store, shard_folder};
use crate::events;

/// An event store's log, as this server reads it.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) dir: PathBuf,
    shard: u16,
    pub(super) store: Option<StoreOptions>,
}

/// Bytes of one event in a list; `get` shows the whole of a longer one.
const LISTED_BYTES_MAX: usize = 8 << 10;
/// What a list leaves out of a call's body.
const BODIES: &[&str] = &["request", "request_cut", "response", "response_cut"];

impl Log {
    pub(super) fn new(dir: PathBuf, shard: u16, store: Option<StoreOptions>) -> Log {
        Log { dir, shard, store }
    }

    /// A reader that knows everything that is in the files now, of all tiers. Blocks on the disk.
    ///
    /// It is not kept: as long as it is there, no file that it may read is deleted.
    pub(super) fn reader(&self) -> Result<Reader, Complaint> {
        let folder = shard_folder(&self.dir, self.shard);
        if !folder.is_dir() {
            return Err(self.nothing_there());
        }
        let store = self.store.as_ref().map(open_store).transpose();
        let store = store.map_err(|failed| Complaint::new(failed.message))?;
        let shelves = Shelves::open(&folder, store)
            .map_err(|error| Complaint::new(format!("cannot see where events are: {error}")))?;
        Ok(Reader::open_with(Arc::new(Machine), &folder, Arc::new(shelves))?)
    }

    fn nothing_there(&self) -> Complaint {
        Complaint::new(format!(
            "there are no events in {}: nothing was recorded yet",
            self.dir.display()
        ))
    }
}

impl From<ReadError> for Complaint {
    fn from(error: ReadError) -> Complaint {
        Complaint(format!("the event log cannot be read: {error}"))
    }
}

/// Where to look for events of this time and later. Times are producers' own and may go back a little: what is a minute
/// older is looked at too.
pub(super) fn seek(reader: &Reader, time: i64) -> Result<u64, Complaint> {
    let wanted = time.saturating_sub(60_000_000_000);
    let (mut low, mut high) = (reader.first(), reader.end());
    while low < high {
        let middle = low + (high - low) / 2;
        match reader.at(middle)? {
            Next::Block(block) => {
                let is_before = block.events().all(|recorded| recorded.event.time < wanted);
                if is_before {
                    low = block.offsets().end;
                } else {
                    high = block.offsets().start.min(middle);
                }
            }
            // Nothing is known of its times: look at what is behind it.
            Next::Gap(gap) if gap.end < high => low = gap.end,
            Next::Gap(_) | Next::End => high = middle,
        }
    }
    Ok(low)
}

/// An event as the line that `axiom events export` prints.
pub(super) fn line(recorded: &Recorded<'_>) -> String {
    let mut line = Vec::new();
    events::json(&mut line, recorded);
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// An event in a list: without what was said, and never long.
pub(super) fn listed(recorded: &Recorded<'_>) -> Json {
    let mut event: Json = serde_json::from_str(&line(recorded)).unwrap_or_default();
    if let Some(body) = event.get_mut("body").and_then(Json::as_object_mut)
        && recorded.event.kind == "gateway.call"
    {
        body.retain(|key, _| !BODIES.contains(&key.as_str()));
    }
    if event.to_string().len() > LISTED_BYTES_MAX
        && let Some(event) = event.as_object_mut()
    {
        event.retain(|key, _| !key.starts_with("body"));
        event.insert("body_bytes".to_owned(), json!(recorded.event.body.len()));
    }
    event
}
