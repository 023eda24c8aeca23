//! stub
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::BTreeMap;
use std::task::{Context, Poll};
#[derive(Debug, Clone)]
pub struct Target {}
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("stub")]
    Stub,
}
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    #[error("stub")]
    Stub,
}
impl HttpError {
    pub fn retry_is_safe(&self) -> bool {
        false
    }
}
impl Target {
    pub fn parse(_url: &str, _headers: &BTreeMap<String, String>) -> Result<Target, TargetError> {
        unimplemented!()
    }
    pub async fn post(
        &self,
        _headers: &[(HeaderName, HeaderValue)],
        _body: Bytes,
    ) -> Result<Answer, HttpError> {
        unimplemented!()
    }
    pub async fn get(&self, _headers: &[(HeaderName, HeaderValue)]) -> Result<Answer, HttpError> {
        unimplemented!()
    }
    pub async fn delete(&self, _headers: &[(HeaderName, HeaderValue)]) -> Result<Answer, HttpError> {
        unimplemented!()
    }
}
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: AnswerBody,
}
#[derive(Debug)]
pub struct AnswerBody {}
impl AnswerBody {
    pub async fn chunk(&mut self) -> Option<Result<Bytes, HttpError>> {
        unimplemented!()
    }
    pub fn poll_chunk(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        unimplemented!()
    }
    pub fn content_length(&self) -> Option<u64> {
        None
    }
    pub async fn collect(self, _bytes_max: usize) -> Result<Bytes, HttpError> {
        unimplemented!()
    }
}
