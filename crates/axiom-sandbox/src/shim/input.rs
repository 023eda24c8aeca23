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
