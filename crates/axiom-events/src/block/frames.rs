//! The columns of a block as zstd frames, each of which is unpacked without the others.
//!
//! The first frame has everything but the bodies. Each of the others has 32 KiB of these, the last one what is left. Columns
//! that are no longer than that together are one frame. Whoever wants all of a block gives the frames to zstd as they are:
//! one after the other they are a stream like any other. Whoever wants a few of its events unpacks the first frame, and those
//! that their bodies are in.

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use super::Unsound;

/// Bytes of bodies in a frame. Lines of agents take 4 % more with a quarter of it, and no less with any more.
pub(super) const FRAME_BYTES: usize = 32 << 10;
/// zstd's fastest level: twice the level costs twice the time here and saves a tenth.
const ZSTD_LEVEL: i32 = 1;
/// Memory that is kept from one block to the next.
pub(super) const KEPT_BYTES_MAX: usize = 4 << 20;

/// Compresses columns; keeps the compressor and its memory.
pub(super) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    /// Keeps its length, so that it is not filled with zeros each time.
    room: Vec<u8>,
    joined: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> io::Result<Packer> {
        Ok(Packer {
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            room: Vec::new(),
            joined: Vec::new(),
        })
    }

    /// The frames of these columns, of which the bodies come last. `None` if that is not shorter.
    pub(super) fn pack(&mut self, front: &[u8], bodies: &[u8]) -> Option<&[u8]> {
        let Packer {
            compressor,
            room,
            joined,
        } = self;
        let bytes = front.len() + bodies.len();
        let (first, others) = if bytes > FRAME_BYTES {
            (front, bodies)
        } else {
            joined.clear();
            joined.extend_from_slice(front);
            joined.extend_from_slice(bodies);
            (joined.as_slice(), &[][..])
        };
        let mut used = 0;
        for frame in std::iter::once(first).chain(others.chunks(FRAME_BYTES)) {
            let until = used + zstd::zstd_safe::compress_bound(frame.len());
            if room.len() < until {
                room.resize(until, 0);
            }
            // There is room for whatever it becomes, so it does not fail.
            used += compressor.compress_to_buffer(frame, &mut room[used..]).ok()?;
        }
        (used < bytes).then(|| &room[..used])
    }

    /// Gives memory back that only the largest blocks need.
    pub(super) fn shrink(&mut self) {
        if self.room.capacity() > KEPT_BYTES_MAX {
            self.room = Vec::new();
        }
    }
}

thread_local! {
    /// To make one takes as long as to unpack a small block.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn with_decompressor<T>(
    work: impl FnOnce(&mut zstd::bulk::Decompressor<'static>) -> io::Result<T>,
) -> Result<T, Unsound> {
    let kept = DECOMPRESSOR.try_with(RefCell::take).ok().flatten();
    let made = kept.map_or_else(zstd::bulk::Decompressor::new, Ok);
    let outcome = made.and_then(|mut decompressor| {
        let outcome = work(&mut decompressor);
        // A thread that is ending keeps none.
        let _kept = DECOMPRESSOR
            .try_with(|kept| kept.replace(Some(decompressor)))
            .is_ok();
        outcome
    });
    let what = "they do not decompress";
    outcome.map_err(|_| Unsound::Columns { what })
}

/// Puts all the columns into `plain`, no more than it has room for.
pub(super) fn unpack(stored: &[u8], plain: &mut Vec<u8>) -> Result<(), Unsound> {
    with_decompressor(|decompressor| decompressor.decompress_to_buffer(stored, plain)).map(drop)
}

/// The frames of a block's columns, to be unpacked one by one.
pub(super) struct Frames<'a> {
    stored: &'a [u8],
    frames: Vec<Frame>,
}

struct Frame {
    stored: Range<usize>,
    plain: Range<usize>,
    is_unpacked: bool,
}

impl<'a> Frames<'a> {
    /// `None` if these are not frames that say what they become, and that become so many bytes.
    pub(super) fn find(stored: &'a [u8], bytes: usize) -> Option<Frames<'a>> {
        let mut frames: Vec<Frame> = Vec::new();
        let (mut at, mut plain_at) = (0, 0usize);
        while at < stored.len() {
            let rest = &stored[at..];
            let end = at + zstd::zstd_safe::find_frame_compressed_size(rest).ok()?;
            let plain = zstd::zstd_safe::get_frame_content_size(rest).ok()??;
            let plain_end = plain_at.checked_add(usize::try_from(plain).ok()?)?;
            // A block has a front, full frames and a last one.
            if end <= at || plain_end > bytes || frames.len() > bytes / FRAME_BYTES + 2 {
                return None;
            }
            frames.push(Frame {
                stored: at..end,
                plain: plain_at..plain_end,
                is_unpacked: false,
            });
            (at, plain_at) = (end, plain_end);
        }
        (plain_at == bytes).then_some(Frames { stored, frames })
    }

    /// Bytes of what is in the first frame.
    pub(super) fn first_bytes(&self) -> usize {
        self.frames.first().map_or(0, |frame| frame.plain.end)
    }

    /// Unpacks the frames with these bytes to where they belong, those that are not there yet.
    pub(super) fn unpack(&mut self, bytes: &Range<usize>, plain: &mut [u8]) -> Result<(), Unsound> {
        let from = self
            .frames
            .partition_point(|frame| frame.plain.end <= bytes.start);
        let frames = self.frames[from..].iter_mut();
        for frame in frames.take_while(|frame| frame.plain.start < bytes.end) {
            if std::mem::replace(&mut frame.is_unpacked, true) {
                continue;
            }
            let stored = &self.stored[frame.stored.clone()];
            let plain = &mut plain[frame.plain.clone()];
            let unpacked =
                with_decompressor(|decompressor| decompressor.decompress_to_buffer(stored, plain))?;
            if unpacked != plain.len() {
                let what = "a frame of another length than it says";
                return Err(Unsound::Columns { what });
            }
        }
        Ok(())
    }
}
