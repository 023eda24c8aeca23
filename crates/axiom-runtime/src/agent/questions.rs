//! Which of the questions on a screen are new.

use std::ops::Range;
use std::time::Duration;

use super::{Approve, FORGET, Screen};

/// A question stands at most so many rows above the cursor, or anywhere below it.
const ROWS_ABOVE: u64 = 11;

/// A question that nobody has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Which of the profile's.
    pub(super) nth: usize,
    /// The rows that it stands on.
    pub(super) rows: Vec<(u64, String)>,
}

/// Rows with questions that were answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered {
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    number: u64,
    mark: String,
    /// Since when something else stands there.
    differs_since: Option<Duration>,
}

impl Question {
    pub(super) fn text(&self) -> String {
        let rows: Vec<&str> = self.rows.iter().map(|(_, text)| text.trim()).collect();
        rows.join("\n").trim().to_owned()
    }

    /// Whether it is still there, perhaps with what was typed behind it.
    pub(super) fn is_on(&self, screen: &Screen) -> bool {
        self.rows
            .iter()
            .map(|(_, text)| mark(text))
            .all(|wanted| screen.rows().any(|(_, text)| mark(&text).contains(&wanted)))
    }
}

impl Answered {
    /// The first new question.
    pub(super) fn find(&self, screen: &Screen, approve: &[Approve]) -> Option<Question> {
        let top = screen.cursor_row().saturating_sub(ROWS_ABOVE);
        let fresh: Vec<(u64, String)> = screen
            .rows()
            .filter(|(number, text)| *number >= top && !self.has(*number, text))
            .collect();
        let text: String = fresh.iter().map(|(_, text)| format!("{text}\n")).collect();
        approve.iter().enumerate().find_map(|(nth, approve)| {
            let found = approve.pattern.find(&text)?;
            let rows = rows_of(&fresh, &found);
            // What fits nothing that can be seen could never be told from what was there before.
            let is_seen = rows.iter().any(|(_, text)| !mark(text).is_empty());
            is_seen.then_some(Question { nth, rows })
        })
    }

    pub(super) fn add(&mut self, question: &Question) {
        for (number, text) in &question.rows {
            let (number, mark) = (*number, mark(text));
            if !mark.is_empty() {
                self.rows.retain(|row| row.number != number);
                self.rows.push(Row {
                    number,
                    mark,
                    differs_since: None,
                });
            }
        }
    }

    /// The screen is this now: questions that have moved are followed, and those that are gone are forgotten.
    pub(super) fn update(&mut self, now: Duration, screen: &Screen) {
        let shown: Vec<(u64, String)> = screen
            .rows()
            .map(|(number, text)| (number, mark(&text)))
            .collect();
        let first = shown.first().map_or(0, |(number, _)| *number);
        self.rows.retain(|row| row.number >= first);
        for nth in 0..self.rows.len() {
            let row = &self.rows[nth];
            let is_there = |(number, text): &&(u64, String)| {
                let is_taken = self.rows.iter().any(|other| other.number == *number);
                !is_taken && text.contains(&*row.mark)
            };
            let stays = shown
                .iter()
                .any(|(number, text)| *number == row.number && text.contains(&*row.mark));
            let moved = shown.iter().find(is_there).map(|(number, _)| *number);
            let row = &mut self.rows[nth];
            match (stays, moved) {
                (true, _) => row.differs_since = None,
                (false, Some(number)) => (row.number, row.differs_since) = (number, None),
                (false, None) => row.differs_since = row.differs_since.or(Some(now)),
            }
        }
        let is_known = |row: &Row| row.differs_since.is_none_or(|since| now < since + FORGET);
        self.rows.retain(is_known);
    }

    /// When something will be forgotten.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        let since = self.rows.iter().filter_map(|row| row.differs_since);
        since.min().map(|since| since + FORGET)
    }

    fn has(&self, number: u64, text: &str) -> bool {
        self.rows
            .iter()
            .any(|row| row.number == number && mark(text).contains(&*row.mark))
    }
}

/// What tells one question from another. What is drawn around it, or turns beside it, does not.
fn mark(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The rows that a piece of their text, each with its line end, is on.
fn rows_of(rows: &[(u64, String)], found: &Range<usize>) -> Vec<(u64, String)> {
    let mut at = 0;
    let mut touched = Vec::new();
    for (number, text) in rows {
        let end = at + text.len();
        if found.start <= end && found.end >= at {
            touched.push((*number, text.clone()));
        }
        at = end + 1;
    }
    touched
}
