//! What the log's readers see of the older tiers.

mod moved;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axiom_events::archive::{Archive, Found, Missing, Piece, Shelf, Side, Summary, Wanted};
use axiom_events::block::Unsound;
use axiom_events::disk::{Disk, Machine};
use axiom_events::{Block, ReadError, Recorded};

use crate::file::{Events, File, FileError, Order, Source};
use crate::make::{DiskSource, WARM, load_summary, save_summary, summary_name};
use crate::manifest::{Manifest, ManifestError, Object, Snapshot, State, Tier};
use crate::store::{Store, chain};

/// Files whose footers are kept in memory. Each has an open file, or some hundred kilobytes of an object's footer.
const FILES_MAX: usize = 64;
/// Memory for summaries.
const SUMMARY_BYTES: usize = 64 << 20;

/// The older tiers of a shard, for whoever reads it.
#[derive(Debug)]
pub struct Shelves {
    origin: Arc<Origin>,
    files: Arc<Files>,
    /// The newest that was asked for.
    newest: Mutex<Option<Arc<Standing>>>,
}

/// Who knows what there is.
#[derive(Debug)]
enum Origin {
    /// This process changes it.
    Manifest(Arc<Manifest>),
    /// Another one may.
    Folder {
        folder: PathBuf,
        snapshot: Mutex<Arc<Snapshot>>,
    },
}

/// Objects that are open.
#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    store: Option<Arc<Store>>,
    /// By location; the one that was used last stands last.
    open: Mutex<VecDeque<(String, File)>>,
    summaries: Mutex<VecDeque<(String, Arc<Summary>)>>,
}

/// One state, and what is needed to read it.
#[derive(Debug)]
struct Standing {
    shown: Shown,
    pieces: Vec<Piece>,
    files: Arc<Files>,
    origin: Arc<Origin>,
}

#[derive(Debug)]
enum Shown {
    State(Arc<State>),
    Snapshot(Arc<Snapshot>),
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("{location} is in an object store, and none is configured\nhint: set `events.store`")]
    NoStore { location: String },
    /// It may be there later.
    #[error("{location} cannot be read now: {}", chain(source))]
    Away { location: String, source: io::Error },
    /// It will not come back by itself.
    #[error(
        "{location} is gone\nhint: restore it from a backup or the store's older versions; until then its events are missing"
    )]
    Vanished { location: String },
    #[error(
        "{location} is damaged: {}\nhint: restore it from a backup or the store's older versions; until then its events are missing",
        chain(source)
    )]
    Damaged { location: String, source: FileError },
    #[error("{location} is sound, and has other events than the manifest says")]
    Other { location: String },
    #[error("{location} has events that do not fit together: {source}")]
    Unsound { location: String, source: Unsound },
    #[error("{location} is not there, and nothing says where its events are now: {source}")]
    Unknown { location: String, source: ManifestError },
    /// Only who reads without a pin is told so.
    #[error("{location} was replaced while it was read, and again what replaced it\nhint: try again")]
    Outrun { location: String },
}

/// An object, and whether it is what it should be.
#[derive(Debug)]
pub struct Proof {
    pub object: Object,
    pub outcome: Result<(), ObjectError>,
}

impl Shelves {
    /// For the process that changes the tiers.
    pub fn of(
        manifest: Arc<Manifest>,
        disk: Arc<dyn Disk>,
        folder: &Path,
        store: Option<Arc<Store>>,
    ) -> Shelves {
        Shelves {
            origin: Arc::new(Origin::Manifest(manifest)),
            files: Arc::new(Files::new(disk, folder, store)),
            newest: Mutex::default(),
        }
    }

    /// Beside the process that changes the tiers, or without one.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn open(folder: &Path, store: Option<Arc<Store>>) -> Result<Shelves, ManifestError> {
        let snapshot = Snapshot::open(folder)?;
        Ok(Shelves {
            origin: Arc::new(Origin::Folder {
                folder: folder.to_owned(),
                snapshot: Mutex::new(Arc::new(snapshot)),
            }),
            files: Arc::new(Files::new(Arc::new(Machine), folder, store)),
            newest: Mutex::default(),
        })
    }

    /// What an object holds, in brief.
    ///
    /// # Errors
    /// When neither its summary nor the object can be read.
    pub fn summary_of(&self, object: &Object) -> Result<Arc<Summary>, ObjectError> {
        self.files.summary(object)
    }

    /// Reads every object and compares it with what the manifest says of it.
    pub fn prove(&self) -> Vec<Proof> {
        let prove = |object: &Object| Proof {
            outcome: self.files.prove(object),
            object: object.clone(),
        };
        let shown = self.origin.shown();
        let mut proofs: Vec<Proof> = shown.state().objects.iter().map(prove).collect();
        let is_vanished = |proof: &Proof| matches!(proof.outcome, Err(ObjectError::Vanished { .. }));
        if proofs.iter().any(is_vanished) && self.origin.refresh().is_ok() {
            // Without a pin something else may have taken its place meanwhile.
            let shown = self.origin.shown();
            let objects = &shown.state().objects;
            let is_shown = |proof: &Proof| {
                objects
                    .iter()
                    .any(|object| object.location == proof.object.location)
            };
            proofs.retain(|proof| !is_vanished(proof) || is_shown(proof));
            let is_proved = |object: &Object| {
                let mut proved = proofs.iter();
                proved.any(|proof| proof.object.location == object.location)
            };
            let new: Vec<&Object> = objects.iter().filter(|object| !is_proved(object)).collect();
            proofs.extend(new.into_iter().map(prove));
        }
        proofs
    }

    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.files
    }
}

impl Archive for Shelves {
    fn shelf(&self) -> Arc<dyn Shelf> {
        let shown = self.origin.shown();
        let mut newest = lock(&self.newest);
        if let Some(standing) = newest.as_ref().filter(|standing| standing.shown.is(&shown)) {
            return Arc::clone(standing) as Arc<dyn Shelf>;
        }
        let pieces = shown.state().objects.iter().map(|object| Piece {
            offsets: object.offsets.clone(),
            times: (object.time_min, object.time_max),
        });
        let standing = Arc::new(Standing {
            pieces: pieces.collect(),
            shown,
            files: Arc::clone(&self.files),
            origin: Arc::clone(&self.origin),
        });
        *newest = Some(Arc::clone(&standing));
        standing
    }

    fn refresh(&self) -> Result<(), ReadError> {
        self.origin.refresh().map_err(|error| ReadError::Archive {
            reason: error.to_string(),
        })?;
        // What was shown before is pinned no longer.
        drop(self.shelf());
        Ok(())
    }
}

impl Origin {
    fn shown(&self) -> Shown {
        match self {
            Origin::Manifest(manifest) => Shown::State(manifest.now()),
            Origin::Folder { snapshot, .. } => Shown::Snapshot(Arc::clone(&lock(snapshot))),
        }
    }

    fn refresh(&self) -> Result<(), ManifestError> {
        match self {
            Origin::Manifest(manifest) => drop(manifest.refresh()?),
            Origin::Folder { folder, snapshot } => {
                let known = Arc::clone(&lock(snapshot));
                if known.is_outdated()? {
                    *lock(snapshot) = Arc::new(Snapshot::open(folder)?);
                }
            }
        }
        Ok(())
    }
}

impl Shown {
    fn state(&self) -> &State {
        match self {
            Shown::State(state) => state,
            Shown::Snapshot(snapshot) => snapshot.state(),
        }
    }

    fn is(&self, other: &Shown) -> bool {
        match (self, other) {
            (Shown::State(one), Shown::State(other)) => Arc::ptr_eq(one, other),
            (Shown::Snapshot(one), Shown::Snapshot(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Standing {
    fn object(&self, piece: &Piece) -> &Object {
        let objects = &self.shown.state().objects;
        let place = objects.partition_point(|object| object.offsets.start < piece.offsets.start);
        &objects[place]
    }
}

impl Shelf for Standing {
    fn hot_from(&self) -> u64 {
        self.shown.state().hot_from
    }

    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn at(&self, piece: &Piece, offset: u64) -> Result<Found, ReadError> {
        let object = self.object(piece);
        let found = match self.files.at(object, offset) {
            Err(ObjectError::Vanished { .. }) => match self.moved(object)? {
                Some(moved) => moved.at(offset),
                None => self.files.missing(object, offset, ObjectError::vanished(object)),
            },
            found => found,
        };
        Ok(found?)
    }

    fn event(&self, piece: &Piece, offset: u64) -> Result<Found, ReadError> {
        // What is not as it should be is looked into as a whole.
        match self.files.event(self.object(piece), offset) {
            Ok(found) => Ok(found),
            Err(_) => self.at(piece, offset),
        }
    }

    fn task(
        &self,
        piece: &Piece,
        task: &str,
        offsets: Range<u64>,
        wanted: Wanted,
    ) -> Result<Block, ReadError> {
        let object = self.object(piece);
        let ours = offsets.clone();
        let here = || -> Result<Block, ObjectError> {
            let has = self.files.summary(object)?.has_task(task);
            let found = |file: File, order| file.task(task, ours, wanted.count_max, order);
            self.files.block(object, has, wanted, found)
        };
        match here() {
            Err(ObjectError::Vanished { .. }) if let Some(moved) = self.moved(object)? => {
                Ok(moved.task(task, offsets, wanted)?)
            }
            block => Ok(block?),
        }
    }

    fn stream(
        &self,
        piece: &Piece,
        stream: &str,
        versions: Range<u64>,
        wanted: Wanted,
    ) -> Result<Block, ReadError> {
        let object = self.object(piece);
        let ours = versions.clone();
        let here = || -> Result<Block, ObjectError> {
            let here = self.files.summary(object)?.versions(stream);
            let has = here.is_some_and(|here| here.start < ours.end && ours.start < here.end);
            let found = |file: File, order| file.stream(stream, ours, wanted.count_max, order);
            self.files.block(object, has, wanted, found)
        };
        match here() {
            Err(ObjectError::Vanished { .. }) if let Some(moved) = self.moved(object)? => {
                Ok(moved.stream(stream, versions, wanted)?)
            }
            block => Ok(block?),
        }
    }

    fn summary(&self, piece: &Piece) -> Result<Arc<Summary>, ReadError> {
        let object = self.object(piece);
        match self.files.summary(object) {
            Err(ObjectError::Vanished { .. }) if let Some(moved) = self.moved(object)? => {
                Ok(moved.summary()?)
            }
            summary => Ok(summary?),
        }
    }
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: &Path, store: Option<Arc<Store>>) -> Files {
        Files {
            disk,
            folder: folder.to_owned(),
            store,
            open: Mutex::default(),
            summaries: Mutex::default(),
        }
    }

    /// The bytes of an object.
    pub(crate) fn source(&self, object: &Object) -> Result<Arc<dyn Source>, ObjectError> {
        let location = &object.location;
        let opened: io::Result<Arc<dyn Source>> = match (object.tier, &self.store) {
            (Tier::Warm, _) => {
                let path = self.folder.join(WARM).join(location);
                DiskSource::open(self.disk.as_ref(), &path).map(|source| Arc::new(source) as Arc<dyn Source>)
            }
            (Tier::Cold, Some(store)) => store.source(location, object.bytes),
            (Tier::Cold, None) => {
                let location = location.clone();
                return Err(ObjectError::NoStore { location });
            }
        };
        opened.map_err(|source| ObjectError::of(location, source))
    }

    fn prove(&self, object: &Object) -> Result<(), ObjectError> {
        let source = self.source(object)?;
        let failed = |error| self.failed(object, error);
        let file = File::open(source).map_err(failed)?;
        file.verify().map_err(failed)?;
        if file.events_hash() != object.events_hash || file.rows() != object.rows {
            let location = object.location.clone();
            return Err(ObjectError::Other { location });
        }
        Ok(())
    }

    /// What is around an offset. What is damaged is a gap; whether what is not there is one depends on where it should be.
    /// One event, or why there is none.
    fn event(&self, object: &Object, offset: u64) -> Result<Found, ObjectError> {
        if let Some(lost) = object.lost.iter().find(|lost| lost.contains(&offset)) {
            return Ok(Found::Gap(offset..lost.end, Missing::Lost));
        }
        let file = self.open(object)?;
        let events = file.event(offset).map_err(|error| self.failed(object, error))?;
        let alone = offset..offset.saturating_add(1);
        if events.is_empty() {
            return Ok(Found::Gap(alone, Missing::Retired));
        }
        let block = Block::gather(alone, events.iter()).map_err(|source| ObjectError::Unsound {
            location: object.location.clone(),
            source,
        })?;
        Ok(Found::Block(block))
    }

    fn at(&self, object: &Object, offset: u64) -> Result<Found, ObjectError> {
        match self.look(object, offset) {
            Err(error) if error.is_final() && !matches!(error, ObjectError::Vanished { .. }) => {
                self.missing(object, offset, error)
            }
            found => found,
        }
    }

    /// The gap of what cannot be read for good.
    fn missing(&self, object: &Object, offset: u64, error: ObjectError) -> Result<Found, ObjectError> {
        tracing::error!(%error, "archived events cannot be read");
        let rest = self
            .group_around(object, offset)
            .map_or(object.offsets.end, |group| group.end);
        Ok(Found::Gap(offset..rest, Missing::Lost))
    }

    /// The events of a row group around an offset, or why there is none.
    fn look(&self, object: &Object, offset: u64) -> Result<Found, ObjectError> {
        if let Some(lost) = object.lost.iter().find(|lost| lost.contains(&offset)) {
            return Ok(Found::Gap(offset..lost.end, Missing::Lost));
        }
        // What was lost inside of a row group is a gap, too, so the group is cut there.
        let before = object
            .lost
            .iter()
            .map(|lost| lost.end)
            .filter(|end| *end <= offset);
        let behind = object
            .lost
            .iter()
            .map(|lost| lost.start)
            .filter(|start| *start > offset);
        let from = before.max().unwrap_or(object.offsets.start);
        let to = behind.min().unwrap_or(object.offsets.end);
        let file = self.open(object)?;
        let place = file.groups().partition_point(|group| group.offsets.end <= offset);
        let Some(group) = file.groups().get(place).filter(|group| group.offsets.start < to) else {
            return Ok(Found::Gap(offset..to, Missing::Retired));
        };
        if group.offsets.start > offset {
            return Ok(Found::Gap(offset..group.offsets.start, Missing::Retired));
        }
        let offsets = group.offsets.start.max(from)..group.offsets.end.min(to);
        let events = file.group(place).map_err(|error| self.failed(object, error))?;
        let events = events
            .iter()
            .filter(|recorded| offsets.contains(&recorded.offset));
        let block = Block::gather(offsets.clone(), events).map_err(|source| ObjectError::Unsound {
            location: object.location.clone(),
            source,
        })?;
        Ok(Found::Block(block))
    }

    /// A block of what was found in an object, if there is anything to be found.
    fn block(
        &self,
        object: &Object,
        has: bool,
        wanted: Wanted,
        find: impl FnOnce(File, Order) -> Result<Events, FileError>,
    ) -> Result<Block, ObjectError> {
        let order = order_of(wanted.end);
        let events = match has {
            true => find(self.open(object)?, order).map_err(|error| self.failed(object, error))?,
            false => Events::default(),
        };
        gathered(object, object.offsets.clone(), events.iter(), order)
    }

    pub(crate) fn open(&self, object: &Object) -> Result<File, ObjectError> {
        if let Some(file) = self.known(&object.location) {
            return Ok(file);
        }
        let file = File::open(self.source(object)?).map_err(|error| self.failed(object, error))?;
        let mut open = lock(&self.open);
        open.push_back((object.location.clone(), file.clone()));
        if open.len() > FILES_MAX {
            open.pop_front();
        }
        Ok(file)
    }

    fn known(&self, location: &str) -> Option<File> {
        let mut open = lock(&self.open);
        let at = open.iter().rposition(|(known, _)| known == location)?;
        let found = open.remove(at)?;
        let file = found.1.clone();
        open.push_back(found);
        Some(file)
    }

    /// Forgets what was read of an object that is gone.
    pub(crate) fn forget(&self, location: &str) {
        lock(&self.open).retain(|(known, _)| known != location);
        lock(&self.summaries).retain(|(known, _)| known != location);
    }

    fn group_around(&self, object: &Object, offset: u64) -> Option<Range<u64>> {
        let file = self.known(&object.location)?;
        let mut groups = file.groups().iter().map(|group| group.offsets.clone());
        groups.find(|offsets| offsets.contains(&offset))
    }

    /// What an object holds, in brief. Where it is not kept beside it, the object is read.
    pub(crate) fn summary(&self, object: &Object) -> Result<Arc<Summary>, ObjectError> {
        let location = &object.location;
        let known = |summaries: &VecDeque<(String, Arc<Summary>)>| {
            let found = summaries.iter().find(|(known, _)| known == location);
            found.map(|(_, summary)| Arc::clone(summary))
        };
        if let Some(summary) = known(&lock(&self.summaries)) {
            return Ok(summary);
        }
        let folder = self.folder.join(WARM);
        let name = summary_name(location);
        let summary = match load_summary(self.disk.as_ref(), &folder, &name, object.offsets.clone()) {
            Some(summary) => summary,
            None => {
                let summary = self.summarise(object)?;
                save_summary(
                    self.disk.as_ref(),
                    &folder,
                    &name,
                    &summary,
                    object.offsets.clone(),
                );
                summary
            }
        };
        let summary = Arc::new(summary);
        let mut summaries = lock(&self.summaries);
        summaries.push_back((location.clone(), Arc::clone(&summary)));
        let mut bytes: usize = summaries
            .iter()
            .map(|(_, summary)| summary.bytes_in_memory())
            .sum();
        while bytes > SUMMARY_BYTES
            && summaries.len() > 1
            && let Some((_, oldest)) = summaries.pop_front()
        {
            bytes -= oldest.bytes_in_memory();
        }
        Ok(summary)
    }

    fn summarise(&self, object: &Object) -> Result<Summary, ObjectError> {
        let file = self.open(object)?;
        let mut summary = Summary::new();
        for (index, group) in file.groups().iter().enumerate() {
            let events = file.group(index).map_err(|error| self.failed(object, error))?;
            let block = Block::gather(group.offsets.clone(), events.iter());
            summary.add(&block.map_err(|source| ObjectError::Unsound {
                location: object.location.clone(),
                source,
            })?);
        }
        Ok(summary)
    }

    pub(crate) fn failed(&self, object: &Object, error: FileError) -> ObjectError {
        let location = &object.location;
        match error {
            FileError::Read { source, .. } => {
                // Another file may take its place.
                self.forget(location);
                ObjectError::of(location, source)
            }
            source => ObjectError::Damaged {
                location: location.clone(),
                source,
            },
        }
    }
}

impl ObjectError {
    pub(crate) fn of(location: &str, source: io::Error) -> ObjectError {
        let location = location.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => ObjectError::Vanished { location },
            _ => ObjectError::Away { location, source },
        }
    }

    fn vanished(object: &Object) -> ObjectError {
        let location = object.location.clone();
        ObjectError::Vanished { location }
    }

    /// What it is about.
    pub fn location(&self) -> &str {
        match self {
            ObjectError::NoStore { location }
            | ObjectError::Away { location, .. }
            | ObjectError::Vanished { location }
            | ObjectError::Damaged { location, .. }
            | ObjectError::Other { location }
            | ObjectError::Unsound { location, .. }
            | ObjectError::Unknown { location, .. }
            | ObjectError::Outrun { location } => location,
        }
    }

    /// Whether trying again is of no use.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            ObjectError::Away { .. }
                | ObjectError::NoStore { .. }
                | ObjectError::Unknown { .. }
                | ObjectError::Outrun { .. }
        )
    }
}

impl From<ObjectError> for ReadError {
    fn from(error: ObjectError) -> ReadError {
        ReadError::Archive {
            reason: error.to_string(),
        }
    }
}

/// Events as a block, whichever way they were found.
fn gathered<'a>(
    object: &Object,
    offsets: Range<u64>,
    events: impl DoubleEndedIterator<Item = Recorded<'a>>,
    order: Order,
) -> Result<Block, ObjectError> {
    let block = match order {
        Order::Ascending => Block::gather(offsets, events),
        Order::Descending => Block::gather(offsets, events.rev()),
    };
    block.map_err(|source| ObjectError::Unsound {
        location: object.location.clone(),
        source,
    })
}

fn order_of(end: Side) -> Order {
    match end {
        Side::First => Order::Ascending,
        Side::Last => Order::Descending,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
