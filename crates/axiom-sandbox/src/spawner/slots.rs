//! Sandboxes that stand before they are wanted: which ones, and who gets them.
//!
//! Nobody says beforehand what tasks will want. So they are made like those that were wanted last: walls that were asked for twice
//! among the last tasks will be asked for again. They are made when nobody waits, and each is for one task. One that is not asked
//! for any more is ended.
//!
//! To each the spawner has a socket. On it a slot says that it stands, is told the folder of its task, and says that it has taken
//! it; whatever comes after that is between it and whoever asked. A slot that does not take its task at once gets none.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use axiom_core::time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::limits::Limits;
use crate::raw::{self, Forked};
use crate::spec::Spec;

use super::walls::{Ground, Shape};

/// Tasks that are looked back to.
const RECENT: usize = 8;
/// After a start the machine is left to the task for so long; tasks that come in a row are not held up either.
const QUIET: Duration = Duration::from_millis(10);
/// A slot reads a line and writes a byte: microseconds, unless the machine is very busy.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// A slot holds its folder, and so the file system that this is on: not for ever.
const UNUSED_TIME: Duration = Duration::from_secs(600);

/// What a slot says when it stands, and when it has taken its task.
pub(super) const STANDS: u8 = b's';
pub(super) const TAKEN: u8 = b't';

#[derive(Debug)]
pub(super) struct Slots {
    slots_max: usize,
    standing: VecDeque<Standing>,
    /// The newest comes first.
    recent: VecDeque<Wanted>,
}

/// What was wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) shape: Shape,
    pub(super) limits: Limits,
}

#[derive(Debug)]
struct Standing {
    shape: Shape,
    /// Of the [`Ground`] on which it was made.
    edition: u64,
    line: UnixStream,
    has_said_so: bool,
    /// When its shape was asked for last.
    asked: time::Instant,
}

/// What a process is to become that was forked for a slot.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) wanted: Wanted,
    pub(super) line: UnixStream,
}

impl Slots {
    pub(super) fn new(slots_max: usize) -> Slots {
        Slots {
            slots_max,
            standing: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// Gives a task to a slot, if there is one for it. Says whether it was taken.
    pub(super) fn give(&mut self, spec: &Spec, folder: &Path, ground: &Ground) -> bool {
        let Some(shape) = Shape::of(spec).filter(|_| self.slots_max > 0) else {
            return false;
        };
        let edition = ground.edition();
        self.standing.retain(|slot| Some(slot.edition) == edition);
        let now = time::now();
        let of_shape = self.standing.iter_mut().filter(|slot| slot.shape == shape);
        of_shape.for_each(|slot| slot.asked = now);
        self.note(Wanted {
            shape: shape.clone(),
            limits: spec.limits.clone(),
        });
        let mut at = 0;
        while let Some(slot) = self.standing.get_mut(at) {
            if slot.shape != shape || slot.is_being_made() {
                at += 1;
            } else if self.standing.remove(at).is_some_and(|slot| slot.take(folder)) {
                return true;
            }
        }
        false
    }

    fn note(&mut self, wanted: Wanted) {
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(wanted);
    }

    /// Makes slots, and ends them, until somebody tells something. Returns in each slot that is made, too, with what that is for.
    pub(super) fn tend(&mut self, teller: &UnixStream, ground: &Ground) -> io::Result<Option<Errand>> {
        loop {
            let now = time::now();
            self.standing.retain(|slot| now < slot.asked + UNUSED_TIME);
            let wanted = self.lacking().cloned();
            let next_end = self.standing.iter().map(|slot| slot.asked + UNUSED_TIME).min();
            let pause = match (&wanted, next_end) {
                (Some(_), _) => QUIET,
                (None, Some(end)) => end.saturating_duration_since(now) + QUIET,
                (None, None) => return Ok(None),
            };
            let pause = Timespec::try_from(pause).unwrap_or_default();
            let mut told = [PollFd::new(teller, PollFlags::IN)];
            match (poll(&mut told, Some(&pause)), wanted) {
                (Ok(0), Some(wanted)) => {
                    if let Some(errand) = self.make(wanted, ground) {
                        return Ok(Some(errand));
                    }
                }
                (Ok(0) | Err(Errno::INTR), _) => {}
                (told, _) => return told.map(|_| None).map_err(io::Error::from),
            }
        }
    }

    /// Of what there should be one more: the newest that was wanted twice. It has all slots, but for those of other tasks of late.
    fn lacking(&self) -> Option<&Wanted> {
        let times = |wanted: &Wanted| {
            self.recent
                .iter()
                .filter(|other| other.shape == wanted.shape)
                .count()
        };
        let wanted = self.recent.iter().find(|wanted| times(wanted) > 1)?;
        let has_room = self.standing.len() < self.slots_max || self.forgotten().is_some();
        has_room.then_some(wanted)
    }

    /// One that no task of late would take.
    fn forgotten(&self) -> Option<usize> {
        let is_recent = |slot: &Standing| self.recent.iter().any(|wanted| wanted.shape == slot.shape);
        self.standing.iter().position(|slot| !is_recent(slot))
    }

    fn make(&mut self, wanted: Wanted, ground: &Ground) -> Option<Errand> {
        ground.lay_out();
        let made = UnixStream::pair().ok().zip(ground.edition());
        let Some(((ours, theirs), edition)) = made else {
            // Here there are none: whoever is not root has nothing that a slot could begin with.
            self.recent.clear();
            return None;
        };
        if self.standing.len() >= self.slots_max
            && let Some(forgotten) = self.forgotten()
        {
            self.standing.remove(forgotten);
        }
        match raw::fork() {
            Ok(Forked::Child) => {
                return Some(Errand { wanted, line: theirs });
            }
            Ok(Forked::Parent(_)) => {
                self.standing.push_back(Standing {
                    shape: wanted.shape,
                    edition,
                    line: ours,
                    has_said_so: false,
                    asked: time::now(),
                });
            }
            // The next tasks will say so.
            Err(_) => self.recent.clear(),
        }
        None
    }
}

impl Standing {
    /// Not there yet. One that is gone is told from one that stands when it does not take its task.
    fn is_being_made(&mut self) -> bool {
        if !self.has_said_so {
            self.has_said_so = is_readable(&self.line, Duration::ZERO);
        }
        !self.has_said_so
    }

    /// Tells it its task. Once this has said no, the slot takes it no more.
    fn take(mut self, folder: &Path) -> bool {
        let line = [folder.as_os_str().as_bytes(), b"\n"].concat();
        let is_told =
            self.line.set_write_timeout(Some(ANSWER_TIME)).is_ok() && self.line.write_all(&line).is_ok();
        let mut said = [0; 2];
        let mut len = 0;
        while is_told && len < said.len() && is_readable(&self.line, ANSWER_TIME) {
            match self.line.read(&mut said[len..]) {
                Ok(0) | Err(_) => break,
                Ok(count) => len += count,
            }
        }
        if len < said.len() {
            // From here on it cannot say that it has taken it; it may have said so this moment.
            self.line.shutdown(Shutdown::Both).ok();
            len += self.line.read(&mut said[len..]).unwrap_or(0);
        }
        len == said.len() && said == [STANDS, TAKEN]
    }
}

fn is_readable(line: &UnixStream, within: Duration) -> bool {
    let mut said = [PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN)];
    let within = Timespec::try_from(within).unwrap_or_default();
    matches!(poll(&mut said, Some(&within)), Ok(1..))
}
