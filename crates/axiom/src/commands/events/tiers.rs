//! `axiom events tiers`: where the events are, how much room they take, and how old they are.

use axiom_core::time::unix_nanos;
use axiom_tiers::Snapshot;
use axiom_tiers::manifest::{Object, Tier};
use serde_json::json;

use super::{Shard, open, shard};
use crate::cli::Tiers;
use crate::compose::tiers_failed;
use crate::events::full;
use crate::outcome::{Exit, Failed};
use crate::table::Table;
use crate::terminal::Terminal;

/// Events that are in one place.
struct Stock {
    tier: &'static str,
    files: usize,
    offsets: std::ops::Range<u64>,
    events: u64,
    bytes: u64,
    /// What they took while they were hot.
    hot_bytes: u64,
    times: Option<(i64, i64)>,
    location: String,
}

pub fn run(command: &Tiers, terminal: &Terminal) -> Result<Exit, Failed> {
    let shard = shard(&command.at, terminal)?;
    let snapshot = Snapshot::open(&shard.folder).map_err(|error| tiers_failed(&error))?;
    let hot = hot(&shard, &snapshot)?;
    let objects = snapshot.objects();
    let mut stocks: Vec<Stock> = Vec::new();
    if command.files {
        stocks.extend(
            objects
                .iter()
                .map(|object| Stock::of(std::slice::from_ref(object))),
        );
    } else {
        for tier in [Tier::Cold, Tier::Warm] {
            let of_tier: Vec<Object> = objects
                .iter()
                .filter(|object| object.tier == tier)
                .cloned()
                .collect();
            if !of_tier.is_empty() {
                stocks.push(Stock::of(&of_tier));
            }
        }
    }
    stocks.push(hot);
    if command.json {
        for stock in &stocks {
            terminal.data(stock.json())?;
        }
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        "TIER", "FILES", "OFFSETS", "EVENTS", "BYTES", "OF HOT", "OLDEST", "NEWEST", "WHERE",
    ]);
    for stock in &stocks {
        table.row(stock.row());
    }
    terminal.data(table)?;
    let garbage = snapshot.state().garbage.len();
    if garbage > 0 {
        terminal.say(format_args!(
            "{garbage} files that were replaced wait until nobody reads them"
        ));
    }
    Ok(Exit::Ok)
}

/// What is in the log itself.
fn hot(shard: &Shard, snapshot: &Snapshot) -> Result<Stock, Failed> {
    let reader = open(shard)?;
    let names = fs_err::read_dir(&shard.folder)?;
    let (mut files, mut bytes) = (0, 0);
    for entry in names {
        let entry = entry?;
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "seg")
        {
            files += 1;
            bytes += entry.metadata()?.len();
        }
    }
    let offsets = snapshot.hot_from()..reader.end();
    let time_at = |offset: u64| {
        let hit = reader.event(offset).ok().flatten();
        hit.map(|hit| hit.recorded().event.time)
    };
    let times = time_at(offsets.start).zip(offsets.end.checked_sub(1).and_then(time_at));
    Ok(Stock {
        tier: "hot",
        files,
        events: offsets.end.saturating_sub(offsets.start),
        offsets,
        bytes,
        hot_bytes: 0,
        times,
        location: shard.folder.display().to_string(),
    })
}

impl Stock {
    /// Of objects of one tier, of which there is one at least.
    fn of(objects: &[Object]) -> Stock {
        let sum = |number: fn(&Object) -> u64| objects.iter().map(number).sum();
        let (first, last) = (&objects[0], &objects[objects.len() - 1]);
        let earliest = objects.iter().map(|object| object.time_min).min();
        let latest = objects.iter().map(|object| object.time_max).max();
        let location = match objects {
            [only] => only.location.clone(),
            _ if first.tier == Tier::Warm => "warm".to_owned(),
            _ => first
                .location
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder)
                .to_owned(),
        };
        Stock {
            tier: match first.tier {
                Tier::Warm => "warm",
                Tier::Cold => "cold",
            },
            files: objects.len(),
            offsets: first.offsets.start..last.offsets.end,
            events: sum(|object| object.rows),
            bytes: sum(|object| object.bytes),
            hot_bytes: sum(|object| object.hot_bytes),
            times: earliest.zip(latest),
            location,
        }
    }

    fn row(&self) -> [String; 9] {
        let ago = |time: i64| format!("{} ago", span(unix_nanos().saturating_sub(time)));
        let (oldest, newest) = self
            .times
            .map_or(("-".to_owned(), "-".to_owned()), |(oldest, newest)| {
                (ago(oldest), ago(newest))
            });
        let ratio = match self.hot_bytes {
            0 => "-".to_owned(),
            hot => format!("{} %", self.bytes.saturating_mul(100) / hot),
        };
        [
            self.tier.to_owned(),
            self.files.to_string(),
            format!("{}..{}", self.offsets.start, self.offsets.end),
            self.events.to_string(),
            self.bytes.to_string(),
            ratio,
            oldest,
            newest,
            self.location.clone(),
        ]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "tier": self.tier,
            "files": self.files,
            "from_offset": self.offsets.start,
            "to_offset": self.offsets.end,
            "events": self.events,
            "bytes": self.bytes,
            "hot_bytes": (self.hot_bytes > 0).then_some(self.hot_bytes),
            "oldest": self.times.map(|(oldest, _)| full(oldest)),
            "newest": self.times.map(|(_, newest)| full(newest)),
            "location": self.location,
        })
    }
}

/// `3d`, `5h`, `12m`, `8s`.
fn span(nanoseconds: i64) -> String {
    let seconds = nanoseconds.max(0) / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
