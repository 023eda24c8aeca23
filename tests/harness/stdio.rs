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
    /// Of 2026-07-28: no session, and what a client is goes with each request.
    modern: bool,
    pub initialized: Value,
}

impl Direct {
    /// Starts it and opens a session of the latest legacy revision.
    pub fn start(name: &str, command: &[String]) -> Self {
        Direct::start_with(name, command, &[])
    }

    pub fn start_with(name: &str, command: &[String], environment: &[(String, String)]) -> Self {
        let mut direct = Direct::silent(name, command, environment);
        let params = peer::initialize_params(peer::LATEST_LEGACY, &json!({}));
        direct.initialized = direct.ask("initialize", &params).value();
        direct.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        direct
    }

    /// Starts it and speaks 2026-07-28.
    pub fn modern(name: &str, command: &[String], environment: &[(String, String)]) -> Self {
        Direct {
            modern: true,
            ..Direct::silent(name, command, environment)
        }
    }

    fn silent(name: &str, command: &[String], environment: &[(String, String)]) -> Self {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut child = Command::new(program);
        child.args(arguments).envs(environment.iter().cloned());
        let running = Running::start(name, &mut child);
        Direct {
            running,
            read: 0,
            next: 0,
            modern: false,
            initialized: Value::Null,
        }
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
        if self.modern {
            let mut params = serde_json::from_str(params).expect("params are JSON");
            peer::add_meta(&mut params, &json!({}));
            self.write(&peer::message(&id, method, &params.to_string()));
        } else {
            self.write(&peer::message(&id, method, params));
        }
        let (stdout, read) = (&self.running.stdout, &mut self.read);
        let reply = peer::collect(&id, || {
            let (index, line) = stdout.wait_from(*read, method, |_| true);
            *read = index + 1;
            Some(line)
        });
        reply.expect("an answer comes or the wait panics")
    }
}
