//! What is on its way into a command.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

#[derive(Debug)]
pub(super) struct Input {
    /// `None` as soon as nothing can be put in any more.
    fd: Option<OwnedFd>,
    waiting: Vec<u8>,
    /// Bytes that were ever put in, and of those the ones that wait no more.
    put: u64,
    gone: u64,
    /// Nothing comes behind what waits.
    is_last: bool,
    /// It ends by a character, not by being closed.
    is_terminal: bool,
}

/// What a command is to read before all else. Each byte of it is put in once, however many clients say it one after the other.
#[derive(Debug, Default)]
pub(super) struct First {
    put: u64,
    /// Nothing comes behind so many bytes.
    ends_at: Option<u64>,
    has_ended: bool,
}

impl First {
    pub(super) fn declare(&mut self, bytes: u64, ends: bool) {
        if ends {
            self.ends_at.get_or_insert(bytes);
        }
    }

    /// Of bytes that begin there in it, those that were not put in. They are by now.
    pub(super) fn new_of<'a>(&mut self, begin: u64, bytes: &'a [u8]) -> &'a [u8] {
        let known = usize::try_from(self.put.saturating_sub(begin)).unwrap_or(usize::MAX);
        let new = bytes.get(known..).unwrap_or_default();
        self.put += new.len() as u64;
        new
    }

    /// True once, when all of it was put in and nothing is to follow.
    pub(super) fn ends_now(&mut self) -> bool {
        let ends = !self.has_ended && self.ends_at.is_some_and(|end| self.put >= end);
        self.has_ended |= ends;
        ends
    }
}

/// What a terminal takes for the end of the input, where a line begins.
const END_OF_TRANSMISSION: u8 = 4;

impl Input {
    pub(super) fn new(fd: Option<OwnedFd>, is_terminal: bool) -> io::Result<Input> {
        if let Some(fd) = &fd {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Input {
            fd,
            waiting: Vec::new(),
            put: 0,
            gone: 0,
            is_last: false,
            is_terminal,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes that were ever put in. What was put in before that many is read when [`Input::gone`] is as many.
    pub(super) fn put_in(&self) -> u64 {
        self.put
    }

    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// Where there should be room for what waits.
    pub(super) fn wanting(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.fd.as_ref()?;
        (!self.waiting.is_empty()).then(|| fd.as_fd())
    }

    /// What is put in after the end, or into a command that has closed its input, goes nowhere, as in a shell.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.put += bytes.len() as u64;
        if self.fd.is_some() && !self.is_last {
            self.waiting.extend_from_slice(bytes);
            self.write();
        } else {
            self.gone = self.put - self.waiting.len() as u64;
        }
    }

    pub(super) fn end(&mut self) {
        if self.is_terminal {
            return self.put(&[END_OF_TRANSMISSION]);
        }
        self.is_last = true;
        self.write();
    }

    pub(super) fn close(&mut self) {
        self.fd = None;
        self.waiting = Vec::new();
        self.gone = self.put;
    }

    /// Gives the command as much as it takes.
    pub(super) fn write(&mut self) {
        let Some(fd) = &self.fd else { return };
        while !self.waiting.is_empty() {
            match rustix::io::write(fd, &self.waiting) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.gone += count as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // It reads no more.
                Err(_) => return self.close(),
            }
        }
        self.waiting = Vec::new();
        if self.is_last {
            self.fd = None;
        }
    }
}
