//! Waiting for the ends of tasks, and telling meanwhile how far they are.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axiom_core::time;
use axiom_runtime::mux::clean::{Colours, clean};
use axiom_runtime::mux::{LiveReader, News, Subscription, Tasks};

use super::Desk;
use super::progress::Progress;

/// Seconds. The link to the server `tasks` waits a little longer.
pub(crate) const WAIT_MAX: f64 = 3600.0;
/// A shim gives its processes five seconds.
pub(super) const KILL_TIME: Duration = Duration::from_secs(8);
/// How often a client is told at most, unless something ends.
const TELL: Duration = Duration::from_secs(1);
/// Lines that are told are the last ones anyway.
const READER_BYTES: usize = 16 << 10;
/// Of the line that a client is told.
const SAID_CHARS: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Until all have ended.
    All,
    /// Until one has.
    Any,
}

pub(super) type End = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Desk {
    /// Waits for tasks to end, for so long. Says whether it was worth it. A task that is forgotten has ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn ends(
        &self,
        ids: &[Arc<str>],
        mode: Mode,
        wait: Duration,
        progress: Option<Progress>,
    ) -> bool {
        let ends = ids.iter().map(|id| ((), self.end(Arc::clone(id))));
        let mut ends: Vec<((), End)> = ends.collect();
        let mut told = progress.map(|progress| Telling::new(self, ids, progress));
        let deadline = time::now() + wait;
        let mut tick = time::interval(TELL);
        loop {
            let ended = ids.len() - ends.len();
            let is_done = match mode {
                Mode::All => ends.is_empty(),
                Mode::Any => ended > 0 || ends.is_empty(),
            };
            if let Some(told) = &mut told {
                told.tell(ended).await;
            }
            if is_done {
                return true;
            }
            tokio::select! {
                // cancel-safe: those that are ready are gone from the list.
                _ = next_end(&mut ends) => {}
                // cancel-safe: news is taken only when it is returned.
                () = listen(&mut told) => {}
                // cancel-safe: a tick that was not taken comes with the next call.
                _ = tick.tick(), if told.is_some() => {}
                // cancel-safe: the value stays.
                () = self.closed() => return false,
                // cancel-safe: a timer.
                () = time::sleep_until(deadline) => return false,
            }
        }
    }

    pub(super) fn end(&self, id: Arc<str>) -> End {
        let supervisor = self.supervisor.clone();
        Box::pin(async move {
            // Nobody knows it any more: then it has ended.
            supervisor.wait(&id).await.ok();
        })
    }
}

/// Until one of them, at least, is no longer waited for. Gives those.
pub(super) async fn next_end<T>(ends: &mut Vec<(T, End)>) -> Vec<T> {
    poll_fn(|cx| {
        let ended = ends.extract_if(.., |(_, end)| end.as_mut().poll(cx).is_ready());
        let ended: Vec<T> = ended.map(|(of, _)| of).collect();
        match ended.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(ended),
        }
    })
    .await
}

/// Takes in what the tasks say. Never ends if nobody wants to hear it.
async fn listen(told: &mut Option<Telling>) {
    let Some(Telling {
        reader: Some(reader),
        said,
        ..
    }) = told
    else {
        return std::future::pending().await;
    };
    let mut is_over = false;
    loop {
        match reader.next().await {
            Some(News::Lines(lines)) => {
                if let Some(last) = lines.iter().last() {
                    let text = clean(last.line.text(), Colours::Strip);
                    let label: String = lines.task().chars().take(8).collect();
                    let text: String = text.chars().take(SAID_CHARS).collect();
                    *said = format!("[{label}] {text}");
                }
            }
            Some(News::Missed(_) | News::MissedMore { .. }) => {}
            None => is_over = true,
        }
        if is_over {
            break;
        }
    }
    if let Some(told) = told {
        told.reader = None;
    }
}

/// What a client has been told.
struct Telling {
    progress: Progress,
    reader: Option<LiveReader>,
    total: usize,
    /// The last line of all.
    said: String,
}

impl Telling {
    fn new(desk: &Desk, ids: &[Arc<str>], progress: Progress) -> Telling {
        let reader = desk.supervisor.subscribe(Subscription {
            tasks: Tasks::These(ids.iter().cloned().collect()),
            last_lines: 1,
            queue_bytes_max: Some(READER_BYTES),
            ..Subscription::default()
        });
        Telling {
            progress,
            // With too many readers there are no lines, but still numbers.
            reader: reader.ok(),
            total: ids.len(),
            said: String::new(),
        }
    }

    /// Tells what is new, if anything is.
    async fn tell(&mut self, ended: usize) {
        let message = match self.said.is_empty() {
            true => format!("{ended} of {} ended", self.total),
            false => format!("{ended} of {} ended; {}", self.total, self.said),
        };
        self.progress.tell(ended, self.total, message).await;
    }
}
