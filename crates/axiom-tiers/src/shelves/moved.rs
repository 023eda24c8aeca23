//! Events whose file is gone because another one has taken its place: who reads without a pin, because the folder cannot be
//! written or the disk is full, may be outrun. It looks once where they are by now, and sees of it what it would have seen:
//! the events of the file that is gone, without those that were retired since.

use std::ops::Range;
use std::sync::Arc;

use axiom_events::archive::{Found, Missing, Summary, Wanted};
use axiom_events::{Block, Recorded};

use super::{Files, ObjectError, Shown, Standing, gathered, order_of};
use crate::file::{Events, Order};
use crate::manifest::Object;

/// What has the events of an object that is gone.
#[derive(Debug)]
pub(super) struct Moved<'a> {
    gone: &'a Object,
    newest: Shown,
    files: &'a Files,
}

impl Standing {
    /// What has the events of an object whose place is empty; `None` if it should be there by now, too, and so is lost.
    pub(super) fn moved<'a>(&'a self, gone: &'a Object) -> Result<Option<Moved<'a>>, ObjectError> {
        self.origin.refresh().map_err(|source| ObjectError::Unknown {
            location: gone.location.clone(),
            source,
        })?;
        let newest = self.origin.shown();
        let mut objects = newest.state().objects.iter();
        if objects.any(|object| object.location == gone.location) {
            return Ok(None);
        }
        Ok(Some(Moved {
            gone,
            newest,
            files: &self.files,
        }))
    }
}

impl Moved<'_> {
    /// The objects that have any of the events, ascending.
    fn objects(&self) -> impl DoubleEndedIterator<Item = &Object> {
        let Range { start, end } = self.gone.offsets;
        let objects = self.newest.state().objects.iter();
        objects.filter(move |object| object.offsets.start < end && start < object.offsets.end)
    }

    /// Those of a range that the object had.
    fn within(&self, offsets: &Range<u64>) -> Range<u64> {
        offsets.start.max(self.gone.offsets.start)..offsets.end.min(self.gone.offsets.end)
    }

    pub(super) fn at(&self, offset: u64) -> Result<Found, ObjectError> {
        let mut objects = self.objects();
        let Some(object) = objects.find(|object| offset < object.offsets.end) else {
            return Ok(Found::Gap(offset..self.gone.offsets.end, Missing::Retired));
        };
        if offset < object.offsets.start {
            return Ok(Found::Gap(offset..object.offsets.start, Missing::Retired));
        }
        match self.files.at(object, offset).map_err(outrun)? {
            Found::Gap(gap, why) => Ok(Found::Gap(self.within(&gap), why)),
            Found::Block(block) => {
                let offsets = self.within(&block.offsets());
                let events = block
                    .events()
                    .filter(|recorded| offsets.contains(&recorded.offset));
                let events: Vec<Recorded<'_>> = events.collect();
                let events = events.into_iter();
                Ok(Found::Block(gathered(
                    object,
                    offsets.clone(),
                    events,
                    Order::Ascending,
                )?))
            }
        }
    }

    pub(super) fn task(&self, task: &str, offsets: Range<u64>, wanted: Wanted) -> Result<Block, ObjectError> {
        let offsets = self.within(&offsets);
        self.find(wanted, |object, order| {
            // An event may have no task; nobody finds it by that.
            if !self.files.summary(object)?.has_task(task) {
                return Ok(Events::default());
            }
            let file = self.files.open(object)?;
            let found = file.task(task, offsets.clone(), wanted.count_max, order);
            found.map_err(|error| self.files.failed(object, error))
        })
    }

    pub(super) fn stream(
        &self,
        stream: &str,
        versions: Range<u64>,
        wanted: Wanted,
    ) -> Result<Block, ObjectError> {
        self.find(wanted, |object, order| {
            let file = self.files.open(object)?;
            // A file knows versions and not offsets here, so it may be more than is wanted; there is no limit that would be right.
            let found = file.stream(stream, versions.clone(), usize::MAX, order);
            found.map_err(|error| self.files.failed(object, error))
        })
    }

    /// The first, or the last, events that are found and that the object had.
    fn find(
        &self,
        wanted: Wanted,
        find: impl Fn(&Object, Order) -> Result<Events, ObjectError>,
    ) -> Result<Block, ObjectError> {
        let order = order_of(wanted.end);
        let mut objects: Vec<&Object> = self.objects().collect();
        if order == Order::Descending {
            objects.reverse();
        }
        let found: Result<Vec<Events>, ObjectError> =
            objects.into_iter().map(|object| find(object, order)).collect();
        let found = found.map_err(outrun)?;
        let events = found.iter().flat_map(Events::iter);
        let ours = events.filter(|recorded| self.gone.offsets.contains(&recorded.offset));
        let wanted: Vec<Recorded<'_>> = ours.take(wanted.count_max).collect();
        gathered(self.gone, self.gone.offsets.clone(), wanted.into_iter(), order)
    }

    pub(super) fn summary(&self) -> Result<Arc<Summary>, ObjectError> {
        let mut objects = self.objects();
        if let (Some(object), None) = (objects.next(), objects.next())
            && self.within(&object.offsets) == object.offsets
        {
            return self.files.summary(object).map_err(outrun);
        }
        let mut summary = Summary::new();
        for object in self.objects() {
            let file = self.files.open(object).map_err(outrun)?;
            for (index, group) in file.groups().iter().enumerate() {
                let offsets = self.within(&group.offsets);
                if offsets.is_empty() {
                    continue;
                }
                let events = file
                    .group(index)
                    .map_err(|error| outrun(self.files.failed(object, error)))?;
                let events: Vec<Recorded<'_>> = events
                    .iter()
                    .filter(|recorded| offsets.contains(&recorded.offset))
                    .collect();
                summary.add(&gathered(object, offsets, events.into_iter(), Order::Ascending)?);
            }
        }
        Ok(Arc::new(summary))
    }
}

/// What takes the place of another file may be gone as soon. It is not lost, and it is not looked for a second time.
fn outrun(error: ObjectError) -> ObjectError {
    match error {
        ObjectError::Vanished { location } => ObjectError::Outrun { location },
        error => error,
    }
}
