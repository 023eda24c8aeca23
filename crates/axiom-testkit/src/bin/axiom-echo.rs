//! The echo server as a program: over stdio, or over HTTP with the address printed as one line of JSON.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
};

use axiom_testkit::{
    echo::{Echo, Eras},
    echo_http::{EchoServer, Options},
    echo_stdio,
};
use clap::{Parser, ValueEnum};

#[derive(Debug, Parser)]
#[command(about = "An MCP server that answers as cheaply as it can")]
struct Arguments {
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

#[allow(clippy::print_stdout, reason = "the address is this program's output")]
fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.stdio {
        echo_stdio::serve(
            &Echo::new(arguments.eras, arguments.tools),
            io::stdin(),
            io::stdout(),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options {
        eras: arguments.eras,
        sessions: arguments.mode == Mode::Session,
        tools: arguments.tools,
    };
    let server = EchoServer::on(TcpListener::bind(arguments.listen)?, options)?;
    println!("{{\"event\":\"listening\",\"mcp\":\"{}\"}}", server.url());
    server.join();
    Ok(ExitCode::SUCCESS)
}
