//! A few numbers and texts as one line that people can read, too: `position=12 attempts=3`. The bodies of the events that
//! groups and projections keep their own state in.
//!
//! Keys are words. In a text `%`, blanks and control characters are written as `%` and two hexadecimal digits for each byte,
//! so that a blank always ends a value. Unknown keys are passed over: a later version may say more.

use std::fmt::{Display, Write as _};

/// A line that is being written.
#[derive(Debug, Default)]
pub(crate) struct Line(String);

/// A line that is being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a>(&'a str);

impl Line {
    pub(crate) fn with(mut self, key: &str, value: impl Display) -> Line {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        let value = value.to_string();
        self.0.push_str(key);
        self.0.push('=');
        for char in value.chars() {
            if char == '%' || char.is_whitespace() || char.is_control() {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    // A String takes everything.
                    let _written = write!(self.0, "%{byte:02x}").is_ok();
                }
            } else {
                self.0.push(char);
            }
        }
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'a> Said<'a> {
    /// `None` for what is not text.
    pub(crate) fn of(body: &'a [u8]) -> Option<Said<'a>> {
        std::str::from_utf8(body).ok().map(Said)
    }

    pub(crate) fn word(self, key: &str) -> Option<&'a str> {
        let mut fields = self.0.split(' ').filter_map(|field| field.split_once('='));
        fields.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    pub(crate) fn number(self, key: &str) -> Option<u64> {
        self.word(key)?.parse().ok()
    }

    pub(crate) fn text(self, key: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut rest = self.word(key)?.as_bytes();
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            if *byte != b'%' {
                bytes.push(*byte);
                continue;
            }
            let (digits, behind) = rest.split_at_checked(2)?;
            rest = behind;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        }
        String::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = Line::default()
            .with("position", 12)
            .with("reason", "it is 100 % broken\nand\u{a0}grün");
        let said = Said::of(line.bytes()).unwrap();
        assert_eq!(said.number("position"), Some(12));
        assert_eq!(
            said.text("reason").as_deref(),
            Some("it is 100 % broken\nand\u{a0}grün")
        );
        assert_eq!(said.number("reason"), None);
        assert_eq!(said.number("attempts"), None);
        assert_eq!(Said::of(b"reason=%4").unwrap().text("reason"), None);
    }
}
