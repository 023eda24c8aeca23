//! What a program has switched on in our terminal and would have switched off, had we stayed until its end.

/// Bytes of an escape that are remembered. Those that we look for are shorter.
const ESCAPE_BYTES_MAX: usize = 64;

/// Modes that a program in full screen switches on, and how each is put back. The cursor is one that it switches off.
const MODES: [(u16, bool, &str); 11] = [
    (1000, true, "\x1b[?1000l"),
    (1002, true, "\x1b[?1002l"),
    (1003, true, "\x1b[?1003l"),
    (1004, true, "\x1b[?1004l"),
    (1006, true, "\x1b[?1006l"),
    (2004, true, "\x1b[?2004l"),
    (1, true, "\x1b[?1l"),
    // The screens come after what is put back on them.
    (47, true, "\x1b[?47l"),
    (1047, true, "\x1b[?1047l"),
    (1049, true, "\x1b[?1049l"),
    (25, false, "\x1b[?25h"),
];

/// Follows what is shown.
#[derive(Debug, Default)]
pub(super) struct Left {
    escape: Vec<u8>,
    changed: [bool; MODES.len()],
    ends_in_line: bool,
}

impl Left {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.ends_in_line = *last != b'\n';
        }
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        match (self.escape.as_slice(), byte) {
            (_, 0x1b) => self.escape = vec![byte],
            ([], _) => {}
            ([0x1b], b'[') | ([0x1b, b'['], b'?') => self.escape.push(byte),
            ([0x1b, b'[', b'?', ..], b'0'..=b'9' | b';') if self.escape.len() < ESCAPE_BYTES_MAX => {
                self.escape.push(byte);
            }
            ([0x1b, b'[', b'?', numbers @ ..], b'h' | b'l') => {
                let numbers = String::from_utf8_lossy(numbers).into_owned();
                self.set(&numbers, byte == b'h');
                self.escape.clear();
            }
            _ => self.escape.clear(),
        }
    }

    fn set(&mut self, numbers: &str, is_on: bool) {
        for number in numbers.split(';').filter_map(|number| number.parse::<u16>().ok()) {
            for ((mode, changed, _), is_changed) in MODES.iter().zip(&mut self.changed) {
                if *mode == number {
                    *is_changed = is_on == *changed;
                }
            }
        }
    }

    /// What puts it back: nothing where nothing was changed, but that the next line is one of its own.
    pub(super) fn undo(&self) -> String {
        let mut text = String::new();
        for ((_, _, undo), is_changed) in MODES.iter().zip(&self.changed) {
            if *is_changed {
                text.push_str(undo);
            }
        }
        // Colours and the like.
        text.push_str("\x1b[0m");
        if self.ends_in_line {
            text.push_str("\r\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &str, expected: &str) {
        // In one piece and byte by byte.
        let mut whole = Left::default();
        whole.feed(shown.as_bytes());
        let mut pieces = Left::default();
        shown.as_bytes().chunks(1).for_each(|byte| pieces.feed(byte));
        for left in [whole, pieces] {
            assert_eq!(left.undo(), expected, "{shown:?}");
        }
    }

    #[test]
    fn only_what_was_changed_is_put_back() {
        check("", "\x1b[0m");
        check("text\r\n", "\x1b[0m");
        check("$ ", "\x1b[0m\r\n");
        check("\x1b[?1049h\x1b[?25l\x1b[2J\n", "\x1b[?1049l\x1b[?25h\x1b[0m");
        check("\x1b[?1049h\x1b[?1049l\x1b[?25l\x1b[?25h\n", "\x1b[0m");
        check("\x1b[?1000;1006h\n", "\x1b[?1000l\x1b[?1006l\x1b[0m");
        check("\x1b[?9999h\x1b[?h\x1b[1049h\x1b]?1049h\n", "\x1b[0m");
        check("\x1b[?10\x1b[?2004h\n", "\x1b[?2004l\x1b[0m");
    }

    #[test]
    fn a_number_without_an_end_takes_no_memory() {
        let mut left = Left::default();
        left.feed(b"\x1b[?");
        left.feed(&vec![b'1'; 1 << 20]);
        assert!(left.escape.len() <= ESCAPE_BYTES_MAX);
    }
}
