//! Tasks with a name. A panic ends the task it happened in, is reported with that name, and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

/// A spawned task. Dropping it lets the task go on; `abort` ends it at its next await.
#[derive(Debug)]
pub struct Task<T = ()> {
    handle: JoinHandle<Option<T>>,
}

/// Starts `future` on the current runtime. A panic inside is logged with `name` and ends only this task.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
    let handle = tokio::spawn(Reported {
        name,
        future: Box::pin(future),
    });
    Task { handle }
}

/// Starts `future` on the runtime behind `runtime`, as [`spawn`] does on the current one.
pub fn spawn_on<F>(runtime: &tokio::runtime::Handle, name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task {
        handle: runtime.spawn(Reported {
            name,
            future: Box::pin(future),
        }),
    }
}

/// Runs `work`, which may block or compute for long, on a thread of its own pool. A panic gives `None` to [`Task::join`].
///
/// # Panics
/// Outside a tokio runtime.
pub fn blocking<T, F>(work: F) -> Task<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    Task {
        handle: tokio::task::spawn_blocking(move || Some(work())),
    }
}

/// Starts a thread of its own for `work` that blocks for as long as the program runs. A panic is logged with `name`, and
/// is what the handle's `join` returns.
///
/// # Errors
/// When the system gives us no thread.
pub fn thread<T, F>(name: &'static str, work: F) -> std::io::Result<std::thread::JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            tracing::error!(
                thread = name,
                panic = panic_text(panic.as_ref()),
                "thread panicked"
            );
            std::panic::resume_unwind(panic)
        })
    })
}

impl<T> Task<T> {
    /// Ends the task at its next await point. Does nothing when it has ended.
    pub fn abort(&self) {
        self.handle.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for the task's value; `None` if it panicked or was aborted.
    ///
    /// # Cancel safety
    /// Dropping this future leaves the task running.
    pub async fn join(self) -> Option<T> {
        self.handle.await.ok().flatten()
    }
}

/// Catches the panic of one task so that it can be logged under the task's name.
struct Reported<F> {
    name: &'static str,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Reported<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        let future = self.future.as_mut();
        // A poisoned future is never polled again: `Ready(None)` ends the task.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(panic) => {
                tracing::error!(task = name, panic = panic_text(panic.as_ref()), "task panicked");
                Poll::Ready(None)
            }
        }
    }
}

/// The message of a panic, if it had one.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
