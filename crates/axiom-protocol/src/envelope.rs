//! What the gateway needs to know of one message, as places in its bytes.

pub use crate::batch::split_batch;
pub use crate::fault::{ScanError, ScanFault};
pub use crate::reply_head::{ReplyHead, peek_reply};
pub use crate::reply_scanner::{IdAt, ReplyScanner};
pub use crate::scan::scan;
use crate::{Method, Span};

/// How much a message may ask of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Length of one message in bytes. Longer ones fail with [`ScanFault::TooLarge`] before they are looked at.
    pub bytes_max: usize,
    /// Objects and arrays open at once. Deeper ones fail with [`ScanFault::TooDeep`]; above 1,024 it counts as 1,024.
    pub depth_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 4 * 1024 * 1024,
            depth_max: 256,
        }
    }
}

/// What a message is, by the members it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `result`.
    Response,
    /// `error`.
    Error,
}

/// The places in a message that decide what happens to it. Strings' spans include the quotes.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub kind: Kind,
    /// The root object without the white space around it.
    pub object: Span,
    /// The raw id: a string or a number, and `null` only in an error. Ids are compared byte by byte: `1` is not `1.0`.
    pub id: Option<Span>,
    pub method: Method,
    pub method_span: Option<Span>,
    /// Always an object.
    pub params: Option<Span>,
    pub param: ParamSpans,
    /// `params._meta`, always an object.
    pub meta: Option<Span>,
    pub in_meta: MetaSpans,
    pub result: Option<Span>,
    pub in_result: ResultSpans,
    pub error: Option<Span>,
    /// `error.code`, if it is an integer.
    pub error_code: Option<i64>,
}

/// Members of `params`, whatever their type: a `name` may turn out to be a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParamSpans {
    pub name: Option<Span>,
    pub uri: Option<Span>,
    /// `taskId`
    pub task_id: Option<Span>,
    pub cursor: Option<Span>,
    pub level: Option<Span>,
    /// `requestId` of `notifications/cancelled`
    pub request_id: Option<Span>,
    /// `progressToken` of `notifications/progress`; that of a request is in [`MetaSpans`].
    pub progress_token: Option<Span>,
    pub arguments: Option<Span>,
    /// `ref.name` of `completion/complete`
    pub reference_name: Option<Span>,
    /// `ref.uri` of `completion/complete`
    pub reference_uri: Option<Span>,
    /// `inputResponses`
    pub input_responses: Option<Span>,
    /// `requestState`
    pub request_state: Option<Span>,
    pub capabilities: Option<Span>,
    /// `clientInfo`
    pub client_info: Option<Span>,
    /// `protocolVersion` of `initialize`
    pub protocol_version: Option<Span>,
    pub task: Option<Span>,
    pub notifications: Option<Span>,
}

/// Members of `params._meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaSpans {
    /// `progressToken`
    pub progress_token: Option<Span>,
    /// `io.modelcontextprotocol/protocolVersion`
    pub protocol_version: Option<Span>,
    /// `io.modelcontextprotocol/clientCapabilities`
    pub client_capabilities: Option<Span>,
    /// `io.modelcontextprotocol/clientInfo`
    pub client_info: Option<Span>,
    /// `io.modelcontextprotocol/logLevel`
    pub log_level: Option<Span>,
    /// `io.modelcontextprotocol/subscriptionId`
    pub subscription_id: Option<Span>,
    /// `io.modelcontextprotocol/related-task`
    pub related_task: Option<Span>,
}

/// Members of `result`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultSpans {
    /// `resultType`
    pub result_type: Option<Span>,
    /// `_meta`, if it is an object.
    pub meta: Option<Span>,
    /// `_meta."io.modelcontextprotocol/subscriptionId"`
    pub subscription_id: Option<Span>,
    /// `taskId`
    pub task_id: Option<Span>,
    /// `nextCursor`
    pub next_cursor: Option<Span>,
}

/// What to do with a member: note its value, look into it, or pass over it.
pub(crate) enum Member<'e> {
    Slot(&'e mut Option<Span>, &'static str),
    Meta,
    Reference,
    Unknown,
}

impl ParamSpans {
    pub(crate) fn member(&mut self, name: &[u8]) -> Member<'_> {
        match name {
            b"name" => Member::Slot(&mut self.name, "params.name"),
            b"arguments" => Member::Slot(&mut self.arguments, "params.arguments"),
            b"_meta" => Member::Meta,
            b"uri" => Member::Slot(&mut self.uri, "params.uri"),
            b"ref" => Member::Reference,
            b"taskId" => Member::Slot(&mut self.task_id, "params.taskId"),
            b"cursor" => Member::Slot(&mut self.cursor, "params.cursor"),
            b"level" => Member::Slot(&mut self.level, "params.level"),
            b"requestId" => Member::Slot(&mut self.request_id, "params.requestId"),
            b"progressToken" => Member::Slot(&mut self.progress_token, "params.progressToken"),
            b"inputResponses" => Member::Slot(&mut self.input_responses, "params.inputResponses"),
            b"requestState" => Member::Slot(&mut self.request_state, "params.requestState"),
            b"capabilities" => Member::Slot(&mut self.capabilities, "params.capabilities"),
            b"clientInfo" => Member::Slot(&mut self.client_info, "params.clientInfo"),
            b"protocolVersion" => Member::Slot(&mut self.protocol_version, "params.protocolVersion"),
            b"task" => Member::Slot(&mut self.task, "params.task"),
            b"notifications" => Member::Slot(&mut self.notifications, "params.notifications"),
            _ => Member::Unknown,
        }
    }
}

pub(crate) const SUBSCRIPTION_ID: &[u8] = b"io.modelcontextprotocol/subscriptionId";

impl MetaSpans {
    pub(crate) fn member(&mut self, name: &[u8]) -> Member<'_> {
        match name {
            b"progressToken" => Member::Slot(&mut self.progress_token, "_meta.progressToken"),
            b"io.modelcontextprotocol/protocolVersion" => Member::Slot(
                &mut self.protocol_version,
                "_meta.io.modelcontextprotocol/protocolVersion",
            ),
            b"io.modelcontextprotocol/clientCapabilities" => Member::Slot(
                &mut self.client_capabilities,
                "_meta.io.modelcontextprotocol/clientCapabilities",
            ),
            b"io.modelcontextprotocol/clientInfo" => {
                Member::Slot(&mut self.client_info, "_meta.io.modelcontextprotocol/clientInfo")
            }
            b"io.modelcontextprotocol/logLevel" => {
                Member::Slot(&mut self.log_level, "_meta.io.modelcontextprotocol/logLevel")
            }
            SUBSCRIPTION_ID => Member::Slot(
                &mut self.subscription_id,
                "_meta.io.modelcontextprotocol/subscriptionId",
            ),
            b"io.modelcontextprotocol/related-task" => Member::Slot(
                &mut self.related_task,
                "_meta.io.modelcontextprotocol/related-task",
            ),
            _ => Member::Unknown,
        }
    }
}

impl ResultSpans {
    pub(crate) fn member(&mut self, name: &[u8]) -> Member<'_> {
        match name {
            b"resultType" => Member::Slot(&mut self.result_type, "result.resultType"),
            b"taskId" => Member::Slot(&mut self.task_id, "result.taskId"),
            b"nextCursor" => Member::Slot(&mut self.next_cursor, "result.nextCursor"),
            b"_meta" => Member::Meta,
            _ => Member::Unknown,
        }
    }
}
