//! The fake servers as programs: their arguments, and where to find them. The programs of this crate are these alone;
//! `axiom-bench` carries them too, so that a measurement needs one binary only.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};

use crate::{
    echo::{Echo, Eras},
    echo_http::{self, EchoServer},
    echo_stdio,
    faulty::{self, Fault},
    faulty_http, floor,
};

/// An MCP server that answers as cheaply as it can.
#[derive(Debug, Args)]
pub struct EchoProgram {
    /// Serve on stdin and stdout.
    #[arg(long, conflicts_with_all = ["listen", "mode"])]
    stdio: bool,
    /// Serve HTTP here; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// With or without `Mcp-Session-Id` for legacy clients.
    #[arg(long, default_value = "session")]
    mode: Mode,
    #[arg(long, default_value = "dual")]
    eras: Eras,
    /// Length of tools/list.
    #[arg(long, default_value_t = 100)]
    tools: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Mode {
    Session,
    Stateless,
}

impl EchoProgram {
    /// Serves until it is killed, or until stdin ends.
    ///
    /// # Errors
    /// The address is taken, or the peer on stdio is gone.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.stdio {
            echo_stdio::serve(&Echo::new(self.eras, self.tools), io::stdin(), io::stdout())?;
            return Ok(ExitCode::SUCCESS);
        }
        let sessions = self.mode == Mode::Session;
        let options = echo_http::Options {
            eras: self.eras,
            sessions,
            tools: self.tools,
        };
        let server = EchoServer::on(TcpListener::bind(self.listen)?, options)?;
        print_listening(&server.url());
        server.join();
        Ok(ExitCode::SUCCESS)
    }
}

/// A proxy on hyper that reads and changes nothing.
#[derive(Debug, Args)]
pub struct FloorProgram {
    /// Port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

impl FloorProgram {
    /// Serves until it is killed.
    ///
    /// # Errors
    /// The address is taken.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let listener = TcpListener::bind(self.listen)?;
        let servers = floor::start(&listener, self.upstream, self.threads)?;
        print_listening(&format!("http://{}/mcp", listener.local_addr()?));
        for server in servers {
            server.join();
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An MCP server with one fault.
#[derive(Debug, Args)]
pub struct FaultyProgram {
    #[arg(long)]
    fault: Fault,
    /// Serve HTTP here instead of stdio; port 0 picks one.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// How long slow-start does nothing.
    #[arg(long, default_value_t = 5000)]
    delay_ms: u64,
    /// Length of the text that huge-line answers with.
    #[arg(long, default_value_t = 80 * 1024 * 1024)]
    huge_bytes: usize,
}

impl FaultyProgram {
    /// Serves until it is killed, until stdin ends, or until its fault ends it.
    ///
    /// # Errors
    /// The address is taken, or the peer on stdio is gone.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let delay = Duration::from_millis(self.delay_ms);
        let options = faulty::Options {
            fault: self.fault,
            delay,
            huge_bytes: self.huge_bytes,
        };
        let Some(listen) = self.listen else {
            return Ok(ExitCode::from(faulty::serve_stdio(
                options,
                io::stdin(),
                io::stdout(),
            )?));
        };
        let server = faulty_http::start_on(TcpListener::bind(listen)?, options)?;
        print_listening(&server.url());
        server.join();
        Ok(ExitCode::SUCCESS)
    }
}

#[allow(clippy::print_stdout, reason = "the address is the program's output")]
fn print_listening(url: &str) {
    println!("{{\"event\":\"listening\",\"mcp\":\"{url}\"}}");
}

/// The path of a program of this workspace in the target folder that the running test or program came from.
///
/// # Errors
/// The program was not built; the message says with which command.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    // A test runs in target/<profile>/deps, a program in target/<profile>.
    let folders = here.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| missing(name, &here))
}

fn missing(name: &str, here: &Path) -> anyhow::Error {
    let package = if name == "axiom" || name == "axiom-bench" {
        name
    } else {
        "axiom-testkit"
    };
    anyhow::anyhow!(
        "{name} is not beside {}\nhint: cargo build -p {package} --bin {name}",
        here.display()
    )
}
