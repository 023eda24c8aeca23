//! The threads that queries run on, and nothing else does: one that computes without ever pausing holds up no clock, no
//! other client and no `DELETE`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{oneshot, watch};
use axiom_core::time::{self, Instant};
use axiom_core::{Task, spawn, spawn::spawn_on};
use tokio::runtime::{Builder, Runtime};

use crate::fault::{Code, Fault};

/// Threads that may block, for files and blocks of the log. What they do ends by itself and waits for no client, so more work
/// than threads waits for its turn.
const BLOCKING_THREADS_MAX: usize = 32;

/// How long a query may go on when its time is over. Most end at once, where they pause; one that computes this long without
/// a pause may do so for years.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// The threads. Dropping the last handle lets them go; what still runs ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    threads: Arc<Threads>,
    stuck: Arc<watch::Sender<bool>>,
}

#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Workers {
    /// # Errors
    /// When the system gives us no threads.
    pub(crate) fn start() -> Result<Workers, Fault> {
        let runtime = Builder::new_multi_thread()
            .thread_name("axiom-query-worker")
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .enable_all()
            .build();
        let failed = |error| Fault::new(Code::Failed, format!("there are no threads for queries: {error}"));
        Ok(Workers {
            threads: Arc::new(Threads(Some(runtime.map_err(failed)?))),
            stuck: Arc::new(watch::channel(false).0),
        })
    }

    /// Starts the work of a query that must have ended at `deadline`. That it did is watched from the caller's own runtime.
    pub(crate) fn spawn<F>(&self, deadline: Instant, work: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (alive, ended) = oneshot::channel::<()>();
        let stuck = Arc::clone(&self.stuck);
        // It ends with the work.
        drop(spawn("end of a query", async move {
            if time::timeout_at(deadline + GRACE, ended).await.is_err() {
                stuck.send_replace(true);
            }
        }));
        let runtime = self.threads.0.as_ref().expect("it is there until it is dropped");
        spawn_on(runtime.handle(), "query", async move {
            // Dropped with the work, and so not while the work does not pause.
            let _alive = alive;
            work.await
        })
    }

    /// Waits until a query goes on [`GRACE`] after its deadline: only the end of the process ends it.
    ///
    /// # Cancel safety
    /// Safe: it stays so.
    pub(crate) async fn stuck(&self) {
        let mut stuck = self.stuck.subscribe();
        // Its sender is ours.
        let _known = stuck.wait_for(|is_stuck| *is_stuck).await.is_ok();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for them is not allowed where others wait, and would be in vain for one that is stuck.
            runtime.shutdown_background();
        }
    }
}
