//! The cold tier: an object store, `file://` or `s3://`. Calls block; the network's own work is done on a thread of its own.
//!
//! An object's name says what is in it: `<shard>/<first>-<end>-<hash>.parquet`, the hash being the first 16 digits of the
//! BLAKE3 of its bytes. So two uploads of the same bytes are one object, and nobody overwrites somebody else's.

mod cache;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::file::Source;
use crate::make::digits;
use cache::Cache;

/// A request to the store may take so long, with everything that is tried again.
const REQUEST_WAIT: Duration = Duration::from_secs(60);
const CONNECT_WAIT: Duration = Duration::from_secs(5);
const RETRIES_MAX: usize = 3;
/// From here on an object is uploaded in parts, so that no more of it is in memory.
const WHOLE_BYTES_MAX: u64 = 32 << 20;
/// Of a part; S3 allows 10,000 of at least 5 MiB. Reading back is done in as large pieces.
const PART_BYTES: u64 = 8 << 20;

/// Where cold events are, and how to get there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// `file:///folder` or `s3://bucket/prefix`.
    pub url: String,
    /// For stores that speak S3 and are not Amazon's: `https://host:port`. `http` only on this machine.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
}

impl fmt::Debug for StoreOptions {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("url", &self.url)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Why there is no store by these options.
#[derive(Debug, thiserror::Error)]
pub enum StoreOptionsError {
    #[error("{url:?} is no address of an object store: {why}")]
    Url { url: String, why: String },
    #[error("the endpoint {endpoint:?} is not valid: {why}")]
    Endpoint { endpoint: String, why: &'static str },
    #[error("the object store {url} cannot be used: {source}")]
    Build {
        url: String,
        source: object_store::Error,
    },
    #[error("the object store's thread could not be started: {0}")]
    Thread(io::Error),
}

/// What a store did not do, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{location} is not there")]
    NotFound { location: String },
    #[error(
        "the object store refuses our keys: {reason}\n\
         hint: see whether the keys of `events.store` are right and may read, write and delete there"
    )]
    Denied { reason: String },
    #[error("there is no such bucket or folder: {reason}\nhint: make it, or correct `events.store`")]
    NoBucket { reason: String },
    #[error("the object store does not answer: {reason}\nhint: nothing is lost, it is tried again")]
    Away { reason: String },
    #[error("{location} is in another store than {store}, which `events.store` names")]
    Elsewhere { location: String, store: String },
    #[error(
        "{location} was uploaded and does not read back as it was: {what}\nhint: the local file is kept, it is tried again"
    )]
    Different { location: String, what: String },
    #[error("failed to read the file to be uploaded: {0}")]
    Local(io::Error),
}

/// An object store.
pub struct Store {
    store: Arc<dyn ObjectStore>,
    /// What all locations begin with; without a slash at the end.
    base: String,
    /// The part of it that is in the objects' keys.
    prefix: String,
    thread: Handle,
    /// Dropped with the store; then the thread ends.
    _alive: oneshot::Sender<()>,
    cache: Cache,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// # Errors
    /// When the options name none. Whether it can be reached shows when it is used.
    pub fn open(options: &StoreOptions) -> Result<Store, StoreOptionsError> {
        let base = options.url.trim_end_matches('/').to_owned();
        let bad = |why: &str| StoreOptionsError::Url {
            url: options.url.clone(),
            why: why.to_owned(),
        };
        let url = url::Url::parse(&options.url).map_err(|error| bad(&error.to_string()))?;
        let failed = |source| StoreOptionsError::Build {
            url: base.clone(),
            source,
        };
        let (store, prefix): (Arc<dyn ObjectStore>, String) = match url.scheme() {
            "file" => {
                let folder = url
                    .to_file_path()
                    .map_err(|()| bad("a folder of this machine is written file:///folder"))?;
                fs_err::create_dir_all(&folder).map_err(|error| bad(&error.to_string()))?;
                let local = LocalFileSystem::new_with_prefix(&folder).map_err(failed)?;
                (Arc::new(local.with_automatic_cleanup(false)), String::new())
            }
            "s3" => {
                let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
                let bucket = bucket.ok_or_else(|| bad("it names no bucket"))?;
                let prefix = url.path().trim_matches('/').to_owned();
                (Arc::new(s3(bucket, options)?.build().map_err(failed)?), prefix)
            }
            _ => return Err(bad("it must begin with s3:// or file:///")),
        };
        let (alive, ended) = oneshot::channel();
        let thread = start_thread(ended).map_err(StoreOptionsError::Thread)?;
        Ok(Store {
            store,
            base,
            prefix,
            thread,
            _alive: alive,
            cache: Cache::default(),
        })
    }

    /// Where it is, for people.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The location that bytes with this hash will have.
    pub fn location(&self, shard: u16, offsets: &Range<u64>, bytes_hash: &[u8; 32]) -> String {
        let (first, end, hash) = (offsets.start, offsets.end, digits(bytes_hash));
        format!(
            "{}/shard-{shard:05}/{first:020}-{end:020}-{hash}.parquet",
            self.base
        )
    }

    /// Whether a location is in this store, and not in another one.
    pub fn has(&self, location: &str) -> bool {
        self.key(location).is_ok()
    }

    /// Puts a file there and reads it back. Afterwards it is there, whole: nothing else is success.
    ///
    /// # Errors
    /// It is not there, or nobody knows whether it is.
    pub fn put(&self, location: &str, file: &dyn Source, bytes_hash: [u8; 32]) -> Result<(), StoreError> {
        let key = self.key(location)?;
        let bytes = file.bytes();
        if bytes <= WHOLE_BYTES_MAX {
            let payload = PutPayload::from(file.read(0..bytes).map_err(StoreError::Local)?);
            let (store, to) = (Arc::clone(&self.store), key.clone());
            let put = async move { store.put_opts(&to, payload, PutMode::Create.into()).await };
            match self.wait(put).and_then(|put| put) {
                // Then these bytes came there before, and were not noted. Reading them back shows it.
                Ok(_)
                | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) =>
                    {}
                Err(error) => return Err(self.failed(location, &error)),
            }
        } else {
            self.put_in_parts(location, &key, file)?;
        }
        self.prove(location, bytes, bytes_hash)
    }

    fn put_in_parts(&self, location: &str, key: &Key, file: &dyn Source) -> Result<(), StoreError> {
        let (store, to) = (Arc::clone(&self.store), key.clone());
        let failed = |error: object_store::Error| self.failed(location, &error);
        let mut upload = self
            .wait(async move { store.put_multipart(&to).await })
            .and_then(|upload| upload)
            .map_err(failed)?;
        for range in pieces(file.bytes()) {
            let part = PutPayload::from(file.read(range).map_err(StoreError::Local)?);
            let part = upload.put_part(part);
            if let Err(error) = self.wait(part).and_then(|part| part) {
                let abort = async move { upload.abort().await };
                if let Err(error) = self.wait(abort).and_then(|aborted| aborted) {
                    tracing::warn!(%error, location, "an unfinished upload was left in the object store");
                }
                return Err(failed(error));
            }
        }
        let complete = async move { upload.complete().await };
        self.wait(complete)
            .and_then(|completed| completed)
            .map(drop)
            .map_err(failed)
    }

    /// Reads an object back and compares it with what it should be.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub fn prove(&self, location: &str, bytes: u64, bytes_hash: [u8; 32]) -> Result<(), StoreError> {
        let key = self.key(location)?;
        let found = {
            let (store, key) = (Arc::clone(&self.store), key.clone());
            self.wait(async move { store.head(&key).await })
                .and_then(|head| head)
                .map_err(|error| self.failed(location, &error))?
        };
        let different = |what: String| StoreError::Different {
            location: location.to_owned(),
            what,
        };
        if found.size != bytes {
            return Err(different(format!("it has {} B, not {bytes}", found.size)));
        }
        let mut hasher = blake3::Hasher::new();
        for range in pieces(bytes) {
            let piece = self
                .get(&key, range)
                .map_err(|error| self.failed(location, &error))?;
            hasher.update(&piece);
        }
        if *hasher.finalize().as_bytes() != bytes_hash {
            return Err(different("its bytes have another hash".to_owned()));
        }
        Ok(())
    }

    /// Deletes an object; one that is gone is gone.
    ///
    /// # Errors
    /// When the store refuses it or does not answer.
    pub fn remove(&self, location: &str) -> Result<(), StoreError> {
        let key = self.key(location)?;
        let store = Arc::clone(&self.store);
        match self
            .wait(async move { store.delete(&key).await })
            .and_then(|deleted| deleted)
        {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(location, &error)),
        }
    }

    /// An object's bytes, read as they are wanted.
    ///
    /// # Errors
    /// When the location is in another store. Whether it is there shows when it is read.
    pub fn source(self: &Arc<Self>, location: &str, bytes: u64) -> io::Result<Arc<dyn Source>> {
        let key = self.key(location).map_err(io::Error::other)?;
        Ok(Arc::new(Remote {
            store: Arc::clone(self),
            location: location.to_owned(),
            key,
            bytes,
        }))
    }

    fn get(&self, key: &Key, range: Range<u64>) -> object_store::Result<Bytes> {
        let (store, key) = (Arc::clone(&self.store), key.clone());
        self.wait(async move { store.get_range(&key, range).await })
            .and_then(|bytes| bytes)
    }

    fn key(&self, location: &str) -> Result<Key, StoreError> {
        let name = location
            .strip_prefix(&self.base)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| StoreError::Elsewhere {
                location: location.to_owned(),
                store: self.base.clone(),
            })?;
        let key = match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        Ok(Key::from(key))
    }

    /// Does it on the store's thread, and waits.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> object_store::Result<T> {
        let (tx, rx) = sync_channel(1);
        let task = axiom_core::spawn::spawn_on(&self.thread, "object store", async move {
            // Whoever asked may have given up.
            let _gone = tx.send(work.await).is_err();
        });
        rx.recv_timeout(REQUEST_WAIT).map_err(|error| {
            task.abort();
            let source = match error {
                RecvTimeoutError::Timeout => format!("no answer within {} s", REQUEST_WAIT.as_secs()),
                RecvTimeoutError::Disconnected => "its thread has ended".to_owned(),
            };
            object_store::Error::Generic {
                store: "object store",
                source: source.into(),
            }
        })
    }

    fn failed(&self, location: &str, error: &object_store::Error) -> StoreError {
        let reason = chain(error);
        match error {
            _ if reason.contains("NoSuchBucket") => StoreError::NoBucket { reason },
            object_store::Error::NotFound { .. } => StoreError::NotFound {
                location: location.to_owned(),
            },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                StoreError::Denied { reason }
            }
            _ => StoreError::Away { reason },
        }
    }
}

fn s3(bucket: &str, options: &StoreOptions) -> Result<AmazonS3Builder, StoreOptionsError> {
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_WAIT)
        .with_timeout(REQUEST_WAIT / 2);
    let retry = RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: REQUEST_WAIT / 2,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client)
        .with_bucket_name(bucket)
        .with_region(options.region.as_deref().unwrap_or("us-east-1"))
        .with_retry(retry);
    if let Some(endpoint) = &options.endpoint {
        let bad = |why| StoreOptionsError::Endpoint {
            endpoint: endpoint.clone(),
            why,
        };
        let url = url::Url::parse(endpoint).map_err(|_| bad("it is no URL"))?;
        match url.scheme() {
            "https" => {}
            "http" if is_here(&url) => builder = builder.with_allow_http(true),
            "http" => return Err(bad("keys and events would travel in the open; use https")),
            _ => return Err(bad("it must begin with https://")),
        }
        builder = builder
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(false);
    }
    if let (Some(id), Some(secret)) = (&options.access_key_id, &options.secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    }
    if let Some(token) = &options.session_token {
        builder = builder.with_token(token);
    }
    Ok(builder)
}

fn is_here(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A thread that does what is sent to it until the store is dropped.
fn start_thread(ended: oneshot::Receiver<()>) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    axiom_core::spawn::thread("object store", move || {
        // Nothing is ever sent.
        let _dropped = runtime.block_on(ended).is_err();
        runtime.shutdown_background();
    })?;
    Ok(handle)
}

/// A file cut into pieces that are in memory at once.
fn pieces(bytes: u64) -> impl Iterator<Item = Range<u64>> {
    let count = bytes.div_ceil(PART_BYTES);
    (0..count).map(move |piece| piece * PART_BYTES..bytes.min((piece + 1) * PART_BYTES))
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// An object, to be read.
#[derive(Debug)]
struct Remote {
    store: Arc<Store>,
    location: String,
    key: Key,
    bytes: u64,
}

impl Source for Remote {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let fetch = |range| self.store.get(&self.key, range);
        let read = self.store.cache.read(&self.location, self.bytes, range, fetch);
        read.map_err(|error| match self.store.failed(&self.location, &error) {
            StoreError::NotFound { .. } => io::ErrorKind::NotFound.into(),
            error => io::Error::other(error),
        })
    }
}
