//! Bodies of a block that are forms with numbers in their blanks.

use std::ops::Range;
use std::sync::OnceLock;

use super::{FORM_OF, FORMS, Sections, VALUES, all_read, unsound, varint};
use crate::block::{COLUMNS_BYTES_MAX, Unsound};
use crate::event::BODY_BYTES_MAX;
use crate::form::{self, FORM_BYTES_MAX, Shape};

/// Walks through the columns of forms, event by event.
pub(super) struct Forms<'a> {
    plain: &'a [u8],
    texts: Vec<(u32, u32)>,
    shapes: Vec<Shape>,
    form_of: &'a [u8],
    values: &'a [u8],
    /// Form and values of the last event, if it has a form.
    last: Option<(usize, &'a [u8])>,
    sections: [Range<usize>; 2],
    /// Bytes of all columns and of what was filled in until now.
    end: usize,
    /// Bytes of all columns.
    start: usize,
}

/// The bodies, written out when the first of them is read.
#[derive(Debug)]
pub(super) struct Filled {
    texts: Vec<(u32, u32)>,
    form_of: Range<usize>,
    values: Range<usize>,
    bytes: usize,
    written: OnceLock<Vec<u8>>,
}

impl<'a> Forms<'a> {
    /// `None` if the block has none.
    pub(super) fn find(sections: &Sections<'a>, events: u32) -> Result<Option<Forms<'a>>, Unsound> {
        let ids = [FORMS, FORM_OF, VALUES];
        if ids.iter().all(|id| sections.range(*id).is_err()) {
            return Ok(None);
        }
        let texts = sections.texts(FORMS, u64::from(events), FORM_BYTES_MAX)?;
        let shapes = texts.iter().map(|text| Shape::of(text_at(sections.plain, *text)));
        let shapes: Option<Vec<Shape>> = shapes.collect();
        Ok(Some(Forms {
            plain: sections.plain,
            texts,
            shapes: shapes.ok_or(unsound("a form with too many blanks"))?,
            form_of: sections.get(FORM_OF)?,
            values: sections.get(VALUES)?,
            last: None,
            sections: [sections.range(FORM_OF)?, sections.range(VALUES)?],
            start: sections.bytes,
            end: sections.bytes,
        }))
    }

    /// The place of the next event's body, which has so many bytes; `None` if it has no form.
    pub(super) fn next(&mut self, bytes: u64) -> Result<Option<(u32, u32)>, Unsound> {
        let number = varint::take(&mut self.form_of).ok_or(unsound("a form's number is missing"))?;
        let Some(number) = number.checked_sub(1) else {
            self.last = None;
            return Ok(None);
        };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let shape = self
            .shapes
            .get(number)
            .ok_or(unsound("a number that no form has"))?;
        self.last = Some((number, self.values));
        let filled = shape.measure(&mut self.values);
        let filled = filled.ok_or(unsound("a form's value is missing"))?;
        if filled as u64 != bytes || filled > BODY_BYTES_MAX {
            return Err(unsound("a form of another length than its event says"));
        }
        let start = self.end;
        self.end += filled;
        if self.end - self.start > COLUMNS_BYTES_MAX {
            return Err(unsound("forms that are too long when they are filled in"));
        }
        Ok(Some((super::place(start)?, super::place(self.end)?)))
    }

    /// The body of the event that was the last one, if it has a form.
    pub(super) fn last(&self) -> Option<Vec<u8>> {
        let (number, mut values) = self.last?;
        let mut body = Vec::new();
        form::fill(text_at(self.plain, self.texts[number]), &mut values, &mut body);
        Some(body)
    }

    /// After the last event nothing is left.
    pub(super) fn end(&self) -> Result<(), Unsound> {
        all_read(self.form_of)?;
        all_read(self.values)
    }

    pub(super) fn filled(self) -> Filled {
        let [form_of, values] = self.sections;
        Filled {
            texts: self.texts,
            form_of,
            values,
            bytes: self.end - self.start,
            written: OnceLock::new(),
        }
    }
}

impl Filled {
    /// The bodies, one after the other. `plain` are the columns that they were found in.
    pub(super) fn written(&self, plain: &[u8]) -> &[u8] {
        self.written.get_or_init(|| {
            let (mut form_of, mut values) = (&plain[self.form_of.clone()], &plain[self.values.clone()]);
            let mut written = Vec::with_capacity(self.bytes);
            while let Some(number) = varint::take(&mut form_of) {
                let number = number
                    .checked_sub(1)
                    .and_then(|number| usize::try_from(number).ok());
                if let Some(text) = number.and_then(|number| self.texts.get(number)) {
                    form::fill(text_at(plain, *text), &mut values, &mut written);
                }
            }
            written
        })
    }

    /// With the bodies, whether they are there or not.
    pub(super) fn bytes_in_memory(&self) -> usize {
        self.bytes + self.texts.len() * size_of::<(u32, u32)>() + size_of::<Filled>()
    }
}

fn text_at(plain: &[u8], (start, end): (u32, u32)) -> &str {
    std::str::from_utf8(&plain[start as usize..end as usize]).expect("forms were checked")
}
