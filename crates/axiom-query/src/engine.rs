//! One query, from its text to its rows.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axiom_core::channel::watch;
use axiom_core::spawn::blocking;
use axiom_core::time;
use datafusion::common::DataFusionError;
use datafusion::datasource::ViewTable;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry as _, SendableRecordBatchStream};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Code, Fault};
use crate::functions;
use crate::json;
use crate::limits::Limits;
use crate::notes::Notes;
use crate::output;
use crate::store::{Outrun, Pin, Store};
use crate::table::Events;
use crate::views::VIEWS;

/// Names in messages about memory: who held most of it.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// Answers queries over one event store.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Arc<Store>,
    runtime: Arc<RuntimeEnv>,
    limits: Limits,
    permits: Arc<Semaphore>,
}

/// The rows of an answer, as they come.
pub struct Answer {
    schema: SchemaRef,
    begun: Begun,
    /// As long as no row was taken, it may begin anew.
    again: Option<(Engine, String)>,
    /// It has to: what it was to read has moved.
    is_outrun: bool,
    deadline: time::Instant,
    timeout: std::time::Duration,
    cancelled: Cancelled,
    _permit: OwnedSemaphorePermit,
}

/// A query over what is in the store at one moment.
struct Begun {
    rows: SendableRecordBatchStream,
    notes: Arc<Notes>,
    /// The files are not deleted while it is held.
    _pin: Arc<Pin>,
}

/// Ends queries that were given its [`Cancelled`]. Dropping it ends nothing.
#[derive(Debug)]
pub struct Cancel(watch::Sender<bool>);

/// Tells a query that its answer is not wanted any more.
#[derive(Debug, Clone)]
pub struct Cancelled(watch::Receiver<bool>);

/// A way to cancel, and how a query learns of it.
pub fn cancel() -> (Cancel, Cancelled) {
    let (tx, rx) = watch::channel(false);
    (Cancel(tx), Cancelled(rx))
}

impl Cancel {
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancelled {
    /// # Cancel safety
    /// Safe: nothing is consumed.
    async fn cancelled(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            // Nobody is left who could.
            std::future::pending::<()>().await;
        }
    }
}

impl Engine {
    /// Opens the store in `dir`. Blocks on the disk.
    ///
    /// # Errors
    /// When there is no store, it cannot be read, or there is no room for temporary files.
    pub fn open(dir: &Path, limits: Limits) -> Result<Engine, Fault> {
        let store = Store::open(dir)?;
        let memory_bytes = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
        let pool = TrackConsumersPool::new(FairSpillPool::new(memory_bytes), CONSUMERS_NAMED);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![limits.temp_dir.clone()]))
            .with_max_temp_directory_size(limits.temp_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        Ok(Engine {
            store: Arc::new(store),
            runtime,
            permits: Arc::new(Semaphore::new(limits.queries_max)),
            limits,
        })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Plans a query over what is in the store now, and starts it. Its time runs from here; the rows are made as they are
    /// taken.
    ///
    /// # Errors
    /// When it is no query, may not be run, or too many run already.
    pub async fn run(&self, sql: &str, mut cancelled: Cancelled) -> Result<Answer, Fault> {
        let permit = self.permit().await?;
        let timeout = self.limits.timeout;
        let deadline = time::now() + timeout;
        let begun = tokio::select! {
            // Dropping it ends the planning.
            begun = time::timeout_at(deadline, self.begin(sql)) => begun.map_err(|_| took_too_long(timeout))??,
            // cancel-safe: see Cancelled::cancelled.
            () = cancelled.cancelled() => return Err(was_cancelled()),
        };
        Ok(Answer {
            schema: output::schema(&begun.rows.schema()),
            begun,
            again: Some((self.clone(), sql.to_owned())),
            is_outrun: false,
            deadline,
            timeout,
            cancelled,
            _permit: permit,
        })
    }

    async fn begin(&self, sql: &str) -> Result<Begun, Fault> {
        let notes = Arc::new(Notes::default());
        let (context, pin) = self.context(sql, &notes).await?;
        let plan = self.plan(&context, sql).await?;
        let frame = context.execute_logical_plan(plan).await?;
        Ok(Begun {
            rows: frame.execute_stream().await?,
            notes,
            _pin: pin,
        })
    }

    /// The columns of an answer, without making it.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn describe(&self, sql: &str) -> Result<SchemaRef, Fault> {
        let (context, _pin) = self.context(sql, &Arc::default()).await?;
        let plan = self.plan(&context, sql).await?;
        Ok(output::schema(plan.schema().inner()))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        match time::timeout(self.limits.wait, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Fault::new(
                Code::Busy,
                format!(
                    "{} queries run already, and none of them ended within {:?}",
                    self.limits.queries_max, self.limits.wait
                ),
            )
            .hint("try again later, or end one of them")),
        }
    }

    /// Everything that a query can name, over what is in the store now.
    async fn context(&self, sql: &str, notes: &Arc<Notes>) -> Result<(SessionContext, Arc<Pin>), Fault> {
        let store = Arc::clone(&self.store);
        let pin = blocking(move || store.pin()).join().await;
        let pin = pin.ok_or_else(|| Fault::new(Code::Failed, "looking into the event store failed"))??;
        let pin = Arc::new(pin);
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema("axiom", "public")
            .with_information_schema(true);
        let options = config.options_mut();
        options.sql_parser.collect_spans = true;
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        let mut context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
        context.register_expr_planner(Arc::new(json::Arrows))?;
        json::functions().for_each(|function| context.register_udf(function));
        context.register_udf(functions::byte_count());
        context.register_table(
            "events",
            Arc::new(Events::new(Arc::clone(&pin), Arc::clone(notes))),
        )?;
        let sql = sql.to_lowercase();
        // Planning a view takes longer than most queries; these words are how one is named or listed.
        let lists = ["show", "information_schema"]
            .iter()
            .any(|word| sql.contains(word));
        for view in VIEWS.into_iter().filter(|view| lists || sql.contains(view.name)) {
            let plan = context.state().create_logical_plan(view.sql).await?;
            context.register_table(
                view.name,
                Arc::new(ViewTable::new(plan, Some(view.sql.to_owned()))),
            )?;
        }
        Ok((context, pin))
    }

    /// The plan of a query that changes nothing.
    async fn plan(&self, context: &SessionContext, sql: &str) -> Result<LogicalPlan, Fault> {
        let plan = context
            .state()
            .create_logical_plan(sql)
            .await
            .map_err(|error| several(error, sql))?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(|_| {
            Fault::new(
                Code::Refused,
                "this would change something, and events are never changed by SQL",
            )
            .hint("what is answered: SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, SHOW COLUMNS and DESCRIBE")
        })?;
        Ok(plan)
    }
}

/// DataFusion does not say in words of ours that a text holds more than one query.
fn several(error: DataFusionError, sql: &str) -> Fault {
    let text = error.to_string();
    if text.contains("only supports a single SQL statement") {
        let fault = Fault::new(
            Code::Query,
            "these are several statements; one is answered at a time",
        );
        return fault.hint("send them one after the other");
    }
    if sql.trim().is_empty() {
        return Fault::new(Code::Query, "there is no query").hint("for example: SELECT count(*) FROM events");
    }
    error.into()
}

fn took_too_long(timeout: std::time::Duration) -> Fault {
    Fault::new(
        Code::Timeout,
        format!(
            "the query took longer than {} s and was ended",
            timeout.as_secs_f64()
        ),
    )
    .hint("ask for a shorter time or for fewer columns, or give it more time with --timeout")
}

fn was_cancelled() -> Fault {
    Fault::new(Code::Cancelled, "the query was cancelled")
}

/// Whether a file or segment that was to be read has gone somewhere else, or is lost.
fn is_outrun(error: &DataFusionError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let is_gone = matches!(
            error.downcast_ref::<object_store::Error>(),
            Some(object_store::Error::NotFound { .. })
        );
        if is_gone || error.is::<Outrun>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Rows were given already, so it cannot begin anew by itself.
fn came_too_late(fault: Fault) -> Fault {
    fault.hint("run it again: events were moved while it read them; if the same is missing then, `axiom events verify` tells what can be read")
}

impl Answer {
    /// The columns: those that [`Answer::next`] gives, under names that differ.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; `None` behind the last.
    ///
    /// # Errors
    /// When the answer cannot be made to its end. Nothing comes after an error.
    ///
    /// # Cancel safety
    /// Safe: rows that were not taken come next.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        let batch = match self.take().await?.transpose() {
            Err(error) if is_outrun(&error) && self.again.is_none() => {
                return Err(came_too_late(error.into()));
            }
            Err(error) if is_outrun(&error) => {
                self.is_outrun = true;
                self.take().await?.transpose()
            }
            batch => batch,
        };
        // What is not there now either is lost.
        self.again = None;
        let batch = batch?.map(|batch| output::plain(&batch, &self.schema));
        Ok(batch.transpose().map_err(DataFusionError::from)?)
    }

    /// The stream's next rows, within the limits.
    ///
    /// # Cancel safety
    /// Safe: what has to begin anew does so with the next call.
    async fn take(&mut self) -> Result<Option<Result<RecordBatch, DataFusionError>>, Fault> {
        let next = async {
            if self.is_outrun
                && let Some((engine, sql)) = &self.again
            {
                self.begun = engine.begin(sql).await?;
                self.is_outrun = false;
            }
            Ok::<_, Fault>(self.begun.rows.next().await)
        };
        tokio::select! {
            // cancel-safe: a stream's next item stays in the stream.
            next = time::timeout_at(self.deadline, next) => next.map_err(|_| took_too_long(self.timeout))?,
            // cancel-safe: see Cancelled::cancelled.
            () = self.cancelled.cancelled() => Err(was_cancelled()),
        }
    }

    /// What else there is to know, once the last rows are there.
    pub fn warnings(&self) -> Vec<String> {
        self.begun.notes.warnings()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
