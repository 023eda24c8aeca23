//! Puts a filter together: the kernel's instructions, with names for the places that they jump to.

use std::collections::BTreeMap;

use libc::sock_filter;

/// A place in a program. Each is marked once, behind all jumps to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// The instruction that follows.
    Next,
    Kill,
    List,
    /// The half of a search that begins with this number.
    Upper(u32),
    Arguments,
    Socket,
    InternetSocket,
    UnixSocket,
    Clone,
    Unshare,
    Ioctl,
    Personality,
    Allow,
    Deny,
}

// Instructions of the kernel's filter machine, and what a filter answers.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_IF_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const FAIL_WITH: u32 = 0x0005_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;

// Where the kernel puts what is asked about: the call's number, its architecture, and six arguments of 8 bytes, of which the
// lower half comes first on both architectures.
pub(super) const NUMBER_AT: u32 = 0;
pub(super) const ARCHITECTURE_AT: u32 = 4;

pub(super) fn argument_at(index: u32) -> u32 {
    16 + 8 * index
}

/// A jump leads to a place that is not marked, or is too far away: at most 255 instructions.
#[derive(Debug)]
pub(super) struct Unreachable;

#[derive(Debug, Default)]
pub(super) struct Assembly {
    lines: Vec<Line>,
    marks: BTreeMap<Label, usize>,
}

#[derive(Debug)]
struct Line {
    code: u16,
    k: u32,
    yes: Label,
    no: Label,
}

impl Assembly {
    pub(super) fn load(&mut self, at: u32) {
        self.when(LOAD, at, Label::Next, Label::Next);
    }

    pub(super) fn and(&mut self, mask: u32) {
        self.when(AND, mask, Label::Next, Label::Next);
    }

    pub(super) fn end(&mut self, answer: u32) {
        self.when(RETURN, answer, Label::Next, Label::Next);
    }

    pub(super) fn when(&mut self, code: u16, k: u32, yes: Label, no: Label) {
        self.lines.push(Line { code, k, yes, no });
    }

    pub(super) fn mark(&mut self, label: Label) {
        self.marks.insert(label, self.lines.len());
    }

    pub(super) fn link(&self) -> Result<Vec<sock_filter>, Unreachable> {
        let lines = (1..).zip(&self.lines).map(|(next, line)| {
            Ok(sock_filter {
                code: line.code,
                jt: self.distance(next, line.yes)?,
                jf: self.distance(next, line.no)?,
                k: line.k,
            })
        });
        lines.collect()
    }

    fn distance(&self, next: usize, label: Label) -> Result<u8, Unreachable> {
        if label == Label::Next {
            return Ok(0);
        }
        let mark = self.marks.get(&label).ok_or(Unreachable)?;
        let distance = mark.checked_sub(next).ok_or(Unreachable)?;
        u8::try_from(distance).map_err(|_| Unreachable)
    }
}
