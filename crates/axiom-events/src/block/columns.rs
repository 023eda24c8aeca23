//! The events of a block, field by field: what is alike lies together, which is half of the compression.
//!
//! Columns are sections, each `id` (1 byte), `bytes` (4), then that many bytes. "Number" is a varint, "signed" a zigzag one.
//!
//! | id | what, for each event unless it says otherwise |
//! |---|---|
//! | 1 | the block's distinct names, each once: how many (number), then length (number) and UTF-8 of each |
//! | 2 | one byte: level in bits 0-2, format in bits 3-4, 5: has a trace, 6: the same trace as the last that had one, 6 without 5: the trace is the task's number, 7: has an id |
//! | 3 | time in nanoseconds since 1970, as the signed difference to the event before, the first's to 0 |
//! | 4 5 6 7 | tenant, stream, task, kind: place of the name in section 1, from 0 (number); for a task one more than the last place if its name is in section 13 |
//! | 8 | 16 bytes for each event with bit 5 and without bit 6 |
//! | 9 | 16 bytes, little-endian, for each event with bit 7 |
//! | 10 | version, as the signed difference to one more than the version before it of the same stream in this block, else to 0 |
//! | 11 | bytes of the body (number) |
//! | 12 | the bodies, one after the other |
//! | 13 | for each event whose task's name is 32 lower-case hex digits: the 128 bits that they are, as the signed difference to the one before, the first's to 0. Missing where there is none |
//! | 14 | the block's distinct [forms](crate::form) as names are in section 1, each up to 4,096 bytes with up to 16 blanks. Missing where there is none, and so are the next two |
//! | 15 | 0 if the event's body is in section 12; if it is a form that is filled in, one more than the place of that in section 14 (number) |
//! | 16 | for each blank of such a body what stands there: where it is 0x11 in the form a number that is written in decimal (number), where it is 0x14 one that is written as 16 lower-case hex digits (8 bytes, little-endian) |
//!
//! Sections come in any order. Ids below 128 must be understood; a reader skips others that it does not know.

mod filled;
mod picked;
mod sections;

use bytes::Bytes;

use super::{Unsound, varint};
use crate::batch::{BY_ID, Batch, Numbers, Row, Traced};
use crate::digest::{self, Brief, Digest, Task};
use crate::event::{BODY_BYTES_MAX, Event, EventId, Format, Level, NAME_BYTES_MAX, Recorded, TraceId};
use crate::follow::Filter;
use crate::names::Names;
use crate::task_id::{self, TaskIds};

use filled::{Filled, Forms};
pub(super) use picked::Picked;
use sections::Sections;

const NAMES: u8 = 1;
const FLAGS: u8 = 2;
const TIMES: u8 = 3;
const TENANTS: u8 = 4;
const STREAMS: u8 = 5;
const TASKS: u8 = 6;
const KINDS: u8 = 7;
const TRACES: u8 = 8;
const IDS: u8 = 9;
const VERSIONS: u8 = 10;
const LENGTHS: u8 = 11;
const BODIES: u8 = 12;
const TASK_IDS: u8 = 13;
const FORMS: u8 = 14;
const FORM_OF: u8 = 15;
const VALUES: u8 = 16;
/// Sections with lower ids are known.
const KNOWN: usize = VALUES as usize + 1;

/// From here on a section may be skipped.
const OPTIONAL: u8 = 128;
/// Memory for bodies that is kept from one block to the next.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// A byte of id and four of length.
const SECTION_HEAD_BYTES: usize = 5;

const HAS_TRACE: u8 = 1 << 5;
const SAME_TRACE: u8 = 1 << 6;
const HAS_ID: u8 = 1 << 7;

/// The columns of a block in the making.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    names: Names,
    rows: Vec<Row>,
    versions: Vec<u64>,
    bodies: Vec<u8>,
    task_ids: Vec<u128>,
    traces: Vec<TraceId>,
    ids: Vec<EventId>,
    /// The texts of the forms.
    forms: Names,
    values: Vec<u8>,
    /// Of the batch that is being added: its numbers of names, and ours.
    numbers: Vec<u32>,
    /// And of forms, one more than those.
    form_numbers: Vec<u32>,
}

impl Builder {
    /// Adds a batch's events, with the version of each in its stream.
    pub(crate) fn add(&mut self, batch: &Batch, versions: &[u64]) {
        debug_assert_eq!(batch.rows.len(), versions.len());
        self.numbers.clear();
        self.numbers.extend(self.names.numbers_of(&batch.names));
        let ours = |number: u32| match number {
            BY_ID => BY_ID,
            number => self.numbers[number as usize],
        };
        self.form_numbers.clear();
        self.form_numbers.push(0);
        let forms = self.forms.numbers_of(&batch.filled.texts);
        self.form_numbers.extend(forms.map(|number| number + 1));
        self.values.extend_from_slice(&batch.filled.values);
        self.rows.extend(batch.rows.iter().map(|row| Row {
            tenant: ours(row.tenant),
            stream: ours(row.stream),
            task: ours(row.task),
            kind: ours(row.kind),
            form: self.form_numbers[row.form as usize],
            ..*row
        }));
        self.versions.extend_from_slice(versions);
        self.bodies.extend_from_slice(&batch.bodies);
        let Numbers {
            task_ids,
            traces,
            ids,
        } = &*batch.numbers;
        self.task_ids.extend_from_slice(task_ids.all());
        self.traces.extend_from_slice(traces);
        self.ids.extend_from_slice(ids);
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.rows.len()).expect("a block holds fewer events than bytes")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Earliest and latest.
    pub(crate) fn times(&self) -> (i64, i64) {
        let times = || self.rows.iter().map(|row| row.time);
        (
            times().min().unwrap_or_default(),
            times().max().unwrap_or_default(),
        )
    }

    /// The block in brief. Its names are gone from here: it is for a block that was encoded.
    pub(crate) fn digest(&mut self, first_offset: u64) -> Digest {
        let mut names = std::mem::take(&mut self.names);
        let mut by_id = digest::tasks(&self.task_ids, &mut names).into_iter();
        let mut bodies = self.bodies.as_slice();
        let events = self.rows.iter().zip(&self.versions).map(|(row, version)| {
            let body = match row.form {
                0 => bodies.split_off(..row.body_len as usize).unwrap_or_default(),
                // No counter is a form.
                _ => &[],
            };
            Brief {
                time: row.time,
                version: *version,
                tenant: row.tenant,
                stream: row.stream,
                task: match row.task {
                    BY_ID => by_id.next().expect("each of them has its number"),
                    number => Task::Named(number),
                },
                kind: row.kind,
                level: row.level,
                body,
                body_bytes: row.body_len,
            }
        });
        Digest::new(first_offset, names, events)
    }

    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.rows.clear();
        self.versions.clear();
        self.bodies.clear();
        self.task_ids.clear();
        self.traces.clear();
        self.ids.clear();
        self.forms.clear();
        self.values.clear();
        if self.bodies.capacity() > KEPT_BYTES_MAX {
            self.bodies = Vec::new();
        }
    }

    /// The bodies of what was added, which are the end of the last section.
    pub(crate) fn bodies(&self) -> &[u8] {
        &self.bodies
    }

    /// Appends the columns, without the bodies themselves: [`Builder::bodies`] comes behind them.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.rows.len() * 16 + 4096);
        section(out, NAMES, |out| encode_names(&self.names, out));
        section(out, FLAGS, |out| out.extend(self.marks().map(|mark| mark.flags)));
        section(out, TIMES, |out| {
            let mut before = 0i64;
            for row in &self.rows {
                varint::push_signed(out, row.time.wrapping_sub(before));
                before = row.time;
            }
        });
        let mut numbers = |id, number: fn(&Row) -> u32| {
            section(out, id, |out| {
                for row in &self.rows {
                    varint::push(out, u64::from(number(row)));
                }
            });
        };
        numbers(TENANTS, |row| row.tenant);
        numbers(STREAMS, |row| row.stream);
        numbers(KINDS, |row| row.kind);
        section(out, TASKS, |out| self.encode_tasks(out));
        if !self.task_ids.is_empty() {
            section(out, TASK_IDS, |out| self.encode_task_ids(out));
        }
        section(out, TRACES, |out| {
            for trace in self.marks().filter_map(|mark| mark.trace) {
                out.extend_from_slice(&trace.0);
            }
        });
        section(out, IDS, |out| {
            for id in &self.ids {
                out.extend_from_slice(&id.0.to_le_bytes());
            }
        });
        section(out, VERSIONS, |out| self.encode_versions(out));
        section(out, LENGTHS, |out| {
            for row in &self.rows {
                varint::push(out, u64::from(row.body_len));
            }
        });
        if self.forms.len() > 0 {
            section(out, FORMS, |out| encode_names(&self.forms, out));
            section(out, FORM_OF, |out| {
                for row in &self.rows {
                    varint::push(out, u64::from(row.form));
                }
            });
            section(out, VALUES, |out| out.extend_from_slice(&self.values));
        }
        out.push(BODIES);
        out.extend_from_slice(&section_bytes(self.bodies.len()));
    }

    fn encode_tasks(&self, out: &mut Vec<u8>) {
        let by_id = self.names.len() as u64;
        for row in &self.rows {
            varint::push(
                out,
                match row.task {
                    BY_ID => by_id,
                    number => u64::from(number),
                },
            );
        }
    }

    fn encode_task_ids(&self, out: &mut Vec<u8>) {
        let mut before = 0u128;
        for id in &self.task_ids {
            varint::push_signed_long(out, id.wrapping_sub(before).cast_signed());
            before = *id;
        }
    }

    /// Of each event.
    fn marks(&self) -> impl Iterator<Item = Mark> {
        let mut traces = self.traces.iter();
        let mut last_trace = None;
        self.rows.iter().map(move |row| {
            let mut flags = row.level as u8 | (row.format as u8) << 3;
            if row.has_id {
                flags |= HAS_ID;
            }
            let trace = match row.trace {
                Traced::Not => None,
                Traced::Kept => traces.next(),
                Traced::AsTask => {
                    flags |= SAME_TRACE;
                    None
                }
            };
            let Some(trace) = trace else {
                return Mark { flags, trace: None };
            };
            flags |= HAS_TRACE;
            if last_trace == Some(*trace) {
                flags |= SAME_TRACE;
                return Mark { flags, trace: None };
            }
            last_trace = Some(*trace);
            Mark {
                flags,
                trace: last_trace,
            }
        })
    }

    fn encode_versions(&self, out: &mut Vec<u8>) {
        let mut next = vec![0u64; self.names.len()];
        for (row, version) in self.rows.iter().zip(&self.versions) {
            let next = &mut next[row.stream as usize];
            varint::push_signed(out, version.wrapping_sub(*next).cast_signed());
            *next = version.wrapping_add(1);
        }
    }
}

fn encode_names(names: &Names, out: &mut Vec<u8>) {
    varint::push(out, names.len() as u64);
    for name in names.iter() {
        varint::push(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
    }
}

/// An event's flags, and its trace if that has to be written down.
struct Mark {
    flags: u8,
    trace: Option<TraceId>,
}

fn section(out: &mut Vec<u8>, id: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[id, 0, 0, 0, 0]);
    let start = out.len();
    write(out);
    let bytes = section_bytes(out.len() - start);
    out[start - 4..start].copy_from_slice(&bytes);
}

fn section_bytes(bytes: usize) -> [u8; 4] {
    let bytes = u32::try_from(bytes).expect("columns are at most 32 MiB");
    bytes.to_le_bytes()
}

/// The columns of a block that was read, every number in them checked.
#[derive(Debug)]
pub(crate) struct Columns {
    plain: Bytes,
    /// All names, one after the other, so that no reader of an event checks them again.
    text: String,
    /// Start and end of each name in `text`.
    names: Vec<(u32, u32)>,
    rows: Vec<Place>,
    task_ids: Box<TaskIds>,
    /// Bodies that are forms, if there are any. Their places come behind `plain`.
    filled: Option<Box<Filled>>,
}

/// Where an event's parts are.
#[derive(Debug, Clone, Copy)]
struct Place {
    time: i64,
    version: u64,
    tenant: u32,
    stream: u32,
    /// Beyond the names: a place in the numbers of tasks.
    task: u32,
    kind: u32,
    body_start: u32,
    body_end: u32,
    trace: Option<TraceId>,
    id: Option<EventId>,
    level: Level,
    format: Format,
}

impl Columns {
    pub(super) fn decode(plain: Bytes, count: u32) -> Result<Columns, Unsound> {
        let sections = Sections::find(&plain, plain.len())?;
        let mut names = sections.names(count)?;
        let mut cursor = Cursor::new(&sections, names.len(), count)?;
        let rows = cursor.rows()?;
        let filled = cursor.forms.map(|forms| Box::new(forms.filled()));
        let task_ids = cursor.task_ids_read;
        let mut text = String::new();
        for name in &mut names {
            let bytes = &plain[name.0 as usize..name.1 as usize];
            let start = place(text.len())?;
            text.push_str(std::str::from_utf8(bytes).expect("names were checked"));
            *name = (start, place(text.len())?);
        }
        Ok(Columns {
            rows,
            text,
            names,
            plain,
            task_ids: Box::new(task_ids),
            filled,
        })
    }

    /// The columns of events that were kept elsewhere.
    pub(super) fn gather<'a>(events: impl Iterator<Item = Recorded<'a>>) -> Result<Columns, Unsound> {
        let mut names = Names::default();
        let mut bodies = Vec::new();
        let mut rows: Vec<Place> = Vec::new();
        let mut task_ids = TaskIds::default();
        for Recorded { version, event, .. } in events {
            let last = rows.last().copied();
            let mut number = |name: &str, before: Option<u32>| names.number(name, before);
            let task_id = task_id::read(event.task);
            if let Some(id) = task_id {
                task_ids.push(id);
            }
            rows.push(Place {
                time: event.time,
                version,
                tenant: number(event.tenant, last.map(|row| row.tenant)),
                stream: number(event.stream, last.map(|row| row.stream)),
                task: match task_id {
                    Some(_) => BY_ID,
                    None => number(event.task, last.map(|row| row.task)),
                },
                kind: number(event.kind, last.map(|row| row.kind)),
                body_start: place(bodies.len())?,
                body_end: place(bodies.len() + event.body.len())?,
                trace: event.trace,
                id: event.id,
                level: event.level,
                format: event.format,
            });
            bodies.extend_from_slice(event.body);
        }
        let mut text = String::new();
        let mut places = Vec::with_capacity(names.len());
        for name in names.iter() {
            let start = place(text.len())?;
            text.push_str(name);
            places.push((start, place(text.len())?));
        }
        // Numbers of tasks come behind the names, which are all known only now.
        let by_id = rows.iter_mut().filter(|row| row.task == BY_ID);
        for (row, at) in by_id.zip(places.len()..) {
            row.task = place(at)?;
        }
        Ok(Columns {
            plain: Bytes::from(bodies),
            text,
            names: places,
            rows,
            task_ids: Box::new(task_ids),
            filled: None,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn row(&self, row: usize) -> (Event<'_>, u64) {
        let place = &self.rows[row];
        let event = Event {
            time: place.time,
            tenant: self.name(place.tenant),
            stream: self.name(place.stream),
            task: self.task_name(place.task),
            kind: self.name(place.kind),
            level: place.level,
            trace: place.trace,
            id: place.id,
            format: place.format,
            body: self.body(place),
        };
        (event, place.version)
    }

    fn body(&self, place: &Place) -> &[u8] {
        let (start, end) = (place.body_start as usize, place.body_end as usize);
        match &self.filled {
            Some(filled) if start >= self.plain.len() => {
                let written = filled.written(&self.plain);
                &written[start - self.plain.len()..end - self.plain.len()]
            }
            _ => &self.plain[start..end],
        }
    }

    /// All names, and the events with their numbers.
    pub(super) fn briefs(&self) -> (Names, impl Iterator<Item = Brief<'_>>) {
        let mut names = Names::default();
        for number in 0..self.names.len() {
            names.push(self.name(place_of(number)));
        }
        let by_id = digest::tasks(self.task_ids.all(), &mut names);
        let events = self.rows.iter().map(move |place| Brief {
            time: place.time,
            version: place.version,
            tenant: place.tenant,
            stream: place.stream,
            task: match self.task_place(place.task) {
                Some(number) => by_id[number],
                None => Task::Named(place.task),
            },
            kind: place.kind,
            level: place.level,
            body: self.body(place),
            body_bytes: place.body_end - place.body_start,
        });
        (names, events)
    }

    /// Rows of events whose task, or else whose stream, has this name.
    pub(super) fn rows_of(&self, column: Column, name: &str) -> Vec<usize> {
        let number = (0..self.names.len())
            .map(place_of)
            .find(|number| self.name(*number) == name);
        let id = task_id::read(name);
        if number.is_none() && (id.is_none() || self.task_ids.all().is_empty()) {
            return Vec::new();
        }
        let is_of = |place: &Place| match column {
            Column::Task => match self.task_place(place.task) {
                Some(place) => id == Some(self.task_ids.all()[place]),
                None => Some(place.task) == number,
            },
            Column::Stream => Some(place.stream) == number,
        };
        let rows = self.rows.iter().enumerate().filter(|(_, place)| is_of(place));
        rows.map(|(row, _)| row).collect()
    }

    /// Rows of the events that a filter wants. Names are looked at once each, and no event is put together.
    pub(super) fn wanted(&self, filter: &Filter) -> Vec<usize> {
        let names = |fits: &dyn Fn(&str) -> bool| -> Vec<bool> {
            let numbers = (0..self.names.len()).map(place_of);
            numbers.map(|number| fits(self.name(number))).collect()
        };
        let tenants = names(&|name| filter.tenant.as_deref().is_none_or(|tenant| tenant == name));
        let streams = names(&|name| name.starts_with(&filter.stream_prefix));
        let kinds = names(&|name| name.starts_with(&filter.kind_prefix));
        let is_of_task = |task: &str, place: &Place| self.task_name(place.task) == task;
        let is_wanted = |place: &Place| {
            tenants[place.tenant as usize]
                && streams[place.stream as usize]
                && kinds[place.kind as usize]
                && filter.level_min.is_none_or(|min| place.level >= min)
                && filter.task.as_ref().is_none_or(|task| is_of_task(task, place))
        };
        let rows = self.rows.iter().enumerate().filter(|(_, place)| is_wanted(place));
        rows.map(|(row, _)| row).collect()
    }

    /// Place in the numbers of tasks, if the task has one.
    fn task_place(&self, task: u32) -> Option<usize> {
        (task as usize).checked_sub(self.names.len())
    }

    fn task_name(&self, task: u32) -> &str {
        match self.task_place(task) {
            Some(place) => self.task_ids.name(place),
            None => self.name(task),
        }
    }

    fn name(&self, number: u32) -> &str {
        let (start, end) = self.names[number as usize];
        let name = self.text.get(start as usize..end as usize);
        name.expect("a name begins and ends where one does")
    }

    pub(super) fn bytes_in_memory(&self) -> usize {
        self.plain.len()
            + self.text.len()
            + self.names.len() * size_of::<(u32, u32)>()
            + self.rows.len() * size_of::<Place>()
            + self.task_ids.bytes_in_memory()
            + self.filled.as_ref().map_or(0, |filled| filled.bytes_in_memory())
    }
}

/// Names are fewer than bytes, of which there are at most 32 Mi.
fn place_of(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A column by which events are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Task,
    Stream,
}

/// Columns are at most 32 MiB long.
fn place(at: usize) -> Result<u32, Unsound> {
    u32::try_from(at).map_err(|_| unsound("too long"))
}

/// Walks all columns at once.
struct Cursor<'a> {
    names: usize,
    count: usize,
    flags: &'a [u8],
    times: &'a [u8],
    numbers: [&'a [u8]; 4],
    task_ids: &'a [u8],
    traces: &'a [u8],
    ids: &'a [u8],
    versions: &'a [u8],
    lengths: &'a [u8],
    bodies: std::ops::Range<u32>,
    forms: Option<Forms<'a>>,
    time: i64,
    trace: Option<TraceId>,
    task_ids_read: TaskIds,
    next_version: Vec<u64>,
}

impl<'a> Cursor<'a> {
    fn new(sections: &Sections<'a>, names: usize, count: u32) -> Result<Cursor<'a>, Unsound> {
        let flags = sections.get(FLAGS)?;
        if flags.len() != count as usize {
            return Err(unsound("another number of events than the head says"));
        }
        let bodies = sections.range(BODIES)?;
        let bodies = place(bodies.start)?..place(bodies.end)?;
        let numbers = [
            sections.get(TENANTS)?,
            sections.get(STREAMS)?,
            sections.get(TASKS)?,
            sections.get(KINDS)?,
        ];
        Ok(Cursor {
            names,
            count: count as usize,
            flags,
            times: sections.get(TIMES)?,
            numbers,
            task_ids: sections.get_or_empty(TASK_IDS),
            traces: sections.get(TRACES)?,
            ids: sections.get(IDS)?,
            versions: sections.get(VERSIONS)?,
            lengths: sections.get(LENGTHS)?,
            forms: Forms::find(sections, count)?,
            bodies,
            time: 0,
            trace: None,
            task_ids_read: TaskIds::default(),
            next_version: vec![0; names],
        })
    }

    /// The events. The numbers that tasks are, and the bodies that are forms, are known then.
    fn rows(&mut self) -> Result<Vec<Place>, Unsound> {
        let mut rows = Vec::with_capacity(self.count);
        for row in 0..self.count {
            rows.push(self.row(self.flags[row])?.0);
        }
        self.end()?;
        Ok(rows)
    }

    /// After the last event nothing is left.
    fn end(&self) -> Result<(), Unsound> {
        let columns = [self.times, self.traces, self.ids, self.versions, self.lengths];
        for rest in columns.into_iter().chain([self.task_ids]).chain(self.numbers) {
            all_read(rest)?;
        }
        if !self.bodies.is_empty() {
            return Err(unsound("more bodies than events"));
        }
        self.forms.as_ref().map_or(Ok(()), Forms::end)
    }

    /// The next event, and its task if that is a number.
    fn row(&mut self, flags: u8) -> Result<(Place, Option<u128>), Unsound> {
        let difference = varint::take_signed(&mut self.times).ok_or(unsound("a time is missing"))?;
        self.time = self.time.wrapping_add(difference);
        let [tenant, stream, kind] = [0, 1, 3].map(|column| self.number(column));
        let stream = stream?;
        let (task, task_id) = self.task()?;
        let (body_start, body_end) = self.body()?;
        let place = Place {
            time: self.time,
            tenant: tenant?,
            stream,
            task,
            kind: kind?,
            version: self.version(stream)?,
            body_start,
            body_end,
            trace: self.trace(flags, task_id)?,
            id: self.id(flags)?,
            level: *Level::ALL
                .get(usize::from(flags & 0b111))
                .ok_or(unsound("an unknown level"))?,
            format: *Format::ALL
                .get(usize::from(flags >> 3 & 0b11))
                .ok_or(unsound("an unknown format"))?,
        };
        Ok((place, task_id))
    }

    fn number(&mut self, column: usize) -> Result<u32, Unsound> {
        let number = varint::take(&mut self.numbers[column]).ok_or(unsound("a name's number is missing"))?;
        match u32::try_from(number) {
            Ok(number) if (number as usize) < self.names => Ok(number),
            _ => Err(unsound("a number that no name has")),
        }
    }

    /// The place of a task's name, or of its number behind the names; and that number.
    fn task(&mut self) -> Result<(u32, Option<u128>), Unsound> {
        let place = varint::take(&mut self.numbers[2]).ok_or(unsound("a name's number is missing"))?;
        match usize::try_from(place) {
            Ok(place) if place < self.names => Ok((place_of(place), None)),
            Ok(place) if place == self.names => {
                let difference = varint::take_signed_long(&mut self.task_ids)
                    .ok_or(unsound("a task's number is missing"))?;
                let before = self.task_ids_read.all().last().copied().unwrap_or_default();
                let id = before.wrapping_add_signed(difference);
                self.task_ids_read.push(id);
                Ok((
                    place_of(self.names + self.task_ids_read.all().len() - 1),
                    Some(id),
                ))
            }
            _ => Err(unsound("a number that no name has")),
        }
    }

    fn version(&mut self, stream: u32) -> Result<u64, Unsound> {
        let difference = varint::take_signed(&mut self.versions).ok_or(unsound("a version is missing"))?;
        let next = &mut self.next_version[stream as usize];
        let version = next.wrapping_add_signed(difference);
        *next = version.wrapping_add(1);
        Ok(version)
    }

    fn body(&mut self) -> Result<(u32, u32), Unsound> {
        let bytes = varint::take(&mut self.lengths).ok_or(unsound("a body's length is missing"))?;
        if let Some(forms) = &mut self.forms
            && let Some(place) = forms.next(bytes)?
        {
            return Ok(place);
        }
        let left = self.bodies.end - self.bodies.start;
        match u32::try_from(bytes) {
            Ok(bytes) if bytes <= left && bytes as usize <= BODY_BYTES_MAX => {
                let start = self.bodies.start;
                self.bodies.start += bytes;
                Ok((start, start + bytes))
            }
            _ => Err(unsound("a body beyond the bodies")),
        }
    }

    fn trace(&mut self, flags: u8, task_id: Option<u128>) -> Result<Option<TraceId>, Unsound> {
        match (flags & HAS_TRACE != 0, flags & SAME_TRACE != 0) {
            (false, false) => Ok(None),
            (false, true) => match task_id {
                Some(id) => Ok(Some(TraceId(id.to_be_bytes()))),
                None => Err(unsound("a trace that is the number of a task without one")),
            },
            (true, true) if self.trace.is_some() => Ok(self.trace),
            (true, true) => Err(unsound("the same trace as none")),
            (true, false) => {
                self.trace = Some(TraceId(chunk(&mut self.traces)?));
                Ok(self.trace)
            }
        }
    }

    fn id(&mut self, flags: u8) -> Result<Option<EventId>, Unsound> {
        if flags & HAS_ID == 0 {
            return Ok(None);
        }
        Ok(Some(EventId(u128::from_le_bytes(chunk(&mut self.ids)?))))
    }
}

fn chunk(bytes: &mut &[u8]) -> Result<[u8; 16], Unsound> {
    let (chunk, rest) = bytes.split_first_chunk().ok_or(unsound("an id is cut short"))?;
    *bytes = rest;
    Ok(*chunk)
}

fn all_read(rest: &[u8]) -> Result<(), Unsound> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(unsound("a section has too many bytes"))
    }
}

const fn unsound(what: &'static str) -> Unsound {
    Unsound::Columns { what }
}
