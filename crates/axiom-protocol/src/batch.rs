//! JSON-RPC batches, which only revision 2025-03-26 knows.

use crate::cursor::Cursor;
use crate::fault::{ScanError, ScanFault};
use crate::{Limits, Span};

/// The messages of a batch, each still to be given to [`scan`](crate::scan); `None` if the text is one message.
///
/// # Errors
/// [`ScanFault::NotJson`], the limits, an empty batch, or more than `items_max` messages.
pub fn split_batch(raw: &[u8], limits: &Limits, items_max: usize) -> Result<Option<Vec<Span>>, ScanError> {
    // Not `is_ascii_whitespace`: a form feed is no white space in JSON.
    let first_byte = raw
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
    if first_byte != Some(&b'[') {
        return Ok(None);
    }
    let mut cursor = Cursor::new(raw, limits)?;
    let mut items = Vec::new();
    let mut first = true;
    cursor.open()?;
    while cursor.element(&mut first)? {
        if items.len() == items_max {
            return Err(ScanFault::TooManyItems { items_max }.into());
        }
        items.push(cursor.value()?);
    }
    cursor.end()?;
    if items.is_empty() {
        return Err(ScanFault::EmptyBatch.into());
    }
    Ok(Some(items))
}
