//! What a copy cannot go on with and may be nowhere else: it stays in the folder, under a name that no reader looks at.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::segment::{ReadError, Segment};

use super::{ReplicaError, failed};

/// How much is in memory at once.
const WINDOW_BYTES: usize = 1 << 20;

/// Copies bytes of a segment, which come where the event `offset` should be, into a file of their own; says which.
pub(super) fn keep_bytes(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
    offset: u64,
    bytes: Range<u64>,
) -> Result<PathBuf, ReplicaError> {
    let path = free_path(disk, folder, |n| {
        format!("torn-{offset:020}-{}-{n}.bin", bytes.start)
    })?;
    let on_disk = |source| failed(&path, source);
    let file = disk.create(&path, bytes.end - bytes.start).map_err(on_disk)?;
    let mut window = vec![0; WINDOW_BYTES];
    let mut at = bytes.start;
    while at < bytes.end {
        let left = usize::try_from(bytes.end - at).unwrap_or(usize::MAX);
        let filled = segment.read(&mut window[..left.min(WINDOW_BYTES)], at)?;
        if filled == 0 {
            let path = segment.path.clone();
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(ReadError::Disk { path, source }.into());
        }
        file.write_at(&window[..filled], at - bytes.start)
            .map_err(on_disk)?;
        at += filled as u64;
    }
    file.sync().map_err(on_disk)?;
    disk.sync_folder(folder).map_err(on_disk)?;
    Ok(path)
}

/// Gives a file another name; says which.
pub(super) fn keep_file(disk: &dyn Disk, folder: &Path, path: &Path) -> Result<PathBuf, ReplicaError> {
    let name = path.file_name().unwrap_or_default().display();
    let kept_in = free_path(disk, folder, |n| format!("damaged-{n}-{name}.bin"))?;
    disk.rename(path, &kept_in)
        .map_err(|source| failed(&kept_in, source))?;
    Ok(kept_in)
}

/// The first of these names that no file has.
fn free_path(
    disk: &dyn Disk,
    folder: &Path,
    name: impl Fn(usize) -> String,
) -> Result<PathBuf, ReplicaError> {
    let names = disk.files(folder).map_err(|source| failed(folder, source))?;
    let free = (0..).map(name).find(|name| !names.contains(name));
    Ok(folder.join(free.expect("there are more numbers than files")))
}
