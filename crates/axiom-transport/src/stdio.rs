//! stub
use crate::pipe::{Closed, Pipe};
use bytes::Bytes;
pub fn own_stdio(_message_bytes_max: usize) -> Pipe {
    unimplemented!()
}
#[derive(Debug)]
pub(crate) struct Printer {}
impl Printer {
    pub(crate) async fn send(&self, _message: Bytes) -> Result<(), Closed> {
        unimplemented!()
    }
    pub(crate) fn close(&self) {}
    pub(crate) fn is_closed(&self) -> bool {
        false
    }
}
