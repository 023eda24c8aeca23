//! The end of the output, without reading what was before it.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{HEAD_BYTES, Head, PAYLOAD_BYTES_MAX, Reader};

/// The largest frame fits, and the beginning of another one is in it wherever it begins.
const WINDOW_BYTES_MIN: u64 = 2 * (PAYLOAD_BYTES_MAX + HEAD_BYTES) as u64;

impl Reader {
    /// As [`Reader::open`], but the first frame is one with about `bytes` of the file behind its beginning: less than that, and
    /// no more than a frame less. A file that is shorter is read from its first frame, and so is one whose end is no row of frames.
    ///
    /// A task can write what looks like frames. Whoever looks near the end then sees other output of that same task, and nothing else.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_near_end(path: &Path, bytes: u64) -> io::Result<Reader> {
        let mut reader = Reader::open(path)?;
        let len = reader.file.metadata()?.len();
        let from = len.saturating_sub(bytes.max(WINDOW_BYTES_MIN));
        if from <= reader.start {
            return Ok(reader);
        }
        let mut window = vec![0; usize::try_from(len - from).map_err(io::Error::other)?];
        let read = reader.file.read_at(&mut window, from)?;
        window.truncate(read);
        // No frame is longer than this, so one begins before.
        let places = (PAYLOAD_BYTES_MAX + HEAD_BYTES).min(window.len());
        let found = (0..places).find_map(|at| Some((at, row(window.get(at..)?)?)));
        if let Some((at, seq)) = found {
            reader.start = from + at as u64;
            reader.seq = seq;
        }
        Ok(reader)
    }
}

/// The number of the first frame, if frames follow each other from here to the end; the last may still be written.
fn row(mut bytes: &[u8]) -> Option<u64> {
    let first = whole(bytes)??.0;
    let mut seq = first;
    while let Some((number, len)) = whole(bytes)? {
        if number != seq {
            return None;
        }
        seq += 1;
        bytes = bytes.get(len..)?;
    }
    Some(first)
}

/// The frame that begins here: its number and its length. `Some(None)` if it is not all there, `None` if there is none.
fn whole(bytes: &[u8]) -> Option<Option<(u64, usize)>> {
    let Some(head) = bytes.get(..HEAD_BYTES) else {
        return Some(None);
    };
    let head = Head::read(head)?;
    let len = HEAD_BYTES + head.len;
    let Some(frame) = bytes.get(..len) else {
        return Some(None);
    };
    (crc32c::crc32c(frame.get(4..)?) == head.sum).then_some(Some((head.seq, len)))
}
