//! The command line as types.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::parse_listen;
use crate::events::{Filter, Place};
use crate::outcome::EXIT_CODES;
use crate::replay::Ignored;

#[cfg(target_os = "linux")]
pub(crate) use tasks::parse_cpus;
#[cfg(target_os = "linux")]
pub use tasks::{Kill, Logs, Ps, Rm, Run, TasksCommand, TasksFolder};

#[cfg(target_os = "linux")]
mod tasks;

/// Puts many MCP servers behind one endpoint.
///
/// Without a command, `axiom` is `axiom up`: it serves the servers of ./axiom.toml, else ./axiom.json, else ./.mcp.json,
/// else a built-in demo server.
#[derive(Debug, Parser)]
#[command(name = "axiom", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Everywhere")]
    pub log: Option<String>,

    /// No colours [env: NO_COLOR]
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub no_color: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve all servers at one address until interrupted (the default)
    Up(Up),
    /// Serve all servers on stdin and stdout, as the child of a desktop client
    Stdio(Stdio),
    /// Show the servers and how each of them is
    Servers(Servers),
    /// Show how many calls there were and how they went, since events are recorded and lately
    Stats(Stats),
    /// Show the tools of all servers
    Tools(Tools),
    /// Call a tool
    Call(Call),
    /// Look at what was recorded: calls, and changes of servers, sessions and the configuration
    #[command(subcommand)]
    Events(EventsCommand),
    /// Make recorded calls again and show how their answers differ
    Replay(Replay),
    /// Ask what was recorded, in SQL
    #[command(after_help = SQL_HELP)]
    Sql(Sql),
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    Tasks(TasksCommand),
    /// Take over servers from another program's configuration
    Import(Import),
    /// Check the configuration, or print its schema
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a key that replicas share
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Default, Args)]
pub struct ConfigFile {
    /// Configuration file [default: ./axiom.toml, ./axiom.json or ./.mcp.json]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub struct Up {
    #[command(flatten)]
    pub file: ConfigFile,

    /// Address to listen at instead of the configured one; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
    pub listen: Option<SocketAddr>,

    /// Print one line of JSON when ready
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Stdio {
    #[command(flatten)]
    pub file: ConfigFile,

    /// Serve this one server, with its own names
    #[arg(long, value_name = "NAME", conflicts_with = "view")]
    pub server: Option<String>,

    /// Serve this view
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
}

#[derive(Debug, Args)]
pub struct Servers {
    #[command(flatten)]
    pub file: ConfigFile,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Calls are counted from what is recorded: it takes a section [events] in the configuration.
Without a running gateway the numbers are read from its files. Percentiles are within 6.25 %."
)]
pub struct Stats {
    #[command(flatten)]
    pub file: ConfigFile,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Tools {
    /// Only the tools of this server, under its own names
    pub server: Option<String>,

    #[command(flatten)]
    pub file: ConfigFile,

    /// Print JSON, with the schemas
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  axiom call demo.echo text=hello
  axiom call demo.add a=1 b=2 --json
  axiom call demo.add --json '{\"a\": 1, \"b\": 2}'")]
pub struct Call {
    /// Server and tool, as SERVER.TOOL
    #[arg(value_name = "SERVER.TOOL")]
    pub tool: String,

    /// Arguments; the tool's schema says which are numbers
    #[arg(value_name = "KEY=VALUE")]
    pub arguments: Vec<String>,

    /// Print the whole result as JSON; with a value, take all arguments from it
    #[arg(long, value_name = "ARGUMENTS", num_args = 0..=1)]
    pub json: Option<Option<String>>,

    #[command(flatten)]
    pub file: ConfigFile,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all answers are equal, 1 one differs, 3 a call cannot be made again, 4 it needs --yes.

Examples:
  axiom replay 1234
  axiom replay 5c07f1d29e3a4b600000000000000007 --to https://staging.example.com/mcp
  axiom replay --filter 'server=files method=tools/call' --limit 50 --to files-next --ignore '$..mtime'"
)]
pub struct Replay {
    /// The call: its event's offset, or its id, which is its event's `task`
    #[arg(value_name = "CALL", required_unless_present = "filter")]
    pub call: Option<String>,

    /// The newest calls that it is true of, in place of one, like 'server=demo outcome=result'
    #[arg(long, value_name = "FILTER", conflicts_with = "call")]
    pub filter: Option<Filter>,

    /// Only calls from here on: an offset, a time like 2026-07-28T09:00:00Z, or how long ago, like 10m
    #[arg(long, value_name = "OFFSET|TIME", requires = "filter")]
    pub from: Option<Place>,

    /// How many calls at most
    #[arg(long, value_name = "N", default_value_t = 20, requires = "filter")]
    pub limit: usize,

    /// Call this server of the configuration, or the one at this address, and not the one that answered then
    #[arg(long, value_name = "SERVER|URL")]
    pub to: Option<String>,

    /// A place in the answer that may differ, like '$.content[0].text' or '$..id'; may be given several times
    #[arg(long, value_name = "PATH")]
    pub ignore: Vec<Ignored>,

    /// Times may differ, in texts and as numbers since 1970
    #[arg(long)]
    pub ignore_times: bool,

    /// Also call tools that do not say that they only read
    #[arg(long)]
    pub yes: bool,

    /// Print JSON; of several calls, one on each line
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Show the newest events, and those that come
    #[command(after_help = FILTER_HELP)]
    Tail(Tail),
    /// Print events as JSON, one on each line
    #[command(after_help = FILTER_HELP)]
    Export(Export),
    /// Prove that the log is what was written, or name every place where it is not
    Verify(Verify),
    /// Keep a copy of another gateway's log, and check every block of it as it arrives
    Follow(Follow),
    /// Print a proof that an event is in the log, for whoever has the log's root or a copy
    Prove(Prove),
    /// Show where events are, how much room they take and how old they are
    Tiers(Tiers),
    /// Keep events from being deleted, whatever the retention says
    #[command(subcommand)]
    Hold(HoldCommand),
}

#[derive(Debug, Args)]
pub struct Tiers {
    /// Show every file
    #[arg(long)]
    pub files: bool,

    /// Print JSON, one line for each tier or file
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Hold events from now on; prints the hold's number
    Add(HoldAdd),
    /// Show what is held, why, since when and by whom
    List(HoldList),
    /// Let the retention decide again
    Remove(HoldRemove),
}

#[derive(Debug, Args)]
pub struct HoldAdd {
    /// Why; whoever lists the holds reads it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// Only events of this tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,

    /// Only events of this stream
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,

    /// Only events of this task or call
    #[arg(long, value_name = "ID")]
    pub task: Option<String>,

    /// Only events from this time on: 2026-07-28T09:00:00Z, or how long ago, like 10m
    #[arg(long, value_name = "TIME")]
    pub from: Option<Place>,

    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Place>,

    /// All events, those to come too
    #[arg(long, conflicts_with_all = ["tenant", "stream", "task", "from", "to"])]
    pub everything: bool,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Args)]
pub struct HoldList {
    /// Print JSON, one line for each
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Args)]
pub struct HoldRemove {
    /// The hold's number
    pub id: u64,

    #[command(flatten)]
    pub at: EventsAt,
}

/// Which event store.
#[derive(Debug, Args)]
pub struct EventsAt {
    /// Folder of the event store [default: `events.dir` of the configuration]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Which of the logs in it [default: `events.shard` of the configuration, or the only one]
    #[arg(long, value_name = "N")]
    pub shard: Option<u16>,

    #[command(flatten)]
    pub file: ConfigFile,
}

const FILTER_HELP: &str = "A filter is one condition or several, separated by spaces; all of them must hold:
  kind=gateway.call level>=warn       = and != compare whole words, a * at the end stands for anything
  server=demo outcome!=result         of a call's body: server, method, name, outcome, endpoint, transport, session, state, replay_of
  duration_us>=1000000                numbers of a body: duration_us, request_bytes, response_bytes, code
  stream=... task=... trace=... tenant=...";

#[derive(Debug, Args)]
pub struct Tail {
    /// Wait for more and show them as they are recorded
    #[arg(short, long)]
    pub follow: bool,

    /// How many of the newest events to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub lines: usize,

    /// Only events that it is true of, like 'server=demo level>=warn'
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: Filter,

    /// Print JSON, one event on each line
    #[arg(long)]
    pub json: bool,

    /// Show what all gateways share in this Redis, or only --shard of it [default URL: `events.redis` of the configuration]
    #[arg(long, value_name = "URL", num_args = 0..=1, conflicts_with = "dir")]
    pub redis: Option<Option<String>>,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Args)]
pub struct Export {
    /// The first event: an offset, a time like 2026-07-28T09:00:00Z, or how long ago, like 10m
    #[arg(long, value_name = "OFFSET|TIME")]
    pub from: Option<Place>,

    /// Where to stop; what is there is not printed
    #[arg(long, value_name = "OFFSET|TIME")]
    pub to: Option<Place>,

    /// How events are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "ndjson")]
    pub format: ExportFormat,

    /// Only events that it is true of, like 'server=demo level>=warn'
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: Filter,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum ExportFormat {
    /// JSON, one event on each line
    Ndjson,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Check a proof of `axiom events prove` instead: against the log or copy in --dir, or against --root
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,

    /// The Merkle root that the proof must lead to, as `verify --json` tells it
    #[arg(long, value_name = "HEX", requires = "proof")]
    pub root: Option<String>,

    #[command(flatten)]
    pub at: EventsAt,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const SQL_HELP: &str = "Examples:
  axiom sql \"SELECT server, outcome, count(*), max(duration_us) FROM calls GROUP BY server, outcome\"
  axiom sql \"SELECT * FROM events WHERE time > now() - INTERVAL '10 minutes' AND severity >= 3\" --json
  axiom sql --schema
  axiom sql --engine duckdb \"SUMMARIZE calls\"
Another program answers: `cargo build --release -p axiom-query` builds it.
The dialect is DataFusion's, close to PostgreSQL's; with --engine duckdb it is DuckDB's.
DuckDB's library is yours to bring: libduckdb.so beside axiom, or wherever --duckdb-library says.";

#[derive(Debug, Args)]
pub struct Sql {
    /// The query; without one it is read from stdin
    pub query: Option<String>,

    /// List the tables and their columns
    #[arg(long)]
    pub schema: bool,

    /// Print one JSON object
    #[arg(long, conflicts_with = "format")]
    pub json: bool,

    /// How the answer is printed [default: table on a terminal, else ndjson]
    #[arg(long, value_enum)]
    pub format: Option<SqlFormat>,

    /// Stop after so many rows, and say so [default: 1000 for a table, else all]
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,

    /// Seconds that it may take [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<f64>,

    /// MiB that it may hold; beyond it goes to the disk, or ends [default: 512]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,

    /// Who answers [default: datafusion]
    #[arg(long, value_enum)]
    pub engine: Option<SqlEngine>,

    /// DuckDB's library [default: AXIOM_DUCKDB_LIBRARY, else beside axiom, else where the system looks]
    #[arg(long, value_name = "PATH")]
    pub duckdb_library: Option<PathBuf>,

    /// For DuckDB, copy what is in an object store to this machine for the time of the query
    #[arg(long)]
    pub copy_cold: bool,

    /// Print the SQL that makes the tables in a DuckDB of your own, over the files that are there now
    #[arg(long)]
    pub print_setup: bool,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SqlEngine {
    /// What axiom-query has in it
    Datafusion,
    /// DuckDB, whose library must be on this machine
    Duckdb,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum SqlFormat {
    /// For people
    Table,
    /// One object with columns, rows, and what else there is to know
    Json,
    /// One object on each line
    Ndjson,
    /// With a line of names
    Csv,
    /// An Arrow IPC stream
    Arrow,
}

impl SqlFormat {
    pub fn name(self) -> &'static str {
        match self {
            SqlFormat::Table => "table",
            SqlFormat::Json => "json",
            SqlFormat::Ndjson => "ndjson",
            SqlFormat::Csv => "csv",
            SqlFormat::Arrow => "arrow",
        }
    }
}

#[derive(Debug, Args)]
pub struct Follow {
    /// The gateway whose log is copied, like http://10.0.0.5:3000
    pub url: String,

    /// Folder of the copy; what it has already is not fetched again
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// Copy what is there now, and end
    #[arg(long)]
    pub once: bool,

    /// Go on behind events that the gateway does not have any more; without it that is an error
    #[arg(long)]
    pub skip_gaps: bool,
}

#[derive(Debug, Args)]
pub struct Prove {
    /// The event's offset
    pub offset: u64,

    #[command(flatten)]
    pub at: EventsAt,
}

#[derive(Debug, Args)]
pub struct Import {
    /// Files of Claude Desktop, Claude Code, Cursor, VS Code, Windsurf, Zed, Codex, Gemini CLI, OpenCode
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Write the servers; without it they are only shown
    #[arg(long)]
    pub write: bool,

    /// The file to write into
    #[arg(long, value_name = "FILE", default_value = "axiom.toml")]
    pub into: PathBuf,

    /// Write without asking
    #[arg(long)]
    pub yes: bool,

    /// Write secrets as they are, instead of ${env:NAME}
    #[arg(long)]
    pub inline_secrets: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration and tell everything that is wrong with it
    Check(Check),
    /// Print the JSON Schema of axiom.toml
    Schema(Schema),
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub file: ConfigFile,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Schema {
    /// The schema is JSON in any case
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print a fresh line for the file that `gateway.key_file` names
    New(NewKey),
}

#[derive(Debug, Args)]
pub struct NewKey {
    /// Put it at the end of this file instead; a new file is readable by its owner alone
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Puts `up` into a command line that names no command but has options: `axiom --config F` is `axiom up --config F`.
pub fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    let mut wants_up = false;
    while let Some(word) = words.next() {
        match word.as_ref() {
            "-h" | "--help" | "-V" | "--version" => return arguments,
            "--config" | "--listen" => {
                wants_up = true;
                words.next();
            }
            "--log" => {
                words.next();
            }
            option if option.starts_with('-') => {
                wants_up |= option != "--no-color" && !option.starts_with("--log=")
            }
            _ => return arguments,
        }
    }
    if wants_up {
        arguments.insert(1, "up".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let words = with_default_command(line.split(' ').map(OsString::from).collect());
        let words: Vec<String> = words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn up_is_the_default() {
        check("axiom", "axiom");
        check("axiom --help", "axiom --help");
        check("axiom --json", "axiom up --json");
        check("axiom --config up", "axiom up --config up");
        check("axiom --log debug", "axiom --log debug");
        check("axiom --log debug --config=x", "axiom up --log debug --config=x");
        check(
            "axiom --log debug servers --json",
            "axiom --log debug servers --json",
        );
        check("axiom servers", "axiom servers");
    }
}
