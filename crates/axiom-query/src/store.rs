//! The event store on the disk: its shards, and what one query sees of them.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axiom_events::disk::Machine;
use axiom_events::{ReadError, Reader};
use axiom_tiers::manifest::{ManifestError, Snapshot, Tier};
use url::Url;

/// A folder of shards, read beside whoever writes there or without anybody.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    shards: Mutex<Vec<Shard>>,
}

#[derive(Debug, Clone)]
struct Shard {
    number: u16,
    folder: PathBuf,
    reader: Reader,
}

/// What one query sees, from its first row to its last: it does not change, whatever is written and moved meanwhile.
#[derive(Debug)]
pub struct Pin {
    pub(crate) shards: Vec<PinnedShard>,
}

#[derive(Debug)]
pub(crate) struct PinnedShard {
    pub(crate) number: u16,
    pub(crate) reader: Reader,
    /// Offsets of the events in the hot tier. Those before them are in `objects`.
    pub(crate) hot: Range<u64>,
    pub(crate) objects: Vec<Object>,
    /// What it shows is not deleted while it is held, where it could be pinned.
    snapshot: Snapshot,
}

/// A query that could not pin what it reads came too late: it is somewhere else by now.
#[derive(Debug, thiserror::Error)]
#[error("events were moved while the query read them")]
pub(crate) struct Outrun;

/// A Parquet file.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) tier: &'static str,
    /// `file:///...` or `s3://bucket/...`.
    pub(crate) location: Url,
    pub(crate) bytes: u64,
    pub(crate) offsets: Range<u64>,
    /// Times of its events.
    pub(crate) times: RangeInclusive<i64>,
    /// Events that were damaged before they came there.
    pub(crate) lost: Vec<Range<u64>>,
}

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there are no events in {dir}")]
    Absent { dir: PathBuf },
    #[error("failed to look into {dir}: {source}")]
    Folder { dir: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the manifest names {location:?}, which is no place of a file")]
    Location { location: String },
}

impl Store {
    /// Opens the shards in `dir`. Blocks on the disk.
    ///
    /// # Errors
    /// When there are none, or one cannot be read. Damage is no error: queries tell which events are missing.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        let store = Store {
            dir: dir.to_owned(),
            shards: Mutex::default(),
        };
        store.refresh()?;
        Ok(store)
    }

    /// Pins what is there now. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn pin(&self) -> Result<Pin, StoreError> {
        let shards = self.refresh()?;
        let shards: Result<Vec<PinnedShard>, StoreError> = shards.into_iter().map(Shard::pin).collect();
        Ok(Pin { shards: shards? })
    }

    /// Takes in shards that are new.
    fn refresh(&self) -> Result<Vec<Shard>, StoreError> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, folder) in self.folders()? {
            if !shards.iter().any(|shard| shard.number == number) {
                let reader = Reader::open(Arc::new(Machine), &folder)?;
                shards.push(Shard {
                    number,
                    folder,
                    reader,
                });
            }
        }
        shards.sort_by_key(|shard| shard.number);
        if shards.is_empty() {
            let dir = self.dir.clone();
            return Err(StoreError::Absent { dir });
        }
        Ok(shards.clone())
    }

    fn folders(&self) -> Result<Vec<(u16, PathBuf)>, StoreError> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::Absent {
                dir: self.dir.clone(),
            },
            _ => StoreError::Folder {
                dir: self.dir.clone(),
                source,
            },
        };
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("shard-"));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                folders.push((number, entry.path()));
            }
        }
        Ok(folders)
    }
}

impl Shard {
    fn pin(self) -> Result<PinnedShard, StoreError> {
        let snapshot = Snapshot::open(&self.folder)?;
        // After the manifest: what has left the log since is still counted from there.
        self.reader.refresh()?;
        // What should be in the log from there on and is not is missing, and a query says so.
        let from = snapshot.hot_from();
        Ok(PinnedShard {
            number: self.number,
            hot: from..self.reader.end().max(from),
            objects: objects(&snapshot)?,
            reader: self.reader,
            snapshot,
        })
    }
}

impl PinnedShard {
    /// The shard's folder, if nothing keeps what is shown here from being moved.
    pub(crate) fn unpinned(&self) -> Option<PathBuf> {
        (!self.snapshot.is_pinned()).then(|| self.snapshot.folder().to_owned())
    }
}

/// The files of a manifest's state.
fn objects(snapshot: &Snapshot) -> Result<Vec<Object>, StoreError> {
    let warm = snapshot.folder().join("warm");
    let objects = snapshot.objects().iter().map(|object| {
        let strange = || StoreError::Location {
            location: object.location.clone(),
        };
        let (tier, location) = match object.tier {
            Tier::Warm => {
                let path = std::path::absolute(warm.join(&object.location)).map_err(|_| strange())?;
                ("warm", Url::from_file_path(path).map_err(|()| strange())?)
            }
            Tier::Cold => ("cold", Url::parse(&object.location).map_err(|_| strange())?),
        };
        Ok(Object {
            tier,
            location,
            bytes: object.bytes,
            offsets: object.offsets.clone(),
            times: object.time_min..=object.time_max,
            lost: object.lost.clone(),
        })
    });
    objects.collect()
}
