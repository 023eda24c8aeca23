//! Error codes of JSON-RPC, of MCP, and of this gateway.
//!
//! MCP reserves -32768..=-32000: a code of our own in that range could later mean something else. Ours are positive,
//! and stable: clients and alert rules may rely on them.
//!
//! | code | name                        | who is at fault | may a retry help |
//! |------|-----------------------------|-----------------|------------------|
//! | 1001 | `UPSTREAM_UNAVAILABLE`      | upstream        | yes, later       |
//! | 1002 | `UPSTREAM_TIMEOUT`          | upstream        | perhaps; the call may have had effects |
//! | 1003 | `UPSTREAM_DIED`             | upstream        | perhaps; the call may have had effects |
//! | 1004 | `UPSTREAM_PROTOCOL`         | upstream        | no               |
//! | 1005 | `BUSY`                      | load            | yes, at once or after `Retry-After` |
//! | 1006 | `SHUTTING_DOWN`             | the gateway     | yes, elsewhere or after its restart |
//! | 1007 | `UNSUPPORTED_BY_UPSTREAM_ERA` | nobody        | no: the two revisions cannot express it |
//! | 1008 | `UPSTREAM_AUTH`             | configuration   | after the operator signs in upstream |
//! | 1009 | `UPSTREAM_ANSWER_TOO_LARGE` | upstream        | no               |
//! | 1010 | `STATE_LOST`                | the gateway     | start the operation again |
//! | 1011 | `CANCELLED`                 | nobody          | it was the client's wish |
//! | 1012 | `UPSTREAM_SESSION_LOST`     | upstream        | yes, after a look: the call was not executed, but what the server kept for the session is gone |
//! | 1013 | `NOT_ANSWERED`              | the client      | yes: the server asked it something and got no answer |

/// The message is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// JSON, but not a message this peer may send.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method here.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The method exists, its parameters are wrong. From 2026-07-28 on also: no such resource.
pub const INVALID_PARAMS: i64 = -32602;
/// A fault of the answering side.
pub const INTERNAL_ERROR: i64 = -32603;

/// 2026-07-28: an HTTP header is missing, malformed or contradicts the body. HTTP 400.
pub const HEADER_MISMATCH: i64 = -32020;
/// 2026-07-28: the request did not declare a capability its handling needs. HTTP 400.
pub const MISSING_CAPABILITY: i64 = -32021;
/// 2026-07-28: the request names a version this server does not speak. HTTP 400.
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// Legacy only: no such resource.
pub const RESOURCE_NOT_FOUND_LEGACY: i64 = -32002;
/// 2025-11-25 only: the user must visit a URL first.
pub const URL_ELICITATION: i64 = -32042;

/// The server that owns the name cannot be reached or started.
pub const UPSTREAM_UNAVAILABLE: i64 = 1001;
/// The server did not answer before the deadline.
pub const UPSTREAM_TIMEOUT: i64 = 1002;
/// The server ended, or its connection broke, before it answered.
pub const UPSTREAM_DIED: i64 = 1003;
/// The server answered with something that is not MCP.
pub const UPSTREAM_PROTOCOL: i64 = 1004;
/// A limit on waiting work is reached.
pub const BUSY: i64 = 1005;
/// The gateway takes no new work.
pub const SHUTTING_DOWN: i64 = 1006;
/// The revision the server speaks has no way to express the request.
pub const UNSUPPORTED_BY_UPSTREAM_ERA: i64 = 1007;
/// The server refused the gateway's credentials.
pub const UPSTREAM_AUTH: i64 = 1008;
/// The server's answer is larger than the configured limit.
pub const UPSTREAM_ANSWER_TOO_LARGE: i64 = 1009;
/// What the request continues (a parked call, a cursor, a task) is no longer known.
pub const STATE_LOST: i64 = 1010;
/// A server needed an answer of the client first, and it did not give one.
pub const NOT_ANSWERED: i64 = 1013;
/// The client gave the call up; it is told only where its transport demands an answer.
pub const CANCELLED: i64 = 1011;
/// The server no longer knew our session when the call came, and the call may rely on what the session held.
pub const UPSTREAM_SESSION_LOST: i64 = 1012;
