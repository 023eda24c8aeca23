//! This process's own stdin and stdout as a pipe, for `axiom stdio`: a gateway that is somebody's child.
//!
//! Two plain threads do the blocking reads and writes. Making the descriptors non-blocking instead would change them for
//! every process that shares them (a shell, the client that started us), and a read that blocks in tokio's pool would
//! hold up the end of the runtime.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use axiom_core::channel::{Receiver, Sender, bounded, oneshot};
use bytes::Bytes;

use crate::pipe::{CloseReason, Closed, Pipe, PipeSender, Pump, plumb, stopped};

/// Messages that wait between a thread and the pipe. Few: the other process's own buffers come on top.
const QUEUE_LEN_MAX: usize = 16;

/// Serves this process's stdin and stdout. A message of more than `message_bytes_max` bytes ends the conversation.
/// Each message is flushed before its `send` returns. Call it once: there is one stdin.
pub fn own_stdio(message_bytes_max: usize) -> Pipe {
    let (pipe, pump) = plumb(QUEUE_LEN_MAX);
    let (queue, printed) = bounded(QUEUE_LEN_MAX);
    let started = start("axiom-stdin", move || read_stdin(pump, message_bytes_max))
        .and_then(|()| start("axiom-stdout", move || write_stdout(printed)));
    if let Err(error) = started {
        tracing::error!(%error, "no thread for stdin or stdout");
    }
    // The queues of a thread that did not start are gone with it: the pipe is closed.
    Pipe {
        tx: PipeSender::stdout(Arc::new(Printer {
            queue: Mutex::new(Some(queue)),
        })),
        rx: pipe.rx,
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
}

fn read_stdin(pump: Pump, bytes_max: usize) {
    let closed = match read_lines(&mut io::stdin().lock(), bytes_max, |line| {
        pump.incoming.blocking_send(line).is_ok()
    }) {
        Ok(()) => Closed::new(CloseReason::Eof, "the client closed our stdin"),
        Err(closed) => closed,
    };
    pump.end(closed);
}

/// Hands each line that is not blank to `take`, until that returns false or the input ends.
fn read_lines(
    input: &mut impl io::BufRead,
    bytes_max: usize,
    mut take: impl FnMut(Bytes) -> bool,
) -> Result<(), Closed> {
    loop {
        let mut line = Vec::new();
        let line_bytes_max = bytes_max as u64 + 2;
        let read = input.by_ref().take(line_bytes_max).read_until(b'\n', &mut line);
        let read =
            read.map_err(|error| Closed::new(CloseReason::Io, format!("failed to read stdin: {error}")))?;
        if read == 0 {
            return Ok(());
        }
        let line_end = line
            .iter()
            .rev()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        line.truncate(line.len() - line_end);
        if line.len() > bytes_max {
            let detail = format!("the client sent a message of more than {bytes_max} B");
            return Err(Closed::new(CloseReason::TooLarge { bytes_max }, detail));
        }
        if !line.iter().all(u8::is_ascii_whitespace) && !take(line.into()) {
            return Ok(());
        }
    }
}

/// The writing end: hands each message to the thread and waits until it is flushed.
#[derive(Debug)]
pub(crate) struct Printer {
    queue: Mutex<Option<Sender<Line>>>,
}

#[derive(Debug)]
struct Line {
    message: Bytes,
    flushed: oneshot::Sender<()>,
}

impl Printer {
    /// # Cancel safety
    /// Once queued, a message is written even if the caller no longer waits for it.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), Closed> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(queue) = queue else { return Err(stopped()) };
        let (flushed, done) = oneshot::channel();
        let gone = || Closed::new(CloseReason::Io, "the client closed our stdout");
        queue.send(Line { message, flushed }).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())
    }

    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn is_closed(&self) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_none_or(Sender::is_closed)
    }
}

fn write_stdout(mut lines: Receiver<Line>) {
    while let Some(Line { message, flushed }) = lines.blocking_recv() {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&message).and_then(|()| stdout.write_all(b"\n"));
        if let Err(error) = written.and_then(|()| stdout.flush()) {
            tracing::warn!(%error, "stdout is closed");
            return;
        }
        // The sender may have stopped waiting.
        let _nobody_waits = flushed.send(()).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &[&str]) {
        let mut lines = Vec::new();
        let outcome = read_lines(&mut input.as_bytes(), 10, |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            true
        });
        if let Err(closed) = outcome {
            lines.push(format!("! {closed}"));
        }
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_of_stdin() {
        check("{}\n[]\r\n\n  \n\"no end\"", &["{}", "[]", "\"no end\""]);
        check("0123456789\n0123456789\r\n", &["0123456789", "0123456789"]);
        check(
            "a\n0123456789+\n",
            &["a", "! the client sent a message of more than 10 B"],
        );
    }
}
