//! A client that wants to know how far a call is: notifications that grow, as the protocol asks, and say each thing once.

use axiom_transport::pipe::PipeSender;
use bytes::Bytes;
use serde_json::{Value as Json, json};

/// What such a client has been told.
#[derive(Debug)]
pub(crate) struct Progress {
    token: Json,
    tx: PipeSender,
    ended: usize,
    /// Notifications since the last end.
    ticks: u32,
    last: String,
}

impl Progress {
    pub(crate) fn new(token: Json, tx: PipeSender) -> Progress {
        Progress {
            token,
            tx,
            ended: 0,
            ticks: 0,
            last: String::new(),
        }
    }

    /// Tells how many have ended, of how many, if the message is another one than the last.
    pub(crate) async fn tell(&mut self, ended: usize, total: usize, message: String) {
        if message == self.last {
            return;
        }
        if ended > self.ended {
            (self.ended, self.ticks) = (ended, 0);
        }
        // It has to grow with each notification, and an end is a whole step.
        let step = f64::from(self.ticks) / (f64::from(self.ticks) + 1.0);
        self.ticks += 1;
        let notification = json!({
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {
                "progressToken": self.token,
                "progress": step + u32::try_from(self.ended).map_or(0.0, f64::from),
                "total": total,
                "message": message,
            },
        });
        self.last = message;
        // A closed pipe ends the call anyway.
        let _told = self.tx.send(Bytes::from(notification.to_string())).await.is_ok();
    }
}
