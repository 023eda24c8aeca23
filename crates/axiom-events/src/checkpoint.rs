//! The streams and their versions at some offset, in a file, so that opening a log need not read all of it.
//!
//! A checkpoint is derived: one that is missing, old or damaged costs time, nothing else. It is named after its offset,
//! twenty digits and `.streams`; the two newest are kept. All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `AXH` and the version of this format, 1 |
//! | 4 | 4 | CRC-32C of everything after it |
//! | 8 | 8 | the offset: events before it are counted in |
//! | 16 | 8 | how many streams |
//! | 24 | | for each: bytes of its name (1), the name, its next version (8) |

use std::io;
use std::path::Path;

use crate::disk::{Access, Disk};
use crate::streams::Streams;

const MAGIC: [u8; 4] = *b"AXH\x01";
const SUFFIX: &str = ".streams";
const TEMPORARY: &str = "streams.tmp";
/// Older ones are removed. The one before the newest is there for the case that the newest is damaged.
const KEPT: usize = 2;
/// Bytes before the first stream.
const HEAD_BYTES: usize = 24;

/// Writes a checkpoint at this offset, and removes old ones.
pub(crate) fn save(disk: &dyn Disk, folder: &Path, offset: u64, streams: &Streams) -> io::Result<()> {
    let bytes = encode(offset, streams);
    let temporary = folder.join(TEMPORARY);
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary, bytes.len() as u64)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, &folder.join(format!("{offset:020}{SUFFIX}")))?;
    disk.sync_folder(folder)?;
    for old in saved(disk, folder)?.into_iter().rev().skip(KEPT) {
        disk.remove(&folder.join(format!("{old:020}{SUFFIX}")))?;
    }
    Ok(())
}

/// Reads the newest sound checkpoint, and says its offset; 0 if there is none. So many events there were once: a log that
/// ends before it has lost some.
pub(crate) fn load(disk: &dyn Disk, folder: &Path, streams: &mut Streams) -> u64 {
    let Ok(saved) = saved(disk, folder) else { return 0 };
    for offset in saved.into_iter().rev() {
        let path = folder.join(format!("{offset:020}{SUFFIX}"));
        match read(disk, &path) {
            Ok(bytes) if decode(&bytes, offset, streams).is_some() => return offset,
            Ok(_) => {
                tracing::warn!(path = %path.display(), "a checkpoint is damaged; the log is read instead")
            }
            Err(error) => tracing::warn!(%error, "a checkpoint cannot be read; the log is read instead"),
        }
    }
    0
}

/// Offsets of the checkpoints there are, ascending.
fn saved(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<u64>> {
    let names = disk.files(folder)?;
    let offsets = names.iter().filter_map(|name| {
        name.strip_suffix(SUFFIX)
            .filter(|digits| digits.len() == 20)?
            .parse()
            .ok()
    });
    let mut offsets: Vec<u64> = offsets.collect();
    offsets.sort_unstable();
    Ok(offsets)
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let bytes = usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut buffer = vec![0; bytes];
    let filled = file.read_at(&mut buffer, 0)?;
    buffer.truncate(filled);
    Ok(buffer)
}

fn encode(offset: u64, streams: &Streams) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&(streams.len() as u64).to_le_bytes());
    for (name, next) in streams.iter() {
        out.push(u8::try_from(name.len()).expect("names are at most 255 bytes long"));
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&next.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// `None`, and `streams` as it was, if the bytes are not a checkpoint at this offset.
fn decode(bytes: &[u8], offset: u64, streams: &mut Streams) -> Option<()> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    let crc = u32::from_le_bytes(*head[4..].first_chunk()?);
    let at = u64::from_le_bytes(*head[8..].first_chunk()?);
    if head[..4] != MAGIC || crc != crc32c::crc32c(&bytes[8..]) || at != offset {
        return None;
    }
    let count = u64::from_le_bytes(*head[16..].first_chunk()?);
    let mut rest = &bytes[HEAD_BYTES..];
    let mut found = Vec::new();
    for _ in 0..count {
        let (len, after) = rest.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(*len))?;
        let (next, after) = after.split_first_chunk()?;
        found.push((std::str::from_utf8(name).ok()?, u64::from_le_bytes(*next)));
        rest = after;
    }
    if !rest.is_empty() {
        return None;
    }
    for (name, next) in found {
        streams.set_next(name, next);
    }
    Some(())
}

#[cfg(test)]
mod tests;
