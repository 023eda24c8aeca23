//! Where events change tiers: sealed out of the hot log, merged, moved to the object store, retired. Each of these makes
//! what is new, proves it, writes one record, and only then lets go of what was.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axiom_events::archive::{Archive as _, Summary};
use axiom_events::disk::{Access, Disk};
use axiom_events::{AppendError, Block, Log, Next, ReadError, Recorded, Sealed};

use crate::file::{EventsHash, FileError, Source};
use crate::make::{Made, MakeError, Making, SUMMARY, UNFINISHED, WARM, save_summary, summary_name};
use crate::manifest::{Change, Hold, Manifest, ManifestError, Object, Tier, remove};
use crate::shelves::{ObjectError, Shelves};
use crate::store::{Store, StoreError};

/// What records of the manifest say made them.
pub(crate) const BY: &str = "axiom";

/// A file is read in pieces of this size where only its bytes count.
const PIECE_BYTES: u64 = 1 << 20;

/// The tiers of one shard, for the process that has its log open.
#[derive(Debug)]
pub struct Workshop {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    shard: u16,
    manifest: Arc<Manifest>,
    shelves: Arc<Shelves>,
    store: Option<Arc<Store>>,
    is_stopped: AtomicBool,
}

/// Why events did not change tiers. They are where they were.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to {what} {path}: {source}")]
    Disk {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{location} has other events than the manifest says: it is not replaced")]
    Changed { location: String },
    #[error("the log ends at event {end}, before {wanted}")]
    Short { end: u64, wanted: u64 },
    #[error("events were to be deleted, and what must be kept has changed meanwhile: it is decided anew")]
    Held,
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("failed to prepare to wait for the log: {0}")]
    Runtime(std::io::Error),
    #[error("it was asked to stop")]
    Stopped,
}

impl WorkError {
    /// Whether it is about this object alone, so that others may fare better.
    pub(crate) fn is_about(&self, object: &Object) -> bool {
        match self {
            // A place on this disk that cannot be read says nothing about the others; a store that does not answer does.
            WorkError::Object(error) => {
                error.location() == object.location && (object.tier == Tier::Warm || error.is_final())
            }
            WorkError::Changed { location } => *location == object.location,
            _ => false,
        }
    }
}

impl Workshop {
    /// # Errors
    /// When the manifest cannot be read.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        shard: u16,
        store: Option<Arc<Store>>,
    ) -> Result<Workshop, ManifestError> {
        let manifest = Arc::new(Manifest::open(Arc::clone(&disk), folder, shard)?);
        let shelves = Shelves::of(Arc::clone(&manifest), Arc::clone(&disk), folder, store.clone());
        Ok(Workshop {
            disk,
            folder: folder.to_owned(),
            shard,
            manifest,
            shelves: Arc::new(shelves),
            store,
            is_stopped: AtomicBool::new(false),
        })
    }

    /// For the log's readers.
    pub fn shelves(&self) -> Arc<Shelves> {
        Arc::clone(&self.shelves)
    }

    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
    }

    /// Whether an object can be read and deleted from here: a cold one is in the store that is configured, and in no other.
    pub(crate) fn is_in_reach(&self, object: &Object) -> bool {
        object.tier == Tier::Warm || self.store_of(&object.location).is_some()
    }

    fn store_of(&self, location: &str) -> Option<&Arc<Store>> {
        self.store.as_ref().filter(|store| store.has(location))
    }

    /// What is being done ends soon with [`WorkError::Stopped`].
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn go_on(&self) -> Result<(), WorkError> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(WorkError::Stopped);
        }
        Ok(())
    }

    /// Moves the oldest segments of the log, all of these, into one warm file.
    ///
    /// # Errors
    /// Then they are hot as before.
    pub fn seal(&self, log: &Log, segments: &[Sealed]) -> Result<Option<Object>, WorkError> {
        let state = self.manifest.refresh()?;
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Ok(None);
        };
        let offsets = state.hot_from..last.offsets.end;
        if offsets.is_empty() {
            return Ok(None);
        }
        let mut making = self.begin(offsets.clone())?;
        let lost = match self.copy_hot(log, &offsets, &mut making) {
            Ok(lost) => lost,
            Err(error) => {
                making.abandon();
                return Err(error);
            }
        };
        let Made { mut object, .. } = making.finish()?;
        object.began = first.created;
        object.hot_bytes = segments.iter().map(|segment| segment.bytes).sum();
        object.lost = lost;
        if object.rows == 0 {
            // All of it was damaged. An empty file says so, too.
            (object.time_min, object.time_max) = (first.created, first.created);
        }
        let change = object.clone();
        self.manifest
            .change(BY, move |_| Some(Change::Seal(Box::new(change))))?;
        log.retire(offsets.end);
        self.shelves.refresh()?;
        Ok(Some(object))
    }

    /// Copies hot events; says which could not be read.
    fn copy_hot(
        &self,
        log: &Log,
        offsets: &Range<u64>,
        making: &mut Making,
    ) -> Result<Vec<Range<u64>>, WorkError> {
        let reader = log.reader().apart();
        let mut lost: Vec<Range<u64>> = Vec::new();
        let mut at = offsets.start;
        while at < offsets.end {
            self.go_on()?;
            match reader.at(at)? {
                Next::Block(block) => {
                    for recorded in block.events() {
                        making.push(&recorded)?;
                    }
                    making.summarise(&block);
                    at = block.offsets().end;
                }
                Next::Gap(gap) => {
                    lost.push(at..gap.end.min(offsets.end));
                    at = gap.end;
                }
                Next::End => {
                    let wanted = offsets.end;
                    return Err(WorkError::Short { end: at, wanted });
                }
            }
        }
        Ok(lost)
    }

    /// Puts one file in the place of several that follow one another, with the events of them that `keep` wants. Without
    /// any there is none. Says how many events are gone. `keep` was decided with these holds in mind: if there are others by
    /// the time of the record, nothing goes.
    ///
    /// # Errors
    /// Then everything is as before.
    pub fn rewrite(
        &self,
        objects: &[Object],
        keep: impl Fn(&Recorded<'_>) -> bool,
        holds: &[Hold],
        why: &str,
    ) -> Result<Rewritten, WorkError> {
        let (Some(first), Some(last)) = (objects.first(), objects.last()) else {
            return Ok(Rewritten::default());
        };
        let offsets = first.offsets.start..last.offsets.end;
        let mut making = self.begin(offsets)?;
        let mut rows = 0;
        for object in objects {
            match self.copy(object, &keep, &mut making) {
                Ok(kept) => rows += kept,
                Err(error) => {
                    making.abandon();
                    return Err(error);
                }
            }
        }
        let before: u64 = objects.iter().map(|object| object.rows).sum();
        let retired = before - rows;
        if objects.len() == 1 && retired == 0 {
            making.abandon();
            return Ok(Rewritten::default());
        }
        let added = if rows == 0 {
            making.abandon();
            None
        } else {
            let Made { mut object, summary } = making.finish()?;
            object.began = first.began;
            object.hot_bytes = objects.iter().map(|object| object.hot_bytes).sum();
            object.lost = objects.iter().flat_map(|object| object.lost.clone()).collect();
            Some(match objects.iter().all(|object| object.tier == Tier::Cold) {
                true => self.upload(object, &summary)?,
                false => object,
            })
        };
        self.replace(objects, added.clone(), retired, holds, why)?;
        if let Some(Object { tier: Tier::Cold, .. }) = added {
            self.remove_unknown()?;
        }
        Ok(Rewritten { added, retired })
    }

    /// Copies the events of an object that are to be kept, and proves that they are what the manifest says.
    fn copy(
        &self,
        object: &Object,
        keep: &impl Fn(&Recorded<'_>) -> bool,
        making: &mut Making,
    ) -> Result<u64, WorkError> {
        let files = self.shelves.files();
        let file = files.open(object)?;
        let mut hash = EventsHash::new();
        let mut rows = 0;
        for (index, group) in file.groups().iter().enumerate() {
            self.go_on()?;
            let events = file.group(index).map_err(|error| files.failed(object, error))?;
            let mut kept = Vec::new();
            for recorded in events.iter() {
                hash.push(&recorded);
                if keep(&recorded) {
                    making.push(&recorded)?;
                    kept.push(recorded);
                }
            }
            rows += kept.len() as u64;
            let block = Block::gather(group.offsets.clone(), kept.into_iter());
            making.summarise(&block.map_err(|source| ObjectError::Unsound {
                location: object.location.clone(),
                source,
            })?);
        }
        if hash.finish() != object.events_hash {
            let location = object.location.clone();
            return Err(WorkError::Changed { location });
        }
        Ok(rows)
    }

    /// Removes objects with everything in them, of which none of these holds, and no other, keeps anything.
    ///
    /// # Errors
    /// Then they are there as before.
    pub fn drop_whole(&self, objects: &[Object], holds: &[Hold], why: &str) -> Result<u64, WorkError> {
        let retired = objects.iter().map(|object| object.rows).sum();
        self.replace(objects, None, retired, holds, why)?;
        Ok(retired)
    }

    /// Moves a warm file to the object store. It is deleted here when the other one has been read back.
    ///
    /// # Errors
    /// Then it is warm as before.
    pub fn place(&self, object: &Object) -> Result<Object, WorkError> {
        self.prove_bytes(object)?;
        let summary = self.shelves.files().summary(object)?;
        let cold = self.upload(object.clone(), &summary)?;
        self.replace(
            std::slice::from_ref(object),
            Some(cold.clone()),
            0,
            &[],
            "moved to the object store",
        )?;
        Ok(cold)
    }

    /// Before a file is uploaded: what the disk has made of it would come back from the store as it went there.
    fn prove_bytes(&self, object: &Object) -> Result<(), WorkError> {
        let location = &object.location;
        let source = self.shelves.files().source(object)?;
        let hash = self.bytes_hash(source.as_ref());
        let hash = hash?.map_err(|source| ObjectError::of(location, source))?;
        if hash != object.bytes_hash {
            let bytes = 0..source.bytes();
            return Err(WorkError::Object(ObjectError::Damaged {
                location: location.clone(),
                source: FileError::Damaged { bytes },
            }));
        }
        Ok(())
    }

    /// BLAKE3 over a file's bytes.
    fn bytes_hash(&self, source: &dyn Source) -> Result<std::io::Result<[u8; 32]>, WorkError> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < source.bytes() {
            self.go_on()?;
            let to = source.bytes().min(at + PIECE_BYTES);
            match source.read(at..to) {
                Ok(piece) => hasher.update(&piece),
                Err(error) => return Ok(Err(error)),
            };
            at = to;
        }
        Ok(Ok(*hasher.finalize().as_bytes()))
    }

    /// Uploads a local file with this summary. Nothing shows the new object yet: if nothing comes of it, it is garbage.
    fn upload(&self, object: Object, summary: &Summary) -> Result<Object, WorkError> {
        let Some(store) = &self.store else {
            let location = object.location;
            return Err(ObjectError::NoStore { location }.into());
        };
        let files = self.shelves.files();
        let location = store.location(self.shard, &object.offsets, &object.bytes_hash);
        let intent = Change::Intend {
            tier: Tier::Cold,
            location: location.clone(),
        };
        self.manifest
            .change(BY, move |state| (!state.is_known(&location)).then_some(intent))?;
        let location = store.location(self.shard, &object.offsets, &object.bytes_hash);
        self.go_on()?;
        store.put(&location, files.source(&object)?.as_ref(), object.bytes_hash)?;
        let folder = self.folder.join(WARM);
        let name = summary_name(&location);
        save_summary(
            self.disk.as_ref(),
            &folder,
            &name,
            summary,
            object.offsets.clone(),
        );
        Ok(Object {
            tier: Tier::Cold,
            location,
            ..object
        })
    }

    fn replace(
        &self,
        objects: &[Object],
        added: Option<Object>,
        retired: u64,
        holds: &[Hold],
        why: &str,
    ) -> Result<(), WorkError> {
        let change = Change::Replace {
            removed: objects.iter().map(|object| object.location.clone()).collect(),
            added: added.into_iter().collect(),
            retired,
            why: why.to_owned(),
        };
        let mut is_held = false;
        self.manifest.change(BY, |state| {
            is_held = retired > 0 && state.holds != holds;
            (!is_held).then_some(change)
        })?;
        self.shelves.refresh()?;
        if is_held { Err(WorkError::Held) } else { Ok(()) }
    }

    /// What was done about holds up to this record is in the log.
    ///
    /// # Errors
    /// Then it is told again, which the log knows.
    pub(crate) fn told(&self, sequence: u64) -> Result<(), WorkError> {
        self.manifest.change(BY, |_| Some(Change::Told { sequence }))?;
        Ok(())
    }

    /// Deletes what nobody can see any more: retired segments, replaced files and objects. Says how many bytes of segments
    /// and how many files and objects that were.
    ///
    /// # Errors
    /// What was not deleted is tried again by the next call.
    pub fn reclaim(&self, log: &Log) -> Result<(u64, usize), WorkError> {
        self.shelves.refresh()?;
        let floor = self.manifest.floor()?;
        let bytes = log.reclaim(floor.hot_from)?;
        let state = self.manifest.now();
        let mut deleted = Vec::new();
        let mut is_away = false;
        let mut outcome = Ok(());
        for garbage in state
            .garbage
            .iter()
            .filter(|garbage| garbage.since <= floor.sequence)
        {
            let location = &garbage.location;
            let removed = match (garbage.tier, self.store_of(location)) {
                (Tier::Warm, _) => self.remove_warm(location),
                (Tier::Cold, Some(_)) if is_away => continue,
                (Tier::Cold, Some(store)) => store.remove(location).map_err(WorkError::from),
                // There it stays until somebody says again where it is.
                (Tier::Cold, None) => continue,
            };
            self.shelves.files().forget(location);
            match removed.and_then(|()| self.remove_warm_file(&summary_name(location))) {
                Ok(()) => deleted.push(location.clone()),
                Err(error) => {
                    // It takes its time not to answer.
                    is_away |= matches!(error, WorkError::Store(StoreError::Away { .. }));
                    outcome = Err(error);
                }
            }
        }
        drop(state);
        let count = deleted.len();
        if count > 0 {
            let change = Change::Reclaim { locations: deleted };
            self.manifest.change(BY, move |_| Some(change))?;
            self.shelves.refresh()?;
        }
        outcome.map(|()| (bytes, count))
    }

    /// Removes a file of events, and what is remembered of it.
    fn remove_warm(&self, name: &str) -> Result<(), WorkError> {
        self.shelves.files().forget(name);
        self.remove_warm_file(name)
    }

    fn remove_warm_file(&self, name: &str) -> Result<(), WorkError> {
        let path = self.folder.join(WARM).join(name);
        remove(self.disk.as_ref(), &path).map_err(|source| WorkError::Disk {
            what: "remove",
            path,
            source,
        })
    }

    fn begin(&self, offsets: Range<u64>) -> Result<Making, WorkError> {
        Ok(Making::begin(&self.disk, &self.folder, self.shard, offsets)?)
    }

    /// Puts in order what a crash or a failure has left: files that no record names. A file of events that are nowhere else is taken
    /// over, if it is sound, and never deleted.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    pub fn tidy(&self, log: &Log) -> Result<(), WorkError> {
        self.manifest.settle()?;
        let names = self.warm_names()?;
        for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
            self.remove_warm_file(name)?;
        }
        let mut orphans: Vec<(Range<u64>, &String)> = Vec::new();
        let state = self.manifest.refresh()?;
        for name in &names {
            if !state.is_known(name)
                && let Some(offsets) = offsets_of(name)
            {
                orphans.push((offsets, name));
            }
        }
        drop(state);
        orphans.sort_by_key(|(offsets, _)| offsets.start);
        for (offsets, name) in orphans {
            if self.is_elsewhere(log, &offsets)? {
                self.remove_warm(name)?;
                self.remove_warm_file(&summary_name(name))?;
            } else {
                self.adopt(name, offsets)?;
            }
        }
        self.remove_unknown()
    }

    /// Removes summaries and uploaded copies that nothing needs.
    fn remove_unknown(&self) -> Result<(), WorkError> {
        let state = self.manifest.now();
        let known: BTreeSet<String> = state
            .objects
            .iter()
            .map(|object| &object.location)
            .chain(state.garbage.iter().map(|garbage| &garbage.location))
            .map(|location| summary_name(location))
            .collect();
        let cold = state.objects.iter().filter(|object| object.tier == Tier::Cold);
        let cold: Vec<&Range<u64>> = cold.map(|object| &object.offsets).collect();
        for name in self.warm_names()? {
            let is_copy =
                offsets_of(&name).is_some_and(|offsets| cold.contains(&&offsets)) && !state.is_known(&name);
            if is_copy {
                self.remove_warm(&name)?;
            } else if name.ends_with(SUMMARY) && !known.contains(&name) {
                self.remove_warm_file(&name)?;
            }
        }
        Ok(())
    }

    fn warm_names(&self) -> Result<Vec<String>, WorkError> {
        let folder = self.folder.join(WARM);
        self.disk
            .create_folder(&folder)
            .and_then(|()| self.disk.files(&folder))
            .map_err(|source| WorkError::Disk {
                what: "read",
                path: folder,
                source,
            })
    }

    /// Whether the events of a file are in the log or in other files.
    fn is_elsewhere(&self, log: &Log, offsets: &Range<u64>) -> Result<bool, WorkError> {
        let state = self.manifest.now();
        let hot = log.sealed()?;
        let is_hot = hot
            .first()
            .map_or(log.reader().end(), |first| first.offsets.start)
            <= offsets.start.max(state.hot_from);
        if offsets.end > state.hot_from && !is_hot {
            return Ok(false);
        }
        let mut over = state
            .objects
            .iter()
            .filter(|object| object.offsets.start < offsets.end && offsets.start < object.offsets.end);
        Ok(over.all(|object| match object.tier {
            Tier::Cold => true,
            Tier::Warm => {
                let path = self.folder.join(WARM).join(&object.location);
                let there = self.disk.open(&path, Access::Read).and_then(|file| file.bytes());
                there.is_ok_and(|bytes| bytes == object.bytes)
            }
        }))
    }

    /// Takes over a file whose record is missing, if it is sound and fits.
    fn adopt(&self, name: &str, offsets: Range<u64>) -> Result<(), WorkError> {
        let state = self.manifest.now();
        let path = self.folder.join(WARM).join(name);
        let keep = |reason: &str| {
            tracing::error!(
                path = %path.display(),
                reason,
                "a file has events that are nowhere else and that the manifest does not know; it is kept as it is"
            );
        };
        if offsets.start != state.hot_from {
            keep("its events do not follow on those that are known");
            return Ok(());
        }
        match self.examine(name, offsets) {
            Ok(object) => {
                tracing::warn!(path = %path.display(), "a file whose record was lost is taken over");
                self.manifest
                    .change(BY, move |_| Some(Change::Seal(Box::new(object))))?;
                self.shelves.refresh()?;
            }
            Err(error) => keep(&error.to_string()),
        }
        Ok(())
    }

    /// What a file without a record is.
    fn examine(&self, name: &str, offsets: Range<u64>) -> Result<Object, WorkError> {
        let mut object = Object {
            tier: Tier::Warm,
            location: name.to_owned(),
            offsets,
            rows: 0,
            bytes: 0,
            time_min: 0,
            time_max: 0,
            events_hash: [0; 32],
            bytes_hash: [0; 32],
            began: 0,
            hot_bytes: 0,
            lost: Vec::new(),
        };
        let files = self.shelves.files();
        let source = files.source(&object)?;
        let file = files.open(&object)?;
        file.verify().map_err(|error| files.failed(&object, error))?;
        if file.offsets() != object.offsets || file.shard() != self.shard {
            let location = name.to_owned();
            return Err(WorkError::Changed { location });
        }
        object.bytes = source.bytes();
        let hash = self.bytes_hash(source.as_ref())?;
        object.bytes_hash = hash.map_err(|source| WorkError::Disk {
            what: "read",
            path: self.folder.join(WARM).join(name),
            source,
        })?;
        object.events_hash = file.events_hash();
        object.rows = file.rows();
        let groups = file.groups();
        object.time_min = groups
            .iter()
            .map(|group| group.time_min)
            .min()
            .unwrap_or_default();
        object.time_max = groups
            .iter()
            .map(|group| group.time_max)
            .max()
            .unwrap_or_default();
        object.began = object.time_min;
        Ok(object)
    }
}

/// What became of objects that were rewritten.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// What is there in their place; `None` if nothing is, or if they stay.
    pub added: Option<Object>,
    /// Events that are gone.
    pub retired: u64,
}

/// The offsets in a warm file's name.
fn offsets_of(name: &str) -> Option<Range<u64>> {
    let stem = name.strip_suffix(".parquet")?;
    let stem = stem.split('.').next()?;
    let (first, end) = stem.split_once('-')?;
    Some(first.parse().ok()?..end.parse().ok()?)
}
