//! `axiom top`: the tasks as they are, live.

use std::io::{IsTerminal as _, Stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_core::channel::{self, Receiver, Sender};
use axiom_core::{spawn, time};
use axiom_sandbox::handle::{Attached, found};
use axiom_sandbox::wire::{Reply, Request};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::cli::Top;
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::table::Table;
use crate::terminal::Terminal;
use crate::terminal::modes::{Changed, Mode};

use super::listed;
use gather::Gatherer;
use model::{Action, Key, Model, Row, View};

mod draw;
mod gather;
mod model;

/// Between two looks at all tasks.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the lines of one.
const LINES_PAUSE: Duration = Duration::from_millis(250);
/// Between the two looks of `--once`: what is used in a time takes a time.
const ONCE_PAUSE: Duration = Duration::from_millis(500);
/// How long a task may take to be gone. Its shim gives its processes five seconds.
const END_TIME: Duration = Duration::from_secs(10);
/// Keys that were typed and not yet looked at.
const KEYS_MAX: usize = 64;

type Screen = ratatui::Terminal<CrosstermBackend<Stdout>>;

/// # Errors
/// When there is no terminal and `--once` is not said, or the folder of tasks cannot be read.
pub(super) async fn run(top: &Top, terminal: &Terminal) -> Result<Exit, Failed> {
    let places = top.folder.paths(terminal)?;
    if top.once {
        return once(places, terminal).await;
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let message = "axiom top needs a terminal, to read keys from and to draw on";
        return Err(Failed::new(Exit::Usage, message).hint("axiom top --once prints one table"));
    }
    let signals = Signals::listen()?;
    let screen_mode = Changed::to(Mode::Screen)?;
    let Some(_screen_mode) = screen_mode else {
        let message = "axiom top is in the background of its terminal";
        return Err(Failed::new(Exit::Usage, message).hint("bring it to the front, or say --once"));
    };
    let screen = ratatui::Terminal::new(CrosstermBackend::new(std::io::stdout()))?;
    let live = Live {
        model: Model::new(terminal.for_data().colour()),
        places: places.clone(),
        screen,
        signals,
        is_busy: false,
    };
    live.run(Gatherer::new(places)).await
}

/// All tasks, as one table.
async fn once(places: Vec<PathBuf>, terminal: &Terminal) -> Result<Exit, Failed> {
    let mut ids = Vec::new();
    for place in &places {
        ids.extend(found(place)?);
    }
    if ids.is_empty() {
        terminal.say(format_args!("there are no tasks in {}", listed(&places)));
        return Ok(Exit::Ok);
    }
    // The first look learns which processes there are, the other two what they use.
    let (gatherer, _) = Gatherer::new(places).look(ids.clone()).await;
    let (gatherer, _) = gatherer.look(Vec::new()).await;
    time::sleep(ONCE_PAUSE).await;
    let (_, rows) = gatherer.look(ids).await;
    let mut model = Model::new(false);
    model.update(rows?);
    let mut table = Table::new([
        "TASK",
        "STATE",
        "EXECUTOR",
        "AGE",
        "CPU%",
        "MEMORY",
        "PROCS",
        "LINES/S",
        "OUTPUT",
        "COMMAND",
        "LAST LINE",
    ]);
    for row in model.shown() {
        let some = |text: Option<String>| text.unwrap_or_default();
        let short = |text: &str| text.chars().take(60).collect::<String>();
        table.row([
            row.id.clone(),
            row.state.clone(),
            row.executor.to_owned(),
            some(row.age_seconds.map(draw::age)),
            some(row.cpu_percent.map(|percent| format!("{percent:.1}"))),
            some(row.memory_bytes.map(draw::bytes)),
            some(row.processes.map(|count| count.to_string())),
            some(row.lines_per_second.map(|lines| format!("{lines:.0}"))),
            draw::bytes(row.output_bytes),
            short(&row.command),
            short(&row.last_line),
        ]);
    }
    terminal.data(table)?;
    Ok(Exit::Ok)
}

type Looked = (Gatherer, std::io::Result<Vec<Row>>);

struct Live {
    model: Model,
    places: Vec<PathBuf>,
    screen: Screen,
    signals: Signals,
    /// What a key asked for is not done yet.
    is_busy: bool,
}

impl Live {
    async fn run(mut self, gatherer: Gatherer) -> Result<Exit, Failed> {
        let mut keys = read_keys()?;
        let (looked_tx, mut looked) = channel::bounded::<Looked>(1);
        let (done_tx, mut done) = channel::bounded::<String>(1);
        let mut next_look = time::now();
        let mut next_lines = time::now();
        let mut at_rest = Some(gatherer);
        loop {
            self.draw()?;
            tokio::select! {
                // cancel-safe: a signal that came is kept.
                () = self.signals.interrupted() => return Ok(Exit::Ok),
                // cancel-safe: what was not received stays in the channel.
                event = keys.recv() => match event {
                    // The terminal is gone.
                    None => return Ok(Exit::Ok),
                    Some(None) => {}
                    Some(Some(key)) => match self.model.key(key) {
                        Action::Quit => return Ok(Exit::Ok),
                        Action::Nothing => next_lines = time::now(),
                        action => self.begin(action, &done_tx),
                    },
                },
                // cancel-safe: an instant, and nothing is taken.
                () = time::sleep_until(next_look), if at_rest.is_some() => {
                    if let Some(gatherer) = at_rest.take() {
                        let (visible, tx) = (self.model.on_screen(), looked_tx.clone());
                        // Apart, so that keys need not wait for it.
                        spawn("look at tasks", async move {
                            tx.send(gatherer.look(visible).await).await.ok();
                        });
                    }
                }
                // cancel-safe: what was not received stays in the channel.
                Some((gatherer, rows)) = looked.recv() => {
                    self.model.update(rows?);
                    // The first look cannot know what is on the screen.
                    let is_first = self.model.on_screen().is_empty();
                    at_rest = Some(gatherer);
                    next_look = time::now() + if is_first { Duration::ZERO } else { LOOK_PAUSE };
                }
                // cancel-safe: as the looks.
                Some(note) = done.recv() => {
                    (self.model.note, self.is_busy) = (note, false);
                    next_look = time::now();
                }
                // cancel-safe: an instant, and nothing is taken.
                () = time::sleep_until(next_lines), if matches!(self.model.view, View::Lines { .. }) => {
                    self.read_lines();
                    next_lines = time::now() + LINES_PAUSE;
                }
            }
        }
    }

    fn draw(&mut self) -> Result<(), Failed> {
        let model = &mut self.model;
        self.screen.draw(|frame| {
            let window = model.window(draw::page(frame.area()));
            draw::draw(frame, model, window);
        })?;
        Ok(())
    }

    fn read_lines(&mut self) {
        if let View::Lines { id, lines } = &mut self.model.view {
            *lines = match gather::last_lines(&gather::folder_of(&self.places, id)) {
                Ok(lines) => lines,
                Err(error) => vec![format!("its output cannot be read: {error}")],
            };
        }
    }

    fn begin(&mut self, action: Action, done: &Sender<String>) {
        let (id, request) = match action {
            Action::Kill(id) => {
                let why = "axiom top".to_owned();
                (id, Request::Kill { why })
            }
            Action::Freeze(id, true) => (id, Request::Freeze),
            Action::Freeze(id, false) => (id, Request::Thaw),
            Action::Nothing | Action::Quit => return,
        };
        if self.is_busy {
            self.model.note = "something else is still being done".to_owned();
            return;
        }
        self.model.note = format!("{id}: asked");
        self.is_busy = true;
        let (folder, done) = (gather::folder_of(&self.places, &id), done.clone());
        spawn("steer a task", async move {
            let said = match time::timeout(END_TIME, steer(&folder, request)).await {
                Ok(Ok(said)) => said,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("nothing is heard of it within {END_TIME:?}"),
            };
            done.send(format!("{id}: {said}")).await.ok();
        });
    }
}

/// What a task says to a request; of a kill, when it is done.
async fn steer(folder: &Path, request: Request) -> std::io::Result<String> {
    let is_kill = matches!(request, Request::Kill { .. });
    let done = match &request {
        Request::Kill { .. } => "killed",
        Request::Freeze => "frozen",
        _ => "goes on",
    };
    let mut attached = Attached::open(folder).await?;
    attached.ask(request).ok();
    let reply = attached.reply().await?;
    if is_kill {
        while attached.reply().await?.is_some() {}
    }
    Ok(match reply {
        Some(Reply::Refused { why }) => why,
        _ => done.to_owned(),
    })
}

/// Keys as they are typed; `None` for whatever else happens to a terminal, such as another size. The thread that reads waits for ever.
fn read_keys() -> std::io::Result<Receiver<Option<Key>>> {
    let (tx, rx) = channel::bounded(KEYS_MAX);
    spawn::thread("read keys", move || {
        while let Ok(event) = event::read() {
            let told = match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => match key_of(key.code, key.modifiers)
                {
                    Some(key) => Some(key),
                    None => continue,
                },
                Event::Resize(..) => None,
                _ => continue,
            };
            if tx.blocking_send(told).is_err() {
                break;
            }
        }
    })?;
    Ok(rx)
}

fn key_of(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    if modifiers.contains(KeyModifiers::CONTROL) {
        return (code == KeyCode::Char('c')).then_some(Key::Interrupt);
    }
    Some(match code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}
