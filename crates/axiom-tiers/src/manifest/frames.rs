//! The bytes of a manifest: records one after the other, each with its length and checksum.

use super::state::Record;

pub(super) const MAGIC: [u8; 8] = *b"AXMAN\0\0\x01";
const FRAME_MAGIC: [u8; 4] = *b"AXR\x01";
const FRAME_HEAD_BYTES: usize = 12;

/// Where the records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) end: usize,
    /// Bytes behind that of a record that was not finished.
    pub(super) torn_bytes: usize,
}

/// What is no record, and is not the end either.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) reason: String,
}

pub(super) fn frame(record: &Record) -> Vec<u8> {
    let json = serde_json::to_vec(record).expect("a record is plain data");
    let bytes = u32::try_from(json.len()).expect("a manifest's state has less than 4 GiB");
    let mut frame = FRAME_MAGIC.to_vec();
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&bytes.to_le_bytes());
    frame.extend_from_slice(&json);
    let crc = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// All records and where they begin.
pub(super) fn records(bytes: &[u8]) -> Result<(Vec<(usize, Record)>, Tail), Bad> {
    match bytes.first_chunk::<8>() {
        Some(magic) if *magic == MAGIC => {}
        Some([b'A', b'X', b'M', b'A', b'N', 0, 0, version]) => {
            let reason = format!("it is of format {version}, this program reads format 1");
            return Err(Bad { at: 0, reason });
        }
        _ => {
            let reason = "it does not begin like a manifest".to_owned();
            return Err(Bad { at: 0, reason });
        }
    }
    let mut found = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        match record_at(bytes, at) {
            Some((record, end)) => {
                let record = record.map_err(|reason| Bad { at, reason })?;
                found.push((at, record));
                at = end;
            }
            // Whoever was writing it died. With a record behind it, it was one.
            None if (at + 1..bytes.len()).any(|at| record_at(bytes, at).is_some()) => {
                let reason = "there is no record, and records follow".to_owned();
                return Err(Bad { at, reason });
            }
            None => break,
        }
    }
    let tail = Tail {
        end: at,
        torn_bytes: bytes.len() - at,
    };
    Ok((found, tail))
}

/// The record that begins here, if its checksum is right, and where it ends. One that this program does not understand is an
/// error: a newer one wrote it.
fn record_at(bytes: &[u8], at: usize) -> Option<(Result<Record, String>, usize)> {
    let head = bytes.get(at..)?.first_chunk::<FRAME_HEAD_BYTES>()?;
    let number = |at: usize| Some(u32::from_le_bytes(*head[at..].first_chunk()?));
    if head[..4] != FRAME_MAGIC {
        return None;
    }
    let (crc, length) = (number(4)?, usize::try_from(number(8)?).ok()?);
    let end = (at + FRAME_HEAD_BYTES).checked_add(length)?;
    let checked = bytes.get(at + 8..end)?;
    if crc32c::crc32c(checked) != crc {
        return None;
    }
    let record = serde_json::from_slice(&checked[4..])
        .map_err(|error| format!("a record says what is not understood: {error}"));
    Some((record, end))
}
