//! `axiom events`: what was recorded, read from the files, beside a running gateway and without one.

pub mod export;
pub mod hold;
pub mod tail;
pub mod tiers;
pub mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use axiom_events::archive::Missing;
use axiom_events::disk::Machine;
use axiom_events::{ReadError, Reader};
use axiom_tiers::{Shelves, Store, StoreOptions};

use crate::cli::EventsAt;
use crate::compose::{open_store, read, shard_folder, tiers_failed};
use crate::config::load::discover;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

/// The log that is meant, and where its cold events are.
struct Shard {
    folder: PathBuf,
    store: Option<Arc<Store>>,
}

/// The folder of the event store that is meant, and where its cold events are.
pub(super) fn place(at: &EventsAt, terminal: &Terminal) -> Result<(PathBuf, Option<StoreOptions>), Failed> {
    let source = discover(at.file.config.as_deref());
    let config = match (read(&source), &at.dir) {
        (Ok(loaded), _) => Some(loaded.config),
        // A folder says enough. Only what is in an object store needs more.
        (Err(_), Some(_)) if at.file.config.is_none() => None,
        (Err(error), _) => return Err(Failed::from_load(&error, terminal)),
    };
    let store = config.as_ref().and_then(|config| config.tiers.store.clone());
    match (&at.dir, config.and_then(|config| config.options.events)) {
        (Some(dir), _) => Ok((dir.clone(), store)),
        (None, Some(events)) => Ok((events.dir, store)),
        (None, None) => {
            let failed = Failed::new(Exit::NotFound, "the configuration records no events");
            Err(failed.hint("add a section [events] with dir = \"events\", or name a folder with --dir"))
        }
    }
}

fn shard(at: &EventsAt, terminal: &Terminal) -> Result<Shard, Failed> {
    let (dir, store) = place(at, terminal)?;
    let folder = shard_folder(&dir);
    if !folder.is_dir() {
        let failed = Failed::new(
            Exit::NotFound,
            format!("there are no events in {}", dir.display()),
        );
        return Err(failed.hint("a gateway records there once it was started with it as `events.dir`"));
    }
    let store = store.as_ref().map(open_store).transpose()?;
    Ok(Shard { folder, store })
}

/// Reads all tiers.
fn open(shard: &Shard) -> Result<Reader, Failed> {
    let shelves = Shelves::open(&shard.folder, shard.store.clone()).map_err(|error| tiers_failed(&error))?;
    Reader::open_with(Arc::new(Machine), &shard.folder, Arc::new(shelves)).map_err(|error| unreadable(&error))
}

fn unreadable(error: &ReadError) -> Failed {
    let exit = match error {
        ReadError::Disk { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Exit::Denied
        }
        _ => Exit::Failure,
    };
    Failed::new(exit, error.to_string())
}

/// Tells of events that are not there any more. True if they were meant to be there no longer.
fn tell_gap(reader: &Reader, gap: &std::ops::Range<u64>, terminal: &Terminal) -> Result<bool, Failed> {
    let (from, to) = (gap.start, gap.end.saturating_sub(1));
    let why = reader.why_missing(gap).map_err(|error| unreadable(&error))?;
    match why {
        Missing::Retired => terminal.say(format_args!("events {from} to {to} were retired")),
        Missing::Lost => terminal.say(format_args!(
            "{} events {from} to {to} cannot be read; `axiom events verify` says why",
            terminal.yellow("warning:"),
        )),
    }
    Ok(why == Missing::Retired)
}
