//! One task, as its rules see it.

use std::sync::Arc;
use std::time::Duration;

use super::budget::{Spending, TASK_BUDGET, UsedUp, Verdict};
use super::echo::Echo;
use super::trigger::{Heard, Seen};
use super::{Action, Rule, Stream, Trigger};

/// Lines that are looked for in what a terminal shows, besides the rules' own.
pub const TYPED_LINES_MAX: usize = 256;

/// Of a longer line the rest is not looked at.
pub const LINE_BYTES_MAX: usize = 4096;

/// Watches one task. See the [module](super).
#[derive(Debug)]
pub struct Watch {
    now: Duration,
    armed: Vec<Armed>,
    echo: Echo,
    /// The line that is not finished, of each stream.
    open: [Open; 2],
    spent: Spending,
    /// It was killed.
    is_over: bool,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The rule's name.
    pub rule: String,
    /// For people: what the task did.
    pub why: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Type {
        text: String,
        enter: bool,
    },
    Interrupt,
    Redirect {
        prompt: String,
    },
    Notify {
        message: String,
    },
    /// Freeze it; the note says why.
    Freeze {
        note: String,
    },
    /// End it, for this reason, which names the rule.
    Kill {
        why: String,
    },
    /// Find out when a file below the task's folder was last changed, and say so with [`Watch::files`].
    Look,
    /// The rule wanted to act and may not. Told once, until it has acted again.
    UsedUp(UsedUp),
}

/// One rule of the task.
#[derive(Debug)]
struct Armed {
    rule: Arc<Rule>,
    seen: Seen,
    spent: Spending,
    /// The beginning of a line, of each stream, that the rule has looked at: its rest is no other line.
    begun: [Option<String>; 2],
}

impl Watch {
    pub(super) fn new(now: Duration, rules: impl Iterator<Item = Arc<Rule>>) -> Watch {
        let armed = rules.map(|rule| Armed {
            seen: Seen::new(now, &rule.trigger),
            spent: Spending::new(rule.budget),
            begun: [None, None],
            rule,
        });
        Watch {
            now,
            armed: armed.collect(),
            echo: Echo::default(),
            open: [Open::default(), Open::default()],
            spent: Spending::new(TASK_BUDGET),
            is_over: false,
        }
    }

    /// Whether no rule is for it.
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// Somebody else types this, a person or a profile: a terminal shows it, and it is not the task's word. Short lines, as of
    /// answers, are not looked for, since a task says the same by chance; and of more than [`TYPED_LINES_MAX`] the rest is not
    /// known.
    pub fn typed(&mut self, text: &str) {
        self.echo.typed_by_others(text, TYPED_LINES_MAX);
    }

    /// The task said a line, which is `text` as a person would see it: cleaned, without its end.
    pub fn line(&mut self, now: Duration, stream: Stream, text: &str) -> Vec<Act> {
        self.hear(now, stream, text, true)
    }

    /// The task's line is `text` so far, and nothing comes at the moment: a prompt. Patterns look at it, and not again at what
    /// stands there already when more comes. May be called again with the same text: it is said once.
    pub fn unfinished(&mut self, now: Duration, stream: Stream, text: &str) -> Vec<Act> {
        self.goes_on(now, stream, text);
        self.hear(now, stream, text, false)
    }

    /// The task's line is `text` so far, and more may come at once. It is not silent then, unless there is nothing in it but what was
    /// there before, or a mark that turns.
    pub fn goes_on(&mut self, now: Duration, stream: Stream, text: &str) {
        self.now = self.now.max(now);
        let text = beginning(text);
        let own = self.echo.cut(text);
        let is_news = self.open[nth(stream)].is_news(&own) && !Echo::is_all(text, &own);
        if !is_news {
            return;
        }
        for armed in &mut self.armed {
            if let Seen::Silence(lull) = &mut armed.seen {
                lull.since = self.now;
            }
        }
    }

    /// A file below the task's folder was last changed at this time.
    pub fn files(&mut self, now: Duration, changed: Duration) -> Vec<Act> {
        self.now = self.now.max(now);
        let changed = changed.min(self.now);
        self.each(|armed, now| {
            let (Seen::Unchanged(lull), Trigger::Unchanged { time }) = (&mut armed.seen, &armed.rule.trigger)
            else {
                return None;
            };
            // Somebody looked: the next look is not due before it can tell anything.
            if lull.not_before.is_some() {
                lull.not_before = Some(Duration::ZERO);
            }
            lull.since = lull.since.max(changed);
            let is_due = lull.due(*time).is_some_and(|due| due <= now);
            is_due.then(|| format!("no file was changed for {time:?}"))
        })
    }

    /// A file below the task's folder has just been changed.
    pub fn files_changed(&mut self, now: Duration) -> Vec<Act> {
        self.files(now, now)
    }

    /// To be called at [`Watch::wake_at`].
    pub fn tick(&mut self, now: Duration) -> Vec<Act> {
        self.now = self.now.max(now);
        let mut acts = self.each(|armed, now| {
            let (Seen::Silence(lull), Trigger::Silence { time }) = (&armed.seen, &armed.rule.trigger) else {
                return None;
            };
            let is_due = lull.due(*time).is_some_and(|due| due <= now);
            is_due.then(|| format!("it said nothing for {time:?}"))
        });
        acts.extend(self.looks());
        acts
    }

    /// When something may have to be done although nothing is said; never if it is `None`.
    pub fn wake_at(&self) -> Option<Duration> {
        let due = |armed: &Armed| match (&armed.seen, &armed.rule.trigger) {
            (Seen::Silence(lull), Trigger::Silence { time })
            | (Seen::Unchanged(lull), Trigger::Unchanged { time }) => lull.due(*time),
            _ => None,
        };
        match self.is_over {
            true => None,
            false => self.armed.iter().filter_map(due).min(),
        }
    }

    fn hear(&mut self, now: Duration, stream: Stream, text: &str, is_whole: bool) -> Vec<Act> {
        self.now = self.now.max(now);
        let bytes = text.len() as u64 + 1;
        let text = beginning(text);
        if is_whole {
            self.open[nth(stream)] = Open::default();
        }
        let own = self.echo.cut(text).into_owned();
        let heard = Heard {
            stream,
            own: &own,
            bytes,
            is_echo: Echo::is_all(text, &own),
        };
        self.each(|armed, now| armed.hear(now, text, heard, is_whole))
    }

    /// Asks for a look where files have not been changed for long enough, as far as is known. It is asked for again if nobody
    /// answers for as long.
    fn looks(&mut self) -> Vec<Act> {
        let now = self.now;
        let mut acts = Vec::new();
        for armed in self.armed.iter_mut().filter(|_| !self.is_over) {
            if let (Seen::Unchanged(lull), Trigger::Unchanged { time }) =
                (&mut armed.seen, &armed.rule.trigger)
                && lull.due(*time).is_some_and(|due| due <= now)
            {
                lull.not_before = Some(now.saturating_add(*time));
                acts.push(Act {
                    rule: armed.rule.name.clone(),
                    why: format!("no file is known to have been changed for {time:?}"),
                    what: What::Look,
                });
            }
        }
        acts
    }

    /// Lets each rule say whether it has a reason, and acts on those as far as the budgets go.
    fn each(&mut self, mut reason: impl FnMut(&mut Armed, Duration) -> Option<String>) -> Vec<Act> {
        let mut acts = Vec::new();
        for nth in 0..self.armed.len() {
            if self.is_over {
                break;
            }
            let Some(armed) = self.armed.get_mut(nth) else {
                break;
            };
            let Some(why) = reason(armed, self.now) else {
                continue;
            };
            let rule = armed.rule.name.clone();
            let what = match self.may_act(nth) {
                Ok(()) => self.act(nth, &why),
                Err(Some(used_up)) => What::UsedUp(used_up),
                Err(None) => continue,
            };
            acts.push(Act { rule, why, what });
        }
        acts
    }

    /// Whether the budgets have something left; if not, why, the first time.
    fn may_act(&mut self, nth: usize) -> Result<(), Option<UsedUp>> {
        let now = self.now;
        let Some(armed) = self.armed.get_mut(nth) else {
            return Err(None);
        };
        let mut verdict = armed.spent.look(now);
        if verdict == Verdict::Free && armed.rule.action != Action::Kill {
            verdict = match self.spent.look(now) {
                Verdict::Spent { until, why } => Verdict::Spent {
                    until,
                    why: why.map(UsedUp::of_task),
                },
                verdict => verdict,
            };
        }
        let (until, why) = match verdict {
            Verdict::Free => return Ok(()),
            Verdict::Cooling(until) => (Some(until), None),
            Verdict::Spent { until, why } => (until, why),
        };
        // A lull that is due stays so; it is looked at again when something can be done about it.
        if let Seen::Silence(lull) | Seen::Unchanged(lull) = &mut armed.seen {
            lull.not_before = until;
        }
        Err(why)
    }

    fn act(&mut self, nth: usize, why: &str) -> What {
        let now = self.now;
        let Some(armed) = self.armed.get_mut(nth) else {
            return What::Look;
        };
        armed.spent.spend(now);
        armed.seen.acted(now);
        let rule = Arc::clone(&armed.rule);
        if rule.action != Action::Kill {
            self.spent.spend(now);
        }
        match &rule.action {
            Action::Type { text, enter } => {
                self.echo.typed(text);
                What::Type {
                    text: text.clone(),
                    enter: *enter,
                }
            }
            Action::Interrupt => What::Interrupt,
            Action::Redirect { prompt } => {
                self.echo.typed(prompt);
                What::Redirect {
                    prompt: prompt.clone(),
                }
            }
            Action::Notify { message } => What::Notify {
                message: message.clone(),
            },
            Action::Checkpoint { note } => What::Freeze { note: note.clone() },
            Action::Kill => {
                self.is_over = true;
                What::Kill {
                    why: format!("rule {}: {why}", rule.name),
                }
            }
        }
    }
}

impl Armed {
    fn hear(&mut self, now: Duration, text: &str, heard: Heard<'_>, is_whole: bool) -> Option<String> {
        let begun = &mut self.begun[nth(heard.stream)];
        let is_known = begun.as_ref().is_some_and(|begun| text.starts_with(&**begun));
        match &self.rule.trigger {
            Trigger::Pattern { .. } if is_known => {
                if is_whole {
                    *begun = None;
                }
                None
            }
            Trigger::Pattern { .. } => {
                let reason = self.seen.line(now, &self.rule.trigger, heard);
                let is_begun = reason.is_some() && !is_whole;
                *begun = is_begun.then(|| text.to_owned());
                reason
            }
            // Lines are counted when they are whole; whether one that is not breaks a silence is known before.
            _ if is_whole => self.seen.line(now, &self.rule.trigger, heard),
            _ => None,
        }
    }
}

/// A line that is not finished, as far as it tells whether more is said in it.
#[derive(Debug, Default)]
struct Open {
    /// What stands in it but for what is no letter.
    words: String,
    /// The most characters that it had.
    longest: usize,
}

impl Open {
    /// Whether there is something in it that was not there before. Other words are, and so are dots behind dots; a mark that turns
    /// leaves the line as long as it is, and a line that is drawn anew begins with what it has been.
    fn is_news(&mut self, text: &str) -> bool {
        let text = text.trim();
        let words: String = text.chars().filter(|c| c.is_alphabetic()).collect();
        let chars = text.chars().count();
        let is_longer = chars > self.longest;
        let has_other_words = !self.words.starts_with(&*words);
        if has_other_words {
            (self.words, self.longest) = (words, chars);
        }
        self.longest = self.longest.max(chars);
        has_other_words || is_longer
    }
}

fn nth(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// What of a line is looked at.
fn beginning(line: &str) -> &str {
    line.get(..line.floor_char_boundary(LINE_BYTES_MAX))
        .unwrap_or(line)
}
