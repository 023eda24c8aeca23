//! The file as types, for its JSON Schema: what an editor shows while a person types. The decoder is the judge; a test
//! holds these keys against its.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value as Json;

use agents::{Agent, Rule};
use pools::{Oci, Pool};

mod agents;
mod pools;

/// Configuration of the Axiom gateway: `axiom.toml`, or `axiom.json` with the same keys.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, title = "axiom")]
pub struct File {
    /// Where this schema is, for editors. Means nothing to Axiom.
    #[schemars(rename = "$schema")]
    pub schema: Option<String>,
    /// The endpoint that clients connect to.
    pub gateway: Option<Gateway>,
    /// The servers behind the gateway, each under a name of 1 to 32 letters, digits, `_` and `-`, without `__`.
    #[schemars(extend("propertyNames" = {"pattern": "^(?!.*__)[A-Za-z0-9_-]{1,32}$"}))]
    pub servers: Option<BTreeMap<String, Server>>,
    /// Virtual endpoints at `/v/NAME/mcp`: a subset of all tools, prompts and resources, with renames.
    #[schemars(extend("propertyNames" = {"pattern": "^(?!.*__)[A-Za-z0-9_-]{1,32}$"}))]
    pub views: Option<BTreeMap<String, View>>,
    /// Where what happens is recorded. Without this section nothing is.
    pub events: Option<Events>,
    /// Coding agents that `axiom run --agent NAME` starts, each under a name of 1 to 32 letters, digits, `_` and `-`, without `__`.
    #[schemars(extend("propertyNames" = {"pattern": "^(?!.*__)[A-Za-z0-9_-]{1,32}$"}))]
    pub agents: Option<BTreeMap<String, Agent>>,
    /// What is done about tasks without a person.
    pub rules: Option<Vec<Rule>>,
    /// Commands that clients may start as tasks. Without this section there are none. Only on Linux.
    pub tasks: Option<Tasks>,
}

/// The endpoint that clients connect to.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Gateway {
    /// Address and port to listen at; port 0 picks a free one. A change needs a restart.
    #[schemars(extend("default" = "127.0.0.1:3000"))]
    pub listen: Option<String>,
    /// How names from several servers live together on `/mcp`.
    pub prefix: Option<Prefix>,
    /// Host names accepted in the Host header besides the loopback ones, without port.
    pub allowed_hosts: Option<Vec<String>>,
    /// Origins accepted from browsers besides loopback ones, as `scheme://host[:port]`.
    pub allowed_origins: Option<Vec<String>>,
    /// File with the keys that seal what clients carry for the gateway, such as session ids: one base64 key of 32 bytes on
    /// each line, the first of which seals while all open. Relative to where this file stands. With it sessions survive a
    /// restart, and replicas that share it serve each other's. By default a random key that lives as long as the process.
    pub key_file: Option<String>,
    /// Base URL under which other replicas with the same keys reach this one, like `http://10.0.0.5:3000`.
    pub advertise: Option<String>,
    /// Bounds on what clients may make the gateway hold.
    pub limits: Option<Limits>,
}

/// How names from several servers live together.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "always"))]
pub enum Prefix {
    /// `server__tool`, always. A name never changes because another server was added.
    Always,
    /// The plain name, unless two servers have it; then both are prefixed.
    Conflict,
    /// The plain name; of two equal ones the first server by name wins.
    Never,
}

/// Bounds on what clients may make the gateway hold.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// Client connections at once; more wait in the kernel's accept queue.
    #[schemars(range(min = 1, max = 1_048_576), extend("default" = 16384))]
    pub connections_max: Option<u32>,
    /// Size of one client message. A longer one is refused with 413.
    #[schemars(extend("default" = "4MiB"))]
    pub message_bytes_max: Option<Size>,
    /// Size of one message from a server that must be held whole (a line of stdio, an SSE event).
    #[schemars(extend("default" = "64MiB"))]
    pub upstream_message_bytes_max: Option<Size>,
    /// Nesting of one message.
    #[schemars(range(min = 1, max = 4096), extend("default" = 256))]
    pub depth_max: Option<u16>,
    /// Bytes kept per session for streams that a client may resume.
    #[schemars(extend("default" = "1MiB"))]
    pub replay_bytes_max: Option<Size>,
    /// How long a broken stream may be resumed.
    #[schemars(extend("default" = "5m"))]
    pub replay_ttl: Option<Time>,
    /// A session of the revisions before 2026-07-28 ends this long after it began; its client must start another then.
    #[schemars(extend("default" = "30d"))]
    pub session_ttl: Option<Time>,
    /// Calls that wait for answers of their clients, on servers of a revision before 2026-07-28. Beyond, such a call fails.
    #[schemars(range(min = 1, max = 1_048_576), extend("default" = 1000))]
    pub parked_max: Option<u32>,
    /// How long such a call waits for its client's answer.
    #[schemars(extend("default" = "10m"))]
    pub parked_ttl: Option<Time>,
    /// Time a client has to send its request head and body.
    #[schemars(extend("default" = "30s"))]
    pub request_timeout: Option<Time>,
    /// Time running calls get to finish at shutdown.
    #[schemars(extend("default" = "10s"))]
    pub drain_timeout: Option<Time>,
}

/// One server: a `command` that starts it, or the `url` where it is. `${env:NAME}` and `${env:NAME:-default}` are filled
/// in inside `command`, `env`, `cwd`, `url` and `headers`; `$${env:` stands for the text itself.
#[derive(Debug, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{"required": ["command"]}, {"required": ["url"]}])
)]
pub struct Server {
    /// Program and arguments of a server that speaks on its stdin and stdout.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Environment variables for the command.
    pub env: Option<BTreeMap<String, String>>,
    /// Working directory of the command; relative to where this file stands.
    pub cwd: Option<String>,
    /// Address of a server that is already running: `http://`, `https://`, `ws://` or `wss://`.
    #[schemars(regex(pattern = r"^(https?|wss?)://|^\$\{env:"))]
    pub url: Option<String>,
    /// How the address is spoken to. By default `http`, or `ws` for `ws://` and `wss://`.
    pub transport: Option<Transport>,
    /// HTTP headers sent with every request.
    pub headers: Option<BTreeMap<String, String>>,
    /// Time from the start to a working connection, the download of a package included.
    #[schemars(extend("default" = "60s"))]
    pub start_timeout: Option<Time>,
    /// Silence, without answer or progress, after which a call ends with a timeout error.
    #[schemars(extend("default" = "5m"))]
    pub call_timeout: Option<Time>,
    /// A connection of one client session alone is closed after this long without a call.
    #[schemars(extend("default" = "5m"))]
    pub idle_timeout: Option<Time>,
    /// Live connections to this server at most. At the limit an idle connection of a client that is not there makes
    /// room; if there is none, a new session's call fails at once.
    #[schemars(range(min = 1, max = 65_536), extend("default" = 256))]
    pub links_max: Option<u32>,
    /// How long a list is answered from memory when the server does not announce changes. "0s" asks every time.
    #[schemars(extend("default" = "5s"))]
    pub list_ttl: Option<Time>,
    /// Whether the server's own word on its tools counts (`readOnlyHint`, `idempotentHint`): if it forgets its session, a call
    /// to a tool that only reads, or does nothing when repeated, is sent again; any other call ends with an error.
    #[schemars(extend("default" = false))]
    pub trust_annotations: Option<bool>,
    /// Keeps the section and leaves the server out.
    #[schemars(extend("default" = false))]
    pub disabled: Option<bool>,
}

/// How a remote server is spoken to.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Transport {
    /// Streamable HTTP; an old server that only knows HTTP+SSE is found out by itself.
    Http,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    /// WebSocket with the `mcp` subprotocol.
    Ws,
}

/// A subset of all servers' tools, prompts and resources, under names of its own.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct View {
    /// Patterns `server.name` where `*` matches any run of characters, like `files.read_*`.
    pub include: Vec<String>,
    /// `server.name` to the name shown in this view.
    pub rename: Option<BTreeMap<String, String>>,
}

/// Where and how what happens is recorded: every call, and every change of a server, a session or the configuration.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Events {
    /// Folder of the event store; relative to where this file stands, and made if it is not there. One gateway at a time
    /// writes to it. A change needs a restart.
    pub dir: String,
    /// What is recorded of calls' parameters and results. Headers never are.
    pub bodies: Option<Bodies>,
    /// How much is recorded of a call's parameters, and of its result; 2 MiB at most. What is longer is cut, and such a call
    /// cannot be made again with `axiom replay`.
    #[schemars(extend("default" = "64KiB"))]
    pub body_bytes_max: Option<Size>,
    /// Adds a server `events` whose tools read what was recorded, for whoever can reach it. Views include it or leave it out
    /// like any other.
    #[schemars(extend("default" = false))]
    pub mcp: Option<bool>,
    /// Address of this machine where Arrow Flight SQL is spoken, like `127.0.0.1:3001`; nowhere without it. Clients are not
    /// asked who they are. A change needs a restart.
    pub flight_sql: Option<String>,
    /// The number of this gateway's log, from 0 to 65535. Gateways whose events come together, in one Redis or in copies
    /// of each other, each have their own. A change needs a restart.
    #[schemars(extend("default" = 0))]
    pub shard: Option<u16>,
    /// Give the log (`axiom events follow`), statistics and answers to SQL to other machines, too: whoever reaches this gateway
    /// can read then what was recorded.
    #[schemars(extend("default" = false))]
    pub share: Option<bool>,
    /// A Redis that has the newest events of all gateways, like `redis://127.0.0.1:6379`. A change needs a restart.
    pub redis: Option<String>,
    /// How much of this gateway's events is kept in Redis. Older ones go.
    #[schemars(extend("default" = "64MiB"))]
    pub redis_bytes: Option<Size>,
    /// How old events in Redis may become.
    #[schemars(extend("default" = "24h"))]
    pub redis_age: Option<Time>,
    /// Which events are sampled: of those that are like one another some are kept and the others are counted. A change needs
    /// a restart.
    pub sample: Option<Sample>,
    /// Where events go when they are no longer kept on this machine: `s3://bucket/prefix`, `file:///folder`, or a table. What
    /// is left out is taken from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` and
    /// `AWS_ENDPOINT_URL`. A change needs a restart.
    pub store: Option<Store>,
    /// How long events stay where. Nothing is deleted unless `delete` says so.
    pub retention: Option<Retention>,
}

/// What is kept of events that are like one another. Errors, what belongs to an audit, and kinds that are not named are always
/// kept.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sample {
    /// Kinds that are sampled; a `*` at the end stands for any rest.
    #[schemars(extend("default" = ["task.output", "task.log"]))]
    pub kinds: Option<Vec<String>>,
    /// Kinds that are kept though they are among those. Where both fit the longer pattern decides.
    #[schemars(extend("default" = ["gateway.*", "file.*", "tool.*", "llm.*", "intervention*"]))]
    pub keep: Option<Vec<String>>,
    /// So many that are alike are kept in each task and window; after that those with a power of two. 0 to 1000000.
    #[schemars(extend("default" = 4))]
    pub first: Option<u32>,
    /// How long a window is.
    #[schemars(extend("default" = "1m"))]
    pub window: Option<Time>,
    /// At least one that is alike is kept in so long a time.
    #[schemars(extend("default" = "10s"))]
    pub floor: Option<Time>,
    /// When a task has an error, so many of its events that were skipped before it are kept after all. 0 to 1000.
    #[schemars(extend("default" = 20))]
    pub before_error: Option<u32>,
    /// And so many that come after it. 0 to 1000.
    #[schemars(extend("default" = 20))]
    pub after_error: Option<u32>,
    /// What each thread may hold in memory for it, 256KiB to 32MiB.
    #[schemars(extend("default" = "16MiB"))]
    pub memory: Option<Size>,
}

/// An object store.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub enum Store {
    Url(
        #[schemars(regex(pattern = r"^(s3://|file:///)"))]
        String,
    ),
    Table(StoreTable),
}

/// An object store that needs more than an address.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StoreTable {
    /// `s3://bucket/prefix` or `file:///folder`.
    pub url: String,
    /// Base URL of a store that speaks S3 and is not Amazon's, like `https://minio.example:9000`. `http` only on this machine.
    pub endpoint: Option<String>,
    /// The store's region.
    #[schemars(extend("default" = "us-east-1"))]
    pub region: Option<String>,
    /// The key's id, like `${env:NAME}`.
    pub access_key_id: Option<String>,
    /// The key, like `${env:NAME}`.
    pub secret_access_key: Option<String>,
    /// What goes with a key that is only lent.
    pub session_token: Option<String>,
}

/// How long events stay in each tier: a time, or a table with `age` and `bytes`.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Retention {
    /// In the log. What is older, or more, is moved to Parquet files beside it. By default an hour and 256 MiB.
    pub hot: Option<Stay>,
    /// In Parquet files on this machine. What is older, or more, goes to the object store, after 7 days by default; without
    /// a store it stays.
    pub warm: Option<Stay>,
    /// What is deleted, in files and in the object store: a time, or a table with `age`, `bytes` and `tenants`. By default
    /// nothing is.
    pub delete: Option<Delete>,
}

/// How long, or how much.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub enum Stay {
    Age(Time),
    Table(StayTable),
}

/// After which time, or what.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub enum Delete {
    Age(Time),
    Table(DeleteTable),
}

/// What is deleted. There is no way back.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DeleteTable {
    /// Files and objects whose newest event is older.
    pub age: Option<Time>,
    /// The oldest files and objects when all of them together have more.
    pub bytes: Option<Size>,
    /// For each of these tenants how old its events become, in place of `age`.
    pub tenants: Option<BTreeMap<String, Time>>,
}

/// How long, and how much.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StayTable {
    /// Files whose newest event is older leave the tier.
    pub age: Option<Time>,
    /// The oldest files leave the tier when all of them have more.
    pub bytes: Option<Size>,
}

/// Commands that run by themselves, whether or not anybody waits for them. A change needs a restart.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tasks {
    /// Folder where tasks are kept, what they say included; relative to where this file stands, and made if it is not there.
    /// One gateway at a time has it.
    pub dir: String,
    /// What keeps tasks apart from the machine and from each other. With `sandbox` no client can ask for `process`.
    pub executor: Option<Executor>,
    /// What runs containers. With this section tasks may ask for the executor `oci`.
    pub oci: Option<Oci>,
    /// What has started already, each under a name of 1 to 32 letters, digits, `_` and `-` that tasks ask for as their executor; at
    /// most 8.
    #[schemars(extend("propertyNames" = {"pattern": "^(?!.*__)[A-Za-z0-9_-]{1,32}$"}))]
    pub pools: Option<BTreeMap<String, Pool>>,
    /// Limits of each task that asks for no others. Without this table tasks in a sandbox or a container have half of the memory, half
    /// of the CPUs (one at least) and 256 processes, where there are control groups.
    pub limits: Option<TaskLimits>,
    /// What no task may ask beyond; one that asks for nothing has these.
    pub limits_max: Option<TaskLimits>,
    /// Memory that all running tasks may have together, by their limits; those without count as 64 MiB. Others wait. By default
    /// four fifths of what the machine has.
    pub memory: Option<Size>,
    /// Tasks that run at once. Others wait.
    #[schemars(range(min = 1, max = 4096), extend("default" = 256))]
    pub running_max: Option<u32>,
    /// Tasks that wait. Others are refused.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 10_000))]
    pub queued_max: Option<u32>,
    /// How long a task that has ended is kept.
    #[schemars(extend("default" = "7d"))]
    pub keep: Option<Time>,
    /// How many of them are kept. The oldest go first.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 10_000))]
    pub keep_tasks: Option<u32>,
    /// What is recorded where events are recorded.
    pub record: Option<TaskRecord>,
    /// Folders in which tasks may work, and of which they may be granted something. By default the folder where this file stands.
    pub roots: Option<Vec<String>>,
    /// Names of variables of the gateway's own environment that tasks get.
    #[schemars(extend("default" = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TERM"]))]
    pub env: Option<Vec<String>>,
    /// Adds a server `tasks` whose tools start and steer tasks, for whoever can reach it. Views include it or leave it out like
    /// any other.
    #[schemars(extend("default" = true))]
    pub mcp: Option<bool>,
    /// Serve callers from other machines, too. They are not asked who they are: whoever reaches the gateway can start commands
    /// then. Without it an address that is not of this machine alone is an error.
    #[schemars(extend("default" = false))]
    pub share: Option<bool>,
    /// Sandboxes that stand before they are wanted, at most: the command of a task that wants the walls that tasks before it wanted (the
    /// same folder and grants, limits of the same kinds) starts at once. Each is for one task. Needs root; 0 is none.
    #[schemars(range(min = 0, max = 64), extend("default" = 0))]
    pub warm: Option<u32>,
}

/// What keeps a task apart.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "sandbox"))]
pub enum Executor {
    /// Namespaces, a root of its own, Landlock, a filter of system calls, and limits.
    Sandbox,
    /// Nothing: a process like any other.
    Process,
    /// Containers, by the runtime of `[tasks.oci]`.
    Oci,
}

/// What is recorded of tasks.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "lines"))]
pub enum TaskRecord {
    /// What happens to them, and every line that they say.
    Lines,
    /// What happens to them.
    Ends,
}

/// Limits of one task. What its executor cannot keep is refused: all keep `wall` and `output`, `sandbox` keeps all.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TaskLimits {
    /// Of all its processes together. Beyond it the kernel ends it.
    pub memory: Option<Size>,
    /// CPUs, like 2 or 0.5. Beyond it it waits.
    pub cpu: Option<f64>,
    /// Processes and threads at once. Beyond it `fork` fails.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub pids: Option<u32>,
    /// From its start to its end. Beyond it it is killed.
    pub wall: Option<Time>,
    /// What it says. Beyond it it is killed.
    pub output: Option<Size>,
    /// Open files of each of its processes.
    #[schemars(range(min = 3, max = 1_048_576))]
    pub files: Option<u32>,
    /// What it has in its own `/tmp` and `/dev/shm`, each. Beyond it it cannot write there.
    pub disk: Option<Size>,
    /// Bytes a second from and to disks, each.
    pub disk_io: Option<Size>,
}

/// What is recorded of calls' parameters and results.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "off"))]
pub enum Bodies {
    /// Only their sizes.
    Off,
    /// Without what may be a secret.
    Redacted,
    /// As they are, without what is a secret beyond doubt.
    Full,
}

/// A duration: numbers with ms, s, m, h or d, like `"30s"` or `"1h30m"`.
#[derive(Debug, JsonSchema)]
#[schemars(inline)]
pub struct Time(#[schemars(regex(pattern = r"^\s*(\d+\s*(ms|s|sec|m|min|h|d)\s*)+$"))] pub String);

/// A size: a number of bytes, or a number with B, kB, MB, GB (of 1000), KiB, MiB or GiB (of 1024).
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub enum Size {
    Bytes(u64),
    Text(#[schemars(regex(pattern = r"^\s*\d+\s*([kKmMgG]?[iI]?[bB]|[kKmMgG])?\s*$"))] String),
}

/// The JSON Schema (2020-12), ending in a newline.
pub fn text() -> String {
    let mut schema = schemars::schema_for!(File).to_value();
    without_null(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A key is there or it is not: `null` is no value of ours, though an optional field's derived schema allows it.
fn without_null(schema: &mut Json) {
    match schema {
        Json::Object(fields) => {
            if let Some(Json::Array(types)) = fields.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if let Some(Json::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Json::Object(only)] = choices.as_mut_slice() {
                    let only = std::mem::take(only);
                    fields.remove("anyOf");
                    // What the field says of itself stands before what its type says.
                    for (key, value) in only {
                        fields.entry(key).or_insert(value);
                    }
                }
            }
            fields.values_mut().for_each(without_null);
        }
        Json::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
