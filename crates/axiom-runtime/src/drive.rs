//! What is done about one task while it runs, without a person or with one: its rules, and for a coding agent the conversation with
//! it. Pure but for [`files`]: what the task writes goes in with the time, and what is to be done comes out.
//!
//! Times are since a start that the caller chose.

pub mod files;
mod lines;

use std::time::Duration;

use axiom_sandbox::output::Source;

use crate::agent::{Conversation, SETTLE, Screen, State, Step};
use crate::mux::Stream;
use crate::rules::{Act, Watch, What};
pub use lines::Lines;

/// Drives one task.
#[derive(Debug)]
pub struct Drive {
    watch: Watch,
    conversation: Option<Conversation>,
    lines: Lines,
    question: Option<Question>,
    /// It stands still since then, and so does its time.
    frozen: Option<Duration>,
    /// How long it has stood still before, altogether.
    stood: Duration,
    /// When it last said something; what it has not finished is looked at when this is a while ago.
    heard: Duration,
    /// That was done.
    has_looked: bool,
}

/// What the agent asks a person.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    id: u64,
    text: String,
}

/// Something to do with the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Put this in.
    Type(Vec<u8>),
    Signal(i32),
    Freeze,
    Kill {
        why: String,
    },
    /// Find out when a file below its folder was last changed ([`files::look`]), and say so with [`Drive::files`].
    Look,
    /// Nothing but a word, for the record and for whoever looks on.
    Tell(Word),
}

/// Why something is done, or what there is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A rule acts: its name, what it does, and what the task did.
    Rule { rule: String, does: String, why: String },
    /// The profile has answered the agent.
    Answered { question: String, answer: String },
    /// A person is to answer: see [`Drive::answer`].
    Asked { question: String },
    /// No answer is needed any more.
    Withdrawn { why: String },
}

impl Drive {
    /// For a task that is started now; without a conversation it is any command, with one it is an agent.
    pub fn new(watch: Watch, conversation: Option<Conversation>) -> Drive {
        Drive {
            watch,
            conversation,
            lines: Lines::default(),
            question: None,
            frozen: None,
            stood: Duration::ZERO,
            heard: Duration::ZERO,
            has_looked: true,
        }
    }

    /// What the agent is doing; `None` for a task that is no agent.
    pub fn state(&self) -> Option<State> {
        self.conversation.as_ref().map(Conversation::state)
    }

    /// Whether what is typed is read: by a command always, by an agent unless it has its prompt as input.
    pub fn reads(&self) -> bool {
        self.conversation.as_ref().is_none_or(Conversation::reads)
    }

    /// Whether it can be given something else to do: a command always, an agent if its profile says how.
    pub fn takes_prompts(&self) -> bool {
        self.conversation.as_ref().is_none_or(Conversation::takes_prompts)
    }

    /// What it asks a person.
    pub fn question(&self) -> Option<&str> {
        self.question.as_ref().map(|question| question.text.as_str())
    }

    /// It has written this.
    pub fn output(&mut self, now: Duration, source: Source, bytes: &[u8]) -> Vec<Do> {
        let now = self.own(now);
        (self.heard, self.has_looked) = (now, false);
        let stream = stream(source);
        let mut acts = Vec::new();
        let watch = &mut self.watch;
        self.lines
            .split(source, bytes, |line| acts.extend(watch.line(now, stream, line)));
        // Where there is a screen, what stands on it says more, once it is at rest.
        if self.conversation.is_none()
            && let Some(line) = self.lines.open(source)
        {
            self.watch.goes_on(now, stream, &line);
        }
        let mut todo = Vec::new();
        if let Some(conversation) = &mut self.conversation {
            let steps = conversation.output(now, bytes);
            self.follow(steps, &mut todo);
        }
        self.act(now, acts, &mut todo);
        todo
    }

    /// It is time. See [`Drive::wake_at`].
    pub fn tick(&mut self, now: Duration) -> Vec<Do> {
        let mut todo = Vec::new();
        if self.frozen.is_some() {
            return todo;
        }
        let now = self.own(now);
        if let Some(conversation) = &mut self.conversation {
            let steps = conversation.tick(now);
            self.follow(steps, &mut todo);
        }
        let mut acts = self.watch.tick(now);
        if !self.has_looked && now >= self.heard + SETTLE {
            self.has_looked = true;
            for source in [Source::Stdout, Source::Stderr, Source::Terminal] {
                if let Some(line) = self.unfinished(source) {
                    acts.extend(self.watch.unfinished(now, stream(source), &line));
                }
            }
        }
        self.act(now, acts, &mut todo);
        todo
    }

    /// The line that was begun and not ended, as a person sees it.
    fn unfinished(&mut self, source: Source) -> Option<String> {
        let line = self.lines.open(source)?;
        let screen = self.conversation.as_ref().map(Conversation::screen);
        let screen = screen.filter(|_| source == Source::Terminal);
        Some(screen.map_or(line, Screen::cursor_text))
    }

    /// When there may be something to do although it writes nothing.
    pub fn wake_at(&self) -> Option<Duration> {
        if self.frozen.is_some() {
            return None;
        }
        let unfinished = (!self.has_looked).then_some(self.heard + SETTLE);
        let talk = self.conversation.as_ref().and_then(Conversation::wake_at);
        let next = [self.watch.wake_at(), unfinished, talk]
            .into_iter()
            .flatten()
            .min();
        next.map(|at| at.saturating_add(self.stood))
    }

    /// A file below its folder was last changed so long ago; `None` if nobody knows, which counts as just now.
    pub fn files(&mut self, now: Duration, age: Option<Duration>) -> Vec<Do> {
        let now = self.own(now);
        let acts = self.watch.files(now, now.saturating_sub(age.unwrap_or_default()));
        let mut todo = Vec::new();
        self.act(now, acts, &mut todo);
        todo
    }

    /// Somebody else puts this in: a terminal shows it, and it is not the task's word.
    pub fn typed(&mut self, text: &str) {
        self.watch.typed(text);
    }

    /// Stops it in what it does.
    pub fn interrupt(&mut self, now: Duration) -> Vec<Do> {
        let now = self.own(now);
        self.done(|drive, todo| drive.stop(now, todo))
    }

    /// Stops it and gives it something else to do.
    pub fn redirect(&mut self, now: Duration, prompt: &str) -> Vec<Do> {
        let now = self.own(now);
        self.done(|drive, todo| drive.turn(now, prompt, todo))
    }

    /// A text for it, and Enter behind it.
    pub fn say(&mut self, now: Duration, text: &str) -> Vec<Do> {
        let now = self.own(now);
        self.done(|drive, todo| drive.put(now, text, true, todo))
    }

    /// The answer to what it asks; `None` if it asks nothing.
    pub fn answer(&mut self, now: Duration, is_yes: bool) -> Option<Vec<Do>> {
        let question = self.question.take()?;
        let now = self.own(now);
        let steps = self.conversation.as_mut()?.answer(now, question.id, is_yes);
        Some(self.done(|drive, todo| drive.follow(steps, todo)))
    }

    /// It stands still, or goes on. Until it goes on its time stands still, too: no silence and no deadline of its agent is one that
    /// others have made.
    pub fn set_frozen(&mut self, now: Duration, is_frozen: bool) {
        if is_frozen {
            self.frozen = Some(self.own(now));
        } else if let Some(since) = self.frozen.take() {
            self.stood = now.saturating_sub(since);
        }
    }

    /// It has ended.
    pub fn ended(&mut self, now: Duration) -> Vec<Do> {
        let now = self.own(now);
        let steps = self
            .conversation
            .as_mut()
            .map(|conversation| conversation.ended(now));
        self.done(|drive, todo| drive.follow(steps.unwrap_or_default(), todo))
    }

    /// What of the time until `now` was its own.
    fn own(&self, now: Duration) -> Duration {
        self.frozen.unwrap_or_else(|| now.saturating_sub(self.stood))
    }

    fn done(&mut self, act: impl FnOnce(&mut Drive, &mut Vec<Do>)) -> Vec<Do> {
        let mut todo = Vec::new();
        act(self, &mut todo);
        todo
    }

    fn stop(&mut self, now: Duration, todo: &mut Vec<Do>) {
        match &mut self.conversation {
            Some(conversation) => {
                let steps = conversation.interrupt(now);
                self.follow(steps, todo);
            }
            None => todo.push(Do::Signal(2)),
        }
    }

    fn turn(&mut self, now: Duration, prompt: &str, todo: &mut Vec<Do>) {
        match &mut self.conversation {
            Some(conversation) => {
                let steps = conversation.redirect(now, prompt);
                self.follow(steps, todo);
            }
            None => {
                todo.push(Do::Signal(2));
                self.put(now, prompt, true, todo);
            }
        }
    }

    fn put(&mut self, now: Duration, text: &str, enter: bool, todo: &mut Vec<Do>) {
        match &mut self.conversation {
            Some(conversation) => {
                let steps = conversation.put(now, text, enter);
                self.follow(steps, todo);
            }
            None => {
                let end = if enter { "\n" } else { "" };
                todo.push(Do::Type(format!("{text}{end}").into_bytes()));
            }
        }
    }

    /// What the conversation asks for.
    fn follow(&mut self, steps: Vec<Step>, todo: &mut Vec<Do>) {
        for step in steps {
            todo.push(match step {
                Step::Type(text) => {
                    self.watch.typed(&text);
                    Do::Type(text.into_bytes())
                }
                Step::Signal(signal) => Do::Signal(signal),
                Step::Answered { question, answer } => Do::Tell(Word::Answered { question, answer }),
                Step::Ask { id, question } => {
                    self.question = Some(Question {
                        id,
                        text: question.clone(),
                    });
                    Do::Tell(Word::Asked { question })
                }
                Step::Withdraw { id, why } => {
                    if self.question.take_if(|asked| asked.id == id).is_none() {
                        continue;
                    }
                    Do::Tell(Word::Withdrawn { why: why.to_string() })
                }
                // It is asked for: see `state`.
                Step::Told(_) => continue,
                Step::GiveUp { why } => Do::Kill { why },
            });
        }
    }

    /// What the rules ask for.
    fn act(&mut self, now: Duration, acts: Vec<Act>, todo: &mut Vec<Do>) {
        for Act { rule, why, what } in acts {
            let does = match &what {
                What::Look => {
                    todo.push(Do::Look);
                    continue;
                }
                What::Type { .. } if !self.reads() => "types nothing: its input has ended".to_owned(),
                What::Redirect { .. } if !self.takes_prompts() => {
                    "gives it no other prompt: it is told to exit, or its profile does not say when it is ready".to_owned()
                }
                What::Type { text, .. } => format!("types {text:?}"),
                What::Interrupt => "interrupts it".to_owned(),
                What::Redirect { prompt } => format!("gives it another prompt: {prompt:?}"),
                What::Notify { message } => message.clone(),
                What::Freeze { note } => format!("freezes it: {note}"),
                What::Kill { .. } => "kills it".to_owned(),
                What::UsedUp(used_up) => format!("does nothing more for now: {used_up}"),
            };
            todo.push(Do::Tell(Word::Rule { rule, does, why }));
            match what {
                What::Type { .. } if !self.reads() => {}
                What::Type { text, enter } => self.put(now, &text, enter, todo),
                What::Interrupt => self.stop(now, todo),
                What::Redirect { prompt } => self.turn(now, &prompt, todo),
                What::Freeze { .. } => {
                    self.frozen.get_or_insert(now);
                    todo.push(Do::Freeze);
                }
                What::Kill { why } => todo.push(Do::Kill { why }),
                What::Notify { .. } | What::Look | What::UsedUp(_) => {}
            }
        }
    }
}

/// A terminal has one stream.
fn stream(source: Source) -> Stream {
    match source {
        Source::Stderr => Stream::Stderr,
        Source::Stdout | Source::Terminal => Stream::Stdout,
    }
}

#[cfg(test)]
mod tests;
