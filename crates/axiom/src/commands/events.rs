//! `axiom events`: what was recorded, read from the files, beside a running gateway and without one.

pub mod export;
pub mod follow;
pub mod prove;
pub mod shared;
pub mod tail;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_events::disk::Machine;
use axiom_events::{ReadError, Reader};
use axiom_gateway::options::EventsOptions;

use crate::cli::EventsAt;
use crate::compose::{read, shard_folder, shards};
use crate::config::load::discover;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

/// The folder of the log that is meant.
pub(super) fn folder(at: &EventsAt, terminal: &Terminal) -> Result<PathBuf, Failed> {
    let (dir, configured) = match &at.dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let events = configured(at, terminal)?;
            (events.dir, Some(events.shard))
        }
    };
    let there = shards(&dir);
    let meant = at.shard.or(configured).or(match there.as_slice() {
        [only] => Some(*only),
        _ => None,
    });
    match meant {
        Some(shard) if there.contains(&shard) => Ok(shard_folder(&dir, shard)),
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

/// What the configuration says about events.
fn configured(at: &EventsAt, terminal: &Terminal) -> Result<EventsOptions, Failed> {
    let source = discover(at.file.config.as_deref());
    let loaded = read(&source).map_err(|error| Failed::from_load(&error, terminal))?;
    loaded.config.options.events.ok_or_else(|| {
        Failed::new(Exit::NotFound, "the configuration records no events")
            .hint("add a section [events] with dir = \"events\", or name a folder with --dir")
    })
}

pub(super) fn open(folder: &Path) -> Result<Reader, Failed> {
    Reader::open(Arc::new(Machine), folder).map_err(|error| unreadable(&error))
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

/// Tells of events that are not there any more.
fn tell_gap(gap: &std::ops::Range<u64>, terminal: &Terminal) {
    terminal.say(format_args!(
        "{} events {} to {} cannot be read; `axiom events verify` says why",
        terminal.yellow("warning:"),
        gap.start,
        gap.end.saturating_sub(1)
    ));
}
