//! What is said to a worker and where its answer ends, for each way to talk.

use std::hash::{BuildHasher as _, RandomState};

use crate::spec::Protocol;

/// An answer as it comes.
#[derive(Debug)]
pub(super) struct Answer {
    protocol: Protocol,
    /// What ends an answer of a solver: a word by chance, which no request knows.
    mark: String,
    came: Vec<u8>,
    is_over: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// With its end.
    Said(String),
    /// Nothing more belongs to the answer.
    End,
}

impl Answer {
    pub(super) fn new(protocol: Protocol) -> Answer {
        Answer {
            protocol,
            mark: format!("end-{:016x}", RandomState::new().hash_one(std::process::id())),
            came: Vec::new(),
            is_over: false,
        }
    }

    pub(super) fn request(&self, request: &str) -> String {
        match self.protocol {
            Protocol::Lines => format!("{request}\n"),
            // What those before have declared is none of its.
            Protocol::Smt => format!("(reset)\n{request}\n(echo \"{}\")\n", self.mark),
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.came.extend_from_slice(bytes);
    }

    /// The next whole line, if there is one.
    ///
    /// # Errors
    /// When that is no answer.
    pub(super) fn next(&mut self) -> Result<Option<Line>, String> {
        if self.is_over {
            return match self.came.is_empty() {
                true => Ok(Some(Line::End)),
                false => Err("its worker says more than one line".to_owned()),
            };
        }
        let Some(at) = self.came.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.came.drain(..=at).collect();
        let line = String::from_utf8(line).map_err(|_| "its worker says what is no text".to_owned())?;
        match self.protocol {
            Protocol::Lines => {
                if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line).is_err() {
                    return Err(format!("its worker says what is no JSON object: {}", line.trim()));
                }
                self.is_over = true;
                Ok(Some(Line::Said(line)))
            }
            Protocol::Smt if line.trim() == self.mark => {
                self.is_over = true;
                self.next()
            }
            Protocol::Smt => Ok(Some(Line::Said(line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(protocol: Protocol, pieces: &[&str]) -> Result<Vec<Line>, String> {
        let mut answer = Answer::new(protocol);
        answer.mark = "mark".to_owned();
        let mut lines = Vec::new();
        for piece in pieces {
            answer.take(piece.as_bytes());
            while let Some(line) = answer.next()? {
                if line == Line::End {
                    return Ok(lines);
                }
                lines.push(line);
            }
        }
        Err("it has no end".to_owned())
    }

    #[test]
    fn an_answer_of_lines_is_one_json_object() {
        let said = |line: &str| Ok(vec![Line::Said(line.to_owned())]);
        let check = |pieces: &[&str]| lines(Protocol::Lines, pieces);
        assert_eq!(check(&["{\"a\"", ":1}\n"]), said("{\"a\":1}\n"));
        assert_eq!(check(&["{}"]), Err("it has no end".to_owned()));
        assert!(check(&["[]\n"]).unwrap_err().contains("no JSON object: []"));
        assert!(check(&["{}\n{}\n"]).unwrap_err().contains("more than one"));
    }

    #[test]
    fn an_answer_of_a_solver_ends_with_the_mark() {
        let check = |pieces: &[&str]| lines(Protocol::Smt, pieces).map(|lines| lines.len());
        assert_eq!(check(&["sat\n(model", ")\nma", "rk\n"]), Ok(2));
        assert_eq!(check(&["mark\n"]), Ok(0));
        assert_eq!(check(&["sat\n"]), Err("it has no end".to_owned()));
    }
}
