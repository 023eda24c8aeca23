//! The warm and the cold tier: Parquet files, [proved](super::proved), read by DataFusion's own source, and made into the table's
//! columns.
//!
//! Conditions go through to the files: statistics, page indexes and bloom filters leave out what they can. Bodies are put
//! together only where a query takes them, and then only of rows that the conditions on other columns leave. Where it takes
//! none, rows are filtered behind the scan: to unpack a few narrow columns whole is quicker than to pick rows out of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use axiom_tiers::file::{self, BODY_COLUMNS};
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use url::{Position, Url};

use super::proved::Proved;

use crate::columns::{self, BODY, BODY_BYTES, ID, SHARD, TIER, TRACE};
use crate::store::Object;

/// Plans that read these files of one tier of one shard and give the columns of `schema`: one for each place they are at.
pub(super) fn plans(
    state: &dyn Session,
    shard: u16,
    tier: &str,
    objects: &[&Object],
    schema: &SchemaRef,
    limit: Option<usize>,
) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
    let mut places: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for object in objects {
        let place = &object.location[..Position::BeforePath];
        places.entry(place).or_default().push(object);
    }
    let plans = places.into_iter().map(|(place, objects)| {
        let url = ObjectStoreUrl::parse(place)?;
        reach(state, &url)?;
        let store = state.runtime_env().object_store(&url)?;
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let mut proved = Proved::new(store, cache);
        let files = objects.into_iter().map(|object| {
            let key = Path::from_url_path(object.location.path()).map_err(external)?;
            let mut file = PartitionedFile::new(String::new(), object.bytes);
            file.object_meta.location = key.clone();
            proved.expect(key, shard, object);
            Ok(file)
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        let scan = scan(state, url, files, proved, schema, limit)?;
        let input = scan.schema();
        let columns = schema.fields().iter().map(|field| {
            let expr = column(field.name(), shard, tier, &input, state)?;
            Ok(ProjectionExpr {
                expr,
                alias: field.name().clone(),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let plan: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(columns, scan)?);
        Ok(plan)
    });
    plans.collect()
}

/// The files' own columns that the table's are made of.
fn scan(
    state: &dyn Session,
    url: ObjectStoreUrl,
    files: Vec<PartitionedFile>,
    proved: Proved,
    schema: &SchemaRef,
    limit: Option<usize>,
) -> Result<Arc<DataSourceExec>> {
    let theirs = file_schema();
    let mut wanted: Vec<usize> = Vec::new();
    for field in schema.fields() {
        for name in files_columns(field.name()) {
            let index = theirs.index_of(name)?;
            if !wanted.contains(&index) {
                wanted.push(index);
            }
        }
    }
    let has_bodies = [BODY, BODY_BYTES]
        .iter()
        .any(|name| schema.index_of(name).is_ok());
    let source = ParquetSource::new(theirs)
        .with_table_parquet_options(state.default_table_options().parquet)
        .with_pushdown_filters(has_bodies)
        .with_reorder_filters(has_bodies)
        .with_enable_page_index(true)
        .with_bloom_filter_on_read(true)
        .with_parquet_file_reader_factory(Arc::new(proved));
    let parts = state.config_options().execution.target_partitions.max(1);
    let mut groups = vec![Vec::new(); parts.min(files.len())];
    let count = groups.len();
    for (number, file) in files.into_iter().enumerate() {
        groups[number % count].push(file);
    }
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
        .with_projection_indices(Some(wanted))?
        .with_limit(limit)
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// Sees to it that the store is known. Its keys and its endpoint are in the environment, as the gateway puts them there.
fn reach(state: &dyn Session, url: &ObjectStoreUrl) -> Result<()> {
    let runtime = state.runtime_env();
    let address: &Url = url.as_ref();
    if address.scheme() != "s3" || runtime.object_store(url).is_ok() {
        return Ok(());
    }
    let bucket = address.host_str().unwrap_or_default();
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .build()
        .map_err(external)?;
    runtime.register_object_store(address, Arc::new(store));
    Ok(())
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What the files have, in the types in which the table has it.
fn file_schema() -> SchemaRef {
    let ours = columns::schema();
    let mut fields: Vec<Field> = Vec::new();
    for field in ours.fields() {
        match field.name().as_str() {
            SHARD | TIER | BODY_BYTES => {}
            TRACE | ID => fields.push(Field::new(field.name(), DataType::FixedSizeBinary(16), true)),
            BODY => fields.extend(file::body_fields()),
            _ => fields.push(field.as_ref().clone()),
        }
    }
    Arc::new(Schema::new(fields))
}

/// The files' columns that one of the table's is made of.
fn files_columns(name: &str) -> Vec<&str> {
    match name {
        SHARD | TIER => Vec::new(),
        BODY | BODY_BYTES => BODY_COLUMNS.to_vec(),
        name => vec![name],
    }
}

/// How one of the table's columns is made.
fn column(
    name: &str,
    shard: u16,
    tier: &str,
    input: &SchemaRef,
    state: &dyn Session,
) -> Result<Arc<dyn PhysicalExpr>> {
    let arguments = files_columns(name).into_iter().map(|name| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new_with_schema(name, input)?);
        Ok(column)
    });
    let mut arguments = arguments.collect::<Result<Vec<_>>>()?;
    let made = match name {
        SHARD => return Ok(Arc::new(Literal::new(ScalarValue::UInt16(Some(shard))))),
        TIER => {
            return Ok(Arc::new(Literal::new(ScalarValue::Utf8View(Some(
                tier.to_owned(),
            )))));
        }
        TRACE | ID => Making::Hex,
        BODY => Making::Text,
        BODY_BYTES => Making::Bytes,
        _ => return Ok(arguments.remove(0)),
    };
    let function = Arc::new(ScalarUDF::from(Made::new(made)));
    let config = Arc::new(state.config_options().clone());
    let expr = ScalarFunctionExpr::try_new(function, arguments, input, config)?;
    Ok(Arc::new(expr))
}

/// A column that is made of the files'.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Made {
    making: Making,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Making {
    /// Sixteen bytes as hexadecimal digits.
    Hex,
    /// A body, where it is UTF-8.
    Text,
    Bytes,
}

impl Made {
    fn new(making: Making) -> Made {
        Made {
            making,
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Made {
    fn name(&self) -> &str {
        match self.making {
            Making::Hex => "axiom_hex",
            Making::Text => "axiom_body",
            Making::Bytes => "axiom_body_bytes",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.making {
            Making::Hex | Making::Text => DataType::Utf8View,
            Making::Bytes => DataType::Binary,
        })
    }

    fn return_field_from_args(&self, _arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let is_nullable = self.making != Making::Bytes;
        Ok(Arc::new(Field::new(
            self.name(),
            self.return_type(&[])?,
            is_nullable,
        )))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let made: ArrayRef = match self.making {
            Making::Hex => Arc::new(hex(&arrays)?),
            Making::Text => Arc::new(text(&bodies(&arrays)?)),
            Making::Bytes => Arc::new(bodies(&arrays)?),
        };
        Ok(ColumnarValue::Array(made))
    }
}

fn hex(arrays: &[ArrayRef]) -> Result<StringViewArray> {
    let Some(ids) = arrays.first().and_then(|array| array.as_fixed_size_binary_opt()) else {
        return exec_err!("an id in a file has 16 bytes");
    };
    let mut builder = StringViewBuilder::with_capacity(ids.len());
    for id in ids {
        let number = id.and_then(|id| Some(u128::from_be_bytes(id.try_into().ok()?)));
        builder.append_option(number.map(|number| format!("{number:032x}")));
    }
    Ok(builder.finish())
}

fn bodies(arrays: &[ArrayRef]) -> Result<BinaryArray> {
    let named = BODY_COLUMNS.iter().copied().zip(arrays.iter().cloned());
    let batch = RecordBatch::try_from_iter(named)?;
    file::bodies(&batch).map_err(external)
}

fn text(bodies: &BinaryArray) -> StringViewArray {
    let mut builder = StringViewBuilder::with_capacity(bodies.len());
    for body in bodies {
        builder.append_option(body.and_then(|body| std::str::from_utf8(body).ok()));
    }
    builder.finish()
}
