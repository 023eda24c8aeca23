//! One request, client to server and back. The modules stand in the order in which a request meets them.
//!
//! ```text
//! accept     Host and Origin, path to endpoint, the body        pipe       the same for stdio, WebSocket, HTTP+SSE
//! identify   which era, which session: a table of cases         session    what a legacy client said at initialize
//! replica    what only another replica has, asked there       seal       state that clients carry, sealed
//! phase      the driver: the only place with the whole flow     greet      initialize and server/discover
//! route      method + name -> server                            merge      several servers' lists as one
//! upstream   the connections to one server, era probing         bridge     between the eras
//! level      what an older revision does not know, taken out or said in words
//! call       one call, read by its client                       parking    calls that wait for their clients
//! task       work that outlasts its call, in the words of either era
//! exchange   its way to a server and back, exactly one outcome  fault      every failure, its code and status
//! record     of every call's outcome one event, wherever it ends
//! stats      what the recorded events come to: numbers of calls, and since when servers are how they are
//! subscribe  what clients want to be told                       hub        news from servers to clients
//! ```

mod gateway;
pub mod options;
mod plan;

mod accept;
mod batch;
mod identify;
mod pipe;
mod replica;
mod seal;
mod session;

mod greet;
mod phase;
mod record;
mod route;

mod catalog;
mod merge;
mod names;

mod bridge;
mod call;
mod exchange;
mod level;
mod message;
mod mirror;
mod parking;
mod task;
mod upstream;

mod hub;
mod log_level;
mod subscribe;

mod fault;
mod stats;
mod status;

pub use accept::{Annex, ServeError, serve_http};
pub use fault::Fault;
pub use gateway::Gateway;
pub use pipe::{UnknownEndpoint, serve_pipe};
pub use record::REPLAY_OF;
pub use stats::{StatsError, stats_of};
pub use status::ServerStatus;
