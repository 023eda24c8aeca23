//! DuckDB as a second engine over the same events: `axiom sql --engine duckdb`.
//!
//! Its library is found when a query asks for it ([`library`]). What is pinned is made into files where it is in none
//! (`place`), and into tables (`tables`); DuckDB is told to read these files and nothing else, and runs one query
//! (`session`). Its rows are an [`Answer`] like those of the other engine, and are written by the same code.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axiom_core::channel::{Receiver, Sender, bounded, oneshot};
use axiom_core::spawn::blocking;
use axiom_duckdb::{Interrupt, Library, Version};
use datafusion::common::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures_util::stream;

use crate::engine::{Answer, Cancelled, cancel};
use crate::fault::{Code, Fault};
use crate::limits::Limits;
use crate::notes::Notes;
use crate::rows::{Rows, Until, was_cancelled};
use crate::store::Store;
use crate::workers::Workers;
use place::{Makes, Place};

pub mod library;

mod place;
mod tables;

mod session;

mod fault;

pub mod setup;

/// Batches that wait for whoever takes them: DuckDB stops when they are not taken.
const BATCHES_AHEAD: usize = 2;

/// From here on it reads bodies as they lie in sealed files.
const READS_PARTS: Version = Version { major: 2, minor: 0 };

/// Answers queries over one event store.
#[derive(Debug, Clone)]
pub struct Engine {
    library: Library,
    store: Arc<Store>,
    limits: Limits,
    /// Whether objects of an object store are copied to this machine.
    copies_cold: bool,
    workers: Workers,
    /// Held by each query that still runs, and by this: see [`Engine::open`].
    _running: Sender<Infallible>,
}

/// Tells when the last query has ended and what it left on the disk is gone.
#[derive(Debug)]
pub struct Ended(Receiver<Infallible>);

/// How a query is ended, from the side of whoever asked.
#[derive(Debug, Default)]
struct Ending {
    is_over: AtomicBool,
    interrupt: Mutex<Option<Interrupt>>,
}

/// Ends a query when it is dropped.
#[derive(Debug)]
struct Wanted(Arc<Ending>);

/// What comes from the thread that DuckDB runs in.
enum Step {
    Rows(RecordBatch),
    Fault(Fault),
    End,
}

impl Engine {
    /// Opens the store in `dir`. Blocks on the disk.
    ///
    /// A program that ends while DuckDB runs may crash on its way out: it waits for the other half of what this returns first.
    ///
    /// # Errors
    /// When there is no store, it cannot be read, or there is no thread.
    pub fn open(
        library: Library,
        dir: &Path,
        limits: Limits,
        copies_cold: bool,
    ) -> Result<(Engine, Ended), Fault> {
        let (running, ended) = bounded(1);
        let engine = Engine {
            library,
            store: Arc::new(Store::open(dir)?),
            limits,
            copies_cold,
            workers: Workers::start()?,
            _running: running,
        };
        Ok((engine, Ended(ended)))
    }

    /// Starts a query over what is in the store now. Its time runs from here; the rows are made as they are taken.
    ///
    /// # Errors
    /// When it is no query, may not be run, or there are events that DuckDB cannot read.
    ///
    /// # Cancel safety
    /// Dropping it ends the query.
    pub async fn run(&self, sql: &str, cancelled: Cancelled) -> Result<Answer, Fault> {
        let until = Until::after(self.limits.timeout, cancelled);
        let notes = Arc::new(Notes::default());
        let ending = Arc::new(Ending::default());
        let wanted = Wanted(Arc::clone(&ending));
        let (begun_tx, begun_rx) = oneshot::channel();
        let (steps_tx, steps_rx) = bounded(BATCHES_AHEAD);
        let work = Work {
            engine: self.clone(),
            sql: sql.to_owned(),
            notes: Arc::clone(&notes),
            ending,
        };
        drop(blocking(move || work.run(begun_tx, &steps_tx)));
        // Dropping it ends the query, as `wanted` goes with it.
        let mut rows = Rows::start(&self.workers, until, |giving| async move {
            let schema = begun_rx.await.map_err(|_| ended_early())??;
            let rows = stream::unfold(
                (steps_rx, wanted, false),
                |(mut steps, wanted, has_ended)| async move {
                    if has_ended {
                        return None;
                    }
                    let (item, has_ended) = match steps.recv().await {
                        Some(Step::Rows(batch)) => (Ok(batch), false),
                        Some(Step::Fault(fault)) => (Err(fault), true),
                        Some(Step::End) => return None,
                        None => (Err(ended_early()), true),
                    };
                    let item = item.map_err(|fault| DataFusionError::External(Box::new(fault)));
                    Some((item, (steps, wanted, has_ended)))
                },
            );
            giving
                .all(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
                .await
        });
        let schema = rows.columns().await?;
        Ok(Answer::of(schema, rows, notes))
    }

    /// The columns of an answer.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn describe(&self, sql: &str) -> Result<SchemaRef, Fault> {
        let (_cancel, cancelled) = cancel();
        let answer = self.run(&format!("{sql} LIMIT 0"), cancelled).await?;
        Ok(answer.schema())
    }
}

impl Ended {
    /// Waits until all copies of the engine and all its queries are gone.
    ///
    /// # Cancel safety
    /// Safe: nothing is consumed.
    pub async fn wait(&mut self) {
        // Nothing is ever sent.
        while self.0.recv().await.is_some() {}
    }
}

fn ended_early() -> Fault {
    Fault::new(Code::Failed, "DuckDB ended before the query did")
}

impl Drop for Wanted {
    fn drop(&mut self) {
        // In this order: who looks after it began to run sees the first, or gets the second.
        self.0.is_over.store(true, Ordering::SeqCst);
        if let Some(interrupt) = self.0.interrupt().as_ref() {
            interrupt.interrupt();
        }
    }
}

/// The connection can be interrupted as long as this is held, and is not held by those who may do it any longer.
struct Interruptible<'a>(&'a Ending);

impl<'a> Interruptible<'a> {
    fn new(ending: &'a Ending, interrupt: Interrupt) -> Interruptible<'a> {
        *ending.interrupt() = Some(interrupt);
        Interruptible(ending)
    }
}

impl Drop for Interruptible<'_> {
    fn drop(&mut self) {
        *self.0.interrupt() = None;
    }
}

impl Ending {
    fn interrupt(&self) -> MutexGuard<'_, Option<Interrupt>> {
        self.interrupt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.is_over.load(Ordering::SeqCst) {
            return Err(was_cancelled());
        }
        Ok(())
    }
}

/// One query, in a thread of its own.
#[derive(Debug)]
struct Work {
    engine: Engine,
    sql: String,
    notes: Arc<Notes>,
    ending: Arc<Ending>,
}

impl Work {
    fn run(self, begun: oneshot::Sender<Result<SchemaRef, Fault>>, steps: &Sender<Step>) {
        let mut begun = Some(begun);
        let last = match self.rows(&mut begun, steps) {
            Ok(()) => Step::End,
            Err(fault) => Step::Fault(fault),
        };
        // Nobody may be left to hear it.
        let _heard = match (begun, last) {
            (Some(begun), Step::Fault(fault)) => begun.send(Err(fault)).is_ok(),
            (_, last) => steps.blocking_send(last).is_ok(),
        };
    }

    /// Sends the rows, until nobody wants more.
    fn rows(
        &self,
        begun: &mut Option<oneshot::Sender<Result<SchemaRef, Fault>>>,
        steps: &Sender<Step>,
    ) -> Result<(), Fault> {
        let Engine {
            library,
            store,
            limits,
            copies_cold,
            ..
        } = &self.engine;
        // Held until the last row: its files are not deleted.
        let pin = store.pin()?;
        let makes = Makes {
            cold: *copies_cold,
            bodies: library.version() < READS_PARTS && session::may_take_bodies(&self.sql),
        };
        let place = Place::make(&pin, limits, makes, &self.notes, &self.ending.is_over)?;
        let connection = session::open(library, limits, &place)?;
        let _interruptible = Interruptible::new(&self.ending, connection.interrupt());
        let run = session::query(&connection, &self.sql)?.begin()?;
        // What ends it from here on interrupts it.
        self.ending.check()?;
        let mut rows = run.rows()?;
        if let Some(begun) = begun.take()
            && begun.send(Ok(rows.schema())).is_err()
        {
            return Ok(());
        }
        while let Some(batch) = rows.next_batch()? {
            if batch.num_rows() > 0 && steps.blocking_send(Step::Rows(batch)).is_err() {
                break;
            }
        }
        Ok(())
    }
}
