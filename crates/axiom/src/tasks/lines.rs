//! What a task has said, in pieces that a model can read, and waiting for it to say more.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_runtime::mux::clean::{Colours, clean};
use axiom_runtime::mux::{Stream, Subscription, Tasks};
use axiom_runtime::supervisor::{From, PageLine, Phase};
use serde_json::{Value as Json, json};

use super::refusal::Refusal;
use super::{Desk, shown};
use crate::builtin::arguments::{Arguments, must_be};
use crate::events::full;

pub(crate) const COUNT: usize = 100;
pub(crate) const COUNT_MAX: usize = 1000;
/// Seconds.
pub(crate) const WAIT_MAX: f64 = 300.0;
/// Bytes of one result: a model has to read it.
const RESULT_BYTES_MAX: usize = 128 << 10;
/// Pages of which the lines of one stream are gathered. If there are so few of them, the next call goes on.
const PAGES_MAX: usize = 20;
/// A reader that only tells that there is something new.
const BELL_BYTES: usize = 16 << 10;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// The first one's number; `None`: the last ones.
    pub(crate) from: Option<u64>,
    pub(crate) count: usize,
    pub(crate) stream: Option<Stream>,
}

/// Some lines, and where to go on.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<PageLine>,
    pub(crate) next: u64,
    /// There is nothing more, for now.
    pub(crate) is_end: bool,
    pub(crate) unfinished: String,
    pub(crate) damaged: Option<&'static str>,
}

impl Look {
    pub(crate) fn read(arguments: &Arguments<'_>) -> Result<Look, Refusal> {
        let from = arguments.offset("from")?;
        if from.is_some() && arguments.get("last").is_some() {
            return Err(Refusal::wrong("give `from` or `last`, not both"));
        }
        let last = arguments.count("last", COUNT, COUNT_MAX)?;
        Ok(Look {
            from,
            count: match from {
                Some(_) => arguments.count("count", COUNT, COUNT_MAX)?,
                None => arguments.count("count", last, COUNT_MAX)?,
            },
            stream: stream(arguments)?,
        })
    }
}

/// `stdout` or `stderr`; nothing for both.
pub(crate) fn stream(arguments: &Arguments<'_>) -> Result<Option<Stream>, Refusal> {
    match arguments.text("stream")? {
        None => Ok(None),
        Some("stdout") => Ok(Some(Stream::Stdout)),
        Some("stderr") => Ok(Some(Stream::Stderr)),
        Some(other) => Err(must_be("stream", "`stdout` or `stderr`", &json!(other)).into()),
    }
}

impl Desk {
    /// Lines that are there.
    pub(crate) async fn lines(&self, id: &str, look: Look) -> Result<Lines, Refusal> {
        match look.from {
            Some(from) => self.lines_from(id, from, look).await,
            None => self.last_lines(id, look).await,
        }
    }

    async fn lines_from(&self, id: &str, from: u64, look: Look) -> Result<Lines, Refusal> {
        let mut found = Lines {
            next: from,
            ..Lines::default()
        };
        let mut bytes = 0;
        for _ in 0..PAGES_MAX {
            let page = self
                .supervisor
                .output(id, From::Line(found.next), COUNT_MAX)
                .await?;
            found.damaged = found.damaged.or(page.damaged);
            for line in page.lines {
                if found.lines.len() >= look.count || bytes >= RESULT_BYTES_MAX {
                    return Ok(found);
                }
                found.next = line.number + 1;
                if look.stream.is_none_or(|stream| stream == line.stream) {
                    bytes += line.text.len();
                    found.lines.push(line);
                }
            }
            if page.is_end {
                found.is_end = true;
                found.unfinished = page.unfinished;
                break;
            }
        }
        Ok(found)
    }

    async fn last_lines(&self, id: &str, look: Look) -> Result<Lines, Refusal> {
        let wanted = match look.stream {
            Some(_) => COUNT_MAX,
            None => look.count,
        };
        let page = self.supervisor.output(id, From::Last(wanted), wanted).await?;
        let mut lines = page.lines;
        lines.retain(|line| look.stream.is_none_or(|stream| stream == line.stream));
        let mut bytes = 0;
        let kept = lines.iter().rev().take(look.count).take_while(|line| {
            bytes += line.text.len();
            bytes <= RESULT_BYTES_MAX
        });
        let left_out = lines.len() - kept.count();
        lines.drain(..left_out);
        Ok(Lines {
            lines,
            next: page.next,
            is_end: page.is_end,
            unfinished: page.unfinished,
            damaged: page.damaged,
        })
    }

    /// Lines that are there, or else the next ones, if they come within this time. Without a place to begin those that are there
    /// already are not waited for.
    pub(crate) async fn new_lines(
        &self,
        id: &Arc<str>,
        mut look: Look,
        wait: Duration,
    ) -> Result<Lines, Refusal> {
        let deadline = time::now() + wait;
        // Before the first look, so that nothing comes in between.
        let mut bell = self.supervisor.subscribe(Subscription {
            tasks: Tasks::These([Arc::clone(id)].into()),
            stream: look.stream,
            queue_bytes_max: Some(BELL_BYTES),
            ..Subscription::default()
        })?;
        if look.from.is_none() {
            look.from = Some(self.supervisor.output(id, From::Last(0), 1).await?.next);
        }
        loop {
            let has_ended = self.view(id)?.phase == Phase::Ended;
            let found = self.lines(id, look).await?;
            if !found.lines.is_empty() || has_ended {
                return Ok(found);
            }
            tokio::select! {
                // cancel-safe: what it has to tell is read from the disk.
                _ = bell.next() => {}
                // cancel-safe: it only waits.
                _ = self.supervisor.wait(id) => {}
                // cancel-safe: the value stays.
                () = self.closed() => return Ok(found),
                // cancel-safe: a timer.
                () = time::sleep_until(deadline) => return Ok(found),
            }
        }
    }

    /// How a task is, with its last lines.
    pub(crate) async fn whole(&self, id: &str, last: usize) -> Result<(Json, String), Refusal> {
        let view = self.view(id)?;
        let look = Look {
            from: None,
            count: last,
            stream: None,
        };
        let found = self.lines(id, look).await?;
        let mut status = shown::status(&view);
        found.put_into(&mut status, "last_lines");
        let mut text = shown::brief(&view);
        text.push('\n');
        text.push_str(&found.text());
        Ok((status, text))
    }
}

impl Lines {
    pub(crate) fn put_into(&self, shown: &mut Json, name: &str) {
        shown[name] = self.lines.iter().map(line).collect();
        shown["next"] = json!(self.next);
        if !self.unfinished.is_empty() {
            shown["unfinished"] = json!(clean(self.unfinished.as_bytes(), Colours::Strip));
        }
        if let Some(why) = self.damaged {
            shown["damaged"] = json!(why);
        }
    }

    /// As they were said, one below the other.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&clean(line.text.as_bytes(), Colours::Strip));
            text.push('\n');
        }
        text.push_str(&clean(self.unfinished.as_bytes(), Colours::Strip));
        text
    }
}

/// One line, without what would steer a terminal.
pub(crate) fn line(line: &PageLine) -> Json {
    json!({
        "number": line.number,
        "stream": stream_name(line.stream),
        "time": full(line.time),
        "text": clean(line.text.as_bytes(), Colours::Strip),
    })
}

pub(crate) fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}
