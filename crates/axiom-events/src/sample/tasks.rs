//! What is remembered of each task: who it is, and its latest events that are neither kept nor counted yet.
//!
//! They wait, because they are wanted when the task fails next. Whatever becomes of them, it is one of two: kept or counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Sort;
use super::lru::Lru;
use crate::event::{Event, Format, TraceId};

/// Tasks that are remembered at most.
const TASKS_MAX: usize = 16_384;
/// What a task takes beside its names, and a waiting event beside its body.
const TASK_EXTRA_BYTES: usize = Lru::<Task>::PLACE_BYTES + 128;
const HELD_EXTRA_BYTES: usize = size_of::<Held>() + 32;

/// Whose events are counted together.
#[derive(Debug)]
pub(super) struct Whose {
    pub(super) tenant: Box<str>,
    pub(super) task: Box<str>,
}

#[derive(Debug)]
pub(super) struct Tasks {
    tasks: Lru<Task>,
    numbers: HashMap<Box<str>, u32, RandomState>,
    key: String,
    last: u32,
    next_id: u64,
    /// Events that wait, of all tasks.
    waiting: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Task {
    /// Never given to another one.
    pub(super) id: u64,
    pub(super) whose: Arc<Whose>,
    /// So many of its next events are kept.
    pub(super) keep_next: u32,
    waiting: VecDeque<Held>,
}

/// An event that is neither kept nor counted yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) sort: Arc<Sort>,
    pub(super) time: i64,
    trace: Option<TraceId>,
    format: Format,
    /// Its stream's and its task's name, and its body.
    bytes: Box<[u8]>,
    stream_bytes: usize,
    task_bytes: usize,
    /// How often what was skipped had been told when it came.
    told: u64,
}

impl Tasks {
    pub(super) fn new(bytes_max: usize) -> Tasks {
        Tasks {
            tasks: Lru::default(),
            numbers: HashMap::default(),
            key: String::new(),
            last: 0,
            next_id: 0,
            waiting: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// The place of an event's task. What had to leave for it goes to `out`, and is to be counted.
    pub(super) fn find(&mut self, tenant: &str, task: &str, out: &mut Vec<Held>) -> u32 {
        let is_of = |known: &Task| *known.whose.task == *task && *known.whose.tenant == *tenant;
        if self.tasks.get(self.last).is_some_and(is_of) {
            return self.last;
        }
        write_key(&mut self.key, tenant, task);
        let at = match self.numbers.get(self.key.as_str()) {
            Some(at) => {
                self.tasks.touch(*at);
                *at
            }
            None => self.add(tenant, task, out),
        };
        self.last = at;
        at
    }

    fn add(&mut self, tenant: &str, task: &str, out: &mut Vec<Held>) -> u32 {
        let task = Task {
            id: self.next_id,
            whose: Arc::new(Whose {
                tenant: tenant.into(),
                task: task.into(),
            }),
            keep_next: 0,
            waiting: VecDeque::new(),
        };
        self.next_id += 1;
        self.make_room(task.bytes(), out);
        while self.tasks.len() >= TASKS_MAX && self.forget_oldest(out) {}
        self.bytes += task.bytes();
        let at = self.tasks.insert(task);
        self.numbers.insert(self.key.as_str().into(), at);
        at
    }

    pub(super) fn get(&self, at: u32) -> &Task {
        self.tasks.get(at).expect("it was just found")
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Task {
        self.tasks.get_mut(at).expect("it was just found")
    }

    /// Lets an event wait, as the latest of `count_max`. What had to leave for it goes to `out`; so does the event itself, if
    /// it is too large.
    pub(super) fn hold(&mut self, at: u32, held: Held, count_max: usize, out: &mut Vec<Held>) {
        let bytes = held.bytes();
        // One task alone must not push out all others'.
        if count_max == 0 || bytes > self.bytes_max / 16 {
            return out.push(held);
        }
        let task = self.tasks.get_mut(at).expect("it was just found");
        let mut bytes_left = 0;
        while task.waiting.len() >= count_max {
            let oldest = task.waiting.pop_front();
            self.waiting -= 1;
            bytes_left += oldest.as_ref().map_or(0, Held::bytes);
            out.extend(oldest);
        }
        self.bytes -= bytes_left;
        self.tasks.touch(at);
        self.make_room(bytes, out);
        // It was the newest, but there may have been no room beside it.
        match self.tasks.get_mut(at) {
            Some(task) => {
                self.bytes += bytes;
                self.waiting += 1;
                task.waiting.push_back(held);
            }
            None => out.push(held),
        }
    }

    /// Takes a task's waiting events, oldest first.
    pub(super) fn take_waiting(&mut self, at: u32) -> VecDeque<Held> {
        let Some(task) = self.tasks.get_mut(at) else {
            return VecDeque::new();
        };
        let waiting = std::mem::take(&mut task.waiting);
        self.waiting -= waiting.len();
        self.bytes -= waiting.iter().map(Held::bytes).sum::<usize>();
        waiting
    }

    /// Takes waiting events that came before what was skipped had been told so often.
    pub(super) fn take_older(&mut self, told: u64, out: &mut Vec<Held>) {
        let from = out.len();
        for task in self.tasks.values_mut() {
            while task.waiting.front().is_some_and(|held| held.told < told) {
                out.extend(task.waiting.pop_front());
            }
        }
        self.waiting -= out.len() - from;
        self.bytes -= out[from..].iter().map(Held::bytes).sum::<usize>();
    }

    /// Whether any event waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// What they take in memory, near enough for a limit.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn make_room(&mut self, bytes: usize, out: &mut Vec<Held>) {
        while self.bytes + bytes > self.bytes_max && self.forget_oldest(out) {}
    }

    /// False if there is none.
    fn forget_oldest(&mut self, out: &mut Vec<Held>) -> bool {
        let Some(oldest) = self.tasks.oldest() else {
            return false;
        };
        out.extend(self.take_waiting(oldest));
        if let Some(task) = self.tasks.remove(oldest) {
            self.bytes -= task.bytes();
            let mut key = String::new();
            write_key(&mut key, &task.whose.tenant, &task.whose.task);
            self.numbers.remove(key.as_str());
        }
        true
    }
}

/// Two names as one, without doubt where the first ends. A name has at most 255 bytes.
fn write_key(key: &mut String, tenant: &str, task: &str) {
    key.clear();
    key.push(u8::try_from(tenant.len()).map_or('\u{100}', char::from));
    key.push_str(tenant);
    key.push_str(task);
}

impl Task {
    /// Without what waits.
    fn bytes(&self) -> usize {
        let names = self.whose.tenant.len() + self.whose.task.len();
        2 * names + TASK_EXTRA_BYTES
    }
}

impl Held {
    pub(super) fn new(event: &Event<'_>, sort: Arc<Sort>, told: u64) -> Held {
        // It may be counted as another task's.
        let mut bytes = Vec::with_capacity(event.stream.len() + event.task.len() + event.body.len());
        bytes.extend_from_slice(event.stream.as_bytes());
        bytes.extend_from_slice(event.task.as_bytes());
        bytes.extend_from_slice(event.body);
        Held {
            sort,
            time: event.time,
            trace: event.trace,
            format: event.format,
            bytes: bytes.into_boxed_slice(),
            stream_bytes: event.stream.len(),
            task_bytes: event.task.len(),
            told,
        }
    }

    pub(super) fn event(&self) -> Event<'_> {
        let (stream, rest) = self.bytes.split_at(self.stream_bytes);
        let (task, body) = rest.split_at(self.task_bytes);
        let text = |name| std::str::from_utf8(name).expect("it was a text before");
        Event {
            time: self.time,
            tenant: &self.sort.whose.tenant,
            stream: text(stream),
            task: text(task),
            kind: &self.sort.kind,
            level: self.sort.level,
            trace: self.trace,
            id: None,
            format: self.format,
            body,
        }
    }

    pub(super) fn body_bytes(&self) -> u64 {
        (self.bytes.len() - self.stream_bytes - self.task_bytes) as u64
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + HELD_EXTRA_BYTES
    }
}
