//! The plain proxy as a program; the address is printed as one line of JSON.

use std::net::{SocketAddr, TcpListener};

use clap::Parser;

#[derive(Debug, Parser)]
#[command(about = "A proxy on hyper that reads and changes nothing")]
struct Arguments {
    /// Port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[allow(clippy::print_stdout, reason = "the address is this program's output")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(arguments.listen)?;
    let servers = axiom_testkit::floor::start(&listener, arguments.upstream, arguments.threads)?;
    println!(
        "{{\"event\":\"listening\",\"mcp\":\"http://{}/mcp\"}}",
        listener.local_addr()?
    );
    for server in servers {
        server.join();
    }
    Ok(())
}
