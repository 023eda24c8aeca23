//! What tasks say, line by line, with whose it is in front.

use std::collections::HashMap;

use axiom_runtime::mux::clean::{Cleaner, Colours};
use axiom_runtime::mux::lines::{Line, Splitter};
use axiom_runtime::mux::prefix::Prefixes;
use axiom_sandbox::output::Source;

use crate::import::preview::visible;
use crate::terminal::Terminal;

/// A longer line is shown as several.
const LINE_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Printer {
    terminal: Terminal,
    prefixes: Prefixes,
    streams: HashMap<(String, Source), Stream>,
    /// Nobody reads us any more.
    is_unread: bool,
}

#[derive(Debug)]
struct Stream {
    splitter: Splitter,
    cleaner: Cleaner,
}

impl Printer {
    pub(super) fn new(terminal: &Terminal, tasks: &[String]) -> Printer {
        let mut prefixes = Prefixes::default();
        tasks.iter().for_each(|task| prefixes.add(task));
        Printer {
            terminal: *terminal,
            prefixes,
            streams: HashMap::new(),
            is_unread: false,
        }
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Shows the lines that these bytes end.
    ///
    /// # Errors
    /// When they cannot be written, for another reason than that nobody reads.
    pub(super) fn put(&mut self, task: &str, source: Source, bytes: &[u8]) -> std::io::Result<()> {
        self.show(task, source, |splitter, line| splitter.feed(bytes, line))
    }

    /// The task has ended: shows lines that it did not end.
    ///
    /// # Errors
    /// As [`Printer::put`].
    pub(super) fn finish(&mut self, task: &str) -> std::io::Result<()> {
        for source in [Source::Stdout, Source::Stderr, Source::Terminal] {
            self.show(task, source, |splitter, line| splitter.finish(line))?;
            self.streams.remove(&(task.to_owned(), source));
        }
        Ok(())
    }

    /// Says something about a task. There may be words of others in it, a question of its screen or a reason that a client has given:
    /// what would steer a terminal is written out, and each line says whose it is.
    pub(super) fn say(&self, task: &str, text: &str) {
        for text in text.split('\n') {
            let mut line = String::new();
            self.prefixes.write(task, self.terminal.colour(), &mut line);
            line.push_str(&visible(text));
            self.terminal.say(line);
        }
    }

    fn show(
        &mut self,
        task: &str,
        source: Source,
        split: impl FnOnce(&mut Splitter, &mut dyn FnMut(Line<'_>)),
    ) -> std::io::Result<()> {
        let is_coloured = self.terminal.colour();
        let colours = if is_coloured {
            Colours::Keep
        } else {
            Colours::Strip
        };
        let stream = self
            .streams
            .entry((task.to_owned(), source))
            .or_insert_with(|| Stream {
                splitter: Splitter::new(LINE_BYTES_MAX),
                cleaner: Cleaner::new(colours),
            });
        let (prefixes, cleaner) = (&self.prefixes, &mut stream.cleaner);
        let mut text = String::new();
        split(&mut stream.splitter, &mut |line| {
            prefixes.write(task, is_coloured, &mut text);
            text.push_str(&cleaner.clean(line));
            text.push('\n');
        });
        if text.is_empty() || self.is_unread {
            return Ok(());
        }
        if source == Source::Stderr {
            self.terminal.say(text.trim_end_matches('\n'));
        } else {
            self.is_unread = !self.terminal.lines(text.as_bytes())?;
        }
        Ok(())
    }
}
