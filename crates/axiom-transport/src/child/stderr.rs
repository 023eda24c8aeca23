//! The last words of a child: its stderr, line by line, in a ring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axiom_core::Task;
use axiom_core::channel::oneshot;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Lines kept. A stack trace of Python or Node fits several times.
const LINES_MAX: usize = 200;

/// A longer line is cut. Together with the number of lines this bounds a child's stderr to 1.6 MiB.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Collects lines until the child, and everything that inherited its stderr, has closed it.
#[derive(Debug)]
pub(super) struct Stderr {
    lines: Arc<Mutex<Ring>>,
    reading: Task<()>,
    /// Resolves when the other half, which the reading task holds, is dropped.
    ended: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<String>,
    /// A line that has not ended yet.
    open: Vec<u8>,
}

/// Reads the lines collected so far. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LastLines {
    lines: Arc<Mutex<Ring>>,
}

impl Stderr {
    pub(super) fn collect(source: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Ring::default()));
        let (open, ended) = oneshot::channel();
        let reading = axiom_core::spawn("read stderr", read(source, Arc::clone(&lines), open));
        Stderr {
            lines,
            reading,
            ended,
        }
    }

    pub(super) fn last_lines(&self) -> LastLines {
        LastLines {
            lines: Arc::clone(&self.lines),
        }
    }

    /// Waits until the stream has ended, so that the last lines are complete.
    ///
    /// # Cancel safety
    /// Safe. After it has returned it must not be called again.
    pub(super) async fn ended(&mut self) {
        let _the_task_dropped_it = (&mut self.ended).await.is_err();
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl LastLines {
    /// Oldest first; a line that has not ended yet is the last one.
    pub(super) fn get(&self) -> Vec<String> {
        let ring = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let open = (!ring.open.is_empty()).then(|| text(&ring.open));
        ring.lines.iter().cloned().chain(open).collect()
    }
}

async fn read(mut source: impl AsyncRead + Unpin, lines: Arc<Mutex<Ring>>, open: oneshot::Sender<()>) {
    let mut chunk = vec![0; 4 * 1024];
    // A failed read ends it as the end of the stream does: there is no one to tell.
    while let Ok(count @ 1..) = source.read(&mut chunk).await {
        let mut ring = lines.lock().unwrap_or_else(PoisonError::into_inner);
        ring.add(chunk.get(..count).unwrap_or_default());
    }
    drop(open);
}

impl Ring {
    fn add(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, tail) = rest.split_at(end);
            self.extend(line);
            self.finish_line();
            rest = tail.get(1..).unwrap_or_default();
        }
        self.extend(rest);
    }

    fn extend(&mut self, part: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.open.len());
        self.open.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn finish_line(&mut self) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        let line = text(&self.open);
        tracing::debug!(line, "stderr");
        self.lines.push_back(line);
        self.open.clear();
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_lines_and_cuts_long_ones() {
        let mut ring = Ring::default();
        for number in 0..LINES_MAX + 5 {
            ring.add(format!("line {number}\r\n").as_bytes());
        }
        ring.add(&vec![b'x'; 3 * LINE_BYTES_MAX]);
        ring.add(b"y\nopen");
        assert_eq!(ring.lines.len(), LINES_MAX);
        assert_eq!(ring.lines.front().map(String::as_str), Some("line 6"));
        assert_eq!(ring.lines.back().map(String::len), Some(LINE_BYTES_MAX));
        assert_eq!(ring.open, b"open");
    }
}
