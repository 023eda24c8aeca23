//! What we are given to read.

use axiom_core::channel::{self, Receiver};
use axiom_core::spawn;

/// Input that we read at once.
const INPUT_BYTES: usize = 16 << 10;

/// Piece by piece. The thread that reads it may wait for ever; nobody waits for the thread.
pub(super) fn read_input() -> Receiver<Vec<u8>> {
    use std::io::Read as _;
    let (tx, rx) = channel::bounded(1);
    let reading = spawn::thread("read input", move || {
        let mut buffer = vec![0; INPUT_BYTES];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if tx.blocking_send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    if let Err(error) = reading {
        tracing::warn!(%error, "no thread reads the input; the task gets none");
    }
    rx
}

/// `None` when it is over. Without any, never.
pub(super) async fn next_input(input: &mut Option<Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}
