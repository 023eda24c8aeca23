//! An answer as the body of a response: written row by row as its client takes it.

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, unfold};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::asked::Asked;
use super::{Body, Registered};
use crate::engine::Answer;
use crate::fault::{Code, Fault};
use crate::output::{End, Format, Writer};
use crate::sql::first_rows;

/// Bytes of an answer: beyond it a client has made a mistake, or wants a file.
const ANSWER_BYTES_MAX: u64 = 4 << 30;

/// What is left to be written.
struct Rest {
    answer: Answer,
    writer: Option<Writer>,
    format: Format,
    end: End,
    rows_left: u64,
    bytes: u64,
    /// Its id is known as long as it runs.
    _registered: Registered,
}

/// The answer, of which the first rows are here.
///
/// # Errors
/// When its columns cannot be written in this format.
pub(super) fn stream(
    answer: Answer,
    first: Option<RecordBatch>,
    asked: &Asked,
    registered: Registered,
) -> Result<Body, Fault> {
    let schema = answer.schema();
    let mut writer = Writer::new(asked.format, &schema).map_err(unwritable)?;
    let mut begin = writer.begin(&schema).map_err(unwritable)?;
    let mut rest = Rest {
        answer,
        writer: Some(writer),
        format: asked.format,
        end: End::default(),
        rows_left: asked.rows_max,
        bytes: 0,
        _registered: registered,
    };
    match first {
        Some(batch) => begin.extend(rest.write(batch)?),
        None => begin.extend(rest.finish()?),
    }
    let begun = futures_util::stream::iter([Ok(begin)]);
    let rest = unfold(rest, |mut rest| async move {
        rest.next().await.map(|bytes| (bytes, rest))
    });
    let frames = begun
        .chain(rest)
        .map(|bytes| bytes.map(|bytes| Frame::data(Bytes::from(bytes))));
    Ok(StreamBody::new(Box::pin(frames)).boxed_unsync())
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Vec<u8>, Fault>> {
        self.writer.as_ref()?;
        if self.end.truncated.is_some() {
            return Some(self.finish());
        }
        Some(match self.answer.next().await {
            Ok(Some(batch)) => self.write(batch),
            Ok(None) => self.finish(),
            Err(fault) => self.fail(fault),
        })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<Vec<u8>, Fault> {
        let batch = first_rows(batch, &mut self.rows_left, &mut self.end);
        let Some(writer) = &mut self.writer else {
            return Ok(Vec::new());
        };
        let bytes = writer.rows(&batch).map_err(unwritable)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > ANSWER_BYTES_MAX {
            let fault = Fault::new(Code::TooLarge, "the answer has more than 4 GiB");
            return self
                .fail(fault.hint("ask for less at once; `axiom sql` on this machine has no such bound"));
        }
        Ok(bytes)
    }

    fn finish(&mut self) -> Result<Vec<u8>, Fault> {
        self.end.warnings = self.answer.warnings();
        match self.writer.take() {
            Some(writer) => writer.end(&self.end).map_err(unwritable),
            None => Ok(Vec::new()),
        }
    }

    /// JSON says what went wrong. Of anything else the client sees that it was cut.
    fn fail(&mut self, fault: Fault) -> Result<Vec<u8>, Fault> {
        if self.format == Format::Json {
            self.end.fault = Some(fault);
            return self.finish();
        }
        self.writer = None;
        Err(fault)
    }
}

fn unwritable(error: arrow::error::ArrowError) -> Fault {
    Fault::new(
        Code::Failed,
        format!("the answer cannot be written in this format: {error}"),
    )
    .hint("try another format")
}
