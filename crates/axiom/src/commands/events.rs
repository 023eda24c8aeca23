//! `axiom events`: what was recorded, read from the files, beside a running gateway and without one.

pub mod export;
pub mod follow;
pub mod hold;
pub mod prove;
pub mod shared;
pub mod tail;
pub mod tiers;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_events::archive::Missing;
use axiom_events::disk::Machine;
use axiom_events::{ReadError, Reader};
use axiom_gateway::options::EventsOptions;
use axiom_tiers::{Shelves, Store, StoreOptions};

use crate::cli::EventsAt;
use crate::compose::{open_store, read, shard_folder, shards, tiers_failed};
use crate::config::Config;
use crate::config::load::discover;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

/// The log that is meant, and where its cold events are.
pub(super) struct Shard {
    folder: PathBuf,
    store: Option<Arc<Store>>,
}

/// The folder of the event store that is meant, and where its cold events are.
pub(super) fn place(at: &EventsAt, terminal: &Terminal) -> Result<(PathBuf, Option<StoreOptions>), Failed> {
    let (dir, store, _) = wherever(at, terminal)?;
    Ok((dir, store))
}

/// The folder, the object store, and the number of the log, as far as the configuration says.
fn wherever(
    at: &EventsAt,
    terminal: &Terminal,
) -> Result<(PathBuf, Option<StoreOptions>, Option<u16>), Failed> {
    let config = match (load(at, terminal), &at.dir) {
        (Ok(config), _) => Some(config),
        // A folder says enough. Only what is in an object store needs more.
        (Err(_), Some(_)) if at.file.config.is_none() => None,
        (Err(failed), _) => return Err(failed),
    };
    let store = config.as_ref().and_then(|config| config.tiers.store.clone());
    match (&at.dir, config) {
        (Some(dir), _) => Ok((dir.clone(), store, None)),
        (None, config) => {
            let events = events_of(config)?;
            Ok((events.dir, store, Some(events.shard)))
        }
    }
}

pub(super) fn shard(at: &EventsAt, terminal: &Terminal) -> Result<Shard, Failed> {
    let (dir, store, configured) = wherever(at, terminal)?;
    let folder = folder(&dir, at.shard.or(configured))?;
    let store = store.as_ref().map(open_store).transpose()?;
    Ok(Shard { folder, store })
}

/// The folder of the shard with this number, or of the only one there is.
fn folder(dir: &Path, shard: Option<u16>) -> Result<PathBuf, Failed> {
    let there = shards(dir);
    let meant = shard.or(match there.as_slice() {
        [only] => Some(*only),
        _ => None,
    });
    match meant {
        Some(shard) if there.contains(&shard) => Ok(shard_folder(dir, shard)),
        _ if there.is_empty() => {
            let failed = Failed::new(
                Exit::NotFound,
                format!("there are no events in {}", dir.display()),
            );
            Err(failed.hint("a gateway records there once it was started with it as `events.dir`"))
        }
        meant => {
            let there: Vec<String> = there.iter().map(u16::to_string).collect();
            let what = match meant {
                Some(shard) => format!("{} has no shard {shard}", dir.display()),
                None => format!("{} has several shards", dir.display()),
            };
            let hint = format!("name one of {} with --shard", there.join(", "));
            Err(Failed::new(Exit::NotFound, what).hint(hint))
        }
    }
}

fn load(at: &EventsAt, terminal: &Terminal) -> Result<Config, Failed> {
    let source = discover(at.file.config.as_deref());
    let loaded = read(&source).map_err(|error| Failed::from_load(&error, terminal))?;
    Ok(loaded.config)
}

/// What the configuration says about events.
fn configured(at: &EventsAt, terminal: &Terminal) -> Result<EventsOptions, Failed> {
    events_of(Some(load(at, terminal)?))
}

fn events_of(config: Option<Config>) -> Result<EventsOptions, Failed> {
    config.and_then(|config| config.options.events).ok_or_else(|| {
        Failed::new(Exit::NotFound, "the configuration records no events")
            .hint("add a section [events] with dir = \"events\", or name a folder with --dir")
    })
}

/// Reads all tiers.
pub(super) fn open(shard: &Shard) -> Result<Reader, Failed> {
    let shelves = Shelves::open(&shard.folder, shard.store.clone()).map_err(|error| tiers_failed(&error))?;
    Reader::open_with(Arc::new(Machine), &shard.folder, Arc::new(shelves)).map_err(|error| unreadable(&error))
}

pub(super) fn unreadable(error: &ReadError) -> Failed {
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
