//! stub
use crate::pipe::Pipe;
use std::collections::BTreeMap;
use tokio::io::{AsyncRead, AsyncWrite};
#[derive(Debug, thiserror::Error)]
pub enum WsError {
    #[error("stub")]
    Stub,
}
pub async fn connect(
    _url: &str,
    _headers: &BTreeMap<String, String>,
    _message_bytes_max: usize,
) -> Result<Pipe, WsError> {
    unimplemented!()
}
pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    _io: IO,
    _message_bytes_max: usize,
) -> Pipe {
    unimplemented!()
}
pub fn accept_key(_sec_websocket_key: &str) -> String {
    unimplemented!()
}
