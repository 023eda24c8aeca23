//! The table `events`: one table over all tiers, at one moment.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::union::UnionExec;

use crate::columns;
use crate::notes::Notes;
use crate::store::{Object, Pin, PinnedShard};
use hot::Hot;
use wanted::Bounds;

mod files;
mod hot;
mod wanted;

/// Events that a scan by one thread should have at least: less is not worth a thread.
const OFFSETS_APART_MIN: u64 = 65_536;

/// The table, as one query sees it.
#[derive(Debug)]
pub(crate) struct Events {
    schema: SchemaRef,
    pin: Arc<Pin>,
    notes: Arc<Notes>,
}

impl Events {
    pub(crate) fn new(pin: Arc<Pin>, notes: Arc<Notes>) -> Events {
        Events {
            schema: columns::schema(),
            pin,
            notes,
        }
    }

    /// The hot events of a shard, in parts that may be read side by side.
    fn hot(
        &self,
        shard: &PinnedShard,
        bounds: &Bounds,
        schema: &SchemaRef,
        parts: u64,
    ) -> Vec<Arc<dyn PartitionStream>> {
        let offsets = shard.hot.start.max(bounds.offsets.start)..shard.hot.end.min(bounds.offsets.end);
        if offsets.is_empty() {
            return Vec::new();
        }
        let count = offsets.end - offsets.start;
        let parts = parts.min(count / OFFSETS_APART_MIN).max(1);
        let step = count.div_ceil(parts);
        let starts = (0..parts).map(|part| offsets.start + part * step);
        let hot = starts.map(|start| -> Arc<dyn PartitionStream> {
            Arc::new(Hot {
                shard: shard.number,
                reader: shard.reader.clone(),
                offsets: start..(start + step).min(offsets.end),
                wanted: bounds.events.clone(),
                schema: Arc::clone(schema),
                notes: Arc::clone(&self.notes),
                unpinned: shard.unpinned(),
            })
        });
        hot.collect()
    }
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What a condition leaves out is mostly not read; that it holds is checked behind the scan.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let bounds = Bounds::of(filters);
        let parts = state.config_options().execution.target_partitions as u64;
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let mut hot = Vec::new();
        for shard in self
            .pin
            .shards
            .iter()
            .filter(|shard| bounds.has_shard(shard.number))
        {
            for tier in ["cold", "warm"].into_iter().filter(|tier| bounds.has_tier(tier)) {
                let objects = shard.objects.iter().filter(|object| object.tier == tier);
                let objects: Vec<&Object> = objects.filter(|object| bounds.may_have(object)).collect();
                for lost in objects.iter().flat_map(|object| &object.lost) {
                    self.notes.missing(shard.number, lost.clone());
                }
                plans.extend(files::plans(state, shard.number, tier, &objects, &schema, limit)?);
            }
            if bounds.has_tier("hot") {
                hot.extend(self.hot(shard, &bounds, &schema, parts));
            }
        }
        if !hot.is_empty() {
            plans.push(Arc::new(streaming(&schema, hot, limit)?));
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(schema))),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

fn streaming(
    schema: &Arc<Schema>,
    partitions: Vec<Arc<dyn PartitionStream>>,
    limit: Option<usize>,
) -> Result<StreamingTableExec> {
    StreamingTableExec::try_new(Arc::clone(schema), partitions, None, [], false, limit)
}
