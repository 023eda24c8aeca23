//! Where each section of a block's columns is.

use super::{
    BODIES, KNOWN, NAME_BYTES_MAX, NAMES, OPTIONAL, SECTION_HEAD_BYTES, all_read, place, unsound, varint,
};
use crate::block::Unsound;

/// Where each section is.
pub(super) struct Sections<'a> {
    pub(super) plain: &'a [u8],
    /// Of all columns.
    pub(super) bytes: usize,
    found: [Option<std::ops::Range<usize>>; KNOWN],
}

impl<'a> Sections<'a> {
    /// In columns of so many bytes, of which `plain` is the beginning. The bodies need not be in it, where they come last.
    pub(super) fn find(plain: &'a [u8], bytes: usize) -> Result<Sections<'a>, Unsound> {
        let mut found = [const { None }; KNOWN];
        let mut at = 0;
        while let Some(&id) = plain.get(at) {
            let length = plain[at + 1..]
                .first_chunk::<4>()
                .ok_or(unsound("a section is cut short"))?;
            let start = at + SECTION_HEAD_BYTES;
            at = start + u32::from_le_bytes(*length) as usize;
            if at > plain.len() && !(id == BODIES && at == bytes) {
                return Err(unsound("a section is cut short"));
            }
            match found.get_mut(usize::from(id)) {
                Some(place) if id >= NAMES && place.is_none() => *place = Some(start..at),
                Some(_) => return Err(unsound("a section that is there twice, or has id 0")),
                None if id >= OPTIONAL => {}
                None => return Err(unsound("a section that this program does not know")),
            }
        }
        Ok(Sections { plain, bytes, found })
    }

    pub(super) fn range(&self, id: u8) -> Result<std::ops::Range<usize>, Unsound> {
        let range = self.found[usize::from(id)].clone();
        range.ok_or(unsound("a section is missing"))
    }

    pub(super) fn get(&self, id: u8) -> Result<&'a [u8], Unsound> {
        Ok(&self.plain[self.range(id)?])
    }

    /// A section that is missing where it would be empty.
    pub(super) fn get_or_empty(&self, id: u8) -> &'a [u8] {
        self.get(id).unwrap_or_default()
    }

    /// Start and end of each name.
    pub(super) fn names(&self, events: u32) -> Result<Vec<(u32, u32)>, Unsound> {
        // An event has four: tenant, stream, task and kind.
        self.texts(NAMES, 4 * u64::from(events), NAME_BYTES_MAX)
    }

    /// Start and end of each text of a section, of which there are so many at most, of so many bytes.
    pub(super) fn texts(&self, id: u8, count_max: u64, bytes_max: usize) -> Result<Vec<(u32, u32)>, Unsound> {
        let end = self.range(id)?.end;
        let mut rest = self.get(id)?;
        let count = varint::take(&mut rest).ok_or(unsound("no number of names"))?;
        if count > count_max {
            return Err(unsound("more names than its events have"));
        }
        let mut names = Vec::new();
        for _ in 0..count {
            let bytes = varint::take(&mut rest).ok_or(unsound("a name is cut short"))?;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let name = rest.get(..bytes).ok_or(unsound("a name is cut short"))?;
            if bytes > bytes_max || std::str::from_utf8(name).is_err() {
                return Err(unsound("a name that is too long or no UTF-8"));
            }
            let start = end - rest.len();
            names.push((place(start)?, place(start + bytes)?));
            rest = &rest[bytes..];
        }
        all_read(rest)?;
        Ok(names)
    }
}
