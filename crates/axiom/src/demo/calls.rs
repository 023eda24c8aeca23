//! Calls that take time: each its own task, ended by its cancellation or by the end of the conversation.

use std::collections::HashMap;

use axiom_core::time::sleep;
use axiom_core::{Task, spawn};
use axiom_protocol::codes;
use axiom_transport::pipe::{Closed, PipeSender};
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::response;
use super::tools::{self, Slow};
use crate::builtin::wire::{self, Request, RpcError};

/// The calls of one conversation that still run.
#[derive(Debug)]
pub(super) struct Calls {
    tx: PipeSender,
    /// By the request's id as JSON text: `1` and `"1"` are two.
    running: HashMap<String, Task>,
}

/// Slow calls at once in one conversation; more are refused, since each holds a timer.
const RUNNING_MAX: usize = 1_024;

impl Calls {
    pub(super) fn new(tx: PipeSender) -> Self {
        Calls {
            tx,
            running: HashMap::new(),
        }
    }

    /// Starts a call that answers by itself later; an answer here means that it did not start.
    pub(super) fn start(&mut self, request: Request) -> Option<Json> {
        let refused = |outcome| Some(response(&request.id, request.era, outcome));
        if let Err(error) = wire::check_modern(&request) {
            return refused(Err(error));
        }
        let slow = match tools::slow(&request.params) {
            Ok(slow) => slow,
            Err(complaint) => return refused(Ok(tools::failure(complaint))),
        };
        self.running.retain(|_, task| !task.is_finished());
        if self.running.len() >= RUNNING_MAX {
            let message = format!("{RUNNING_MAX} slow calls are running already");
            return refused(Err(RpcError::new(codes::INTERNAL_ERROR, message)));
        }
        let key = request.id.to_string();
        let tx = self.tx.clone();
        let task = spawn("demo slow call", async move {
            // A closed pipe: nobody is left who could read the answer.
            let _answered = run(tx, request, slow).await.is_ok();
        });
        self.running.insert(key, task);
        None
    }

    /// The request is no longer wanted: it ends without an answer.
    pub(super) fn cancel(&mut self, id: &Json) {
        if let Some(task) = self.running.remove(&id.to_string()) {
            task.abort();
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

async fn run(tx: PipeSender, request: Request, slow: Slow) -> Result<(), Closed> {
    for step in 1..=slow.steps {
        sleep(slow.step).await;
        if let Some(token) = &slow.progress_token {
            let params = json!({
                "progressToken": token,
                "progress": step,
                "total": slow.steps,
                "message": format!("step {step} of {}", slow.steps),
            });
            let message = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
            tx.send(Bytes::from(message.to_string())).await?;
        }
    }
    let seconds = slow.step.as_secs_f64() * f64::from(slow.steps);
    let result = tools::success(&format!("done after {seconds:.1} s"));
    let answer = response(&request.id, request.era, Ok(result));
    tx.send(Bytes::from(answer.to_string())).await
}
