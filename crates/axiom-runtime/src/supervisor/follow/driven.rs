//! A task that rules or a profile drive: what these want is done here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::oneshot;
use axiom_core::time;
use axiom_sandbox::spec::{Size, Spec};
use axiom_sandbox::wire::Request;
use tokio::time::Instant;

use super::{Answer, BUSY, Follower, Since, Waiter};
use crate::agent::{Conversation, Profile, PromptBy};
use crate::drive::{Do, Drive, files};
use crate::order::Order;
use crate::rules::Whom;
use crate::supervisor::Shared;
use crate::supervisor::steer::Steer;
use crate::supervisor::table::Entry;
use crate::supervisor::view::AgentView;

/// Of a terminal that nobody has said the size of.
const SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

pub(super) struct Driven {
    pub(super) drive: Drive,
    began: Instant,
    /// Where it works.
    folder: PathBuf,
    /// Somebody looks when a file was last changed there.
    look: Option<oneshot::Receiver<Option<Duration>>>,
}

/// Why a driven task is looked at.
pub(super) enum Woken {
    Time,
    Looked(Option<Duration>),
}

/// Changes what is started so that an agent gets its prompt, and a terminal if its profile wants one.
pub(in crate::supervisor) fn prepare(shared: &Shared, order: &Order, spec: &mut Spec) {
    let Some(profile) = profile(shared, order) else {
        return;
    };
    if profile.prompt == PromptBy::Argument {
        spec.argv.push(order.prompt.clone());
    }
    if profile.has_terminal() {
        spec.terminal.get_or_insert(SIZE);
        // What we are in need not be what it is in.
        spec.env.insert("TERM".to_owned(), "xterm-256color".to_owned());
    }
}

fn profile<'a>(shared: &'a Shared, order: &Order) -> Option<&'a Arc<Profile>> {
    shared.options.agents.get(order.agent.as_ref()?)
}

/// When there is something to do; without a driver, never.
pub(super) async fn wake(driven: &mut Option<Box<Driven>>) -> Woken {
    match driven {
        // Apart: most tasks have no driver.
        Some(driven) => Box::pin(wake_of(driven)).await,
        None => std::future::pending().await,
    }
}

async fn wake_of(driven: &mut Driven) -> Woken {
    let at = driven.drive.wake_at();
    let time = async {
        match at {
            // A moment later rather than a moment before.
            Some(at) => time::sleep_until(driven.began + at + Duration::from_millis(1)).await,
            None => std::future::pending().await,
        }
    };
    let looked = async {
        match &mut driven.look {
            Some(look) => look.await.ok().flatten(),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // cancel-safe: a timer.
        () = time => Woken::Time,
        // cancel-safe: what was not received stays in the channel.
        age = looked => Woken::Looked(age),
    }
}

impl Driven {
    /// `None` if no rule is for it and it is no agent.
    pub(super) fn new(shared: &Shared, entry: &Entry, since: Since) -> Option<Box<Driven>> {
        let order = &entry.order;
        let program = order.spec.argv.first().map(String::as_str).unwrap_or_default();
        let task = match order.name.as_str() {
            "" => program.rsplit('/').next().unwrap_or(program),
            name => name,
        };
        let whom = Whom {
            agent: order.agent.as_deref(),
            task,
        };
        let watch = shared.options.rules.watch(Duration::ZERO, whom);
        let profile = profile(shared, order);
        if watch.is_empty() && profile.is_none() {
            return None;
        }
        let size = order.spec.terminal.unwrap_or(SIZE);
        let conversation = profile.map(|profile| {
            let profile = match since {
                Since::Start => Arc::clone(profile),
                // It has its prompt from the supervisor before; it is not given once more.
                Since::Later => Arc::new(Profile {
                    prompt: PromptBy::Argument,
                    ..Profile::clone(profile)
                }),
            };
            Conversation::new(Duration::ZERO, profile, size.columns, size.rows, &order.prompt)
        });
        let mut drive = Drive::new(watch, conversation);
        // What a terminal shows of it is not the agent's word.
        drive.typed(&order.prompt);
        Some(Box::new(Driven {
            drive,
            began: time::now(),
            folder: order.spec.folder.clone(),
            look: None,
        }))
    }
}

impl Follower {
    pub(super) fn begin(&mut self) {
        self.put_first();
        self.show_agent();
    }

    pub(super) fn driven_woken(&mut self, woken: Woken) {
        match woken {
            Woken::Time => self.drive(|drive, now| drive.tick(now)),
            Woken::Looked(age) => {
                if let Some(driven) = &mut self.driven {
                    driven.look = None;
                }
                self.drive(|drive, now| drive.files(now, age));
            }
        }
    }

    /// Lets the driver do something, and does what it wants.
    pub(super) fn drive(&mut self, act: impl FnOnce(&mut Drive, Duration) -> Vec<Do>) {
        let Some(driven) = &mut self.driven else { return };
        let now = driven.began.elapsed();
        let todo = act(&mut driven.drive, now);
        self.carry_out(todo);
        self.show_agent();
    }

    /// What somebody says to it that has a meaning for an agent.
    pub(super) fn converse(&mut self, what: Steer, answer: Answer) {
        if let Steer::Answer(_) = what
            && self
                .driven
                .as_ref()
                .is_none_or(|driven| driven.drive.question().is_none())
        {
            answer.send(Err("it asks nothing".to_owned())).ok();
            return;
        }
        let takes_prompts = self
            .driven
            .as_ref()
            .is_none_or(|driven| driven.drive.takes_prompts());
        if matches!(what, Steer::Redirect(_)) && !takes_prompts {
            let why =
                "it takes no other prompt: it is told to exit, or its profile does not say when it is ready";
            answer.send(Err(why.to_owned())).ok();
            return;
        }
        if self.driven.is_some() {
            self.drive(|drive, now| match what {
                Steer::Say(text) => drive.say(now, &text),
                Steer::Redirect(prompt) => drive.redirect(now, &prompt),
                Steer::Answer(is_yes) => drive.answer(now, is_yes).unwrap_or_default(),
                _ => drive.interrupt(now),
            });
            answer.send(Ok(())).ok();
            return;
        }
        let line = |text: String| format!("{text}\n").into_bytes();
        match what {
            Steer::Say(text) => self.put_in(line(text), Waiter::Person(answer)),
            Steer::Redirect(prompt) => {
                self.ask(Request::Signal(2), Waiter::Nobody).ok();
                self.put_in(line(prompt), Waiter::Person(answer));
            }
            _ => {
                if let Err(waiter) = self.ask(Request::Signal(2), Waiter::Person(answer)) {
                    waiter.told(Err(BUSY.to_owned()));
                }
            }
        }
    }

    fn carry_out(&mut self, todo: Vec<Do>) {
        for what in todo {
            match what {
                Do::Type(bytes) => self.put_in(bytes, Waiter::Nobody),
                Do::Signal(signal) => drop(self.ask(Request::Signal(signal), Waiter::Nobody)),
                Do::Freeze => {
                    let stands = Waiter::Stands {
                        is_frozen: true,
                        answer: None,
                    };
                    self.ask(Request::Freeze, stands).ok();
                }
                Do::Kill { why } => {
                    if let Some(entry) = self.shared.table().tasks.get_mut(&self.id) {
                        // Who came first has said why.
                        entry.killed.get_or_insert(why);
                    }
                    self.kill_if_wanted();
                }
                Do::Look => {
                    let ours = self.shared.ledger.tasks().to_owned();
                    if let Some(driven) = &mut self.driven {
                        driven.look = Some(files::look(driven.folder.clone(), ours));
                    }
                }
                Do::Tell(word) => {
                    let tenant = self.shared.tenant(&self.id);
                    self.shared.notes.word(&self.id, &tenant, &word);
                }
            }
        }
    }

    /// It stands still or goes on, as everybody may see.
    pub(super) fn set_frozen(&mut self, is_frozen: bool) {
        if let Some(driven) = &mut self.driven {
            driven.drive.set_frozen(driven.began.elapsed(), is_frozen);
        }
        if let Some(entry) = self.shared.table().tasks.get_mut(&self.id) {
            entry.is_frozen = is_frozen;
        }
    }

    /// For those who ask how the agent is.
    fn show_agent(&mut self) {
        let Some(driven) = &self.driven else { return };
        let Some(state) = driven.drive.state() else { return };
        let question = driven.drive.question();
        let mut table = self.shared.table();
        let Some(entry) = table.tasks.get_mut(&self.id) else {
            return;
        };
        let is_same = entry
            .agent
            .as_ref()
            .is_some_and(|shown| shown.state == state && shown.question.as_deref() == question);
        if !is_same {
            let question = question.map(str::to_owned);
            entry.agent = Some(AgentView { state, question });
        }
    }
}
