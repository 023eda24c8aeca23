//! Stopping a whole group for a while, and ending it for good.
//!
//! Version 2 does both in one write each. Version 1 stops with a controller, and ends process by process, so it needs care:
//! a process may fork faster than we kill. So forks are forbidden first and the group is stopped, which makes its list of
//! processes a fixed one; a signal goes through a handle that was checked to be of the group, so a number that was given to
//! another process meanwhile hits nobody.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::GET_CONTROLLER;
use super::tree::Place;
use super::{Controller, Group, GroupError, Version, file};
use crate::wait;

/// A thousand processes stop within some 20 ms; one that hangs in the kernel never does.
const FREEZE_LIMIT: Duration = Duration::from_secs(1);

/// One kill of a thousand processes takes under 250 ms; what is left after five seconds hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long one round of signals gets to show, before the next one.
const ROUND_LIMIT: Duration = Duration::from_millis(250);

/// A round in which the group does not stop shall not cost the time for the others.
const FREEZE_TO_KILL_LIMIT: Duration = Duration::from_millis(100);

/// Open at once, far below the 1,024 files that a process usually may have.
const HANDLES_MAX: usize = 128;

impl Group {
    /// Stops every process of the group where it is. They keep their memory and use no CPU.
    ///
    /// # Errors
    /// [`GroupError::NotFrozen`] if they did not all stop in time; they all run again then.
    pub fn freeze(&self) -> Result<(), GroupError> {
        self.freeze_within(FREEZE_LIMIT)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), GroupError> {
        let place = self.freezer()?;
        match place.version {
            Version::V2 => order(place.folder.join("cgroup.freeze"), "0", "thaw a group"),
            Version::V1 => order(place.folder.join("freezer.state"), "THAWED", "thaw a group"),
        }
    }

    /// Ends every process of the group, and does not return before they are gone. Works on a frozen group, too.
    ///
    /// Takes a few milliseconds, and some six seconds at most.
    ///
    /// # Errors
    /// [`GroupError::StillAlive`] if some are left: they hang in the kernel and will end when it lets them.
    pub fn kill_all(&self) -> Result<(), GroupError> {
        if self.kill_by_kernel()? && self.is_empty_within(ROUND_LIMIT)? {
            return Ok(());
        }
        self.forbid_forks()?;
        let ended = wait::until(KILL_LIMIT, || {
            self.kill_one_by_one()?;
            self.is_empty_within(ROUND_LIMIT)
        })?;
        match ended {
            true => Ok(()),
            false => Err(GroupError::StillAlive {
                path: self.any_folder(),
                processes: self.processes()?.len(),
                waited: KILL_LIMIT,
            }),
        }
    }

    fn freezer(&self) -> Result<&Place, GroupError> {
        self.place(Controller::Freezer)
            .ok_or_else(|| GroupError::CannotEnforce {
                limit: "freeze",
                controller: Some(Controller::Freezer),
                reason: "neither version 2 nor the controller `freezer` of version 1 is ours to use".into(),
                hint: GET_CONTROLLER,
            })
    }

    fn freeze_within(&self, limit: Duration) -> Result<(), GroupError> {
        let place = self.freezer()?;
        let frozen = match place.version {
            Version::V2 => {
                order(place.folder.join("cgroup.freeze"), "1", "freeze a group")?;
                let events = place.folder.join("cgroup.events");
                wait::until(limit, || {
                    Ok(file::field(&file::read(&events)?, "frozen") == Some(1))
                })?
            }
            Version::V1 => {
                let state = place.folder.join("freezer.state");
                // Asked again each time: a process that was just being born may have been missed.
                wait::until(limit, || {
                    order(state.clone(), "FROZEN", "freeze a group")?;
                    Ok(file::read(&state)?.trim() == "FROZEN")
                })?
            }
        };
        if frozen {
            return Ok(());
        }
        self.thaw()?;
        Err(GroupError::NotFrozen {
            path: place.folder.clone(),
            waited: limit,
        })
    }

    /// False where there is no such thing: version 1 alone, or a kernel before 5.14.
    fn kill_by_kernel(&self) -> Result<bool, GroupError> {
        let Some(place) = self.places().iter().find(|place| place.version == Version::V2) else {
            return Ok(false);
        };
        match file::write(&place.folder.join("cgroup.kill"), "1") {
            Ok(()) => Ok(true),
            Err(error) if file::is_gone(&error) => Ok(false),
            Err(source) => Err(GroupError::Access {
                step: "kill a group",
                source,
            }),
        }
    }

    fn forbid_forks(&self) -> Result<(), GroupError> {
        match self.file(Controller::Pids, "pids.max") {
            Some(file) => order_if_there(file, "0", "forbid forks in a group"),
            None => Ok(()),
        }
    }

    fn kill_one_by_one(&self) -> Result<(), GroupError> {
        let stops = self.place(Controller::Freezer).is_some();
        // If they do not stop, the round still kills those that it saw, and another round follows.
        let stopped = stops && self.freeze_within(FREEZE_TO_KILL_LIMIT).is_ok();
        let killed = self.signal_all();
        if stopped {
            self.thaw()?;
        }
        killed
    }

    fn signal_all(&self) -> Result<(), GroupError> {
        let processes: Vec<Pid> = self.processes()?.into_iter().collect();
        processes
            .chunks(HANDLES_MAX)
            .try_for_each(|some| self.signal(some))
    }

    fn signal(&self, processes: &[Pid]) -> Result<(), GroupError> {
        let handles: Vec<_> = processes
            .iter()
            .filter_map(|pid| Some((*pid, handle(*pid)?)))
            .collect();
        // Whoever is in the group after its handle was opened is the one that the handle is of, or that one has ended.
        let inside = self.processes()?;
        for (_, handle) in handles.iter().filter(|(pid, _)| inside.contains(pid)) {
            match pidfd_send_signal(handle, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => {
                    let source = errno.into();
                    return Err(GroupError::Access {
                        step: "kill a process of a group",
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    fn is_empty_within(&self, limit: Duration) -> Result<bool, GroupError> {
        wait::until(limit, || self.is_empty())
    }

    fn any_folder(&self) -> PathBuf {
        self.places()
            .first()
            .map(|place| place.folder.clone())
            .unwrap_or_default()
    }
}

/// `None` if it has ended already.
fn handle(pid: Pid) -> Option<std::os::fd::OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn order(file: PathBuf, text: &str, step: &'static str) -> Result<(), GroupError> {
    file::write(&file, text).map_err(|source| GroupError::Access { step, source })
}

fn order_if_there(file: PathBuf, text: &str, step: &'static str) -> Result<(), GroupError> {
    match file::write(&file, text) {
        Err(error) if file::is_gone(&error) => Ok(()),
        outcome => outcome.map_err(|source| GroupError::Access { step, source }),
    }
}
