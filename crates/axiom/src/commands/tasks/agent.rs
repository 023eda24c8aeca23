//! `axiom run --agent`: a coding agent of the configuration, started with a prompt, answered and steered until it ends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{Receiver, oneshot};
use axiom_core::time;
use axiom_runtime::agent::{Conversation, PromptBy, SETTLE, Step};
use axiom_runtime::drive::{Lines, files};
use axiom_runtime::rules::{Act, Stream, Watch, What, Whom};
use axiom_sandbox::handle::{Attached, End, Event, Spawner, SpawnerOptions, StartError};
use axiom_sandbox::output::Source;
use axiom_sandbox::spec::{Grants, Size, Spec};
use axiom_sandbox::wire::Request;

use crate::cli::Run;
use crate::compose::given;
use crate::config::{Agent, did_you_mean};
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;

use super::input::{next_input, read_input};
use super::print::Printer;
use super::run::{absolute, failed, new_id, spec};
use input::Input;

mod input;

/// Of an agent's terminal: what it says is shown line by line, in ours.
const SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// # Errors
/// When there is no such agent, it cannot be started, or what it says cannot be shown.
pub(super) async fn run(
    run: &Run,
    name: &str,
    prompt: &str,
    terminal: &Terminal,
) -> Result<ExitCode, Failed> {
    let config = given(&run.file, terminal)?.config;
    let profiles = &config.agents.profiles;
    let Some(agent) = profiles.get(name) else {
        let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
        let hint = did_you_mean(name, &known).unwrap_or_else(|| match known[..] {
            [] => format!("the configuration has no agents; add a section [agents.{name}] with a command"),
            _ => format!("the agents there are: {}", known.join(", ")),
        });
        return Err(Failed::new(Exit::NotFound, format!("there is no agent {name:?}")).hint(hint));
    };
    let tasks = run.folder.path()?;
    let id = new_id();
    let spec = agent_spec(run, agent, &id, prompt)?;
    let mut signals = Signals::listen()?;
    let spawner = Spawner::new(SpawnerOptions {
        program: std::env::current_exe()?,
        arguments: vec!["task-spawner".to_owned()],
    });
    if let Err(error) = spawner.start(&tasks, &spec).await {
        if matches!(error, StartError::NotStarted(_)) {
            // Nothing of it ever ran, and why is said.
            fs_err::remove_dir_all(tasks.join(&id))?;
            failed(&error).tell(terminal);
            return Ok(ExitCode::from(127));
        }
        return Err(failed(&error));
    }
    // A program without a name is not started.
    let program = agent.command.first().map(PathBuf::from).unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    let whom = Whom {
        agent: Some(name),
        task: &program,
    };
    let folder = tasks.join(&id);
    let mut session = Session {
        attached: Attached::open(&folder).await?,
        conversation: Conversation::new(
            Duration::ZERO,
            Arc::clone(&agent.profile),
            SIZE.columns,
            SIZE.rows,
            prompt,
        ),
        watch: config.agents.rules.watch(Duration::ZERO, whom),
        began: time::now(),
        lines: Lines::default(),
        input: Input::default(),
        printer: Printer::new(terminal, std::slice::from_ref(&id)),
        terminal: *terminal,
        question: None,
        look: None,
        is_told_all: agent.profile.prompt == PromptBy::Stdin,
        is_frozen: false,
        is_interrupted: false,
        heard: Duration::ZERO,
        folder: spec.folder.clone(),
        tasks: fs_err::canonicalize(&tasks)?,
        id,
    };
    session.begin(agent, prompt);
    let shown = session.drive(&mut signals).await;
    let end = shown.map_err(|failed| failed.hint("the agent goes on; `axiom ps` shows it"))?;
    fs_err::remove_dir_all(&folder)?;
    let code = match &end {
        End::Exit(exit) => exit.how.code(),
        End::Lost => 1,
    };
    if code != 0 {
        session.printer.say(&session.id, &super::told(&end));
    }
    Ok(ExitCode::from(code))
}

fn agent_spec(run: &Run, agent: &Agent, id: &str, prompt: &str) -> Result<Spec, Failed> {
    let mut spec = spec(run, id, 0, agent.executor.clone())?;
    spec.argv = agent.command.clone();
    if agent.profile.prompt == PromptBy::Argument {
        spec.argv.push(prompt.to_owned());
    }
    if agent.profile.has_terminal() {
        spec.terminal = Some(SIZE);
        // What we are in need not be what it is in.
        spec.env.insert("TERM".to_owned(), "xterm-256color".to_owned());
    }
    spec.env.extend(agent.env.clone());
    spec.limits = agent.limits.clone();
    run.limit_more(&mut spec.limits);
    spec.grants = Grants {
        network: agent.grants.network,
        read: absolute(&agent.grants.read)?,
        write: absolute(&agent.grants.write)?,
        ..Grants::default()
    };
    Ok(spec)
}

/// One agent that runs, and all that is between it and whoever started it.
struct Session {
    id: String,
    /// Where it works.
    folder: PathBuf,
    /// Where tasks are, in which there is what it says.
    tasks: PathBuf,
    attached: Attached,
    conversation: Conversation,
    watch: Watch,
    began: time::Instant,
    lines: Lines,
    input: Input,
    printer: Printer,
    terminal: Terminal,
    question: Option<Question>,
    /// Somebody looks when a file was last changed.
    look: Option<oneshot::Receiver<Option<Duration>>>,
    /// It has read all that it will ever read.
    is_told_all: bool,
    is_frozen: bool,
    is_interrupted: bool,
    /// When it last said something; what it has not finished is looked at when this is a while ago.
    heard: Duration,
}

/// What the person at the terminal is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// The agent asks.
    Agent(u64),
    /// It is frozen: may it go on?
    GoOn,
}

impl Session {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn begin(&mut self, agent: &Agent, prompt: &str) {
        // What a terminal shows of it is not the agent's word.
        self.watch.typed(prompt);
        if agent.profile.prompt == PromptBy::Stdin {
            self.input.put(prompt.as_bytes());
            self.input.end();
            self.input.send(&mut self.attached);
        }
    }

    /// Until it has ended.
    async fn drive(&mut self, signals: &mut Signals) -> Result<End, Failed> {
        let mut typed = self.terminal.can_ask().then(read_input);
        loop {
            let wake = self.wake_at();
            let acts = tokio::select! {
                // cancel-safe: what was not returned comes with the next call.
                event = self.attached.next() => match self.take(event?)? {
                    Some(end) => return Ok(end),
                    None => Vec::new(),
                },
                // cancel-safe: a signal that came is kept.
                () = signals.interrupted() => {
                    self.interrupted();
                    Vec::new()
                }
                // cancel-safe: what was not received stays in the channel.
                line = next_input(&mut typed) => {
                    self.typed(line, &mut typed);
                    Vec::new()
                }
                // cancel-safe: what was not received stays in the channel.
                changed = looked(&mut self.look) => self.files(changed),
                // cancel-safe: it only waits.
                () = time::sleep_until(wake) => self.tick(),
            };
            self.act(acts);
            if self.printer.is_unread() {
                self.kill("nobody reads axiom run");
            }
        }
    }

    /// At least once a minute: nothing depends on it, and no wait is without an end.
    fn wake_at(&self) -> time::Instant {
        let unfinished = Some(self.heard + SETTLE).filter(|at| *at > self.now());
        let times = match self.is_frozen {
            true => [None, None, None],
            false => [self.conversation.wake_at(), self.watch.wake_at(), unfinished],
        };
        let now = self.now();
        let next = times
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + Duration::from_secs(60));
        // A moment later rather than a moment before.
        self.began + next.min(now + Duration::from_secs(60)) + Duration::from_millis(1)
    }

    /// What it does. Gives its end.
    fn take(&mut self, event: Event) -> Result<Option<End>, Failed> {
        match event {
            Event::Output { source, bytes, .. } => {
                self.printer.put(&self.id, source, &bytes)?;
                // It was shown: the task may go on.
                self.attached.ask(Request::Taken(self.attached.position())).ok();
                self.hear(source, &bytes);
            }
            Event::Room => self.input.send(&mut self.attached),
            Event::Reply(_) => {}
            Event::Damaged { at, why } => {
                let text = format!("some of what it said was lost on the disk: at byte {at}, {why}");
                self.printer.say(&self.id, &text);
            }
            Event::Ended(end) => {
                self.printer.finish(&self.id)?;
                let steps = self.conversation.ended(self.now());
                self.follow(steps);
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn hear(&mut self, source: Source, bytes: &[u8]) {
        let now = self.now();
        self.heard = now;
        let stream = match source {
            Source::Stderr => Stream::Stderr,
            Source::Stdout | Source::Terminal => Stream::Stdout,
        };
        let mut acts = Vec::new();
        let watch = &mut self.watch;
        self.lines
            .split(source, bytes, |line| acts.extend(watch.line(now, stream, line)));
        let steps = self.conversation.output(now, bytes);
        self.follow(steps);
        self.act(acts);
    }

    fn tick(&mut self) -> Vec<Act> {
        if self.is_frozen {
            return Vec::new();
        }
        let now = self.now();
        let steps = self.conversation.tick(now);
        self.follow(steps);
        let mut acts = self.watch.tick(now);
        if now >= self.heard + SETTLE && self.lines.is_open(Source::Terminal) {
            let line = self.conversation.screen().cursor_text();
            acts.extend(self.watch.unfinished(now, Stream::Stdout, &line));
        }
        acts
    }

    /// Somebody has looked.
    fn files(&mut self, age: Option<Duration>) -> Vec<Act> {
        let now = self.now();
        self.look = None;
        self.watch.files(now, now.saturating_sub(age.unwrap_or_default()))
    }

    /// What the conversation asks for.
    fn follow(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Type(text) => {
                    self.watch.typed(&text);
                    self.input.put(text.as_bytes());
                    self.input.send(&mut self.attached);
                }
                Step::Signal(signal) => drop(self.attached.ask(Request::Signal(signal))),
                Step::Answered { question, answer } => {
                    let text = format!("answered {answer:?}: {question}");
                    self.printer.say(&self.id, &text);
                }
                Step::Ask { id, question } => self.ask(id, &question),
                Step::Withdraw { id, why } => {
                    if self
                        .question
                        .take_if(|asked| *asked == Question::Agent(id))
                        .is_some()
                    {
                        self.printer
                            .say(&self.id, &format!("no answer is needed any more: {why}"));
                    }
                }
                Step::Told(state) => tracing::debug!(task = %self.id, ?state, "the agent's state"),
                Step::GiveUp { why } => self.kill(&why),
            }
        }
    }

    fn ask(&mut self, id: u64, question: &str) {
        if self.terminal.can_ask() {
            self.question = Some(Question::Agent(id));
            self.printer.say(&self.id, &format!("it asks: {question}"));
            self.printer.say(&self.id, "yes or no? [y/n]");
            return;
        }
        let text = format!("refused, since nobody is at a terminal to be asked: {question}");
        self.printer.say(&self.id, &text);
        let steps = self.conversation.answer(self.now(), id, false);
        self.follow(steps);
    }

    /// The person at the terminal has typed a line: an answer, or something for the agent.
    fn typed(&mut self, line: Option<Vec<u8>>, typed: &mut Option<Receiver<Vec<u8>>>) {
        let Some(line) = line else {
            *typed = None;
            return;
        };
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        let answer = match line.trim().to_lowercase().as_str() {
            "y" | "yes" => Some(true),
            "n" | "no" => Some(false),
            _ => None,
        };
        let now = self.now();
        let steps = match (self.question, answer) {
            (Some(Question::Agent(id)), Some(is_yes)) => {
                self.question = None;
                self.conversation.answer(now, id, is_yes)
            }
            (Some(Question::GoOn), Some(is_yes)) => {
                self.question = None;
                self.go_on(is_yes);
                return;
            }
            (Some(_), None) => return self.printer.say(&self.id, "yes or no? [y/n]"),
            (None, _) => self.conversation.put(now, line, true),
        };
        self.follow(steps);
    }

    fn interrupted(&mut self) {
        if std::mem::replace(&mut self.is_interrupted, true) {
            return self.kill("axiom run was interrupted twice");
        }
        self.printer.say(&self.id, "interrupted; once more kills it");
        let steps = self.conversation.interrupt(self.now());
        self.follow(steps);
    }

    /// What the rules ask for.
    fn act(&mut self, acts: Vec<Act>) {
        for Act { rule, why, what } in acts {
            let now = self.now();
            let told = match &what {
                What::Look => {
                    self.look = Some(files::look(self.folder.clone(), self.tasks.clone()));
                    continue;
                }
                What::Type { text, .. } => format!("types {text:?}"),
                What::Interrupt => "interrupts it".to_owned(),
                What::Redirect { prompt } => format!("gives it another prompt: {prompt:?}"),
                What::Notify { message } => message.clone(),
                What::Freeze { note } => format!("freezes it: {note}"),
                What::Kill { .. } => "kills it".to_owned(),
                What::UsedUp(used_up) => format!("does nothing more for now: {used_up}"),
            };
            self.printer
                .say(&self.id, &format!("rule {rule}: {told} ({why})"));
            let steps = match what {
                What::Type { .. } if self.is_told_all => {
                    self.printer
                        .say(&self.id, "nothing can be typed: its input has ended");
                    continue;
                }
                What::Redirect { .. } if !self.conversation.takes_prompts() => {
                    let text =
                        "it takes no other prompt: it is told to exit, or nothing says when it is ready";
                    self.printer.say(&self.id, text);
                    continue;
                }
                What::Type { text, enter } => self.conversation.put(now, &text, enter),
                What::Interrupt => self.conversation.interrupt(now),
                What::Redirect { prompt } => self.conversation.redirect(now, &prompt),
                What::Freeze { .. } => {
                    self.freeze();
                    Vec::new()
                }
                What::Kill { why } => {
                    self.kill(&why);
                    Vec::new()
                }
                What::Notify { .. } | What::Look | What::UsedUp(_) => Vec::new(),
            };
            self.follow(steps);
        }
    }

    fn freeze(&mut self) {
        if !self.terminal.can_ask() {
            let text = "it goes on, since nobody is at a terminal to be asked whether it may";
            return self.printer.say(&self.id, text);
        }
        self.attached.ask(Request::Freeze).ok();
        self.is_frozen = true;
        self.question = Some(Question::GoOn);
        self.printer.say(&self.id, "may it go on? [y/n]");
    }

    fn go_on(&mut self, may: bool) {
        self.is_frozen = false;
        match may {
            true => drop(self.attached.ask(Request::Thaw)),
            false => self.kill("it was frozen by a rule, and may not go on"),
        }
    }

    fn kill(&mut self, why: &str) {
        self.attached.ask(Request::Kill { why: why.to_owned() }).ok();
    }
}

/// How long ago a file was changed, when somebody has looked. Without a look, never.
async fn looked(look: &mut Option<oneshot::Receiver<Option<Duration>>>) -> Option<Duration> {
    match look {
        Some(look) => look.await.ok().flatten(),
        None => std::future::pending().await,
    }
}
