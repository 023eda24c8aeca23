//! The way of a query's rows, from the task that makes them to whoever takes them.
//!
//! The task ends when the query's time is over, and lets go of all that it holds, the files and its place among the queries
//! that run, whether its rows are taken, waited for or left lying.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axiom_core::channel::{self, Receiver, Sender};
use axiom_core::{Task, time};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures_util::StreamExt as _;

use crate::engine::Cancelled;
use crate::fault::{Code, Fault};
use crate::output;
use crate::workers::Workers;

/// Pieces that wait for whoever takes them. What was made in vain for a client that stops reading is held until it leaves.
const PIECES_AHEAD: usize = 2;

/// What comes from the task, in this order. Nothing comes after a fault.
#[derive(Debug)]
enum Piece {
    Columns(SchemaRef),
    Rows(RecordBatch),
    /// It is told: a task that broke off gives none.
    End,
}

/// Until when a query may run.
#[derive(Debug, Clone)]
pub(crate) struct Until {
    deadline: time::Instant,
    /// What it was given, for words about it.
    timeout: Duration,
    cancelled: Cancelled,
}

/// Where the task puts what it made.
#[derive(Debug)]
pub(crate) struct Giving(Sender<Result<Piece, Fault>>);

/// Where it is taken. Dropping it ends the query.
#[derive(Debug)]
pub(crate) struct Rows {
    pieces: Receiver<Result<Piece, Fault>>,
    until: Until,
    task: Task,
    has_ended: bool,
    /// The task's threads are there as long as it may be asked.
    _workers: Workers,
}

impl Until {
    /// From now on.
    pub(crate) fn after(timeout: Duration, cancelled: Cancelled) -> Until {
        Until {
            deadline: time::now() + timeout,
            timeout,
            cancelled,
        }
    }

    /// Does `work`, unless the time is over or the query is cancelled before. What is ready counts.
    ///
    /// # Errors
    /// Which of the two it was.
    pub(crate) async fn within<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            // Dropping it drops the work, which is what is wanted.
            done = time::timeout_at(self.deadline, work) => done.map_err(|_| took_too_long(self.timeout)),
            // cancel-safe: see Cancelled::cancelled.
            () = self.cancelled.cancelled() => Err(was_cancelled()),
        }
    }
}

impl Giving {
    /// The columns of an answer, and then its rows, as they are taken.
    ///
    /// # Errors
    /// When they cannot be made to their end.
    pub(crate) async fn all(&self, mut rows: SendableRecordBatchStream) -> Result<(), Fault> {
        let columns = output::schema(&rows.schema());
        self.columns(Arc::clone(&columns)).await;
        while let Some(batch) = rows.next().await.transpose()? {
            let batch = output::plain(&batch, &columns).map_err(DataFusionError::from)?;
            if self.0.send(Ok(Piece::Rows(batch))).await.is_err() {
                // Nobody wants more.
                break;
            }
        }
        Ok(())
    }

    pub(crate) async fn columns(&self, columns: SchemaRef) {
        // Whoever asked may have left.
        let _taken = self.0.send(Ok(Piece::Columns(columns))).await.is_ok();
    }
}

impl Rows {
    /// Starts the task that `make` describes. What `make` took along is let go at its end.
    pub(crate) fn start<F>(workers: &Workers, until: Until, make: impl FnOnce(Giving) -> F) -> Rows
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let (tx, pieces) = channel::bounded(PIECES_AHEAD + 1);
        // There is always room for how it ended.
        let last = tx.clone().try_reserve_owned().expect("nothing is in it yet");
        let (making, mut ends) = (Box::pin(make(Giving(tx))), until.clone());
        let task = workers.spawn(until.deadline, async move {
            let made = ends.within(making).await.and_then(|made| made);
            drop(last.send(made.map(|()| Piece::End)));
        });
        Rows {
            pieces,
            until,
            task,
            has_ended: false,
            _workers: workers.clone(),
        }
    }

    /// The columns, which come first.
    ///
    /// # Errors
    /// When the query cannot be run.
    pub(crate) async fn columns(&mut self) -> Result<SchemaRef, Fault> {
        match self.piece().await? {
            Piece::Columns(columns) => Ok(columns),
            Piece::Rows(_) | Piece::End => Err(broke_off()),
        }
    }

    /// The next rows; `None` behind the last.
    ///
    /// # Errors
    /// When the answer cannot be made to its end. Nothing comes after an error.
    ///
    /// # Cancel safety
    /// Safe: rows that were not taken come next.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.has_ended {
            return Ok(None);
        }
        match self.piece().await? {
            Piece::Rows(rows) => Ok(Some(rows)),
            Piece::End => {
                self.has_ended = true;
                Ok(None)
            }
            Piece::Columns(_) => Err(broke_off()),
        }
    }

    async fn piece(&mut self) -> Result<Piece, Fault> {
        // The task keeps to its time by itself, unless it does not pause.
        let piece = self.until.within(self.pieces.recv()).await?;
        piece.unwrap_or_else(|| Err(broke_off()))
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn took_too_long(timeout: Duration) -> Fault {
    Fault::new(
        Code::Timeout,
        format!(
            "the query took longer than {} s and was ended",
            timeout.as_secs_f64()
        ),
    )
    .hint("ask for a shorter time or for fewer columns, or give it more time with --timeout")
}

pub(crate) fn was_cancelled() -> Fault {
    Fault::new(Code::Cancelled, "the query was cancelled")
}

fn broke_off() -> Fault {
    Fault::new(Code::Failed, "the query broke off by a defect of ours").hint("the log says more")
}
