//! `axiom run --agent`: a coding agent of the configuration, started with a prompt, answered and steered until it ends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{Receiver, oneshot};
use axiom_core::time;
use axiom_runtime::agent::{Conversation, PromptBy};
use axiom_runtime::drive::{Do, Drive, Word, files};
use axiom_runtime::rules::Whom;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, SpawnerOptions, StartError};
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
    let profile = Arc::clone(&agent.profile);
    let conversation = Conversation::new(Duration::ZERO, profile, SIZE.columns, SIZE.rows, prompt);
    let watch = config.agents.rules.watch(Duration::ZERO, whom);
    let mut session = Session {
        attached: Attached::open(&folder).await?,
        drive: Drive::new(watch, Some(conversation)),
        began: time::now(),
        input: Input::default(),
        printer: Printer::new(terminal, std::slice::from_ref(&id)),
        terminal: *terminal,
        question: None,
        look: None,
        is_interrupted: false,
        folder: spec.folder.clone(),
        tasks: fs_err::canonicalize(&tasks)?,
        id,
    };
    session.begin(agent, prompt);
    let shown = session.watch(&mut signals).await;
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

/// One agent that runs, and all that is between it and whoever started it. What is to be done is the [`Drive`]'s to say.
struct Session {
    id: String,
    /// Where it works.
    folder: PathBuf,
    /// Where tasks are, in which there is what it says.
    tasks: PathBuf,
    attached: Attached,
    drive: Drive,
    began: time::Instant,
    input: Input,
    printer: Printer,
    terminal: Terminal,
    question: Option<Question>,
    /// Somebody looks when a file was last changed.
    look: Option<oneshot::Receiver<Option<Duration>>>,
    is_interrupted: bool,
}

/// What the person at the terminal is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// What the agent asks.
    Agent,
    /// It is frozen: may it go on?
    GoOn,
}

impl Session {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn begin(&mut self, agent: &Agent, prompt: &str) {
        // What a terminal shows of it is not the agent's word.
        self.drive.typed(prompt);
        if agent.profile.prompt == PromptBy::Stdin {
            self.input.put(prompt.as_bytes());
            self.input.end();
            self.input.send(&mut self.attached);
        }
    }

    /// Until it has ended.
    async fn watch(&mut self, signals: &mut Signals) -> Result<End, Failed> {
        let mut typed = self.terminal.can_ask().then(read_input);
        loop {
            let wake = self.wake_at();
            let todo = tokio::select! {
                // cancel-safe: what was not returned comes with the next call.
                event = self.attached.next() => match self.take(event?)? {
                    Heard::Todo(todo) => todo,
                    Heard::End(end) => return Ok(end),
                },
                // cancel-safe: a signal that came is kept.
                () = signals.interrupted() => self.interrupted(),
                // cancel-safe: what was not received stays in the channel.
                line = next_input(&mut typed) => self.typed(line, &mut typed),
                // cancel-safe: what was not received stays in the channel.
                age = looked(&mut self.look) => {
                    self.look = None;
                    self.drive.files(self.now(), age)
                }
                // cancel-safe: it only waits.
                () = time::sleep_until(wake) => self.drive.tick(self.now()),
            };
            self.carry_out(todo);
            if self.printer.is_unread() {
                self.kill("nobody reads axiom run");
            }
        }
    }

    /// At least once a minute: nothing depends on it, and no wait is without an end.
    fn wake_at(&self) -> time::Instant {
        let latest = self.now() + Duration::from_secs(60);
        let next = self.drive.wake_at().unwrap_or(latest).min(latest);
        // A moment later rather than a moment before.
        self.began + next + Duration::from_millis(1)
    }

    fn take(&mut self, event: Event) -> Result<Heard, Failed> {
        let mut todo = Vec::new();
        match event {
            Event::Output { source, bytes, .. } => {
                self.printer.put(&self.id, source, &bytes)?;
                // It was shown: the task may go on.
                self.attached.ask(Request::Taken(self.attached.position())).ok();
                todo = self.drive.output(self.now(), source, &bytes);
            }
            Event::Room => self.input.send(&mut self.attached),
            Event::Reply(_) => {}
            Event::Damaged { at, why } => {
                let text = format!("some of what it said was lost on the disk: at byte {at}, {why}");
                self.printer.say(&self.id, &text);
            }
            Event::Ended(end) => {
                self.printer.finish(&self.id)?;
                let todo = self.drive.ended(self.now());
                self.carry_out(todo);
                return Ok(Heard::End(end));
            }
        }
        Ok(Heard::Todo(todo))
    }

    /// The person at the terminal has typed a line: an answer, or something for the agent.
    fn typed(&mut self, line: Option<Vec<u8>>, typed: &mut Option<Receiver<Vec<u8>>>) -> Vec<Do> {
        let Some(line) = line else {
            *typed = None;
            return Vec::new();
        };
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        let answer = match line.trim().to_lowercase().as_str() {
            "y" | "yes" => Some(true),
            "n" | "no" => Some(false),
            _ => None,
        };
        let now = self.now();
        match (self.question, answer) {
            (Some(_), None) => {
                self.printer.say(&self.id, "yes or no? [y/n]");
                Vec::new()
            }
            (Some(Question::Agent), Some(is_yes)) => {
                self.question = None;
                self.drive.answer(now, is_yes).unwrap_or_default()
            }
            (Some(Question::GoOn), Some(is_yes)) => {
                self.question = None;
                self.go_on(is_yes);
                Vec::new()
            }
            (None, _) => self.drive.say(now, line),
        }
    }

    fn interrupted(&mut self) -> Vec<Do> {
        if std::mem::replace(&mut self.is_interrupted, true) {
            self.kill("axiom run was interrupted twice");
            return Vec::new();
        }
        self.printer.say(&self.id, "interrupted; once more kills it");
        self.drive.interrupt(self.now())
    }

    fn carry_out(&mut self, todo: Vec<Do>) {
        for what in todo {
            match what {
                Do::Type(bytes) => {
                    self.input.put(&bytes);
                    self.input.send(&mut self.attached);
                }
                Do::Signal(signal) => drop(self.attached.ask(Request::Signal(signal))),
                Do::Freeze => self.freeze(),
                Do::Kill { why } => self.kill(&why),
                Do::Look => self.look = Some(files::look(self.folder.clone(), self.tasks.clone())),
                Do::Tell(word) => self.tell(word),
            }
        }
    }

    fn tell(&mut self, word: Word) {
        let text = match word {
            Word::Rule { rule, does, why } => format!("rule {rule}: {does} ({why})"),
            Word::Answered { question, answer } => format!("answered {answer:?}: {question}"),
            Word::Asked { question } => return self.ask(&question),
            Word::Withdrawn { why } => {
                self.question.take_if(|question| *question == Question::Agent);
                format!("no answer is needed any more: {why}")
            }
        };
        self.printer.say(&self.id, &text);
    }

    fn ask(&mut self, question: &str) {
        if self.terminal.can_ask() {
            self.question = Some(Question::Agent);
            self.printer.say(&self.id, &format!("it asks: {question}"));
            self.printer.say(&self.id, "yes or no? [y/n]");
            return;
        }
        let text = format!("refused, since nobody is at a terminal to be asked: {question}");
        self.printer.say(&self.id, &text);
        let todo = self.drive.answer(self.now(), false);
        self.carry_out(todo.unwrap_or_default());
    }

    fn freeze(&mut self) {
        if !self.terminal.can_ask() {
            self.drive.set_frozen(self.now(), false);
            let text = "it goes on, since nobody is at a terminal to be asked whether it may";
            return self.printer.say(&self.id, text);
        }
        self.attached.ask(Request::Freeze).ok();
        self.question = Some(Question::GoOn);
        self.printer.say(&self.id, "may it go on? [y/n]");
    }

    fn go_on(&mut self, may: bool) {
        self.drive.set_frozen(self.now(), false);
        match may {
            true => drop(self.attached.ask(Request::Thaw)),
            false => self.kill("it was frozen by a rule, and may not go on"),
        }
    }

    fn kill(&mut self, why: &str) {
        self.attached.ask(Request::Kill { why: why.to_owned() }).ok();
    }
}

/// What an event means.
enum Heard {
    Todo(Vec<Do>),
    End(End),
}

/// How long ago a file was changed, when somebody has looked. Without a look, never.
async fn looked(look: &mut Option<oneshot::Receiver<Option<Duration>>>) -> Option<Duration> {
    match look {
        Some(look) => look.await.ok().flatten(),
        None => std::future::pending().await,
    }
}
