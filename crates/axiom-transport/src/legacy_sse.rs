//! stub
use crate::{http_client::Target, pipe::Pipe};
#[derive(Debug, thiserror::Error)]
pub enum SseConnectError {
    #[error("stub")]
    Stub,
}
pub async fn connect(_target: &Target, _message_bytes_max: usize) -> Result<Pipe, SseConnectError> {
    unimplemented!()
}
