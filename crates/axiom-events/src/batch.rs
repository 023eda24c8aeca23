//! Events on their way to the log, in one piece of memory that its producer fills.
//!
//! A producer is where the work is parallel, so what can be done there is done there: names become numbers, and all bodies
//! lie in a row. The log's writer then moves columns, not events.

use crate::event::{self, Event, EventId, Format, Level, TraceId, Unfit};
use crate::names::Names;
use crate::task_id::{self, TaskIds};

/// Events that are appended together, in this order.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub(crate) names: Box<Names>,
    pub(crate) rows: Vec<Row>,
    pub(crate) bodies: Vec<u8>,
    pub(crate) numbers: Box<Numbers>,
}

/// What only some of the events have, in their order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Numbers {
    /// Tasks whose names are numbers.
    pub(crate) task_ids: TaskIds,
    pub(crate) traces: Vec<TraceId>,
    pub(crate) ids: Vec<EventId>,
}

/// An event whose names are numbers of its batch, and whose body ends where the next one begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) tenant: u32,
    pub(crate) stream: u32,
    /// [`BY_ID`] if the task is the next one of those that are numbers.
    pub(crate) task: u32,
    pub(crate) kind: u32,
    pub(crate) body_len: u32,
    pub(crate) level: Level,
    pub(crate) format: Format,
    pub(crate) has_trace: bool,
    pub(crate) has_id: bool,
}

/// What an event takes beside its body and its names: a row and three numbers, with what memory grows in advance.
pub(crate) const EVENT_BYTES: usize = 96;

/// In place of the number of a task's name: the task is a number itself.
pub(crate) const BY_ID: u32 = u32::MAX;

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds an event as the last one.
    ///
    /// # Errors
    /// When the event exceeds a limit; the batch is as it was.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Unfit> {
        self.push_written(event, task_id::read(event.task), |bodies| {
            bodies.extend_from_slice(event.body);
        })
    }

    /// As [`Batch::push`], of an event whose body is not there yet: it is what `write` appends to the bytes that it is given.
    /// Where there is a `task_id`, the event's task is that number in 32 hex digits. What the event says of either is not
    /// looked at.
    ///
    /// # Errors
    /// When the event exceeds a limit; the batch is as it was.
    ///
    /// # Panics
    /// If `write` takes away from what it is given.
    pub fn push_written(
        &mut self,
        event: &Event<'_>,
        task_id: Option<u128>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Unfit> {
        event.fit()?;
        let start = self.bodies.len();
        write(&mut self.bodies);
        let body = self.bodies.get(start..).expect("a body comes behind the others");
        if let Err(unfit) = event::fit_body(body) {
            self.bodies.truncate(start);
            return Err(unfit);
        }
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        // The event before is often of the same stream.
        let last = self.rows.last().copied();
        let mut number = |name: &str, before: Option<u32>| self.names.number(name, before);
        let row = Row {
            time: event.time,
            tenant: number(event.tenant, last.map(|row| row.tenant)),
            stream: number(event.stream, last.map(|row| row.stream)),
            task: match task_id {
                Some(_) => BY_ID,
                None => number(event.task, last.map(|row| row.task)),
            },
            kind: number(event.kind, last.map(|row| row.kind)),
            body_len,
            level: event.level,
            format: event.format,
            has_trace: event.trace.is_some(),
            has_id: event.id.is_some(),
        };
        self.rows.push(row);
        if let Some(id) = task_id {
            self.numbers.task_ids.push(id);
        }
        self.numbers.traces.extend(event.trace);
        self.numbers.ids.extend(event.id);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What it takes in memory, near enough for limits: bodies, names, and a constant for each event.
    pub fn bytes(&self) -> usize {
        self.bodies.len() + self.names.bytes() + self.rows.len() * EVENT_BYTES
    }

    /// Makes it empty and keeps its memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.rows.clear();
        self.bodies.clear();
        self.numbers.clear();
    }

    /// The memory that it holds, used or not.
    pub(crate) fn capacity_bytes(&self) -> usize {
        let Numbers {
            task_ids,
            traces,
            ids,
        } = &*self.numbers;
        let numbers = traces.capacity() + ids.capacity();
        self.bodies.capacity()
            + self.names.capacity_bytes()
            + self.rows.capacity() * size_of::<Row>()
            + task_ids.bytes_in_memory()
            + numbers * size_of::<u128>()
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let Numbers {
            task_ids,
            traces,
            ids,
        } = &*self.numbers;
        let (mut traces, mut ids) = (traces.iter().copied(), ids.iter().copied());
        let (mut by_id, mut body_at) = (0, 0);
        self.rows.iter().map(move |row| {
            let body_end = body_at + row.body_len as usize;
            let body = &self.bodies[body_at..body_end];
            body_at = body_end;
            let task = if row.task == BY_ID {
                by_id += 1;
                task_ids.name(by_id - 1)
            } else {
                self.names.name(row.task)
            };
            Event {
                time: row.time,
                tenant: self.names.name(row.tenant),
                stream: self.names.name(row.stream),
                task,
                kind: self.names.name(row.kind),
                level: row.level,
                trace: if row.has_trace { traces.next() } else { None },
                id: if row.has_id { ids.next() } else { None },
                format: row.format,
                body,
            }
        })
    }
}

impl Numbers {
    pub(crate) fn clear(&mut self) {
        self.task_ids.clear();
        self.traces.clear();
        self.ids.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BODY_BYTES_MAX;

    #[test]
    fn a_body_that_is_written_there_is_as_one_that_was_there() {
        let event = Event {
            stream: "s",
            kind: "k",
            ..Event::default()
        };
        let mut written = Batch::new();
        let mut refused = |bytes: usize| {
            let write = |bodies: &mut Vec<u8>| bodies.resize(bodies.len() + bytes, b'x');
            written.push_written(&event, Some(0xab), write)
        };
        refused(3).unwrap();
        let too_long = Unfit::BodyTooLong {
            bytes: BODY_BYTES_MAX + 1,
        };
        assert_eq!(refused(BODY_BYTES_MAX + 1), Err(too_long));
        refused(2).unwrap();
        let mut pushed = Batch::new();
        let task = "000000000000000000000000000000ab";
        for body in [&b"xxx"[..], b"xx"] {
            pushed.push(&Event { task, body, ..event }).unwrap();
        }
        assert!(written.events().eq(pushed.events()));
        assert_eq!((written.len(), written.bodies.len()), (2, 5));
    }
}
