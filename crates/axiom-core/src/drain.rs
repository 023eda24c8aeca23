//! Shutdown is a signal we pass down, then a wait with a deadline for those who still work.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// The owner's side: asks everyone to finish and waits for them.
#[derive(Debug)]
pub struct Drain {
    asked: watch::Sender<bool>,
    // Nothing is ever sent: the channel closes when the last `Draining` is dropped.
    gone: mpsc::Receiver<()>,
}

/// The worker's side. Holding one says "I still work"; dropping it says "I am done".
#[derive(Debug, Clone)]
pub struct Draining {
    asked: watch::Receiver<bool>,
    _working: mpsc::Sender<()>,
}

/// A drain and the signal to pass down.
pub fn drain() -> (Drain, Draining) {
    let (asked, signal) = watch::channel(false);
    let (working, gone) = mpsc::channel(1);
    (
        Drain { asked, gone },
        Draining {
            asked: signal,
            _working: working,
        },
    )
}

impl Drain {
    /// Asks everyone to finish; returns true if all did within `deadline`.
    pub async fn finish(mut self, deadline: Duration) -> bool {
        self.asked.send_replace(true);
        tokio::time::timeout(deadline, self.gone.recv()).await.is_ok()
    }
}

impl Draining {
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until the owner asks to finish, or is gone.
    ///
    /// # Cancel safety
    /// Safe: nothing is consumed.
    pub async fn asked(&mut self) {
        // An owner that is gone cannot ask any more: that is a shutdown too.
        let _gone = self.asked.wait_for(|asked| *asked).await.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn finishes_when_the_last_worker_is_done() {
        let (owner, mut worker) = drain();
        let work = crate::spawn("worker", async move {
            worker.asked().await;
        });
        assert!(owner.finish(Duration::from_secs(5)).await);
        assert_eq!(work.join().await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn says_when_a_worker_did_not_finish() {
        let (owner, worker) = drain();
        assert!(!owner.finish(Duration::from_secs(5)).await);
        assert!(worker.is_asked());
    }
}
