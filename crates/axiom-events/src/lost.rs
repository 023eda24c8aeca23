//! Somebody who is alone in writing to a stream finds it further than he can read. Either he is not alone, or what is between
//! was lost: a damaged block, a file that is gone. The log does not give its versions to others, so whoever expected the last
//! one that he can read would be refused for ever.

use axiom_core::spawn;

use crate::append::{Ack, Append};
use crate::log::Log;
use crate::streams::{Conflict, Expected};

/// The version to go on behind, if everything in the conflict's stream behind the one that was read is lost. `None` if it can
/// be read, because somebody else has written it, or if nobody can say.
///
/// # Cancel safety
/// It only waits and reads.
pub(crate) async fn lost_until(log: &Log, conflict: &Conflict, read: Option<u64>) -> Option<u64> {
    let last = conflict.last.filter(|last| Some(*last) > read)?;
    let stream = conflict.stream.clone();
    // What the writer has counted is read when it is on the disk, and this is answered after that.
    let settled = Append {
        expected: vec![(stream.clone(), Expected::Exact(last))],
        ack: Ack::Group,
        ..Append::default()
    };
    log.append(settled).await.ok()?;
    let reader = log.reader();
    let reading = spawn::blocking(move || reader.last_version(&stream)).join();
    let found = reading.await?.ok()?;
    if found != read {
        return None;
    }
    tracing::error!(
        stream = conflict.stream,
        read_version = read,
        last_version = last,
        "the newest events of a stream are lost; it goes on from the one before them"
    );
    Some(last)
}
