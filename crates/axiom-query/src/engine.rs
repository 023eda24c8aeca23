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
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Code, Fault};
use crate::functions;
use crate::json;
use crate::limits::Limits;
use crate::notes::Notes;
use crate::output;
use crate::rows::{Rows, Until};
use crate::store::{Pin, Store};
use crate::table::Events;
use crate::views::VIEWS;
use crate::workers::Workers;

/// Names in messages about memory: who held most of it.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// Answers queries over one event store.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Arc<Store>,
    runtime: Arc<RuntimeEnv>,
    limits: Limits,
    permits: Arc<Semaphore>,
    workers: Workers,
}

/// The rows of an answer, as they come.
#[derive(Debug)]
pub struct Answer {
    schema: SchemaRef,
    rows: Rows,
    notes: Arc<Notes>,
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
    pub(crate) async fn cancelled(&mut self) {
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
    /// When there is no store, it cannot be read, or there is no room for temporary files or no thread.
    pub fn open(dir: &Path, limits: Limits) -> Result<Engine, Fault> {
        let store = Store::open(dir)?;
        let workers = Workers::start()?;
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
            workers,
        })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Plans a query over what is in the store now, and starts it. Its time runs from here, whether its rows are taken or not.
    ///
    /// # Errors
    /// When it is no query, may not be run, or too many run already.
    pub async fn run(&self, sql: &str, cancelled: Cancelled) -> Result<Answer, Fault> {
        let permit = self.permit().await?;
        let mut until = Until::after(self.limits.timeout, cancelled);
        let pin = until.within(self.pin()).await??;
        let notes = Arc::new(Notes::default());
        let (engine, sql, told) = (self.clone(), sql.to_owned(), Arc::clone(&notes));
        let mut rows = Rows::start(&self.workers, until, |giving| async move {
            let _permit = permit;
            let context = engine.context(&sql, &pin, &told).await?;
            let plan = engine.plan(&context, &sql).await?;
            let frame = context.execute_logical_plan(plan).await?;
            giving.all(frame.execute_stream().await?).await
        });
        Ok(Answer {
            schema: rows.columns().await?,
            rows,
            notes,
        })
    }

    /// The columns of an answer, without making it.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn describe(&self, sql: &str) -> Result<SchemaRef, Fault> {
        // Nobody cancels it: whoever leaves drops it.
        let (_cancel, cancelled) = cancel();
        let mut until = Until::after(self.limits.timeout, cancelled);
        let pin = until.within(self.pin()).await??;
        let (engine, sql) = (self.clone(), sql.to_owned());
        let mut rows = Rows::start(&self.workers, until, |giving| async move {
            let context = engine.context(&sql, &pin, &Arc::default()).await?;
            let plan = engine.plan(&context, &sql).await?;
            giving.columns(output::schema(plan.schema().inner())).await;
            Ok(())
        });
        rows.columns().await
    }

    /// Waits until a query goes on long after its time was over, without ever pausing: only the end of the process ends it.
    ///
    /// # Cancel safety
    /// Safe: it stays so.
    pub async fn stuck(&self) {
        self.workers.stuck().await;
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

    /// What is in the store now. It is looked up on a thread of the caller's, whatever those of queries do.
    async fn pin(&self) -> Result<Arc<Pin>, Fault> {
        let store = Arc::clone(&self.store);
        let pin = blocking(move || store.pin()).join().await;
        let pin = pin.ok_or_else(|| Fault::new(Code::Failed, "looking into the event store failed"))??;
        Ok(Arc::new(pin))
    }

    /// Everything that a query can name, over what is pinned.
    async fn context(&self, sql: &str, pin: &Arc<Pin>, notes: &Arc<Notes>) -> Result<SessionContext, Fault> {
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema("axiom", "public")
            .with_information_schema(true);
        let options = config.options_mut();
        options.sql_parser.collect_spans = true;
        let mut context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
        context.register_expr_planner(Arc::new(json::Arrows))?;
        json::functions().for_each(|function| context.register_udf(function));
        context.register_udf(functions::byte_count());
        context.register_table(
            "events",
            Arc::new(Events::new(Arc::clone(pin), Arc::clone(notes))),
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
        Ok(context)
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

impl Answer {
    /// Rows of another engine.
    pub(crate) fn of(schema: SchemaRef, rows: Rows, notes: Arc<Notes>) -> Answer {
        Answer { schema, rows, notes }
    }

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
        self.rows.next().await
    }

    /// What else there is to know, once the last rows are there.
    pub fn warnings(&self) -> Vec<String> {
        self.notes.warnings()
    }
}
