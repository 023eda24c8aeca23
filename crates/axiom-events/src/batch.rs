//! Events on their way to the log, in one piece of memory that its producer fills.
//!
//! A producer is where the work is parallel, so what can be done there is done there: names become numbers, and all bodies
//! lie in a row. The log's writer then moves columns, not events. Bodies that are alike but for numbers are not even written
//! out: see [`form`](crate::form).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::{self, Event, EventId, Format, Level, TraceId, Unfit};
use crate::form::{self, Filling, Form, Shape};
use crate::names::Names;
use crate::task_id::{self, TaskIds};
use crate::writer::LOG_STREAM;

/// Events that are appended together, in this order.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub(crate) names: Box<Names>,
    pub(crate) rows: Vec<Row>,
    pub(crate) bodies: Vec<u8>,
    pub(crate) numbers: Box<Numbers>,
    pub(crate) filled: Box<Filled>,
}

/// What only some of the events have, in their order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Numbers {
    /// Tasks whose names are numbers.
    pub(crate) task_ids: TaskIds,
    pub(crate) traces: Vec<TraceId>,
    pub(crate) ids: Vec<EventId>,
}

/// Bodies that are forms with numbers in their blanks.
#[derive(Debug, Default, Clone)]
pub(crate) struct Filled {
    /// The texts of the forms.
    pub(crate) texts: Names,
    heads: Vec<Head>,
    stamp: Stamp,
    /// What stands in the blanks, of one event after the other.
    pub(crate) values: Vec<u8>,
    /// Bytes of the bodies.
    body_bytes: usize,
    /// The bodies, as soon as somebody wants to read them.
    written: OnceLock<Vec<u8>>,
}

/// What events of a form have in common.
#[derive(Debug, Clone, Copy)]
struct Head {
    row: Row,
    shape: Shape,
}

/// Tells the forms of a batch from those of any other, and of the same one before it was cleared.
#[derive(Debug)]
struct Stamp(u64);

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
    /// One more than the number of the body's form; 0 if it has none, and is among the bodies.
    pub(crate) form: u32,
    pub(crate) level: Level,
    pub(crate) format: Format,
    pub(crate) trace: Traced,
    pub(crate) has_id: bool,
}

/// The trace that an event happened in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traced {
    Not,
    /// The next one of those that are kept.
    Kept,
    /// It is the number of the event's task.
    AsTask,
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
        let trace = Traced::of(event.trace, task_id);
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
            form: 0,
            level: event.level,
            format: event.format,
            trace,
            has_id: event.id.is_some(),
        };
        self.rows.push(row);
        self.numbers.push(task_id, trace, event.trace);
        self.numbers.ids.extend(event.id);
        Ok(())
    }

    /// Notes what events have in common that are pushed with [`Batch::push_filled`]: everything that this one says, but its time,
    /// its task and its trace. Its body is the text with the blanks. `None` if that is no form, has another number of blanks, or
    /// the event exceeds a limit or has an id: then push such events whole.
    pub fn form(&mut self, event: &Event<'_>, blanks: usize) -> Option<Form> {
        let text = std::str::from_utf8(event.body).ok()?;
        let shape = Shape::of(text).filter(|shape| shape.blanks() == blanks)?;
        // What the log says of itself is read where nobody fills anything in.
        if event.stream == LOG_STREAM || event.id.is_some() || event.fit().is_err() {
            return None;
        }
        let filled = &mut self.filled;
        let number = u32::try_from(filled.heads.len()).ok()?;
        let row = Row {
            time: 0,
            tenant: self.names.number(event.tenant, None),
            stream: self.names.number(event.stream, None),
            task: BY_ID,
            kind: self.names.number(event.kind, None),
            body_len: 0,
            form: filled.texts.number(text, None).checked_add(1)?,
            level: event.level,
            format: event.format,
            trace: Traced::Not,
            has_id: false,
        };
        filled.heads.push(Head { row, shape });
        let stamp = filled.stamp.0;
        Some(Form { number, stamp })
    }

    /// Adds an event as the last one: a form with these values in its blanks. False if the form is not one of this batch, or no
    /// longer; then the batch is as it was.
    ///
    /// # Panics
    /// If there are not as many values as the form has blanks.
    pub fn push_filled(&mut self, form: Form, filling: &Filling<'_>) -> bool {
        let filled = &mut *self.filled;
        let head = filled.heads.get(form.number as usize);
        let Some(head) = head.filter(|_| form.stamp == filled.stamp.0) else {
            return false;
        };
        assert_eq!(
            filling.values.len(),
            head.shape.blanks(),
            "a number for each blank"
        );
        let bytes = head.shape.pack(filling.values, &mut filled.values);
        let trace = Traced::of(filling.trace, filling.task_id);
        self.rows.push(Row {
            time: filling.time,
            task: match filling.task_id {
                Some(_) => BY_ID,
                None => self.names.number("", None),
            },
            body_len: u32::try_from(bytes).expect("a form and its numbers are short"),
            trace,
            ..head.row
        });
        filled.body_bytes += bytes;
        filled.written.take();
        self.numbers.push(filling.task_id, trace, filling.trace);
        true
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What it takes in memory, near enough for limits: bodies, names, and a constant for each event. Bodies that are forms count
    /// as what they are when they are read.
    pub fn bytes(&self) -> usize {
        let filled = self.filled.body_bytes + self.filled.texts.bytes();
        self.bodies.len() + filled + self.names.bytes() + self.rows.len() * EVENT_BYTES
    }

    /// Makes it empty and keeps its memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.rows.clear();
        self.bodies.clear();
        self.numbers.clear();
        self.filled.clear();
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
            + self.filled.capacity_bytes()
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let Numbers {
            task_ids,
            traces,
            ids,
        } = &*self.numbers;
        let (mut traces, mut ids) = (traces.iter().copied(), ids.iter().copied());
        let mut by_id = 0;
        let (mut bodies, mut written) = (self.bodies.as_slice(), self.filled.written(&self.rows));
        self.rows.iter().map(move |row| {
            let rest = match row.form {
                0 => &mut bodies,
                _ => &mut written,
            };
            let (body, after) = rest.split_at(row.body_len as usize);
            *rest = after;
            let task = if row.task == BY_ID {
                by_id += 1;
                task_ids.name(by_id - 1)
            } else {
                self.names.name(row.task)
            };
            let trace = match row.trace {
                Traced::Not => None,
                Traced::Kept => traces.next(),
                Traced::AsTask => Some(TraceId(task_ids.all()[by_id - 1].to_be_bytes())),
            };
            Event {
                time: row.time,
                tenant: self.names.name(row.tenant),
                stream: self.names.name(row.stream),
                task,
                kind: self.names.name(row.kind),
                level: row.level,
                trace,
                id: if row.has_id { ids.next() } else { None },
                format: row.format,
                body,
            }
        })
    }
}

impl Traced {
    fn of(trace: Option<TraceId>, task_id: Option<u128>) -> Traced {
        match trace {
            None => Traced::Not,
            Some(trace) if task_id == Some(u128::from_be_bytes(trace.0)) => Traced::AsTask,
            Some(_) => Traced::Kept,
        }
    }
}

impl Filled {
    /// The bodies, one after the other.
    fn written(&self, rows: &[Row]) -> &[u8] {
        self.written.get_or_init(|| {
            let (mut values, mut written) = (self.values.as_slice(), Vec::with_capacity(self.body_bytes));
            for text in rows.iter().filter_map(|row| row.form.checked_sub(1)) {
                form::fill(self.texts.name(text), &mut values, &mut written);
            }
            written
        })
    }

    fn clear(&mut self) {
        // Most batches have none.
        if self.heads.is_empty() {
            return;
        }
        self.texts.clear();
        self.heads.clear();
        self.stamp = Stamp::default();
        self.values.clear();
        self.body_bytes = 0;
        self.written.take();
    }

    fn capacity_bytes(&self) -> usize {
        let written = self.written.get().map_or(0, Vec::capacity);
        let heads = self.heads.capacity() * size_of::<Head>();
        self.texts.capacity_bytes() + heads + self.values.capacity() + written
    }
}

impl Default for Stamp {
    fn default() -> Stamp {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Stamp(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Both may get other forms from now on.
impl Clone for Stamp {
    fn clone(&self) -> Stamp {
        Stamp::default()
    }
}

impl Numbers {
    fn push(&mut self, task_id: Option<u128>, traced: Traced, trace: Option<TraceId>) {
        if let Some(id) = task_id {
            self.task_ids.push(id);
        }
        if traced == Traced::Kept {
            self.traces.extend(trace);
        }
    }

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

    #[test]
    fn a_form_is_its_batchs_until_that_is_cleared() {
        let body = format!("{{\"a\":{}}}", form::NUMBER);
        let event = Event {
            stream: "s",
            kind: "k",
            body: body.as_bytes(),
            ..Event::default()
        };
        let filling = Filling {
            time: 1,
            task_id: None,
            trace: None,
            values: &[7],
        };
        let mut batch = Batch::new();
        assert_eq!(batch.form(&event, 2), None, "another number of blanks");
        assert_eq!(batch.form(&Event { stream: "", ..event }, 1), None);
        let of_log = Event {
            stream: LOG_STREAM,
            ..event
        };
        assert_eq!(batch.form(&of_log, 1), None);
        let form = batch.form(&event, 1).unwrap();
        assert!(batch.push_filled(form, &filling));
        assert_eq!(
            batch
                .events()
                .map(|event| event.body.to_vec())
                .collect::<Vec<_>>(),
            [b"{\"a\":7}"]
        );
        let whole = batch.bytes();
        assert!(!batch.clone().push_filled(form, &filling));
        assert!(!Batch::new().push_filled(form, &filling));
        batch.clear();
        assert!(!batch.push_filled(form, &filling));
        assert_eq!((batch.bytes(), batch.len()), (0, 0));
        let again = batch.form(&event, 1).unwrap();
        assert!(batch.push_filled(again, &filling));
        assert_eq!(batch.bytes(), whole);
    }
}
