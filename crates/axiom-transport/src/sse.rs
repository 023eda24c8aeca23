//! Server-sent events, both ways: an incremental decoder by the rules of the WHATWG event-stream format, and an encoder.
//!
//! The common event (`data:` on one line, all in one network chunk) is handed out as a slice of that chunk.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The `id` field of this very event, if it had one (an empty one is `Some("")`). What a browser would call the
    /// last event id is [`Decoder::last_event_id`].
    pub id: Option<Bytes>,
    /// The event's type; `None` is the default, `message`.
    pub event: Option<Bytes>,
    /// All `data` lines, joined by line feeds.
    pub data: Bytes,
    /// The `retry` field of this event.
    pub retry: Option<Duration>,
}

/// A stream that cannot be decoded any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    #[error("an event exceeds the limit of {bytes_max} B")]
    TooLarge { bytes_max: usize },
}

/// Turns chunks of an event stream into events. Feed a chunk, take events until there is none, feed the next.
#[derive(Debug)]
pub struct Decoder {
    bytes_max: usize,
    /// Fed and not yet looked at.
    chunk: Bytes,
    /// The beginning of a line whose end has not been fed.
    carry: BytesMut,
    /// The event whose lines are being collected.
    pending: Pending,
    /// The last line ended in CR at the end of a chunk: an LF that comes next belongs to it.
    skip_line_feed: bool,
    /// Nothing was decoded yet, so a byte order mark may come.
    at_start: bool,
    last_event_id: Option<Bytes>,
}

#[derive(Debug, Default)]
struct Pending {
    event: Event,
    data: Option<Data>,
}

/// One line is shared with its chunk; a second one makes a copy necessary.
#[derive(Debug)]
enum Data {
    Line(Bytes),
    Lines(BytesMut),
}

impl Decoder {
    /// A decoder for one stream. An event of more than `bytes_max` bytes of data, or a longer line, is an error.
    pub fn new(bytes_max: usize) -> Self {
        Decoder {
            bytes_max,
            chunk: Bytes::new(),
            carry: BytesMut::new(),
            pending: Pending::default(),
            skip_line_feed: false,
            at_start: true,
            last_event_id: None,
        }
    }

    /// Adds the next piece of the stream. Take all events with [`Decoder::next`] first: what is left of an earlier
    /// chunk is copied together with this one.
    pub fn feed(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut both = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            both.extend_from_slice(&self.chunk);
            both.extend_from_slice(&chunk);
            self.chunk = both.freeze();
        }
    }

    /// The next complete event in what was fed; `None` when more must be fed. An event without a `data` line is not
    /// dispatched, and one that the end of the stream cuts off is lost: both as the format demands.
    ///
    /// # Errors
    /// [`SseError::TooLarge`]; the stream is of no use after it.
    #[allow(
        clippy::should_implement_trait,
        reason = "`None` means not yet, and it can fail: no iterator"
    )]
    pub fn next(&mut self) -> Result<Option<Event>, SseError> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
        Ok(None)
    }

    /// The id to resume the stream after: the last one that a complete event carried.
    pub fn last_event_id(&self) -> Option<&Bytes> {
        self.last_event_id.as_ref()
    }

    /// The next line without its end, or `None` if its end has not been fed.
    fn line(&mut self) -> Result<Option<Bytes>, SseError> {
        if self.skip_line_feed && !self.chunk.is_empty() {
            self.skip_line_feed = false;
            if self.chunk.first() == Some(&b'\n') {
                self.chunk.advance(1);
            }
        }
        let Some(end) = memchr::memchr2(b'\n', b'\r', &self.chunk) else {
            let rest = std::mem::take(&mut self.chunk);
            self.check(self.carry.len() + rest.len())?;
            self.carry.extend_from_slice(&rest);
            return Ok(None);
        };
        let mut line = self.chunk.split_to(end);
        let was_carriage_return = self.chunk.first() == Some(&b'\r');
        self.chunk.advance(1);
        if was_carriage_return {
            match self.chunk.first() {
                Some(b'\n') => self.chunk.advance(1),
                Some(_) => {}
                None => self.skip_line_feed = true,
            }
        }
        self.check(self.carry.len() + line.len())?;
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(&line);
            line = std::mem::take(&mut self.carry).freeze();
        }
        if std::mem::take(&mut self.at_start) && line.starts_with(BYTE_ORDER_MARK) {
            line.advance(BYTE_ORDER_MARK.len());
        }
        Ok(Some(line))
    }

    fn field(&mut self, line: &Bytes) -> Result<(), SseError> {
        let (name, value) = match memchr::memchr(b':', line) {
            // A comment: servers send them to keep the connection alive.
            Some(0) => return Ok(()),
            Some(colon) => {
                let has_space = line.get(colon + 1) == Some(&b' ');
                (
                    line.slice(..colon),
                    line.slice(colon + 1 + usize::from(has_space)..),
                )
            }
            None => (line.clone(), Bytes::new()),
        };
        match name.as_ref() {
            b"data" => self.data(value)?,
            b"event" => self.pending.event.event = Some(value).filter(|value| !value.is_empty()),
            b"id" if !value.contains(&0) => self.pending.event.id = Some(value),
            b"retry" => self.pending.event.retry = milliseconds(&value).or(self.pending.event.retry),
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, line: Bytes) -> Result<(), SseError> {
        let lines = match self.pending.data.take() {
            None => {
                self.pending.data = Some(Data::Line(line));
                return Ok(());
            }
            Some(Data::Line(first)) => BytesMut::from(first.as_ref()),
            Some(Data::Lines(lines)) => lines,
        };
        let mut lines = lines;
        self.check(lines.len() + 1 + line.len())?;
        lines.extend_from_slice(b"\n");
        lines.extend_from_slice(&line);
        self.pending.data = Some(Data::Lines(lines));
        Ok(())
    }

    fn dispatch(&mut self) -> Option<Event> {
        let Pending { mut event, data } = std::mem::take(&mut self.pending);
        if let Some(id) = &event.id {
            self.last_event_id = Some(id.clone());
        }
        event.data = match data? {
            Data::Line(line) => line,
            Data::Lines(lines) => lines.freeze(),
        };
        Some(event)
    }

    fn check(&self, event_bytes: usize) -> Result<(), SseError> {
        // The limit is for data; its field name and a byte order mark come on top.
        let line_bytes_max = self.bytes_max.saturating_add(16);
        if event_bytes > line_bytes_max {
            return Err(SseError::TooLarge {
                bytes_max: self.bytes_max,
            });
        }
        Ok(())
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Digits only; anything else is ignored, as the format demands.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value)
        .ok()?
        .parse()
        .ok()
        .map(Duration::from_millis)
}

/// Appends one event to `out`. Line ends inside `data` (a pretty-printed message) become several `data` lines, which
/// the other side joins with line feeds again.
pub fn encode(out: &mut Vec<u8>, event: Option<&str>, id: Option<&str>, data: &[u8]) {
    out.reserve(data.len() + 64);
    for (name, value) in [("event: ", event), ("id: ", id)] {
        if let Some(value) = value {
            debug_assert!(!value.contains(['\r', '\n', '\0']), "a field is one line");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        }
    }
    let mut rest = data;
    while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
        let (line, tail) = rest.split_at(end);
        data_line(out, line);
        rest = tail
            .strip_prefix(b"\r\n")
            .unwrap_or_else(|| tail.get(1..).unwrap_or_default());
    }
    data_line(out, rest);
    out.push(b'\n');
}

fn data_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
