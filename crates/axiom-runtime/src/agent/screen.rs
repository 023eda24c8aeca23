//! What stands on a terminal's screen after all that a program has written to it.
//!
//! Text, the cursor and what erases or moves text: as much as is needed to read questions and prompts where a person would see
//! them, and no more. Colours, titles, modes and characters that are two columns wide make no difference here.
//!
//! Rows have numbers that go on when the screen scrolls, so that what stands somewhere can be told from what comes to stand in
//! its place.

use std::collections::VecDeque;

/// The screen of one terminal.
#[derive(Debug, Clone)]
pub struct Screen {
    columns: usize,
    height: usize,
    rows: VecDeque<Vec<char>>,
    /// The number of the first row.
    first: u64,
    row: usize,
    column: usize,
    saved: (usize, usize),
    reading: Reading,
    /// Bytes of a character that is not complete.
    pending: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Reading {
    Text,
    Escape,
    /// After `ESC (` and its like comes one more character.
    Charset,
    /// A control sequence, so far.
    Control(String),
    /// A string that shows nothing; true after an ESC in it.
    Hidden(bool),
}

/// More than people have on a screen. A terminal that is said to be larger is read as one of this size: who may start a task may say
/// any, and a program that fills 65535 by 65535 would fill 17 GB here.
const COLUMNS_MAX: u16 = 512;
const ROWS_MAX: u16 = 256;
/// A longer control sequence is none.
const CONTROL_BYTES_MAX: usize = 64;

impl Screen {
    /// Empty. At least one column and one row, and no more than 512 and 256.
    pub fn new(columns: u16, rows: u16) -> Screen {
        let height = usize::from(rows.clamp(1, ROWS_MAX));
        Screen {
            columns: usize::from(columns.clamp(1, COLUMNS_MAX)),
            height,
            rows: vec![Vec::new(); height].into(),
            first: 0,
            row: 0,
            column: 0,
            saved: (0, 0),
            reading: Reading::Text,
            pending: Vec::new(),
        }
    }

    /// The program writes; a character or an escape may go on in the next piece.
    pub fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while !rest.is_empty() {
            let (valid, after) = match std::str::from_utf8(rest) {
                Ok(text) => (text, &[][..]),
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    let text = std::str::from_utf8(valid).unwrap_or_default();
                    match error.error_len() {
                        Some(bad) => (text, after.get(bad..).unwrap_or_default()),
                        None => {
                            self.pending = after.to_vec();
                            (text, &[][..])
                        }
                    }
                }
            };
            valid.chars().for_each(|c| self.put(c));
            rest = after;
        }
    }

    /// Rows with their numbers, from the top, without blanks at their ends.
    pub fn rows(&self) -> impl Iterator<Item = (u64, String)> + '_ {
        let numbers = self.first..;
        numbers.zip(self.rows.iter().map(|row| shown(row)))
    }

    /// The number of the row with the cursor.
    pub fn cursor_row(&self) -> u64 {
        self.first + self.row as u64
    }

    /// The row with the cursor: blanks that stand before the cursor are part of a prompt.
    pub fn cursor_text(&self) -> String {
        let mut text = self.rows.get(self.row).map(|row| shown(row)).unwrap_or_default();
        let missing = self.column.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n(' ', missing));
        text
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(|row| shown(row)).collect();
        rows.join("\n").trim_end().to_owned()
    }

    fn put(&mut self, c: char) {
        let reading = std::mem::replace(&mut self.reading, Reading::Text);
        self.reading = match reading {
            Reading::Text => self.text_char(c),
            Reading::Escape => self.escape(c),
            Reading::Charset => Reading::Text,
            Reading::Control(mut sequence) => match c {
                '@'..='~' => {
                    self.control(&sequence, c);
                    Reading::Text
                }
                '\x1b' => Reading::Escape,
                ' '..='?' if sequence.len() < CONTROL_BYTES_MAX => {
                    sequence.push(c);
                    Reading::Control(sequence)
                }
                _ => Reading::Text,
            },
            Reading::Hidden(is_escape) => match c {
                '\x07' | '\u{9c}' | '\x18' | '\x1a' => Reading::Text,
                '\\' if is_escape => Reading::Text,
                _ => Reading::Hidden(c == '\x1b'),
            },
        };
    }

    fn text_char(&mut self, c: char) -> Reading {
        match c {
            '\x1b' => return Reading::Escape,
            '\r' => self.column = 0,
            '\n' | '\x0b' | '\x0c' => self.down(),
            '\x08' => self.column = self.column.min(self.columns - 1).saturating_sub(1),
            '\t' => self.column = (self.column / 8 * 8 + 8).min(self.columns - 1),
            c if c.is_control() => {}
            c => {
                if self.column >= self.columns {
                    self.column = 0;
                    self.down();
                }
                let column = self.column;
                let row = self.here();
                if row.len() <= column {
                    row.resize(column + 1, ' ');
                }
                row[column] = c;
                self.column += 1;
            }
        }
        Reading::Text
    }

    fn escape(&mut self, c: char) -> Reading {
        match c {
            '[' => return Reading::Control(String::new()),
            ']' | 'P' | 'X' | '^' | '_' => return Reading::Hidden(false),
            ' '..='/' => return Reading::Charset,
            '7' => self.saved = (self.row, self.column),
            '8' => (self.row, self.column) = self.saved,
            'D' => self.down(),
            'E' => {
                self.column = 0;
                self.down();
            }
            'M' if self.row == 0 => {
                self.rows.pop_back();
                self.rows.push_front(Vec::new());
            }
            'M' => self.row -= 1,
            'c' => self.clear(),
            _ => {}
        }
        Reading::Text
    }

    fn control(&mut self, sequence: &str, last: char) {
        let is_private = sequence.starts_with(['?', '>', '<', '=']);
        let numbers: Vec<usize> = sequence
            .trim_start_matches(['?', '>', '<', '='])
            .split(';')
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        let number = |nth: usize| numbers.get(nth).copied().unwrap_or(0);
        let count = number(0).clamp(1, self.columns.max(self.height));
        let (bottom, right) = (self.height - 1, self.columns - 1);
        let column = self.column.min(right);
        match last {
            // The other screen, of programs that fill all of it: what was there before is not shown.
            'h' | 'l' if is_private && matches!(number(0), 47 | 1047 | 1049) => self.clear(),
            _ if is_private => {}
            'A' => self.row = self.row.saturating_sub(count),
            'B' | 'e' => self.row = (self.row + count).min(bottom),
            'C' | 'a' => self.column = (column + count).min(right),
            'D' => self.column = column.saturating_sub(count),
            'E' => (self.row, self.column) = ((self.row + count).min(bottom), 0),
            'F' => (self.row, self.column) = (self.row.saturating_sub(count), 0),
            'G' | '`' => self.column = (count - 1).min(right),
            'd' => self.row = (count - 1).min(bottom),
            'H' | 'f' => {
                self.row = (count - 1).min(bottom);
                self.column = number(1).max(1).min(self.columns) - 1;
            }
            'J' => self.erase_screen(number(0)),
            'K' => self.erase_row(number(0)),
            'X' => {
                let row = self.here();
                let end = (column + count).min(row.len());
                row.get_mut(column..end).unwrap_or_default().fill(' ');
            }
            'P' => {
                let row = self.here();
                let end = (column + count).min(row.len());
                drop(row.drain(column.min(end)..end));
            }
            '@' => {
                let columns = self.columns;
                let row = self.here();
                if column < row.len() {
                    row.splice(column..column, std::iter::repeat_n(' ', count));
                    row.truncate(columns);
                }
            }
            'L' => self.shift(self.row, count, true),
            'M' => self.shift(self.row, count, false),
            'T' => self.shift(0, count, true),
            'S' => (0..count.min(self.height)).for_each(|_| self.scroll()),
            's' => self.saved = (self.row, self.column),
            'u' => (self.row, self.column) = self.saved,
            _ => {}
        }
    }

    fn erase_row(&mut self, what: usize) {
        let column = self.column.min(self.columns - 1);
        let row = self.here();
        match what {
            0 => row.truncate(column),
            1 => {
                let end = (column + 1).min(row.len());
                row.get_mut(..end).unwrap_or_default().fill(' ');
            }
            _ => row.clear(),
        }
    }

    fn erase_screen(&mut self, what: usize) {
        self.erase_row(what.min(2));
        let row = self.row;
        for (nth, other) in self.rows.iter_mut().enumerate() {
            let is_erased = match what {
                0 => nth > row,
                1 => nth < row,
                _ => true,
            };
            if is_erased {
                other.clear();
            }
        }
    }

    /// Moves rows from `from` on up or down; what is pushed out is gone.
    fn shift(&mut self, from: usize, count: usize, is_down: bool) {
        for _ in 0..count.min(self.height - from) {
            if is_down {
                self.rows.pop_back();
                self.rows.insert(from, Vec::new());
            } else {
                self.rows.remove(from);
                self.rows.push_back(Vec::new());
            }
        }
    }

    fn clear(&mut self) {
        // What stands there now is something else than what stood there before.
        self.first += self.height as u64;
        self.rows.iter_mut().for_each(Vec::clear);
        (self.row, self.column) = (0, 0);
    }

    fn down(&mut self) {
        if self.row + 1 < self.height {
            self.row += 1;
        } else {
            self.scroll();
        }
    }

    fn scroll(&mut self) {
        self.rows.pop_front();
        self.rows.push_back(Vec::new());
        self.first += 1;
    }

    fn here(&mut self) -> &mut Vec<char> {
        &mut self.rows[self.row]
    }
}

fn shown(row: &[char]) -> String {
    let text: String = row.iter().collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, expected: &str) {
        let mut screen = Screen::new(10, 4);
        screen.write(written.as_bytes());
        assert_eq!(screen.text(), expected, "{written:?}");
        // The same in the smallest pieces.
        let mut screen = Screen::new(10, 4);
        for byte in written.as_bytes() {
            screen.write(&[*byte]);
        }
        assert_eq!(screen.text(), expected, "{written:?} in pieces");
    }

    #[test]
    fn text_is_where_a_person_would_see_it() {
        check("a\r\nb", "a\nb");
        check("12%\r13%", "13%");
        check("abc\x08\x08X", "aXc");
        check("0123456789ab", "0123456789\nab");
        check("\x1b[1m\x1b[38;5;12m>\x1b[0m \u{e9}\u{4e2d}", "> \u{e9}\u{4e2d}");
        check("a\x1b]0;title\x07b\x1b]8;;x\x1b\\c", "abc");
        check("one\r\ntwo\x1b[1A\x1b[2Kup", "   up\ntwo");
        check("one\r\ntwo\x1b[H\x1b[Jx", "x");
        check("abcdef\x1b[3G\x1b[K", "ab");
        check("abcdef\x1b[2G\x1b[2P\x1b[1@", "a def");
        check("1\r\n2\r\n3\r\n4\r\n5", "2\n3\n4\n5");
        check("x\x1b[?1049hy", "y");
        check("a\x1b(Bb", "ab");
    }

    #[test]
    fn rows_keep_their_numbers() {
        let mut screen = Screen::new(10, 2);
        screen.write(b"1\r\n2");
        let rows = |screen: &Screen| screen.rows().collect::<Vec<_>>();
        assert_eq!(screen.cursor_row(), 1);
        assert_eq!(rows(&screen), [(0, "1".to_owned()), (1, "2".to_owned())]);
        screen.write(b"\r\n> ");
        assert_eq!((screen.cursor_row(), &*screen.cursor_text()), (2, "> "));
        assert_eq!(rows(&screen), [(1, "2".to_owned()), (2, ">".to_owned())]);
    }

    #[test]
    fn the_largest_terminal_takes_little_memory() {
        let mut screen = Screen::new(u16::MAX, u16::MAX);
        for row in 1..=2000 {
            screen.write(format!("\x1b[{row};65535Hx\x1b[65535@").as_bytes());
        }
        let cells: usize = screen.rows.iter().map(Vec::len).sum();
        assert!(cells <= 512 * 256, "{cells}");
        screen.write(b"\x1b[65535;65535Hz");
        assert!(screen.cursor_text().ends_with('z'));
    }

    proptest::proptest! {
        /// No bytes make it panic or grow.
        #[test]
        fn any_bytes_are_shown(pieces in proptest::collection::vec("(\x1b\\[[0-9;?]{0,5}[@-~]|[a-z\r\n\t\x08\x1b]|\\PC){0,20}", 0..20)) {
            let mut screen = Screen::new(12, 3);
            for piece in pieces {
                screen.write(piece.as_bytes());
                proptest::prop_assert_eq!(screen.rows.len(), 3);
                proptest::prop_assert!(screen.rows.iter().all(|row| row.len() <= 12));
                proptest::prop_assert!(screen.row < 3 && screen.column <= 12);
            }
        }
    }
}
