//! One conversation with one agent: the only place with all of its states.

use std::sync::Arc;
use std::time::Duration;

use super::questions::{Answered, Question};
use super::{Answer, ENTER_PAUSE, Interrupt, Profile, PromptBy, SETTLE, SETTLE_MAX, Screen};
use crate::pattern::Pattern;

/// See the [module](super).
#[derive(Debug)]
pub struct Conversation {
    profile: Arc<Profile>,
    now: Duration,
    screen: Screen,
    /// Its text, to see whether it has changed; and when it last had.
    shown: String,
    changed: Duration,
    state: State,
    since: Duration,
    /// Not typed yet. Without one it is idle as soon as it is ready.
    prompt: Option<String>,
    /// What was typed waits for its Enter.
    enter_at: Option<Duration>,
    /// The cursor's row as it was when something was typed: the prompt that stands there is the old one.
    stale: Option<(u64, String)>,
    answered: Answered,
    /// A question that was seen, and since when.
    seen: Option<(Question, Duration)>,
    /// The one that a person was asked.
    asked: Option<Asked>,
    next_question: u64,
}

#[derive(Debug)]
struct Asked {
    id: u64,
    question: Question,
    back: State,
    gone_since: Option<Duration>,
}

/// How it is with an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It cannot take a prompt yet.
    Starting,
    /// The prompt is typed, its Enter is due.
    Ready,
    Working,
    /// A person was asked.
    Asking,
    /// It was interrupted, to be given another prompt.
    Interrupting,
    /// It waits for us.
    Idle,
    /// It was told to exit.
    Leaving,
    /// It has ended, or was given up.
    Ended,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Type(String),
    Signal(i32),
    /// A question was answered as the profile says. For the record; what was typed is a step of its own.
    Answered {
        question: String,
        answer: String,
    },
    /// A person is to be asked. [`Conversation::answer`] takes the answer.
    Ask {
        id: u64,
        question: String,
    },
    /// Nobody needs to answer any more.
    Withdraw {
        id: u64,
        why: String,
    },
    Told(State),
    /// It does not do what it should: end it, for this reason.
    GiveUp {
        why: String,
    },
}

impl Conversation {
    /// With a program that was just started, in a terminal of this size. A prompt that is not typed is the caller's to deliver.
    pub fn new(now: Duration, profile: Arc<Profile>, columns: u16, rows: u16, prompt: &str) -> Conversation {
        let is_typed = matches!(profile.prompt, PromptBy::Typed { .. });
        Conversation {
            now,
            screen: Screen::new(columns, rows),
            shown: String::new(),
            changed: now,
            state: if is_typed { State::Starting } else { State::Working },
            since: now,
            prompt: is_typed.then(|| prompt.to_owned()),
            enter_at: None,
            stale: None,
            answered: Answered::default(),
            seen: None,
            asked: None,
            next_question: 0,
            profile,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// The agent has written this.
    pub fn output(&mut self, now: Duration, bytes: &[u8]) -> Vec<Step> {
        self.now = self.now.max(now);
        self.screen.write(bytes);
        let shown = format!("{}\n{}", self.screen.cursor_text(), self.screen.text());
        if shown != self.shown {
            (self.shown, self.changed) = (shown, self.now);
        }
        self.turn()
    }

    /// To be called at [`Conversation::wake_at`].
    pub fn tick(&mut self, now: Duration) -> Vec<Step> {
        self.now = self.now.max(now);
        self.turn()
    }

    /// When there may be something to do although the agent writes nothing.
    pub fn wake_at(&self) -> Option<Duration> {
        if self.state == State::Ended {
            return None;
        }
        let asked = self.asked.as_ref().and_then(|asked| asked.gone_since);
        let times = [
            self.enter_at,
            self.state_ends(),
            Some(self.changed + SETTLE),
            self.profile
                .idle_after
                .map(|time| self.changed.max(self.since) + time),
            self.seen.as_ref().map(|(_, since)| *since + SETTLE_MAX),
            self.answered.wake_at(),
            asked.map(|since| since + super::FORGET),
        ];
        times.into_iter().flatten().filter(|time| *time > self.now).min()
    }

    /// A person says yes or no. Nothing is done about a question that is no longer asked.
    pub fn answer(&mut self, now: Duration, id: u64, is_yes: bool) -> Vec<Step> {
        self.now = self.now.max(now);
        let mut steps = Vec::new();
        if let Some(asked) = self.asked.take_if(|asked| asked.id == id) {
            self.reply(asked, is_yes, &mut steps);
        }
        steps.extend(self.turn());
        steps
    }

    /// Whether it reads what is typed: one that has its prompt as input has read all that it ever will.
    pub fn reads(&self) -> bool {
        self.profile.prompt != PromptBy::Stdin
    }

    /// Whether [`Conversation::redirect`] can do something.
    pub fn takes_prompts(&self) -> bool {
        self.profile.takes_prompts() && !matches!(self.state, State::Leaving | State::Ended)
    }

    /// Stops what it does, and gives it another prompt. Nothing is done unless it [takes one](Conversation::takes_prompts).
    pub fn redirect(&mut self, now: Duration, prompt: &str) -> Vec<Step> {
        self.now = self.now.max(now);
        let mut steps = Vec::new();
        if !self.takes_prompts() {
            return steps;
        }
        match self.state {
            // Nothing was begun, or nothing will be.
            State::Starting | State::Leaving | State::Ended => {}
            State::Idle => self.go(State::Interrupting, &mut steps),
            State::Ready | State::Working | State::Asking | State::Interrupting => {
                self.press_enter(&mut steps);
                self.withdraw("it is given another prompt", &mut steps);
                self.stop(&mut steps);
                self.go(State::Interrupting, &mut steps);
            }
        }
        self.prompt = Some(prompt.to_owned());
        steps.extend(self.turn());
        steps
    }

    /// Stops what it does, and what it was to do: a prompt that it does not have yet it does not get.
    pub fn interrupt(&mut self, now: Duration) -> Vec<Step> {
        self.now = self.now.max(now);
        let mut steps = Vec::new();
        if self.state != State::Ended {
            self.prompt = None;
            // Behind the interruption it would start what was typed.
            self.press_enter(&mut steps);
            self.withdraw("it was interrupted", &mut steps);
            self.stop(&mut steps);
        }
        steps.extend(self.turn());
        steps
    }

    /// Somebody else, a rule or a person, types something. It answers whatever is asked.
    pub fn put(&mut self, now: Duration, text: &str, enter: bool) -> Vec<Step> {
        self.now = self.now.max(now);
        let mut steps = Vec::new();
        if self.state == State::Ended {
            return steps;
        }
        self.press_enter(&mut steps);
        self.withdraw("it was answered otherwise", &mut steps);
        if self.state == State::Idle {
            self.go(State::Working, &mut steps);
        }
        if !text.is_empty() {
            steps.push(Step::Type(text.to_owned()));
        }
        self.enter_at = enter.then_some(self.now + ENTER_PAUSE);
        self.typed();
        steps.extend(self.turn());
        steps
    }

    /// It has ended.
    pub fn ended(&mut self, now: Duration) -> Vec<Step> {
        self.now = self.now.max(now);
        let mut steps = Vec::new();
        self.enter_at = None;
        self.withdraw("it has ended", &mut steps);
        self.go(State::Ended, &mut steps);
        steps
    }

    /// Does what is due. Each of its parts leaves nothing due behind, so one round is enough but for a change of state.
    fn turn(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.answered.update(self.now, &self.screen);
        if self.is_working() {
            // It has taken what was typed, so a prompt that looks the same is a new one.
            self.stale = None;
        }
        if self.enter_at.is_some_and(|at| at <= self.now) {
            self.press_enter(&mut steps);
        }
        if self.enter_at.is_none() {
            self.questions(&mut steps);
            self.prompts(&mut steps);
        }
        if self.state_ends().is_some_and(|end| end <= self.now) {
            self.time_is_over(&mut steps);
        }
        steps
    }

    fn questions(&mut self, steps: &mut Vec<Step>) {
        match self.state {
            State::Ended | State::Ready => {}
            State::Asking => self.look_after_asked(steps),
            _ => {
                let found = self.answered.find(&self.screen, &self.profile.approve);
                let seen = self.seen.take();
                let Some(question) = found else { return };
                let since = match seen {
                    Some((before, since)) if before == question => since,
                    _ => self.now,
                };
                if self.is_quiet() || self.now >= since + SETTLE_MAX {
                    self.decide(question, steps);
                } else {
                    self.seen = Some((question, since));
                }
            }
        }
    }

    /// A new question is on the screen.
    fn decide(&mut self, question: Question, steps: &mut Vec<Step>) {
        let profile = Arc::clone(&self.profile);
        let Some(approve) = profile.approve.get(question.nth) else {
            return;
        };
        let answer = match &approve.answer {
            Answer::Type(answer) => answer,
            Answer::Deny => &approve.no,
            Answer::Ask => {
                let id = self.next_question;
                self.next_question += 1;
                let text = question.text();
                self.asked = Some(Asked {
                    id,
                    question,
                    back: self.state,
                    gone_since: None,
                });
                self.go(State::Asking, steps);
                steps.push(Step::Ask { id, question: text });
                return;
            }
        };
        self.answered.add(&question);
        steps.push(Step::Answered {
            question: question.text(),
            answer: answer.clone(),
        });
        steps.push(Step::Type(answer.clone()));
        self.typed();
        if self.state == State::Idle {
            self.go(State::Working, steps);
        }
    }

    /// A question that is no longer on the screen needs no answer.
    fn look_after_asked(&mut self, steps: &mut Vec<Step>) {
        let (now, screen) = (self.now, &self.screen);
        let Some(asked) = &mut self.asked else { return };
        if asked.question.is_on(screen) {
            asked.gone_since = None;
            return;
        }
        let since = *asked.gone_since.get_or_insert(now);
        if now >= since + super::FORGET {
            self.withdraw("it is no longer asked", steps);
        }
    }

    fn reply(&mut self, asked: Asked, is_yes: bool, steps: &mut Vec<Step>) {
        if let Some(approve) = self.profile.approve.get(asked.question.nth) {
            let text = if is_yes { &approve.yes } else { &approve.no };
            steps.push(Step::Type(text.clone()));
        }
        self.answered.add(&asked.question);
        self.typed();
        let back = if asked.back == State::Idle {
            State::Working
        } else {
            asked.back
        };
        self.go(back, steps);
    }

    fn withdraw(&mut self, why: &str, steps: &mut Vec<Step>) {
        if let Some(asked) = self.asked.take() {
            let (id, why) = (asked.id, why.to_owned());
            self.answered.add(&asked.question);
            steps.push(Step::Withdraw { id, why });
            self.go(asked.back, steps);
        }
    }

    fn prompts(&mut self, steps: &mut Vec<Step>) {
        match self.state {
            State::Starting | State::Interrupting => {
                let pattern = self.profile.ready.as_ref().or(self.profile.idle.as_ref());
                let is_ready = self.waits_at(pattern) || pattern.is_none() && self.is_still();
                if !is_ready {
                    return;
                }
                let Some(prompt) = self.prompt.take() else {
                    return self.go(State::Idle, steps);
                };
                let is_bracketed = matches!(self.profile.prompt, PromptBy::Typed { is_bracketed: true });
                steps.push(Step::Type(typeable(&prompt, is_bracketed)));
                self.enter_at = Some(self.now + ENTER_PAUSE);
                self.go(State::Ready, steps);
            }
            // Nothing more can be said to one that has read all of its input; it ends by itself.
            State::Working if self.profile.has_terminal() && self.is_idle() => self.go(State::Idle, steps),
            State::Idle if !self.stays_idle() => self.go(State::Working, steps),
            _ => {}
        }
    }

    fn is_idle(&self) -> bool {
        let pattern = self.profile.idle.as_ref().or(self.profile.ready.as_ref());
        self.waits_at(pattern) || self.is_still()
    }

    /// A prompt that changes a little is still one.
    fn stays_idle(&self) -> bool {
        let pattern = self.profile.idle.as_ref().or(self.profile.ready.as_ref());
        let is_there = pattern.is_some_and(|pattern| pattern.is_in(&self.screen.cursor_text()));
        (is_there && !self.is_working()) || self.is_still()
    }

    /// A prompt stands at the cursor, it is not the one that something was typed at, and nothing else is going on.
    fn waits_at(&self, pattern: Option<&Pattern>) -> bool {
        let place = (self.screen.cursor_row(), self.screen.cursor_text());
        let is_stale = self.stale.as_ref().is_some_and(|stale| *stale == place);
        let is_there = pattern.is_some_and(|pattern| pattern.is_in(&place.1));
        is_there && !is_stale && self.is_quiet() && !self.is_working()
    }

    /// Nothing has changed for as long as the profile says.
    fn is_still(&self) -> bool {
        let time = self.profile.idle_after;
        let since = match self.state {
            // What has come to rest may stay so.
            State::Idle => self.changed,
            _ => self.changed.max(self.since),
        };
        time.is_some_and(|time| self.now >= since + time) && !self.is_working()
    }

    fn is_working(&self) -> bool {
        let working = self.profile.working.as_ref();
        working.is_some_and(|working| working.is_in(&self.screen.text()))
    }

    fn is_quiet(&self) -> bool {
        self.now >= self.changed + SETTLE
    }

    fn press_enter(&mut self, steps: &mut Vec<Step>) {
        if self.enter_at.take().is_some() {
            steps.push(Step::Type("\r".to_owned()));
            self.typed();
            if self.state == State::Ready {
                self.go(State::Working, steps);
            }
        }
    }

    fn stop(&mut self, steps: &mut Vec<Step>) {
        // A prompt that comes now is a new one, wherever it stands.
        self.stale = None;
        steps.push(match &self.profile.interrupt {
            Interrupt::Type(text) => Step::Type(text.clone()),
            Interrupt::Signal(signal) => Step::Signal(*signal),
        });
        // Its answer takes a moment.
        self.changed = self.now;
    }

    fn typed(&mut self) {
        self.stale = Some((self.screen.cursor_row(), self.screen.cursor_text()));
    }

    fn state_ends(&self) -> Option<Duration> {
        let times = &self.profile.times;
        let time = match self.state {
            State::Starting => Some(times.start),
            State::Working => times.work,
            State::Asking => Some(times.ask),
            State::Interrupting => Some(times.interrupt),
            State::Idle => Some(times.idle),
            State::Leaving => Some(times.exit),
            State::Ready | State::Ended => None,
        };
        time.map(|time| self.since.saturating_add(time))
    }

    fn time_is_over(&mut self, steps: &mut Vec<Step>) {
        let times = &self.profile.times;
        let why = match self.state {
            State::Starting => format!("the agent was not ready within {:?}", times.start),
            State::Working => format!("the agent has worked for {:?}", times.work.unwrap_or_default()),
            State::Interrupting => format!(
                "the agent was not ready within {:?} after it was interrupted",
                times.interrupt
            ),
            State::Leaving => format!(
                "the agent has not ended within {:?} after it was told to",
                times.exit
            ),
            State::Asking => {
                if let Some(asked) = self.asked.take() {
                    let (id, why) = (asked.id, format!("nobody has answered within {:?}", times.ask));
                    steps.push(Step::Withdraw { id, why });
                    self.reply(asked, false, steps);
                }
                return;
            }
            State::Idle => return self.leave(steps),
            State::Ready | State::Ended => return,
        };
        steps.push(Step::GiveUp { why });
        self.go(State::Ended, steps);
    }

    /// Tells it to exit: as its profile says, or as a terminal says that nothing more will be typed.
    fn leave(&mut self, steps: &mut Vec<Step>) {
        match &self.profile.exit {
            Some(exit) => {
                steps.push(Step::Type(exit.clone()));
                self.enter_at = Some(self.now + ENTER_PAUSE);
            }
            None => steps.push(Step::Type("\u{4}".to_owned())),
        }
        self.go(State::Leaving, steps);
    }

    fn go(&mut self, state: State, steps: &mut Vec<Step>) {
        if self.state != state {
            self.state = state;
            steps.push(Step::Told(state));
        }
        self.since = self.now;
        self.seen = None;
    }
}

/// A prompt as it can be typed. Nothing in it may be a key that does something else: a line break would send the half of it, an
/// Escape would stop it.
fn typeable(prompt: &str, is_bracketed: bool) -> String {
    let is_key = |c: char| c.is_control() && c != '\t' && c != '\n';
    let prompt = prompt.replace("\r\n", "\n").replace('\r', "\n");
    let text: String = prompt.chars().filter(|c| !is_key(*c)).collect();
    match is_bracketed {
        true => format!("\u{1b}[200~{text}\u{1b}[201~"),
        false => text.replace(['\n', '\t'], " ").trim().to_owned(),
    }
}
