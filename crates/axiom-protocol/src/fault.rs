//! Why a received message is refused.

use crate::{Span, codes};

/// A refusal, with the id to answer to where one could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ScanError {
    /// What is wrong.
    pub fault: ScanFault,
    /// The raw id of the refused message, so that the error answer can carry it. Always `None` if it is not JSON.
    pub id: Option<Span>,
}

impl ScanError {
    /// The JSON-RPC error code of the answer.
    pub fn code(&self) -> i64 {
        self.fault.code()
    }

    /// Where the text stops being JSON, in bytes from the start.
    pub fn offset(&self) -> Option<usize> {
        match self.fault {
            ScanFault::NotJson { offset } | ScanFault::TooDeep { offset, .. } => Some(offset),
            _ => None,
        }
    }
}

impl From<ScanFault> for ScanError {
    fn from(fault: ScanFault) -> Self {
        Self { fault, id: None }
    }
}

/// What is wrong with a message. The texts are written for the peer that sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanFault {
    #[error("not JSON: unexpected input at byte {offset}")]
    NotJson { offset: usize },
    #[error("message of {bytes} B exceeds the limit of {bytes_max} B")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("nested deeper than {depth_max} levels at byte {offset}")]
    TooDeep { depth_max: u16, offset: usize },
    #[error("batch of more than {items_max} messages")]
    TooManyItems { items_max: usize },
    #[error("a batch must hold at least one message")]
    EmptyBatch,
    #[error("a message must be a JSON object")]
    NotAnObject,
    #[error("the key \"{key}\" appears twice")]
    DuplicateKey { key: &'static str },
    #[error("\"jsonrpc\" is missing")]
    MissingJsonRpc,
    #[error("\"jsonrpc\" must be \"2.0\"")]
    WrongJsonRpc,
    #[error("\"id\" must be a string or a number")]
    InvalidId,
    #[error("an answer must have an \"id\"")]
    MissingId,
    #[error("\"method\" must be a string")]
    InvalidMethod,
    #[error("\"params\" must be an object")]
    InvalidParams,
    #[error("\"params._meta\" must be an object")]
    InvalidMeta,
    #[error("a message must have exactly one of \"method\", \"result\" and \"error\"")]
    UnknownKind,
}

impl ScanFault {
    /// -32700 if the text could not be read as JSON, -32602 for unusable parameters, else -32600.
    pub fn code(&self) -> i64 {
        match self {
            Self::NotJson { .. } | Self::TooDeep { .. } => codes::PARSE_ERROR,
            Self::InvalidParams | Self::InvalidMeta => codes::INVALID_PARAMS,
            _ => codes::INVALID_REQUEST,
        }
    }
}
