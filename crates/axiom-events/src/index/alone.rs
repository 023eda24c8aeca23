//! Tasks that are numbers and have one event in a segment, as calls do. There may be a million of them: so each takes 32
//! bytes here, and a name and postings only when it turns out to have more events.

use std::collections::HashMap;

use crate::digest::{Cell, Count};

#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Alone {
    tasks: HashMap<u128, Event, foldhash::fast::FixedState>,
    /// What these events are counted as, for any task, each once.
    cells: Vec<Cell>,
    places: HashMap<Cell, u32, foldhash::fast::FixedState>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Event {
    /// Place in [`Index::blocks`](super::Index::blocks).
    block: u32,
    /// Place in [`Alone::cells`].
    cell: u32,
    body_bytes: u32,
}

impl Alone {
    /// False, and nothing is added, if the task has an event already.
    pub(crate) fn add(&mut self, id: u128, block: u32, cell: Cell, body_bytes: u32) -> bool {
        let place = self.place(cell);
        let mut is_new = false;
        self.tasks.entry(id).or_insert_with(|| {
            is_new = true;
            Event {
                block,
                cell: place,
                body_bytes,
            }
        });
        is_new
    }

    /// Block, cell and bytes of the body.
    pub(crate) fn get(&self, id: u128) -> Option<(u32, Cell, u32)> {
        self.tasks.get(&id).map(|event| self.parts(*event))
    }

    pub(crate) fn remove(&mut self, id: u128) -> Option<(u32, Cell, u32)> {
        self.tasks.remove(&id).map(|event| self.parts(event))
    }

    /// Each task's number, and what its event is counted as.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (u128, Cell, Count)> {
        self.tasks.iter().map(|(id, event)| self.counted(*id, *event))
    }

    /// The same of one task.
    pub(crate) fn count(&self, id: u128) -> Option<(u128, Cell, Count)> {
        self.tasks.get(&id).map(|event| self.counted(id, *event))
    }

    /// All there is, by number, for the index's file.
    pub(super) fn sorted(&self) -> Vec<(u128, [u32; 3])> {
        let tasks = self.tasks.iter();
        let mut tasks: Vec<_> = tasks
            .map(|(id, event)| (*id, [event.block, event.cell, event.body_bytes]))
            .collect();
        tasks.sort_unstable_by_key(|(id, _)| *id);
        tasks
    }

    pub(super) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Puts back what [`Alone::cells`] gave, one after the other. False for one that was put back before.
    pub(super) fn put_cell(&mut self, cell: Cell) -> bool {
        let before = self.cells.len();
        (self.place(cell) as usize) == before
    }

    /// Puts back what [`Alone::sorted`] gave. False for a place that no cell has, and a task that was put back before.
    pub(super) fn put(&mut self, id: u128, [block, cell, body_bytes]: [u32; 3]) -> bool {
        let event = Event {
            block,
            cell,
            body_bytes,
        };
        (cell as usize) < self.cells.len() && self.tasks.insert(id, event).is_none()
    }

    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.tasks.capacity() * (size_of::<(u128, Event)>() + 1) + self.cells.len() * 3 * size_of::<Cell>()
    }

    fn counted(&self, id: u128, event: Event) -> (u128, Cell, Count) {
        let (_, cell, body_bytes) = self.parts(event);
        (id, cell, Count::kept(u64::from(body_bytes)))
    }

    fn parts(&self, event: Event) -> (u32, Cell, u32) {
        (event.block, self.cells[event.cell as usize], event.body_bytes)
    }

    fn place(&mut self, cell: Cell) -> u32 {
        // Those that come one after the other are mostly alike.
        if let (Some(last), Ok(place)) = (self.cells.last(), u32::try_from(self.cells.len().wrapping_sub(1)))
            && *last == cell
        {
            return place;
        }
        let next = u32::try_from(self.cells.len()).expect("there are fewer cells than events in a segment");
        *self.places.entry(cell).or_insert_with(|| {
            self.cells.push(cell);
            next
        })
    }
}
