//! A place in a received message.

/// A byte range of the received message. Spans of strings include the quotes.
///
/// 32 bits hold every offset because no accepted message is longer than 4 GiB (see [`Limits`](crate::Limits));
/// an [`Envelope`](crate::Envelope) has some thirty of them and is copied around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// From offsets of a message whose length is already known to fit 32 bits.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: offset(start),
            end: offset(end),
        }
    }

    /// The span that covers all of `raw`.
    pub fn all(raw: &[u8]) -> Self {
        Self::new(0, raw.len())
    }

    /// The bytes of this span; empty if `raw` is not the message the span was made from and is too short.
    #[inline]
    pub fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether it covers no byte.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The same place seen from a message that starts `base` bytes earlier.
    pub fn shifted(self, base: u32) -> Self {
        Self {
            start: self.start.saturating_add(base),
            end: self.end.saturating_add(base),
        }
    }
}

#[inline]
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
