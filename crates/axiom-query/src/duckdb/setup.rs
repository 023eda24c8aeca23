//! The tables for a DuckDB of one's own: the SQL that makes them over the files that are there now.

use std::path::Path;

use super::place::plain;
use super::tables::{self, Form, Part};
use crate::fault::Fault;
use crate::store::Store;

/// The SQL, for the store in `dir`. Events that are still hot are in no file yet, and a comment says which they are. Blocks on
/// the disk.
///
/// # Errors
/// When there is no store, it cannot be read, or its files have names that DuckDB does not take.
pub fn text(dir: &Path) -> Result<String, Fault> {
    let pin = Store::open(dir)?.pin()?;
    let mut text = format!(
        "-- Axiom's tables over the events in {}, of the files that were there when this was written.\n\
         -- DuckDB 2.0 or newer reads all of it; older ones do not know an encoding of bodies.\n",
        dir.display().to_string().escape_debug()
    );
    let mut parts = Vec::new();
    for shard in &pin.shards {
        let number = shard.number;
        for tier in ["cold", "warm"] {
            let objects = shard.objects.iter().filter(|object| object.tier == tier);
            let files = objects.map(|object| match object.location.to_file_path() {
                Ok(path) => plain(path),
                // Their DuckDB may have what it takes to read it.
                Err(()) => Ok(object.location.to_string()),
            });
            parts.push(Part {
                shard: number,
                tier,
                form: Form::Sealed,
                files: files.collect::<Result<_, _>>()?,
            });
        }
        for lost in shard.objects.iter().flat_map(|object| &object.lost) {
            let last = lost.end.saturating_sub(1);
            text.push_str(&format!(
                "-- Events {} to {last} of shard {number} were damaged and are missing.\n",
                lost.start
            ));
        }
        if !shard.hot.is_empty() {
            let last = shard.hot.end.saturating_sub(1);
            text.push_str(&format!(
                "-- Events {} to {last} of shard {number} are in no file yet and not in these tables.\n",
                shard.hot.start
            ));
        }
    }
    // Without it times are shown in the zone of whoever asks, and a condition without a zone means that one.
    text.push_str("SET TimeZone = 'UTC';\n");
    text.push_str(&tables::statements(&parts));
    Ok(text)
}
