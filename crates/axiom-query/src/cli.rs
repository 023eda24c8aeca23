//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::limits::Limits;
use crate::output::Format;

/// SQL over what Axiom recorded. Mostly started by `axiom sql` and by the gateway.
#[derive(Debug, Parser)]
#[command(name = "axiom-query", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer one query
    Sql(Sql),
    /// Answer queries at a Unix socket, until stdin ends
    Serve(Serve),
}

#[derive(Debug, Args)]
pub struct Sql {
    /// The query
    #[arg(required_unless_present_any = ["schema", "print_setup"])]
    pub query: Option<String>,

    /// Folder of the event store
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// How the answer is written [default: table on a terminal, else ndjson]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Stop after so many rows, and say so [default: 1000 for a table, else all]
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,

    /// List the tables and their columns
    #[arg(long)]
    pub schema: bool,

    /// Who answers
    #[arg(long, value_enum, default_value_t = Engine::Datafusion)]
    pub engine: Engine,

    #[command(flatten)]
    pub duckdb: DuckDb,

    #[command(flatten)]
    pub bounds: Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// What is built in
    Datafusion,
    /// DuckDB, whose library must be on this machine
    Duckdb,
}

/// What only DuckDB needs.
#[derive(Debug, Args)]
pub struct DuckDb {
    /// DuckDB's library [default: AXIOM_DUCKDB_LIBRARY, else beside this program, else where the system looks]
    #[arg(long, value_name = "PATH")]
    pub duckdb_library: Option<PathBuf>,

    /// Copy what is in an object store to this machine for the time of the query
    #[arg(long)]
    pub copy_cold: bool,

    /// Print the SQL that makes the tables in a DuckDB of your own, and end
    #[arg(long)]
    pub print_setup: bool,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Folder of the event store
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// Where to listen
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,

    /// Speak Arrow Flight SQL at this address too; on this machine only
    #[arg(long, value_name = "ADDRESS")]
    pub flight: Option<SocketAddr>,

    #[command(flatten)]
    pub bounds: Bounds,
}

#[derive(Debug, Args)]
pub struct Bounds {
    /// MiB that queries may hold; beyond it they go to the disk, or end
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub memory: u64,

    /// MiB that queries may put on the disk meanwhile
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub temp: u64,

    /// Where [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,

    /// Seconds that a query may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub timeout: f64,

    /// Queries that run at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub queries: usize,
}

impl Bounds {
    pub fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            memory_bytes: self.memory.saturating_mul(1 << 20),
            temp_bytes: self.temp.saturating_mul(1 << 20),
            temp_dir: self.temp_dir.clone().unwrap_or(usual.temp_dir),
            timeout: Duration::try_from_secs_f64(self.timeout).unwrap_or(usual.timeout),
            queries_max: self.queries.max(1),
            wait: usual.wait,
        }
    }
}
