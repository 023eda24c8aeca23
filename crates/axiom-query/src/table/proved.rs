//! Files of older tiers whose every byte is proved before DataFusion sees it: Parquet itself has no checksums that cover all,
//! and a flipped bit could be another number.
//!
//! The checksums are Axiom's own, in the footer (`axiom_tiers::file`). A file is read in whole blocks of them, and is the one
//! that the manifest means: it has the hash of its events. What was proved of a footer is kept, as DataFusion keeps it.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use axiom_tiers::file::{Ending, FileError, Footer, Tail};
use bytes::Bytes;
use datafusion::common::{HashMap as Words, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadata, FileMetadataCache};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use crate::fault::{Code, Fault};
use crate::store::Object;

/// Bytes that are read of a file's end at first: with most files the footer and page indexes. It costs one request less.
const END_BYTES: u64 = 512 << 10;

/// Opens the files of one place.
#[derive(Debug)]
pub(super) struct Proved {
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
    files: HashMap<Path, Arc<Meant>>,
}

/// The file that the manifest means.
#[derive(Debug)]
struct Meant {
    object: Object,
    shard: u16,
}

impl Proved {
    pub(super) fn new(store: Arc<dyn ObjectStore>, cache: Arc<FileMetadataCache>) -> Proved {
        Proved {
            store,
            cache,
            files: HashMap::new(),
        }
    }

    /// This is what should be found there.
    pub(super) fn expect(&mut self, key: Path, shard: u16, object: &Object) {
        let object = object.clone();
        self.files.insert(key, Arc::new(Meant { object, shard }));
    }
}

impl ParquetFileReaderFactory for Proved {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let key = &file.object_meta.location;
        let meant = self.files.get(key).cloned().ok_or_else(|| {
            datafusion::common::internal_datafusion_err!("{key} is none of the files of this scan")
        })?;
        Ok(Box::new(ProvedFile {
            store: Arc::clone(&self.store),
            cache: Arc::clone(&self.cache),
            metrics: ParquetFileMetrics::new(partition, key.as_ref(), metrics),
            meta: file.object_meta,
            meant,
            footer: None,
        }))
    }
}

/// One file, for one scan.
struct ProvedFile {
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
    metrics: ParquetFileMetrics,
    meta: ObjectMeta,
    meant: Arc<Meant>,
    footer: Option<Arc<Footer>>,
}

/// Why a file's bytes are not to be had.
#[derive(Debug, thiserror::Error)]
enum Unproved {
    #[error(transparent)]
    Store(#[from] object_store::Error),
    #[error("it ends before byte {end}")]
    Short { end: u64 },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("it has other events than the manifest says")]
    Another,
}

impl ProvedFile {
    async fn footer(&mut self) -> Result<Arc<Footer>, Unproved> {
        if let Some(footer) = &self.footer {
            return Ok(Arc::clone(footer));
        }
        let footer = match self.cached() {
            Some(footer) => footer,
            None => {
                let footer = Arc::new(self.prove().await?);
                let cached = Arc::new(CachedFooter(Arc::clone(&footer)));
                let entry = CachedFileMetadataEntry::new(self.meta.clone(), cached);
                self.cache.put(&self.meta.location, entry);
                footer
            }
        };
        self.footer = Some(Arc::clone(&footer));
        Ok(footer)
    }

    /// A footer that was proved for an earlier query. Places are not part of the cache's keys, so it may be another file's.
    fn cached(&self) -> Option<Arc<Footer>> {
        let entry = self.cache.get(&self.meta.location)?;
        let CachedFooter(footer) = entry.file_metadata.as_any().downcast_ref()?;
        let is_it = entry.is_valid_for(&self.meta) && self.is_meant(footer);
        is_it.then(|| Arc::clone(footer))
    }

    async fn prove(&self) -> Result<Footer, Unproved> {
        let bytes = self.meta.size;
        let mut from = bytes.saturating_sub(END_BYTES);
        let tail = loop {
            let end = self.fetch(std::slice::from_ref(&(from..bytes))).await?.remove(0);
            match Tail::prove(bytes, &end)? {
                Ending::Proved(tail) => break tail,
                Ending::Needs(start) => from = start,
            }
        };
        let footer = Footer::parse(bytes, tail)?;
        if self.is_meant(&footer) {
            Ok(footer)
        } else {
            Err(Unproved::Another)
        }
    }

    fn is_meant(&self, footer: &Footer) -> bool {
        let Meant { object, shard } = &*self.meant;
        footer.shard() == *shard && footer.events_hash() == object.events_hash
    }

    /// These ranges, proved.
    async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, Unproved> {
        let footer = self.footer().await?;
        let blocks = ranges.iter().filter(|range| !range.is_empty());
        let blocks = blocks.map(|range| footer.blocks(range));
        let blocks = joined(blocks.collect::<Result<_, _>>()?);
        let fetched = self.fetch(&blocks).await?;
        for (range, bytes) in blocks.iter().zip(&fetched) {
            footer.check(range.start, bytes)?;
        }
        let slices = ranges.into_iter().map(|wanted| {
            let at = blocks.partition_point(|range| range.start <= wanted.start);
            let Some((range, bytes)) = at
                .checked_sub(1)
                .and_then(|at| blocks.get(at).zip(fetched.get(at)))
            else {
                return Bytes::new();
            };
            let place = |place: u64| usize::try_from(place - range.start).unwrap_or(usize::MAX);
            bytes.slice(place(wanted.start)..place(wanted.end))
        });
        Ok(slices.collect())
    }

    /// These ranges, as they are.
    async fn fetch(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Unproved> {
        let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.metrics
            .bytes_scanned
            .add(usize::try_from(total).unwrap_or(usize::MAX));
        let fetched = self.store.get_ranges(&self.meta.location, ranges).await?;
        for (range, bytes) in ranges.iter().zip(&fetched) {
            if bytes.len() as u64 != range.end - range.start {
                return Err(Unproved::Short { end: range.end });
            }
        }
        Ok(fetched)
    }

    fn fault(&self, error: &Unproved) -> ParquetError {
        let Meant { object, shard } = &*self.meant;
        let (location, offsets) = (&object.location, &object.offsets);
        let fault = Fault::new(
            Code::Failed,
            format!(
                "{location}, which has the events {} to {} of shard {shard}, cannot be read: {error}",
                offsets.start,
                offsets.end.saturating_sub(1)
            ),
        );
        let times = "a condition on `offset` or `time` that leaves it out is answered";
        ParquetError::External(Box::new(fault.hint(format!(
            "`axiom events verify` says what of it can be read; {times}"
        ))))
    }
}

impl AsyncFileReader for ProvedFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let read = self.read(vec![range]).await;
            let mut read = read.map_err(|error| self.fault(&error))?;
            Ok(read.remove(0))
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.read(ranges).await.map_err(|error| self.fault(&error)) }.boxed()
    }

    /// With page indexes, whether they are wanted or not: they are behind the same checksum.
    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let footer = self.footer().await.map_err(|error| self.fault(&error))?;
            Ok(Arc::clone(footer.metadata()))
        }
        .boxed()
    }
}

impl Drop for ProvedFile {
    /// As DataFusion's own reader counts.
    fn drop(&mut self) {
        let (ratio, scanned) = (
            &self.metrics.scan_efficiency_ratio,
            self.metrics.bytes_scanned.value(),
        );
        ratio.add_part(scanned);
        ratio.set_total(usize::try_from(self.meta.size).unwrap_or(usize::MAX));
    }
}

/// Ranges without those that touch: in order, each byte in one of them at most.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// A footer in DataFusion's cache, which has a bound.
struct CachedFooter(Arc<Footer>);

impl FileMetadata for CachedFooter {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn memory_size(&self) -> usize {
        self.0.memory_bytes()
    }

    fn extra_info(&self) -> Words<String, String> {
        Words::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_where_they_touch() {
        let ranges = |pairs: &[(u64, u64)]| pairs.iter().map(|(start, end)| *start..*end).collect::<Vec<_>>();
        let check = |given: &[(u64, u64)], expected: &[(u64, u64)]| {
            assert_eq!(joined(ranges(given)), ranges(expected));
        };
        check(&[], &[]);
        check(&[(4, 8), (0, 4), (12, 16)], &[(0, 8), (12, 16)]);
        check(&[(0, 8), (0, 4), (0, 12)], &[(0, 12)]);
    }
}
