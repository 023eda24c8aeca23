//! A server spoken to directly, without a gateway: what it says is what a client must get.

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::child::Running;
use crate::peer::{self, Peer, Reply};

/// A session with a child process.
pub struct Direct {
    running: Running,
    /// Lines of its output that were read.
    read: usize,
    next: u64,
    pub initialized: Value,
}

impl Direct {
    /// Starts it and opens a session of the latest legacy revision.
    pub fn start(name: &str, command: &[String]) -> Self {
        Direct::start_with(name, command, &[])
    }

    pub fn start_with(name: &str, command: &[String], environment: &[(String, String)]) -> Self {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut child = Command::new(program);
        child.args(arguments).envs(environment.iter().cloned());
        Direct::spawn(name, &mut child)
    }

    /// The same for a process that needs more than a command line.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let running = Running::start(name, command);
        let mut direct = Direct {
            running,
            read: 0,
            next: 0,
            initialized: Value::Null,
        };
        let params = peer::initialize_params(peer::LATEST_LEGACY, &json!({}));
        direct.initialized = direct.ask("initialize", &params).value();
        direct.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        direct
    }

    pub fn write(&mut self, message: &str) {
        let stdin = self
            .running
            .stdin
            .as_mut()
            .expect("stdin is open while the server runs");
        writeln!(stdin, "{message}").expect("the server reads");
    }

    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}

impl Peer for Direct {
    fn ask(&mut self, method: &str, params: &str) -> Reply {
        self.next += 1;
        let id = self.next.to_string();
        self.write(&peer::message(&id, method, params));
        let (stdout, read) = (&self.running.stdout, &mut self.read);
        let reply = peer::collect(&id, || {
            let (index, line) = stdout.wait_from(*read, method, |_| true);
            *read = index + 1;
            Some(line)
        });
        reply.expect("an answer comes or the wait panics")
    }
}
