//! What a live reader gets, as lines for a terminal: `[task8] text`.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::{Numbered, Stream};
use super::clean::{Cleaner, Colours};
use super::hub::Hub;
use super::lines::{End, Part};
use super::live::{Lines, Missed, News};

/// One person's view.
#[derive(Debug)]
pub struct Terminal {
    hub: Hub,
    colours: Colours,
    /// For lines of which more pieces are to come. At most two a task: those of a task that missed lines are forgotten.
    in_pieces: HashMap<(Arc<str>, Stream), Cleaner>,
}

impl Terminal {
    /// With colours, those of the tasks and the prefixes', or without any.
    pub fn new(hub: Hub, colours: Colours) -> Self {
        Terminal {
            hub,
            colours,
            in_pieces: HashMap::new(),
        }
    }

    /// Adds the news to `out`, whole lines only, each with its prefix and a LF. Of a progress bar's states that came together
    /// only the last one is shown.
    pub fn write(&mut self, news: &News, out: &mut String) {
        match news {
            News::Lines(lines) => self.write_lines(lines, out),
            News::Missed(missed) => self.write_missed(missed, out),
            News::MissedMore { lines } => {
                self.in_pieces.clear();
                out.push_str(&format!("... {lines} lines of other tasks missed\n"));
            }
        }
    }

    fn write_lines(&mut self, lines: &Lines, out: &mut String) {
        let mut prefix = String::new();
        let is_coloured = self.colours == Colours::Keep;
        self.hub.write_prefix(lines.task(), is_coloured, &mut prefix);
        let place = (Arc::clone(lines.task()), lines.stream());
        let new = Cleaner::new(self.colours);
        let mut cleaner = self.in_pieces.remove(&place).unwrap_or(new);
        let mut is_in_pieces = false;
        let mut numbered = lines.iter().peekable();
        while let Some(Numbered { line, .. }) = numbered.next() {
            let text = cleaner.clean(line);
            is_in_pieces = matches!(line.part, Part::Begin | Part::Middle);
            let next = numbered.peek();
            let is_written_over =
                line.end == End::Cr && next.is_some_and(|next| !next.line.text().is_empty());
            if !is_written_over {
                out.extend([&prefix, &*text, "\n"]);
            }
        }
        if is_in_pieces {
            self.in_pieces.insert(place, cleaner);
        }
    }

    fn write_missed(&mut self, missed: &Missed, out: &mut String) {
        let is_coloured = self.colours == Colours::Keep;
        self.hub.write_prefix(&missed.task, is_coloured, out);
        let Missed {
            first, last, lines, ..
        } = missed;
        out.push_str(&format!("... {lines} lines missed, from {first} to {last}\n"));
        self.in_pieces.retain(|(task, _), _| *task != missed.task);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LiveReader, Options, Subscription, Writer};
    use super::*;

    struct Scene {
        hub: Hub,
        reader: LiveReader,
        terminal: Terminal,
    }

    impl Scene {
        fn new(colours: Colours, queue_bytes_max: usize) -> Self {
            let hub = Hub::new(Options::default());
            let subscription = Subscription {
                queue_bytes_max: Some(queue_bytes_max),
                ..Subscription::default()
            };
            Scene {
                reader: hub.subscribe(subscription).unwrap(),
                terminal: Terminal::new(hub.clone(), colours),
                hub,
            }
        }

        fn writer(&self, task: &str) -> Writer {
            self.hub.writer(task, 0).unwrap()
        }

        fn check(&mut self, expected: &str) {
            let mut text = String::new();
            while let Some(news) = self.reader.next_now() {
                self.terminal.write(&news, &mut text);
            }
            assert_eq!(text, expected);
        }
    }

    fn write(writer: &mut Writer, stream: Stream, text: &str) {
        assert_eq!(writer.write(stream, 0, text.as_bytes()), text.len());
    }

    #[test]
    fn whole_lines_that_do_not_mix() {
        let mut scene = Scene::new(Colours::Strip, 1 << 20);
        let (mut build, mut test) = (scene.writer("0f3a9b2c4d5e"), scene.writer("test"));
        write(&mut build, Stream::Stdout, "comp");
        write(&mut test, Stream::Stdout, "ok 1\r\n\nok 2\n");
        write(&mut build, Stream::Stderr, "\x1b[33mwarning\n\x1b[0m");
        write(&mut build, Stream::Stdout, "iling\x1b[2J\n");
        scene.check(concat!(
            "[test]     ok 1\n[test]     \n[test]     ok 2\n",
            "[0f3a9b2c] warning\n",
            "[0f3a9b2c] compiling\n",
        ));
    }

    #[test]
    fn a_colour_ends_with_its_line() {
        let mut scene = Scene::new(Colours::Keep, 1 << 20);
        let (mut a, mut b) = (scene.writer("a"), scene.writer("b"));
        write(&mut a, Stream::Stdout, "\x1b[31mred\n");
        write(&mut b, Stream::Stdout, "plain\n");
        let colour = |task| {
            format!(
                "\x1b[38;5;{}m[{task}]\x1b[0m ",
                super::super::prefix::colour(task)
            )
        };
        scene.check(&format!(
            "{}\x1b[31mred\x1b[0m\n{}plain\n",
            colour("a"),
            colour("b")
        ));
    }

    #[test]
    fn a_progress_bar_shows_where_it_is() {
        let mut scene = Scene::new(Colours::Strip, 1 << 20);
        let mut bar = scene.writer("bar");
        write(&mut bar, Stream::Stdout, "1%\r2%\r3%\r4");
        scene.check("[bar] 3%\n");
        write(&mut bar, Stream::Stdout, "%\rdone\r\r\n");
        scene.check("[bar] done\n[bar] \n");
    }

    #[test]
    fn what_was_missed_is_said() {
        let mut scene = Scene::new(Colours::Strip, 1200);
        let mut task = scene.writer("task");
        let line = "x".repeat(500) + "\n";
        for _ in 0..3 {
            write(&mut task, Stream::Stdout, &line);
        }
        scene.check(&format!("[task] ... 2 lines missed, from 0 to 1\n[task] {line}"));
    }

    #[test]
    fn a_clipboard_escape_in_pieces_stays_hidden() {
        let mut scene = Scene::new(Colours::Strip, 1 << 20);
        let mut task = scene.writer("task");
        write(&mut task, Stream::Stdout, "a\x1b]52;c;");
        assert!(task.flush(Stream::Stdout));
        write(&mut task, Stream::Stderr, "other\n");
        write(&mut task, Stream::Stdout, "cm0gLXJm\x07b\n");
        scene.check("[task] a\n[task] other\n[task] b\n");
        assert!(scene.terminal.in_pieces.is_empty());
    }
}
