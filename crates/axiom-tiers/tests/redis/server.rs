//! A Redis of our own for each test.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axiom_tiers::redis::Address;
use redis::Value;

pub(crate) struct Server {
    port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
    folder: tempfile::TempDir,
}

impl Server {
    /// `None`, said on stderr, where there is no Redis: the test has to be skipped.
    #[allow(clippy::print_stderr, reason = "who looks why a test did nothing finds it")]
    pub(crate) fn start(arguments: &[&str]) -> Option<Server> {
        if !is_installed() {
            eprintln!(
                "skipped: there is no redis-server here; `cargo xtask setup` installs it where apt may"
            );
            return None;
        }
        let port = free_port();
        let mut server = Server {
            port,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            process: None,
            folder: tempfile::tempdir().expect("a folder"),
        };
        server.restart();
        Some(server)
    }

    /// Starts it with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be run");
        self.process = Some(process);
        for _ in 0..2000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            #[allow(clippy::disallowed_methods, reason = "another process is waited for")]
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server does not listen");
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it ends");
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> Address {
        Address::parse(&self.url()).expect("it is one")
    }

    /// One command, by another connection.
    pub(crate) async fn run(&self, command: &str) -> Value {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().expect("a command"));
        words.for_each(|word| {
            cmd.arg(word);
        });
        self.run_cmd(&cmd).await
    }

    pub(crate) async fn run_cmd(&self, cmd: &redis::Cmd) -> Value {
        let client = redis::Client::open(self.url()).expect("it is one");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("it listens");
        cmd.query_async(&mut connection).await.expect("it is carried out")
    }

    pub(crate) async fn len(&self, shard: u16) -> usize {
        match self.run(&format!("XLEN axiom:events:{shard}")).await {
            Value::Int(len) => usize::try_from(len).expect("it is not negative"),
            other => panic!("{other:?}"),
        }
    }
}

fn is_installed() -> bool {
    let asked = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // Whatever else is wrong with it is not hidden.
    !matches!(asked, Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

/// Of those that the kernel gives to nobody by itself, and other tests' processes look at elsewhere.
fn free_port() -> u16 {
    let seed = std::process::id() % 20_000;
    let ports = (0..20_000).map(|n| 10_000 + (seed + n * 7) % 20_000);
    let mut ports = ports.filter_map(|port| u16::try_from(port).ok());
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a port is free")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
