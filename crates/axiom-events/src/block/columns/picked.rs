//! The events that a task or a stream has in a block, found without the bodies of the others.

use super::{Column, Columns, Cursor, Forms, Place, Sections, place_of};
use crate::block::Unsound;
use crate::event::{Event, Recorded};
use crate::task_id;

/// The events that a task or a stream has in a block.
pub(in crate::block) struct Picked {
    names: Vec<(u32, u32)>,
    events: Vec<PickedEvent>,
}

struct PickedEvent {
    row: usize,
    place: Place,
    /// The task's name where that is a number.
    task: Option<String>,
    /// The body where that is a form.
    filled: Option<Vec<u8>>,
}

impl Picked {
    /// Looks through columns of so many bytes. `plain` is their beginning, and has all but the bodies. They are checked as in
    /// [`Columns::decode`].
    pub(in crate::block) fn find(
        plain: &[u8],
        bytes: usize,
        count: u32,
        column: Column,
        name: &str,
    ) -> Result<Picked, Unsound> {
        let sections = Sections::find(plain, bytes)?;
        let names = sections.names(count)?;
        let is_it = |(start, end): &(u32, u32)| plain[*start as usize..*end as usize] == *name.as_bytes();
        let (number, id) = (names.iter().position(is_it).map(place_of), task_id::read(name));
        let is_of = |place: &Place, task_id: Option<u128>| match (column, task_id) {
            (Column::Task, Some(_)) => task_id == id,
            (Column::Task, None) => Some(place.task) == number,
            (Column::Stream, _) => Some(place.stream) == number,
        };
        let mut events = Vec::new();
        let mut cursor = Cursor::new(&sections, names.len(), count)?;
        for row in 0..cursor.count {
            let (place, task_id) = cursor.row(cursor.flags[row])?;
            if is_of(&place, task_id) {
                events.push(PickedEvent {
                    row,
                    place,
                    task: task_id.map(task_id::name),
                    filled: cursor.forms.as_ref().and_then(Forms::last),
                });
            }
        }
        cursor.end()?;
        Ok(Picked { names, events })
    }

    /// Where the bodies are, ascending.
    pub(in crate::block) fn bodies(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let whole = self.events.iter().filter(|event| event.filled.is_none());
        let places = whole.map(|event| &event.place);
        places.map(|place| place.body_start as usize..place.body_end as usize)
    }

    /// The columns of these events, and their rows. `plain` has their bodies as well.
    pub(in crate::block) fn gather(&self, plain: &[u8]) -> Result<(Columns, Vec<usize>), Unsound> {
        let name = |number: u32| {
            let (start, end) = self.names[number as usize];
            std::str::from_utf8(&plain[start as usize..end as usize]).expect("names were checked")
        };
        let events = self
            .events
            .iter()
            .map(|event| (event, &event.place))
            .map(|(event, place)| Recorded {
                offset: event.row as u64,
                version: place.version,
                event: Event {
                    time: place.time,
                    tenant: name(place.tenant),
                    stream: name(place.stream),
                    task: event.task.as_deref().unwrap_or_else(|| name(place.task)),
                    kind: name(place.kind),
                    level: place.level,
                    trace: place.trace,
                    id: place.id,
                    format: place.format,
                    body: match &event.filled {
                        Some(body) => body,
                        None => &plain[place.body_start as usize..place.body_end as usize],
                    },
                },
            });
        let columns = Columns::gather(events)?;
        Ok((columns, self.events.iter().map(|event| event.row).collect()))
    }
}
