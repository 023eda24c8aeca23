//! An instance of a saga: what is kept of it, and what each event does to it.
//!
//! The bytes of its state are numbers in LEB128 and texts with their length in front: the status, the next number, the
//! reason, the command that is being undone, those to be undone, the times that were set, and the saga's own state.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::block::varint;
use crate::event::{Event, Format, Level, Recorded};
use crate::follow::Filter;
use crate::line::{Line, Said};
use crate::projection::{Emit, Projection};

use super::{COMPENSATED_KIND, Command, Saga, SagaStatus, Steps, TIMEOUT_KIND, id_of, stream_of, timers_of};

/// A saga as a projection of events to instances.
#[derive(Debug)]
pub(super) struct Machinery<S> {
    saga: S,
    name: String,
    filter: Filter,
}

/// What is kept of an instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Instance<S> {
    pub(super) core: Core,
    pub(super) state: S,
}

/// The part of it that every saga has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Core {
    pub(super) status: SagaStatus,
    /// Of the next command or timer.
    next_number: u64,
    pub(super) reason: Option<String>,
    pub(super) undoing: Option<Command>,
    /// In the order in which the steps were done.
    pub(super) undo: Vec<Command>,
    /// Times that were set and have not passed, and the number of each.
    pub(super) timers: BTreeMap<String, u64>,
}

/// The steps of one event, on their way out.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) core: &'a mut Core,
    pub(super) emit: &'a mut Emit,
    name: &'a str,
    version: u32,
    instance: &'a str,
}

impl Order<'_> {
    pub(super) fn next_number(&mut self) -> u64 {
        self.core.next_number += 1;
        self.core.next_number
    }

    pub(super) fn send(&mut self, command: &Command) {
        let number = self.next_number();
        let id = id_of(&[
            b"command",
            self.name.as_bytes(),
            &self.version.to_be_bytes(),
            self.instance.as_bytes(),
            &number.to_be_bytes(),
        ]);
        self.emit.event(&Event {
            stream: &command.stream,
            task: self.instance,
            kind: &command.kind,
            id: Some(id),
            format: command.format,
            body: &command.body,
            ..Event::default()
        });
    }

    /// Undoes what was done last, or says that all is undone.
    pub(super) fn undo_next(&mut self) {
        match self.core.undo.pop() {
            Some(command) => {
                self.send(&command);
                self.core.undoing = Some(command);
            }
            None => {
                self.core.status = SagaStatus::Compensated;
                self.tell(COMPENSATED_KIND, Level::Warn);
            }
        }
    }

    /// Says how the instance is.
    pub(super) fn tell(&mut self, kind: &str, level: Level) {
        let reason = self.core.reason.as_deref();
        let line = reason.map_or_else(Line::default, |reason| Line::default().with("reason", reason));
        self.emit.event(&Event {
            stream: &stream_of(self.name),
            task: self.instance,
            kind,
            level,
            format: Format::Text,
            body: line.bytes(),
            ..Event::default()
        });
    }

    pub(super) fn timer(&mut self, kind: &str, line: &Line) {
        self.emit.event(&Event {
            stream: &timers_of(self.name),
            task: self.instance,
            kind,
            level: Level::Debug,
            format: Format::Text,
            body: line.bytes(),
            ..Event::default()
        });
    }
}

impl<S: Saga> Machinery<S> {
    pub(super) fn of(saga: S) -> Machinery<S> {
        Machinery {
            name: format!("saga-{}", saga.name()),
            filter: saga.filter(),
            saga,
        }
    }

    fn is_timeout(&self, event: &Event<'_>) -> bool {
        event.kind == TIMEOUT_KIND && event.stream == timers_of(self.saga.name())
    }
}

impl<S: Saga> Projection for Machinery<S> {
    type State = Instance<S::State>;

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        self.saga.version()
    }

    fn partition<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        if self.is_timeout(&recorded.event) {
            return Some(Cow::Borrowed(recorded.event.task));
        }
        match self.filter.wants(recorded) {
            true => self.saga.instance(recorded),
            false => None,
        }
    }

    fn apply(&self, state: &mut Self::State, recorded: &Recorded<'_>, emit: &mut Emit) {
        let Some(instance) = self.partition(recorded) else {
            return;
        };
        let is_timeout = self.is_timeout(&recorded.event);
        let passed = if is_timeout {
            state.core.passed(recorded)
        } else {
            None
        };
        if is_timeout && passed.is_none() {
            return;
        }
        let order = Order {
            core: &mut state.core,
            emit,
            name: self.saga.name(),
            version: self.saga.version(),
            instance: &instance,
        };
        let mut steps = Steps { order };
        match passed {
            Some(name) => self.saga.timeout(&mut state.state, &name, &mut steps),
            None => self.saga.handle(&mut state.state, recorded, &mut steps),
        }
    }

    fn save(&self, state: &Self::State) -> Vec<u8> {
        let mut out = state.core.save();
        put(&mut out, &self.saga.save(&state.state));
        out
    }

    fn load(&self, mut bytes: &[u8]) -> Option<Self::State> {
        let core = Core::load(&mut bytes)?;
        let state = self.saga.load(take(&mut bytes)?)?;
        bytes.is_empty().then_some(Instance { core, state })
    }
}

impl Core {
    /// The name of a time that has passed, if it was neither set again nor taken back.
    fn passed(&mut self, recorded: &Recorded<'_>) -> Option<String> {
        let said = Said::of(recorded.event.body)?;
        let name = said.text("name")?;
        if self.timers.get(&name) != said.number("number").as_ref() {
            return None;
        }
        self.timers.remove(&name);
        Some(name)
    }

    fn save(&self) -> Vec<u8> {
        let mut out = vec![match self.status {
            SagaStatus::Running => 0,
            SagaStatus::Completed => 1,
            SagaStatus::Compensating => 2,
            SagaStatus::Compensated => 3,
            SagaStatus::Stuck => 4,
        }];
        varint::push(&mut out, self.next_number);
        put_all(&mut out, self.reason.iter(), |out, reason| {
            put(out, reason.as_bytes())
        });
        put_all(&mut out, self.undoing.iter(), put_command);
        put_all(&mut out, self.undo.iter(), put_command);
        put_all(&mut out, self.timers.iter(), |out, (name, number)| {
            put(out, name.as_bytes());
            varint::push(out, *number);
        });
        out
    }

    fn load(bytes: &mut &[u8]) -> Option<Core> {
        let (status, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(Core {
            status: match status {
                0 => SagaStatus::Running,
                1 => SagaStatus::Completed,
                2 => SagaStatus::Compensating,
                3 => SagaStatus::Compensated,
                4 => SagaStatus::Stuck,
                _ => return None,
            },
            next_number: varint::take(bytes)?,
            reason: take_all(bytes, take_text)?.into_iter().next(),
            undoing: take_all(bytes, take_command)?.into_iter().next(),
            undo: take_all(bytes, take_command)?,
            timers: take_all(bytes, |bytes| Some((take_text(bytes)?, varint::take(bytes)?)))?
                .into_iter()
                .collect(),
        })
    }
}

pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::push(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::take(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

pub(super) fn take_text(bytes: &mut &[u8]) -> Option<String> {
    String::from_utf8(take(bytes)?.to_vec()).ok()
}

fn put_all<T>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = T>, put: impl Fn(&mut Vec<u8>, T)) {
    varint::push(out, items.len() as u64);
    items.for_each(|item| put(out, item));
}

fn take_all<T>(bytes: &mut &[u8], take: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = varint::take(bytes)?;
    (0..count).map(|_| take(bytes)).collect()
}

fn put_command(out: &mut Vec<u8>, command: &Command) {
    put(out, command.stream.as_bytes());
    put(out, command.kind.as_bytes());
    put(out, &command.body);
    out.push(match command.format {
        Format::Binary => 0,
        Format::Text => 1,
        Format::Json => 2,
    });
}

fn take_command(bytes: &mut &[u8]) -> Option<Command> {
    let (stream, kind) = (take_text(bytes)?, take_text(bytes)?);
    let body = take(bytes)?.to_vec();
    let (format, rest) = bytes.split_first()?;
    *bytes = rest;
    let format = *Format::ALL.get(usize::from(*format))?;
    Some(Command {
        stream,
        kind,
        body,
        format,
    })
}

#[cfg(test)]
mod tests;
