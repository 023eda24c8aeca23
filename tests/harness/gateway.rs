//! The built gateway, started as a user starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use serde_json::Value;

use crate::child::{Lines, Running};
use crate::config::Config;
use crate::http::Request;
use crate::{bed, process};

/// A running `axiom up`. Dropped, it is stopped, with all that it started.
pub struct Gateway {
    running: Running,
    /// `http://127.0.0.1:PORT`
    base: String,
    file: PathBuf,
}

impl Gateway {
    /// Starts it on a free port and waits until it says that it listens.
    pub fn start(config: &Config) -> Self {
        let file = bed::scratch("gateway").join("axiom.toml");
        config.write(&file);
        let mut command = Command::new(bed::built("axiom"));
        command.args(["up", "--json", "--config"]).arg(&file);
        Gateway::spawn(&mut command, file)
    }

    /// Starts it at an address that the test chose, with what it does between replicas in its log.
    pub fn start_at(config: &Config, address: SocketAddr) -> Self {
        let file = bed::scratch("gateway").join("axiom.toml");
        config.write(&file);
        let mut command = Command::new(bed::built("axiom"));
        command
            .args(["--log", "info,axiom_gateway::replica=debug", "up", "--json"])
            .args(["--listen", &address.to_string(), "--config"])
            .arg(&file);
        Gateway::spawn(&mut command, file)
    }

    /// Starts it with these variables in its environment.
    pub fn start_with(config: &Config, variables: &[(&str, &Path)]) -> Self {
        let file = bed::scratch("gateway").join("axiom.toml");
        config.write(&file);
        let mut command = Command::new(bed::built("axiom"));
        command
            .args(["up", "--json", "--config"])
            .arg(&file)
            .envs(variables.iter().copied());
        Gateway::spawn(&mut command, file)
    }

    /// Starts it as a newcomer does, in a folder, with whatever configuration lies there or with none.
    pub fn start_in(folder: &Path) -> Self {
        let mut command = Command::new(bed::built("axiom"));
        command
            .args(["up", "--json", "--listen", "127.0.0.1:0"])
            .current_dir(folder);
        Gateway::spawn(&mut command, folder.join("axiom.toml"))
    }

    fn spawn(command: &mut Command, file: PathBuf) -> Self {
        let running = Running::start("axiom up", command.env("NO_COLOR", "1"));
        let listening = running.listening();
        let mcp = listening["mcp"]
            .as_str()
            .unwrap_or_else(|| panic!("no mcp in {listening}"));
        let base = mcp
            .strip_suffix("/mcp")
            .unwrap_or_else(|| panic!("{mcp} does not end in /mcp"))
            .to_owned();
        Gateway { running, base, file }
    }

    /// The endpoint of all servers.
    pub fn mcp(&self) -> String {
        self.url("/mcp")
    }

    /// The endpoint of one server, where nothing is renamed.
    pub fn server(&self, name: &str) -> String {
        self.url(&format!("/s/{name}/mcp"))
    }

    /// How a server is, as the gateway tells it.
    pub fn status(&self, name: &str) -> Value {
        let list = Request::new("GET", "/api/v1/servers").send(self.address()).json();
        let servers = list.as_array().or(list["servers"].as_array());
        let mut servers = servers.into_iter().flatten();
        let found = servers.find(|server| server["name"] == name);
        found
            .unwrap_or_else(|| panic!("there is no {name} in {list}"))
            .clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn address(&self) -> SocketAddr {
        self.base.trim_start_matches("http://").parse().unwrap()
    }

    /// Changes the configuration file under the running gateway.
    pub fn rewrite(&self, config: &Config) {
        config.write(&self.file);
    }

    pub fn file(&self) -> &PathBuf {
        &self.file
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn stderr(&self) -> &Lines {
        &self.running.stderr
    }

    pub fn rss_kib(&self) -> u64 {
        process::rss_kib(self.pid())
    }

    pub fn peak_rss_kib(&self) -> u64 {
        process::peak_rss_kib(self.pid())
    }

    /// Ends it as an operator would, and waits.
    pub fn stop(mut self) -> ExitStatus {
        self.running.stop()
    }

    /// Stops it in the middle of whatever it does, until [`resume`](Gateway::resume). The kernel still takes connections.
    pub fn pause(&self) {
        self.running.signal(rustix::process::Signal::STOP);
    }

    pub fn resume(&self) {
        self.running.signal(rustix::process::Signal::CONT);
    }

    /// Ends it as the kernel would when memory is short, and waits.
    pub fn kill(mut self) -> ExitStatus {
        self.running.signal(rustix::process::Signal::KILL);
        self.running.ended()
    }
}
