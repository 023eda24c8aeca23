//! What is on its way to an agent.

use std::collections::VecDeque;

use axiom_sandbox::handle::Attached;
use axiom_sandbox::wire::{INPUT_BYTES_MAX, Request};

/// Waits for room, piece by piece. What rules and profiles type is little; a prompt is as long as the command line allows.
#[derive(Debug, Default)]
pub(super) struct Input {
    waiting: VecDeque<Vec<u8>>,
    /// Nothing comes behind what waits.
    is_last: bool,
    is_ended: bool,
}

impl Input {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        // It has read all that it will ever read.
        if !self.is_last {
            self.waiting
                .extend(bytes.chunks(INPUT_BYTES_MAX).map(<[u8]>::to_vec));
        }
    }

    pub(super) fn end(&mut self) {
        self.is_last = true;
    }

    /// As much as there is room for. The rest goes when there is more.
    pub(super) fn send(&mut self, attached: &mut Attached) {
        while let Some(piece) = self.waiting.front() {
            if !attached.put(piece) {
                return;
            }
            self.waiting.pop_front();
        }
        if self.is_last && !self.is_ended {
            self.is_ended = attached.ask(Request::EndInput).is_ok();
        }
    }
}
