#![allow(clippy::disallowed_methods, reason = "tests may use tokio directly")]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use super::*;
use crate::pipe::CloseReason;

/// A process that never ends.
#[derive(Debug)]
struct Running;

impl Cause for Running {
    fn ended(&self) -> Pin<Box<dyn Future<Output = Closed> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// A process that has ended already.
#[derive(Debug)]
struct Ended;

impl Cause for Ended {
    fn ended(&self) -> Pin<Box<dyn Future<Output = Closed> + Send>> {
        let reason = CloseReason::Exited {
            code: Some(3),
            signal: None,
        };
        Box::pin(async move { Closed::new(reason, "the server exited with code 3") })
    }
}

fn reader(bytes_max: usize, cause: impl Cause + 'static) -> (pipe::Sender, LineReader) {
    let (tx, rx) = pipe::pipe().unwrap();
    (tx, LineReader::new(rx, bytes_max, Arc::new(cause)))
}

/// Polls `future` once and drops it.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

/// What a reader with a limit of 16 bytes makes of `input`, the last line being how it ended.
async fn read_all(input: &str) -> Vec<String> {
    let (mut tx, mut lines) = reader(16, Ended);
    tx.write_all(input.as_bytes()).await.unwrap();
    drop(tx);
    let mut shown = Vec::new();
    loop {
        match lines.recv().await {
            Ok(line) => shown.push(String::from_utf8(line.to_vec()).unwrap()),
            Err(closed) => {
                assert_eq!(
                    lines.recv().await.unwrap_err().reason,
                    closed.reason,
                    "the end stays the end"
                );
                shown.push(format!("{:?}", closed.reason));
                return shown;
            }
        }
    }
}

const EXITED: &str = "Exited { code: Some(3), signal: None }";

#[tokio::test]
async fn cuts_lines() {
    assert_eq!(
        read_all("{\"a\":1}\n{\"b\":2}\r\n").await,
        ["{\"a\":1}", "{\"b\":2}", EXITED]
    );
    assert_eq!(read_all("\n \r\nnot json\n\t\n").await, ["not json", EXITED]);
    assert_eq!(read_all("one\nno line end").await, ["one", "no line end", EXITED]);
    assert_eq!(read_all("").await, [EXITED]);
}

#[tokio::test]
async fn a_line_above_the_limit_ends_it() {
    let too_large = "TooLarge { bytes_max: 16 }";
    assert_eq!(
        read_all("0123456789abcdef\nx\n").await,
        ["0123456789abcdef", "x", EXITED]
    );
    assert_eq!(read_all("x\n0123456789abcdef+\nx\n").await, ["x", too_large]);
    assert_eq!(read_all(&"x".repeat(10_000)).await, [too_large]);
}

#[tokio::test]
async fn a_dropped_recv_loses_nothing() {
    let (mut tx, mut lines) = reader(1000, Running);
    for part in ["{\"a\":", "[1,", "2]", "}\n{}"] {
        assert!(poll_once(lines.recv()).await.is_none());
        tx.write_all(part.as_bytes()).await.unwrap();
        // The drop happens after the read was tried, with and without something to read.
        tokio::task::yield_now().await;
    }
    assert_eq!(lines.recv().await.unwrap(), "{\"a\":[1,2]}");
    assert!(poll_once(lines.recv()).await.is_none());
    tx.write_all(b"\n").await.unwrap();
    assert_eq!(lines.recv().await.unwrap(), "{}");
}

#[tokio::test]
async fn a_stream_that_stays_open_after_the_process_ended_does_not_hold_us() {
    let (mut tx, mut lines) = reader(1000, Ended);
    tx.write_all(b"last words\n").await.unwrap();
    assert_eq!(lines.recv().await.unwrap(), "last words");
    assert_eq!(
        lines.recv().await.unwrap_err().to_string(),
        "the server exited with code 3"
    );
    drop(tx);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_closes_its_stdout_and_runs_on_is_named_so() {
    let (tx, mut lines) = reader(1000, Running);
    drop(tx);
    assert_eq!(lines.recv().await.unwrap_err().reason, CloseReason::Eof);
}

#[tokio::test]
async fn every_accepted_message_arrives_whole_and_in_order() {
    let (tx, mut rx) = pipe::pipe().unwrap();
    let writer = Arc::new(LineWriter::new(tx, Arc::new(Running)));
    let mut accepted = Vec::new();
    // Small and large ones, until the pipe and the backlog are full; then sends are dropped half-way.
    let mut dropped = 0;
    for number in 0..400_usize {
        let length = if number % 7 == 0 { 50_000 } else { number };
        let message = Bytes::from(format!("{number}:{}", "x".repeat(length)));
        match poll_once(writer.send(message.clone())).await {
            Some(sent) => {
                sent.unwrap();
                accepted.push(message);
            }
            None => dropped += 1,
        }
    }
    assert!(dropped > 100, "the backlog is bounded: {dropped}");
    // A last one waits for room, and close lets everything out before the end.
    let last = Bytes::from_static(b"last");
    accepted.push(last.clone());
    let waiting = tokio::spawn({
        let writer = Arc::clone(&writer);
        async move {
            writer.send(last).await.unwrap();
            writer.close();
        }
    });
    let mut received = Vec::new();
    rx.read_to_end(&mut received).await.unwrap();
    waiting.await.unwrap();
    let received: Vec<&[u8]> = received.split(|byte| *byte == b'\n').collect();
    let (end, received) = received.split_last().unwrap();
    assert!(end.is_empty());
    assert_eq!(received, accepted);
    assert!(writer.is_closed());
    assert_eq!(
        writer.send(Bytes::new()).await.unwrap_err().reason,
        CloseReason::Stopped
    );
}

#[tokio::test]
async fn a_broken_pipe_tells_the_cause() {
    let (tx, rx) = pipe::pipe().unwrap();
    let writer = LineWriter::new(tx, Arc::new(Ended));
    drop(rx);
    // The first send may go through the task, which finds the pipe broken.
    while let Ok(()) = writer.send(Bytes::from_static(b"{}")).await {
        tokio::task::yield_now().await;
    }
    assert!(writer.is_closed());
    assert_eq!(
        writer.send(Bytes::new()).await.unwrap_err().to_string(),
        "the server exited with code 3"
    );
}

#[tokio::test]
async fn dropping_the_writer_ends_the_stream() {
    let (tx, mut rx) = pipe::pipe().unwrap();
    let writer = LineWriter::new(tx, Arc::new(Running));
    writer.send(Bytes::from_static(b"{}")).await.unwrap();
    drop(writer);
    let mut received = String::new();
    rx.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "{}\n");
}

/// A source that gives what it has in these pieces, one per read.
struct Pieces(std::collections::VecDeque<Vec<u8>>);

impl tokio::io::AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(into.remaining()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        std::task::Poll::Ready(Ok(()))
    }
}

/// The lines that come out of these pieces, and how it ended.
async fn read_pieces(pieces: Vec<Vec<u8>>, bytes_max: usize) -> (Vec<Vec<u8>>, CloseReason) {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    let mut reader = LineReader::new(Pieces(pieces), bytes_max, Arc::new(Ended));
    let mut lines = Vec::new();
    loop {
        match reader.recv().await {
            Ok(line) => lines.push(line.to_vec()),
            Err(closed) => return (lines, closed.reason),
        }
    }
}

/// The same by the slowest way: all of it at once, cut at line feeds.
fn model(input: &[u8], bytes_max: usize) -> (Vec<Vec<u8>>, CloseReason) {
    let mut lines = Vec::new();
    for line in input.split(|byte| *byte == b'\n') {
        if line.len() > bytes_max {
            return (lines, CloseReason::TooLarge { bytes_max });
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.iter().all(u8::is_ascii_whitespace) {
            lines.push(line.to_vec());
        }
    }
    let exited = CloseReason::Exited {
        code: Some(3),
        signal: None,
    };
    (lines, exited)
}

proptest! {
    #[test]
    fn every_chunking_gives_the_lines_of_the_model(
        input in prop::collection::vec(prop::sample::select(&b"ab{}\xff\r\n\n \t\0"[..]), 0..200),
        bytes_max in 0..24_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([input.len()]);
        let pieces = starts.zip(ends).map(|(start, end)| input[start..end].to_vec()).collect();
        let every_byte = input.iter().map(|byte| vec![*byte]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let expected = model(&input, bytes_max);
        prop_assert_eq!(runtime.block_on(read_pieces(pieces, bytes_max)), expected.clone());
        prop_assert_eq!(runtime.block_on(read_pieces(every_byte, bytes_max)), expected);
    }
}
