//! Where a body ends: after so many bytes, after the last chunk, or when the server closes.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest chunk-size line, extensions included.
const SIZE_LINE_BYTES_MAX: usize = 4 * 1024;

/// All trailers together. They are read and dropped: MCP has no use for them.
const TRAILERS_BYTES_MAX: usize = 16 * 1024;

/// How the rest of a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length { left: u64 },
    Chunked(Chunk),
    UntilClose,
    Done,
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Data {
        left: u64,
    },
    /// The line end after a chunk's data.
    DataEnd,
    Trailers {
        bytes: usize,
    },
}

impl Framing {
    pub(super) fn length(left: u64) -> Self {
        if left == 0 {
            Framing::Done
        } else {
            Framing::Length { left }
        }
    }

    pub(super) fn chunked() -> Self {
        Framing::Chunked(Chunk::Size)
    }

    /// Takes the next piece of body off the front of `received`, without copying. `None`: the body is done, or more
    /// bytes are needed.
    pub(super) fn take(&mut self, received: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
        self.skip(received)?;
        let piece_max = match self {
            Framing::Length { left } | Framing::Chunked(Chunk::Data { left }) => *left,
            Framing::UntilClose => u64::MAX,
            Framing::Chunked(_) | Framing::Done => 0,
        };
        let piece_bytes = usize::try_from(piece_max)
            .unwrap_or(usize::MAX)
            .min(received.len());
        if piece_bytes == 0 {
            return Ok(None);
        }
        let piece = received.split_to(piece_bytes).freeze();
        match self {
            Framing::Length { left } | Framing::Chunked(Chunk::Data { left }) => *left -= piece_bytes as u64,
            Framing::UntilClose | Framing::Chunked(_) | Framing::Done => {}
        }
        // Look past the piece: if the end is already here, the connection is free that much earlier.
        self.skip(received)?;
        Ok(Some(piece))
    }

    /// Moves over everything that is not data.
    fn skip(&mut self, received: &mut BytesMut) -> Result<(), &'static str> {
        loop {
            let next = match *self {
                Framing::Length { left: 0 } => Some(Framing::Done),
                Framing::Chunked(chunk) => chunk.skip(received)?,
                Framing::Length { .. } | Framing::UntilClose | Framing::Done => None,
            };
            match next {
                Some(next) => *self = next,
                None => return Ok(()),
            }
        }
    }
}

impl Chunk {
    /// One step over framing bytes; `None` when data comes next or bytes are missing.
    fn skip(self, received: &mut BytesMut) -> Result<Option<Framing>, &'static str> {
        match self {
            Chunk::Data { left: 0 } => Ok(Some(Framing::Chunked(Chunk::DataEnd))),
            Chunk::Data { .. } => Ok(None),
            Chunk::DataEnd => {
                if received.len() < 2 {
                    return Ok(None);
                }
                if !received.starts_with(b"\r\n") {
                    return Err("a chunk is longer than announced");
                }
                received.advance(2);
                Ok(Some(Framing::Chunked(Chunk::Size)))
            }
            Chunk::Size => {
                let Some(line) = take_line(received, SIZE_LINE_BYTES_MAX, "a chunk size line is too long")?
                else {
                    return Ok(None);
                };
                let left = chunk_size(&line)?;
                let next = if left == 0 {
                    Chunk::Trailers { bytes: 0 }
                } else {
                    Chunk::Data { left }
                };
                Ok(Some(Framing::Chunked(next)))
            }
            Chunk::Trailers { bytes } => {
                let room = TRAILERS_BYTES_MAX.saturating_sub(bytes);
                let Some(line) = take_line(received, room, "the trailers are too long")? else {
                    return Ok(None);
                };
                if line.is_empty() {
                    return Ok(Some(Framing::Done));
                }
                Ok(Some(Framing::Chunked(Chunk::Trailers {
                    bytes: bytes + line.len() + 2,
                })))
            }
        }
    }
}

/// A line without its line end, or `None` until it is complete.
fn take_line(
    received: &mut BytesMut,
    bytes_max: usize,
    too_long: &'static str,
) -> Result<Option<BytesMut>, &'static str> {
    match memchr::memchr(b'\n', received) {
        Some(end) if end < bytes_max => {
            let mut line = received.split_to(end + 1);
            line.truncate(end);
            if line.last() != Some(&b'\r') {
                return Err("a line of its chunked body does not end in CR LF");
            }
            line.truncate(end - 1);
            Ok(Some(line))
        }
        None if received.len() < bytes_max => Ok(None),
        Some(_) | None => Err(too_long),
    }
}

/// The hexadecimal size before an optional extension.
fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    // Sixteen digits are all that fit.
    if digits.is_empty() || digits.len() > 16 {
        return Err("a chunk size is not valid");
    }
    digits.iter().try_fold(0, |sum: u64, digit| {
        let digit = char::from(*digit)
            .to_digit(16)
            .ok_or("a chunk size is not valid")?;
        Ok(sum << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunked_body_in_any_pieces(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            extension in "(;[a-z]{1,5}=[a-z]{0,5})?",
            trailer in "(x-[a-z]{1,5}: [a-z]{0,5}\r\n)?",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            let end = wire.len();
            wire.extend_from_slice(b"not ours");

            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).chain([wire.len()]).collect();
            cuts.sort_unstable();
            let (mut framing, mut received, mut body, mut fed) = (Framing::chunked(), BytesMut::new(), Vec::new(), 0);
            for cut in cuts {
                received.extend_from_slice(&wire[fed..cut]);
                fed = cut;
                while let Some(piece) = framing.take(&mut received).unwrap() {
                    body.extend_from_slice(&piece);
                }
                prop_assert_eq!(framing == Framing::Done, cut >= end, "the end is seen as soon as it is there");
            }
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(&received[..], b"not ours");
        }
    }

    /// The body and how it ended; after an error nobody asks for what came before.
    fn take_all(wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Framing, Vec<u8>), &'static str> {
        let (mut framing, mut received, mut body, mut fed) =
            (Framing::chunked(), BytesMut::new(), Vec::new(), 0);
        for cut in cuts.iter().copied().chain([wire.len()]) {
            received.extend_from_slice(&wire[fed..cut]);
            fed = cut;
            while let Some(piece) = framing.take(&mut received)? {
                body.extend_from_slice(&piece);
            }
        }
        Ok((body, framing, received.to_vec()))
    }

    proptest! {
        /// Also of what is no chunked body: the pieces it comes in change nothing.
        #[test]
        fn any_bytes_in_any_pieces(
            parts in prop::collection::vec(
                prop::sample::select(vec!["3\r\n", "abc", "\r\n", "0\r\n", ";x=y", "\n", "\r", "1", "F", "-", " ", "ffffffffffffffff"]),
                0..20,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let wire = parts.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            cuts.sort_unstable();
            let every_byte: Vec<usize> = (0..wire.len()).collect();
            let whole = take_all(&wire, &[]);
            prop_assert_eq!(&take_all(&wire, &cuts), &whole);
            prop_assert_eq!(&take_all(&wire, &every_byte), &whole);
        }
    }

    #[test]
    fn endless_framing_is_refused() {
        for (wire, expected) in [
            (
                "1;".to_owned() + &"x".repeat(5000),
                "a chunk size line is too long",
            ),
            (
                "0\r\n".to_owned() + &"x: y\r\n".repeat(5000),
                "the trailers are too long",
            ),
            ("11111111111111111\r\n".to_owned(), "a chunk size is not valid"),
            (
                "5\nhello".to_owned(),
                "a line of its chunked body does not end in CR LF",
            ),
        ] {
            let outcome = Framing::chunked().take(&mut BytesMut::from(wire.as_bytes()));
            assert_eq!(outcome, Err(expected));
        }
    }
}
