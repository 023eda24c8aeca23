//! Hot reload: the configuration file is watched; a valid change is applied and told, an invalid one is told and ignored.

mod diff;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axiom_gateway::Gateway;
use axiom_gateway::options::{EventsOptions, Options};
use axiom_tiers::Service;

use crate::compose::Desks;
use crate::config::load::load;
use crate::config::render;
use crate::config::{Config, Tiers};
use crate::terminal::Terminal;

pub use watch::{Watch, changed};

/// The file that is served and what of it is in force.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    /// The file of keys that it names.
    key_file: Option<PathBuf>,
    /// The text that was read last, good or not: nothing is told twice.
    text: String,
    /// What was wrong with the files when they were read last.
    complaint: String,
    applied: Options,
    /// The address that the text asks for; not always the one that is served.
    listen: SocketAddr,
    /// What the text asks for of events; of what needs a restart not always what is done.
    events: Option<EventsOptions>,
    /// What of events that are no longer hot is in force, what the text asks for, and who does it.
    tiers: Tiers,
    tiers_asked: Tiers,
    service: Option<Arc<Service>>,
    /// What the text asks for of tasks, which needs a restart, and what there is of them.
    #[cfg(target_os = "linux")]
    tasks: Option<Box<crate::config::Tasks>>,
    desk: Desks,
}

impl Reload {
    /// `config` was made of `text`, and `text` was read from `path`. `served` is where clients are served meanwhile.
    pub fn new(path: PathBuf, text: String, config: Config, served: SocketAddr) -> Self {
        let listen = config.options.listen;
        Reload {
            events: config.options.events.clone(),
            tiers_asked: config.tiers.clone(),
            tiers: config.tiers,
            service: None,
            #[cfg(target_os = "linux")]
            tasks: config.tasks,
            desk: Desks::default(),
            path,
            key_file: config.key_file.map(|file| file.path),
            text,
            complaint: String::new(),
            applied: Options {
                listen: served,
                ..config.options
            },
            listen,
        }
    }

    /// Applies changes of how long events are kept to this, too.
    pub fn moving(self, service: Option<Arc<Service>>) -> Self {
        Reload { service, ..self }
    }

    /// Keeps the server of these tasks among the others.
    pub fn serving(mut self, desk: Desks) -> Self {
        desk.plug_in(&mut self.applied);
        Reload { desk, ..self }
    }

    /// What is read: a change of one of these is a reason to [`run`](Reload::run).
    pub fn files(&self) -> Vec<PathBuf> {
        std::iter::once(&self.path)
            .chain(&self.key_file)
            .cloned()
            .collect()
    }

    /// Reads the files again and applies it if it is good and says something new.
    pub fn run(&mut self, gateway: &Arc<Gateway>, terminal: &Terminal) {
        let file = self.path.display().to_string();
        let loaded = match load(&self.path) {
            Ok(loaded) if self.is_torn(&loaded.text) => {
                let complaint = format!("{file} is empty");
                return self.complain(loaded.text, complaint, "", terminal);
            }
            Ok(loaded) => loaded,
            Err(error) => {
                let now = fs_err::read_to_string(&self.path).unwrap_or_default();
                return self.complain(now, error.to_string(), &error.details(terminal.look()), terminal);
            }
        };
        let was_same = loaded.text == self.text;
        self.text = loaded.text;
        self.complaint.clear();
        self.key_file = loaded.config.key_file.map(|file| file.path);
        let mut options = loaded.config.options;
        let listen = std::mem::replace(&mut options.listen, self.applied.listen);
        #[cfg_attr(not(target_os = "linux"), allow(unused_mut, reason = "there are no tasks"))]
        let mut kept = self.keep_events(&mut options);
        #[cfg(target_os = "linux")]
        kept.extend(self.keep_tasks(loaded.config.tasks));
        self.desk.plug_in(&mut options);
        let tiers = self.apply_tiers(loaded.config.tiers);
        let changes = diff::changes(&self.applied, &options);
        if was_same && changes.is_empty() && tiers.is_empty() {
            return;
        }
        // Told when it is so: whoever reads it may count on it.
        self.applied = options.clone();
        gateway.apply(options);
        if !loaded.warnings.is_empty() {
            terminal.say(render(&loaded.warnings, &file, &self.text, terminal.look()).trim_end());
        }
        if changes.is_empty() && tiers.is_empty() {
            terminal.say(format_args!("{file} was read again; nothing changed"));
        } else {
            terminal.say(format_args!("{file} was read again"));
        }
        for change in &changes {
            terminal.say(format_args!("  {change}"));
        }
        for change in tiers {
            terminal.say(format_args!("  {change}"));
        }
        if listen != self.listen {
            self.listen = listen;
            terminal.say(format_args!("  gateway.listen = \"{listen}\" needs a restart"));
        }
        for change in kept {
            terminal.say(format_args!("  {change} needs a restart"));
        }
    }

    /// How long events are kept changes at once, the object store with a restart. Who asks for another store has that one in
    /// mind for all that is said of how long they are kept, so that waits for it. Says what is new.
    fn apply_tiers(&mut self, asked: Tiers) -> Vec<&'static str> {
        let before = std::mem::replace(&mut self.tiers_asked, asked.clone());
        if asked.store != self.tiers.store {
            let mut told = Vec::new();
            if asked.store != before.store {
                told.push("events.store needs a restart");
            }
            if asked != before && asked.retention != self.tiers.retention {
                told.push("events.retention holds with events.store, from the restart on");
            }
            return told;
        }
        if asked.retention == self.tiers.retention {
            return Vec::new();
        }
        if let Some(service) = &self.service {
            service.apply(asked.retention.clone());
        }
        self.tiers.retention = asked.retention;
        vec!["changed events.retention"]
    }

    /// Takes of `events` what can change while events are recorded, and leaves the rest as it is. Says what was asked for
    /// instead, if it was not asked for before.
    fn keep_events(&mut self, options: &mut Options) -> Vec<String> {
        let asked = options.events.take();
        options.events.clone_from(&self.applied.events);
        if let (Some(events), Some(asked)) = (&mut options.events, &asked) {
            events.bodies = asked.bodies;
            events.body_bytes_max = asked.body_bytes_max;
            events.mcp = asked.mcp;
            events.share = asked.share;
        }
        let before = std::mem::replace(&mut self.events, asked.clone());
        diff::waiting(before.as_ref(), asked.as_ref())
    }

    /// Tasks stay as they are. Says what was asked for instead, if it was not asked for before.
    #[cfg(target_os = "linux")]
    fn keep_tasks(&mut self, asked: Option<Box<crate::config::Tasks>>) -> Option<String> {
        let before = std::mem::replace(&mut self.tasks, asked);
        match (&before, &self.tasks) {
            (before, asked) if before == asked => None,
            (_, None) => Some("the end of `tasks`".to_owned()),
            (_, Some(_)) => Some("another [tasks]".to_owned()),
        }
    }

    /// An editor that found the disk full leaves an empty file behind. Whoever wants no server can say so with a comment.
    fn is_torn(&self, text: &str) -> bool {
        text.trim().is_empty() && !self.applied.servers.is_empty()
    }

    /// Tells what is wrong with the files, once, and leaves everything as it is.
    fn complain(&mut self, text: String, what: String, details: &str, terminal: &Terminal) {
        let complaint = format!("{details}{what}");
        if text == self.text && complaint == self.complaint {
            return;
        }
        if !details.is_empty() {
            terminal.say(details.trim_end());
        }
        terminal.say(format_args!(
            "{} {what}; the last good configuration stays in force",
            terminal.red("error:")
        ));
        self.text = text;
        self.complaint = complaint;
    }
}
