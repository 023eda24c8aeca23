//! What a manifest says, and what may become of it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Where every event of a shard is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    pub shard: u16,
    /// Of the last record.
    pub sequence: u64,
    /// What is no longer hot, ascending by offset and disjoint. Between them events were retired.
    pub objects: Vec<Object>,
    /// From this offset on events are in the log itself.
    pub hot_from: u64,
    /// What must not be deleted.
    pub holds: Vec<Hold>,
    pub next_hold: u64,
    /// What no state shows any more and is still there.
    pub garbage: Vec<Garbage>,
    /// What was done about holds and is not in the log yet, in the order of its records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<Untold>,
}

/// Events of an offset range, in one file or object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Object {
    pub tier: Tier,
    /// A warm one's file name within `warm`, a cold one's address in the object store.
    pub location: String,
    /// Events with these offsets are here or nowhere.
    pub offsets: Range<u64>,
    pub rows: u64,
    pub bytes: u64,
    /// The earliest and the latest time of an event, nanoseconds since 1970.
    pub time_min: i64,
    pub time_max: i64,
    /// [`EventsHash`](crate::file::EventsHash) over its events.
    #[serde(with = "hex")]
    pub events_hash: [u8; 32],
    /// BLAKE3 over its bytes.
    #[serde(with = "hex")]
    pub bytes_hash: [u8; 32],
    /// When the log began the first segment of it, nanoseconds since 1970.
    pub began: i64,
    /// What its events took while they were hot.
    pub hot_bytes: u64,
    /// Events that were damaged before they came here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Range<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// On this machine's disk.
    Warm,
    /// In an object store.
    Cold,
}

/// Events that must not be deleted. What is `None` asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    pub id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The first time that is not meant any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    pub reason: String,
    /// Who asked for it, and when.
    pub by: String,
    pub at: i64,
}

/// Something that was done about a hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Untold {
    /// Of its record.
    pub sequence: u64,
    pub deed: Deed,
    pub hold: Hold,
    /// Who did it, and when, nanoseconds since 1970.
    pub by: String,
    pub at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    Held,
    Released,
}

/// A file or object to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Garbage {
    pub tier: Tier,
    pub location: String,
    /// The record from which on no state shows it.
    pub since: u64,
}

/// A change, who made it, and when.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    pub sequence: u64,
    /// Nanoseconds since 1970.
    pub at: i64,
    pub by: String,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Everything so far.
    State(Box<State>),
    /// The first hot events are in this object now, and no longer in the log.
    Seal(Box<Object>),
    /// Objects in the place of others: merged, moved, or with fewer events; or in the place of none that has events.
    Replace {
        removed: Vec<String>,
        added: Vec<Object>,
        /// Events that are not kept any more, and why.
        retired: u64,
        why: String,
    },
    /// Something will be made here. If nothing comes of it, it is garbage.
    Intend {
        tier: Tier,
        location: String,
    },
    /// These were deleted.
    Reclaim {
        locations: Vec<String>,
    },
    Hold(Hold),
    Release {
        id: u64,
    },
    /// What was done about holds up to this record is in the log.
    Told {
        sequence: u64,
    },
}

/// A change that would lose events or have them twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest cannot be changed so: {0}")]
pub struct Impossible(String);

impl State {
    pub fn new(shard: u16) -> State {
        State {
            shard,
            sequence: 0,
            objects: Vec::new(),
            hot_from: 0,
            holds: Vec::new(),
            next_hold: 1,
            garbage: Vec::new(),
            untold: Vec::new(),
        }
    }

    /// The state after this record.
    ///
    /// # Errors
    /// When events would be lost or be there twice.
    pub fn after(mut self, record: &Record) -> Result<State, Impossible> {
        let expected = self.sequence + 1;
        if record.sequence != expected {
            return Err(Impossible(format!(
                "record {} where record {expected} should be",
                record.sequence
            )));
        }
        self.sequence = expected;
        match &record.change {
            Change::State(_) => return Err(Impossible("a whole state behind the first record".to_owned())),
            Change::Seal(object) => self.seal(object)?,
            Change::Replace { removed, added, .. } => self.replace(removed, added)?,
            Change::Intend { tier, location } => {
                if self.is_known(location) {
                    return Err(Impossible(format!("{location} is there already")));
                }
                self.garbage.push(Garbage {
                    tier: *tier,
                    location: location.clone(),
                    since: expected,
                });
            }
            Change::Reclaim { locations } => {
                self.garbage
                    .retain(|garbage| !locations.contains(&garbage.location));
            }
            Change::Hold(hold) => {
                self.next_hold = self.next_hold.max(hold.id.saturating_add(1));
                self.holds.push(hold.clone());
                self.untold.push(Untold::of(record, Deed::Held, hold));
            }
            Change::Release { id } => {
                let Some(place) = self.holds.iter().position(|hold| hold.id == *id) else {
                    return Err(Impossible(format!("there is no hold {id}")));
                };
                let hold = self.holds.remove(place);
                self.untold.push(Untold::of(record, Deed::Released, &hold));
            }
            Change::Told { sequence } => self.untold.retain(|untold| untold.sequence > *sequence),
        }
        Ok(self)
    }

    fn seal(&mut self, object: &Object) -> Result<(), Impossible> {
        if object.offsets.start != self.hot_from || object.offsets.is_empty() {
            return Err(Impossible(format!(
                "{} has events {:?}, and the first hot one is {}",
                object.location, object.offsets, self.hot_from
            )));
        }
        if self.objects.iter().any(|other| other.location == object.location) {
            return Err(Impossible(format!("{} is there already", object.location)));
        }
        self.hot_from = object.offsets.end;
        self.garbage.retain(|garbage| garbage.location != object.location);
        self.objects.push(object.clone());
        Ok(())
    }

    fn replace(&mut self, removed: &[String], added: &[Object]) -> Result<(), Impossible> {
        let is_removed = |object: &&Object| removed.contains(&object.location);
        let gone: Vec<Object> = self.objects.iter().filter(is_removed).cloned().collect();
        let (Some(first), Some(last)) = (gone.first(), gone.last()) else {
            return Err(Impossible("nothing is replaced".to_owned()));
        };
        if gone.len() != removed.len() {
            return Err(Impossible("what is replaced is not there".to_owned()));
        }
        let span = first.offsets.start..last.offsets.end;
        let between = self
            .objects
            .iter()
            .filter(|object| object.offsets.start >= span.start && object.offsets.end <= span.end);
        if between.count() != gone.len() {
            return Err(Impossible(
                "an object between those that are replaced stays".to_owned(),
            ));
        }
        let mut at = span.start;
        for object in added {
            if object.offsets.start < at || object.offsets.end > span.end || object.offsets.is_empty() {
                return Err(Impossible(format!(
                    "{} has events {:?} in the place of {span:?}",
                    object.location, object.offsets
                )));
            }
            at = object.offsets.end;
        }
        let rows = |objects: &[Object]| objects.iter().map(|object| object.rows).sum::<u64>();
        if rows(added) > rows(&gone) {
            return Err(Impossible("there would be more events than before".to_owned()));
        }
        let place = self
            .objects
            .partition_point(|object| object.offsets.start < span.start);
        self.objects
            .splice(place..place + gone.len(), added.iter().cloned());
        self.garbage
            .retain(|garbage| added.iter().all(|object| object.location != garbage.location));
        for object in gone {
            if added.iter().any(|new| new.location == object.location) {
                return Err(Impossible(format!("{} would replace itself", object.location)));
            }
            self.garbage.push(Garbage {
                tier: object.tier,
                location: object.location,
                since: self.sequence,
            });
        }
        Ok(())
    }

    /// Whether something has, or had, this place.
    pub fn is_known(&self, location: &str) -> bool {
        let objects = self.objects.iter().map(|object| &object.location);
        let garbage = self.garbage.iter().map(|garbage| &garbage.location);
        objects.chain(garbage).any(|known| known == location)
    }
}

impl Untold {
    fn of(record: &Record, deed: Deed, hold: &Hold) -> Untold {
        Untold {
            sequence: record.sequence,
            deed,
            hold: hold.clone(),
            by: record.by.clone(),
            at: record.at,
        }
    }
}

/// 32 bytes as 64 digits.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in bytes {
            // A String takes everything.
            let _written = write!(text, "{byte:02x}").is_ok();
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(D::Error::custom("a hash has 64 digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(D::Error::custom)?;
        }
        Ok(bytes)
    }
}
