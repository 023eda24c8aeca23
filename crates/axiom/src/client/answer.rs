//! An HTTP answer as a sequence of messages: one JSON body, or the events of a stream.

use axiom_transport::http_client::{Answer, AnswerBody};
use axiom_transport::sse::Decoder;
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::{ANSWER_BYTES_MAX, ClientError, Members};

/// One JSON-RPC message; what it carries is text until somebody reads it.
#[derive(Debug, Deserialize)]
pub struct Message {
    pub(super) id: Option<Box<RawValue>>,
    pub(super) method: Option<String>,
    params: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

impl Message {
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    pub fn params(&self) -> Members {
        self.params.as_deref().map(Members::of).unwrap_or_default()
    }

    /// Whether this is the response to our request of that number.
    pub(super) fn answers(&self, id: u64) -> bool {
        let answered = self.id.as_ref().map(|answered| answered.get());
        self.method.is_none() && answered == Some(id.to_string().as_str())
    }

    /// The result of a response.
    ///
    /// # Errors
    /// The error that it carries instead.
    pub(super) fn into_result(self) -> Result<Box<RawValue>, ClientError> {
        match (self.result, self.error) {
            (Some(result), _) => Ok(result),
            (None, Some(error)) => Err(rpc(&Members::of(&error))),
            (None, None) => Err(ClientError::protocol("an answer with neither result nor error")),
        }
    }
}

/// The messages of one answer, in order.
pub(super) enum Messages {
    /// Taken once.
    One(Option<Message>),
    Stream(Box<(AnswerBody, Decoder)>),
}

impl Messages {
    pub(super) async fn of(answer: Answer) -> Result<Self, ClientError> {
        if answer.headers.says("text/event-stream") {
            let decoder = Decoder::new(ANSWER_BYTES_MAX);
            return Ok(Messages::Stream(Box::new((answer.body, decoder))));
        }
        let body = answer.body.collect(ANSWER_BYTES_MAX).await?;
        Ok(Messages::One(Some(message(&body)?)))
    }

    /// The next message.
    ///
    /// # Errors
    /// The answer ended without the message that was waited for, or is no message.
    pub(super) async fn next(&mut self) -> Result<Message, ClientError> {
        match self {
            Messages::One(message) => message.take().ok_or_else(no_answer),
            Messages::Stream(stream) => loop {
                let (body, decoder) = stream.as_mut();
                let event = decoder
                    .next()
                    .map_err(|error| ClientError::protocol(error.to_string()))?;
                match event {
                    // Events without data prime a stream for resumption; nothing to read.
                    Some(event) if event.data.is_empty() => {}
                    Some(event) => return message(&event.data),
                    None => match body.chunk().await {
                        Some(chunk) => decoder.feed(chunk?),
                        None => return Err(no_answer()),
                    },
                }
            },
        }
    }
}

fn no_answer() -> ClientError {
    ClientError::protocol("it ended the stream without an answer")
}

fn message(bytes: &[u8]) -> Result<Message, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ClientError::protocol(format!("not a JSON-RPC message: {error}")))
}

fn rpc(error: &Members) -> ClientError {
    ClientError::Rpc {
        code: error.read("code").unwrap_or_default(),
        message: error.read("message").unwrap_or_else(|| "no message".to_owned()),
    }
}

/// The reason in an answer whose status is no success.
pub(super) async fn refusal(answer: Answer) -> ClientError {
    let status = answer.status;
    let body = match answer.body.collect(ANSWER_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return error.into(),
    };
    let json: Option<Json> = serde_json::from_slice(&body).ok();
    let told = json.as_ref().and_then(|json| {
        let error = json.get("error")?;
        error.get("message").unwrap_or(error).as_str()
    });
    let text = String::from_utf8_lossy(&body);
    let message = told.unwrap_or_else(|| text.lines().next().unwrap_or_default());
    // A page of HTML helps nobody.
    ClientError::Status {
        status,
        message: message.chars().take(300).collect(),
    }
}
