//! A server with one fault as a program: over stdio, or over HTTP with the address printed as one line of JSON.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use axiom_testkit::{
    faulty::{self, Fault, Options},
    faulty_http,
};
use clap::Parser;

#[derive(Debug, Parser)]
#[command(about = "An MCP server with one fault")]
struct Arguments {
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

#[allow(clippy::print_stdout, reason = "the address is this program's output")]
fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let delay = Duration::from_millis(arguments.delay_ms);
    let options = Options {
        fault: arguments.fault,
        delay,
        huge_bytes: arguments.huge_bytes,
    };
    let Some(listen) = arguments.listen else {
        return Ok(ExitCode::from(faulty::serve_stdio(
            options,
            io::stdin(),
            io::stdout(),
        )?));
    };
    let server = faulty_http::start_on(TcpListener::bind(listen)?, options)?;
    println!("{{\"event\":\"listening\",\"mcp\":\"{}\"}}", server.url());
    server.join();
    Ok(ExitCode::SUCCESS)
}
