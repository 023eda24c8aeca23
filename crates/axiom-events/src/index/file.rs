//! An index as it lies beside its segment: the same digits and `.idx`.
//!
//! All numbers are little-endian; "number" is a varint, "signed" a zigzag one.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `AXI` and the version of this format, 2 |
//! | 4 | 4 | CRC-32C of everything after it |
//! | 8 | 8 | offset of the segment's first event |
//! | 16 | 8 | the offset after its last |
//! | 24 | 8 | bytes of the rest before compression, at most 1 GiB |
//! | 32 | | the rest, zstd |
//!
//! The rest, one after the other:
//! names: how many (number), then length (number) and UTF-8 of each;
//! blocks: how many (number), then each one's first offset as the difference to the one before it (number);
//! tasks, then streams: how many (number), then for each its name (number), how many bytes of postings (number), and these:
//! for each posting the block and the first version, as the difference to the posting before, and the count (numbers);
//! four rollups, by second, minute and hour, and by hour with each task apart: how many (number), then for each cell its time as the difference to the one before
//! it (signed), tenant, task plus one or 0 for all, kind, level, events, body bytes, and of both those of events that were not
//! kept (numbers);
//! tasks that are numbers of 128 bits and have one event: how many different cells these have (number), then each cell as above
//! without what is counted; how many tasks (number), then, ascending, for each its number as the difference to the one before
//! (signed), its block, the place of its cell, and the bytes of the body (numbers).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};

use super::alone::Alone;
use super::{Cells, Index, Postings};
use crate::block::varint;
use crate::digest::{ANY, Cell, Count};
use crate::disk::{Access, Disk};
use crate::event::Level;
use crate::names::Names;
use crate::task_id;

const MAGIC: [u8; 4] = *b"AXI\x02";
const HEAD_BYTES: usize = 32;
const TEMPORARY: &str = "idx.tmp";
const ZSTD_LEVEL: i32 = 3;
/// What a reader allocates for a file that says so itself.
const PLAIN_BYTES_MAX: u64 = 1 << 30;

fn path(folder: &Path, first_offset: u64) -> PathBuf {
    folder.join(format!("{first_offset:020}.idx"))
}

/// Writes the index of the segment with these offsets. It is not synced: a torn one is found by its checksum, and made again.
pub(crate) fn save(
    disk: &dyn Disk,
    folder: &Path,
    offsets: std::ops::Range<u64>,
    index: &Index,
) -> io::Result<()> {
    let bytes = encode_file(offsets.clone(), index)?;
    let temporary = folder.join(TEMPORARY);
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary, bytes.len() as u64)?;
    file.write_at(&bytes, 0)?;
    disk.rename(&temporary, &path(folder, offsets.start))
}

/// Removes the index of a segment that is gone; there may be none.
pub(crate) fn remove(disk: &dyn Disk, folder: &Path, first_offset: u64) -> io::Result<()> {
    match disk.remove(&path(folder, first_offset)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads the index of the segment with these offsets; `None` if there is none that can be trusted.
pub(crate) fn load(disk: &dyn Disk, folder: &Path, offsets: std::ops::Range<u64>) -> Option<Index> {
    let file = disk.open(&path(folder, offsets.start), Access::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.bytes().ok()?).ok()?];
    let filled = file.read_at(&mut bytes, 0).ok()?;
    decode_file(&bytes[..filled], offsets)
}

/// The bytes of an index of the events with these offsets.
pub(crate) fn encode_file(offsets: std::ops::Range<u64>, index: &Index) -> io::Result<Vec<u8>> {
    let plain = encode(index);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&offsets.start.to_le_bytes());
    bytes.extend_from_slice(&offsets.end.to_le_bytes());
    bytes.extend_from_slice(&(plain.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&zstd::bulk::compress(&plain, ZSTD_LEVEL)?);
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// The index in these bytes; `None` if they are no sound index of the events with these offsets.
pub(crate) fn decode_file(bytes: &[u8], offsets: std::ops::Range<u64>) -> Option<Index> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    let number = |at: usize| Some(u64::from_le_bytes(*head[at..].first_chunk()?));
    let crc = u32::from_le_bytes(*head[4..].first_chunk()?);
    let plain_bytes = number(24)?;
    let is_ours = number(8)? == offsets.start && number(16)? == offsets.end;
    if head[..4] != MAGIC || !is_ours || plain_bytes > PLAIN_BYTES_MAX || crc != crc32c::crc32c(&bytes[8..]) {
        return None;
    }
    let plain = zstd::bulk::decompress(&bytes[HEAD_BYTES..], usize::try_from(plain_bytes).ok()?).ok()?;
    decode(&plain)
}

fn encode(index: &Index) -> Vec<u8> {
    let mut out = Vec::new();
    varint::push(&mut out, index.names.len() as u64);
    for name in index.names.iter() {
        varint::push(&mut out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
    }
    varint::push(&mut out, index.blocks.len() as u64);
    let mut before = 0;
    for offset in &index.blocks {
        varint::push(&mut out, offset - before);
        before = *offset;
    }
    for postings in [&index.tasks, &index.streams] {
        varint::push(&mut out, postings.len() as u64);
        for (name, postings) in sorted(postings) {
            varint::push(&mut out, u64::from(*name));
            varint::push(&mut out, postings.bytes().len() as u64);
            out.extend_from_slice(postings.bytes());
        }
    }
    for cells in index.rollups.all() {
        push_cells(&mut out, cells);
    }
    push_alone(&mut out, &index.alone);
    out
}

fn push_alone(out: &mut Vec<u8>, alone: &Alone) {
    varint::push(out, alone.cells().len() as u64);
    let mut before = 0i64;
    for cell in alone.cells() {
        push_cell(out, cell, before);
        before = cell.time;
    }
    let tasks = alone.sorted();
    varint::push(out, tasks.len() as u64);
    let mut before = 0u128;
    for (id, numbers) in tasks {
        varint::push_signed_long(out, id.wrapping_sub(before).cast_signed());
        before = id;
        for number in numbers {
            varint::push(out, u64::from(number));
        }
    }
}

fn sorted<K: Ord, V, S: BuildHasher>(map: &HashMap<K, V, S>) -> Vec<(&K, &V)> {
    let mut entries: Vec<(&K, &V)> = map.iter().collect();
    entries.sort_unstable_by(|left, right| left.0.cmp(right.0));
    entries
}

fn push_cells(out: &mut Vec<u8>, cells: &Cells) {
    varint::push(out, cells.len() as u64);
    let mut before = 0i64;
    for (cell, count) in sorted(cells) {
        push_cell(out, cell, before);
        before = cell.time;
        varint::push(out, count.events);
        varint::push(out, count.body_bytes);
        varint::push(out, count.skipped);
        varint::push(out, count.skipped_body_bytes);
    }
}

fn push_cell(out: &mut Vec<u8>, cell: &Cell, time_before: i64) {
    varint::push_signed(out, cell.time.wrapping_sub(time_before));
    varint::push(out, u64::from(cell.tenant));
    varint::push(out, u64::from(cell.task.wrapping_add(1)));
    varint::push(out, u64::from(cell.kind));
    varint::push(out, cell.level as u64);
}

/// The checksum was right, so whatever is wrong here was written wrong: then there is no index.
fn decode(plain: &[u8]) -> Option<Index> {
    let mut rest = plain;
    let mut index = Index {
        names: take_names(&mut rest)?,
        ..Index::default()
    };
    let mut offset = 0u64;
    for _ in 0..varint::take(&mut rest)? {
        offset = offset.checked_add(varint::take(&mut rest)?)?;
        index.blocks.push(offset);
    }
    let (names, blocks) = (index.names.len(), index.blocks.len());
    for of in [&mut index.tasks, &mut index.streams] {
        for _ in 0..varint::take(&mut rest)? {
            let name = take_below(&mut rest, names)?;
            of.insert(name, take_postings(&mut rest, blocks)?);
        }
    }
    for cells in index.rollups.all_mut() {
        let mut time = 0i64;
        for _ in 0..varint::take(&mut rest)? {
            time = time.wrapping_add(varint::take_signed(&mut rest)?);
            let cell = take_cell(&mut rest, time, names)?;
            let count = Count {
                events: varint::take(&mut rest)?,
                body_bytes: varint::take(&mut rest)?,
                skipped: varint::take(&mut rest)?,
                skipped_body_bytes: varint::take(&mut rest)?,
            };
            cells.insert(cell, count);
        }
    }
    take_alone(&mut rest, &mut index.alone, names, blocks)?;
    let task_ids = index
        .tasks
        .keys()
        .filter_map(|task| task_id::read(index.names.name(*task)));
    index.named = task_ids.collect();
    rest.is_empty().then_some(index)
}

fn take_alone(rest: &mut &[u8], alone: &mut Alone, names: usize, blocks: usize) -> Option<()> {
    let mut time = 0i64;
    for _ in 0..varint::take(rest)? {
        time = time.wrapping_add(varint::take_signed(rest)?);
        let cell = take_cell(rest, time, names)?;
        alone.put_cell(cell).then_some(())?;
    }
    let mut id = 0u128;
    for _ in 0..varint::take(rest)? {
        id = id.wrapping_add_signed(varint::take_signed_long(rest)?);
        let block = take_below(rest, blocks)?;
        let cell = u32::try_from(varint::take(rest)?).ok()?;
        let body_bytes = u32::try_from(varint::take(rest)?).ok()?;
        alone.put(id, [block, cell, body_bytes]).then_some(())?;
    }
    Some(())
}

fn take_names(rest: &mut &[u8]) -> Option<Names> {
    let mut names = Names::default();
    for _ in 0..varint::take(rest)? {
        let bytes = usize::try_from(varint::take(rest)?).ok()?;
        let (name, after) = rest.split_at_checked(bytes)?;
        names.number(std::str::from_utf8(name).ok()?, None);
        *rest = after;
    }
    Some(names)
}

fn take_postings(rest: &mut &[u8], blocks: usize) -> Option<Postings> {
    let bytes = usize::try_from(varint::take(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Postings::read(bytes, blocks)
}

fn take_cell(rest: &mut &[u8], time: i64, names: usize) -> Option<Cell> {
    let tenant = take_below(rest, names)?;
    let task = match take_below(rest, names + 1)? {
        0 => ANY,
        task => task - 1,
    };
    Some(Cell {
        time,
        tenant,
        task,
        kind: take_below(rest, names)?,
        level: *Level::ALL.get(usize::try_from(varint::take(rest)?).ok()?)?,
    })
}

fn take_below(rest: &mut &[u8], limit: usize) -> Option<u32> {
    let number = u32::try_from(varint::take(rest)?).ok()?;
    ((number as usize) < limit).then_some(number)
}
