//! Which tasks have news: lines that they have said, or their end. For clients that want to be told instead of asking again and again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_core::time::Instant;
use axiom_runtime::mux::{LiveReader, News, Subscription, Tasks};

use super::Desk;
use super::refusal::Refusal;
use super::wait::{End, next_end};

/// Between two news of the same tasks. However much they say, a client hears of it four times a second at most.
const PAUSE: Duration = Duration::from_millis(250);
/// What waits for us while we pause. Of more, the lines are missed, but not whose they were.
const QUEUE_BYTES: usize = 16 << 10;

/// News of some tasks, as long as it is there. It counts as one who looks on.
pub(crate) struct Changes {
    desk: Arc<Desk>,
    tasks: BTreeSet<Arc<str>>,
    reader: LiveReader,
    /// Of those that have not ended, by the way how.
    ends: Vec<(Arc<str>, End)>,
    new: BTreeSet<Arc<str>>,
    next: Instant,
}

impl Changes {
    /// # Errors
    /// When too many look on already.
    pub(crate) fn of(desk: &Arc<Desk>, tasks: BTreeSet<Arc<str>>) -> Result<Changes, Refusal> {
        Ok(Changes {
            reader: reader(desk, &tasks)?,
            ends: tasks
                .iter()
                .filter(|id| desk.view(id).is_ok_and(|view| view.ending.is_none()))
                .map(|id| (Arc::clone(id), desk.end(Arc::clone(id))))
                .collect(),
            desk: Arc::clone(desk),
            tasks,
            new: BTreeSet::new(),
            next: time::now(),
        })
    }

    /// Looks at these from now on. Of those that stay nothing is missed.
    ///
    /// # Errors
    /// When too many look on already: then all is as before.
    pub(crate) async fn turn_to(&mut self, tasks: BTreeSet<Arc<str>>) -> Result<(), Refusal> {
        let mut other = Changes::of(&self.desk, tasks)?;
        // What came in between both have; told twice it does no harm.
        self.drain().await;
        other.new = self.new.intersection(&other.tasks).cloned().collect();
        other.next = self.next;
        *self = other;
        Ok(())
    }

    /// The tasks that have news, as soon as any has; `None` when the gateway ends.
    ///
    /// # Cancel safety
    /// Safe: what was heard stays here until it is given.
    pub(crate) async fn next(&mut self) -> Option<BTreeSet<Arc<str>>> {
        loop {
            if !self.new.is_empty() {
                tokio::select! {
                    // cancel-safe: an instant.
                    () = time::sleep_until(self.next) => {}
                    // cancel-safe: the value stays.
                    () = self.desk.closed() => return None,
                }
                // So that nothing is read line by line while we pause.
                self.drain().await;
                self.next = time::now() + PAUSE;
                return Some(std::mem::take(&mut self.new));
            }
            tokio::select! {
                // cancel-safe: news is taken only when it is returned.
                news = self.reader.next() => match news {
                    Some(news) => self.hear(&news),
                    None => return None,
                },
                // cancel-safe: those that are ready are gone from the list, and are noted at once.
                ended = next_end(&mut self.ends) => self.new.extend(ended),
                // cancel-safe: the value stays.
                () = self.desk.closed() => return None,
            }
        }
    }

    async fn drain(&mut self) {
        while let Ok(Some(news)) = time::timeout(Duration::ZERO, self.reader.next()).await {
            self.hear(&news);
        }
    }

    fn hear(&mut self, news: &News) {
        match news {
            News::Lines(lines) => {
                self.new.insert(Arc::clone(lines.task()));
            }
            News::Missed(missed) => {
                self.new.insert(Arc::clone(&missed.task));
            }
            News::MissedMore { .. } => self.new.extend(self.tasks.iter().cloned()),
        }
    }
}

fn reader(desk: &Desk, tasks: &BTreeSet<Arc<str>>) -> Result<LiveReader, Refusal> {
    Ok(desk.supervisor.subscribe(Subscription {
        tasks: Tasks::These(tasks.iter().cloned().collect()),
        queue_bytes_max: Some(QUEUE_BYTES),
        ..Subscription::default()
    })?)
}
