//! The process of a slot: it puts up walls, waits for a task that wants them, and is that task's shim then.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use axiom_core::time;

use super::slots::{Errand, STANDS, TAKEN};
use super::walls::{self, Ground};

/// Until it has become a shim and its task has ended, or nobody is there any more to give it one.
pub(super) fn run(errand: Errand, teller: UnixStream, ground: &Ground) -> io::Result<()> {
    super::stand()?;
    let Errand { wanted, line } = errand;
    // Unlike that of any task, and of any slot that left its group behind when it was killed.
    let name = format!(
        "slot-{}-{:x}",
        rustix::process::getpid().as_raw_pid(),
        time::unix_nanos()
    );
    let Ok(standing) = walls::park(&name, &wanted.shape, &wanted.limits, ground) else {
        // The spawner sees that there is none, and a task that wants the like will say why.
        return Ok(());
    };
    let folder = match wait(line) {
        Ok(Some(folder)) => folder,
        Ok(None) | Err(_) => {
            standing.end();
            return Ok(());
        }
    };
    let folder = Path::new(OsStr::from_bytes(&folder));
    ground.keep(standing);
    super::live(folder, super::read(folder), teller, ground)
}

/// The folder of a task that is ours now. `None` if there will be none.
fn wait(mut line: UnixStream) -> io::Result<Option<Vec<u8>>> {
    line.write_all(&[STANDS])?;
    let mut folder = Vec::new();
    BufReader::new(&line).read_until(b'\n', &mut folder)?;
    if folder.pop() != Some(b'\n') {
        return Ok(None);
    }
    // If this cannot be said, the task was given to somebody else.
    line.write_all(&[TAKEN])?;
    Ok(Some(folder))
}
