//! stub
use bytes::Bytes;
use std::time::Duration;
#[derive(Debug)]
pub struct Decoder {}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: Option<Bytes>,
    pub event: Option<Bytes>,
    pub data: Bytes,
    pub retry: Option<Duration>,
}
#[derive(Debug, thiserror::Error)]
pub enum SseError {
    #[error("an event is larger than the limit of {bytes_max} B")]
    TooLarge { bytes_max: usize },
}
impl Decoder {
    pub fn new(_bytes_max: usize) -> Self {
        Decoder {}
    }
    pub fn feed(&mut self, _chunk: Bytes) {
        unimplemented!()
    }
    #[allow(
        clippy::should_implement_trait,
        reason = "it is fallible and not an iterator: more may be fed later"
    )]
    pub fn next(&mut self) -> Result<Option<Event>, SseError> {
        unimplemented!()
    }
    pub fn last_event_id(&self) -> Option<&Bytes> {
        None
    }
}
pub fn encode(_out: &mut Vec<u8>, _event: Option<&str>, _id: Option<&str>, _data: &[u8]) {
    unimplemented!()
}
