//! An answer as the body of a response: written row by row as its client takes it.

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, unfold};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::HeaderValue;

use super::asked::Asked;
use super::{Body, Registered, WARNINGS};
use crate::engine::Answer;
use crate::fault::{Code, Fault};
use crate::notes::joined;
use crate::output::{End, Format, Writer};
use crate::sql::first_rows;

/// Bytes of an answer: beyond it a client has made a mistake, or wants a file.
const ANSWER_BYTES_MAX: u64 = 4 << 30;

/// What is left to be written.
struct Rest {
    answer: Answer,
    writer: Option<Writer>,
    format: Format,
    is_partial: bool,
    end: End,
    /// Behind the last bytes, where the format has no room for them.
    trailers: Option<HeaderMap>,
    rows_left: u64,
    bytes: u64,
    /// Its id is known as long as it runs.
    _registered: Registered,
}

/// The answer, of which the first rows are here.
///
/// # Errors
/// When its columns cannot be written in this format, or it is known already that it lacks something and cannot say so.
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
        is_partial: asked.is_partial,
        end: End::default(),
        trailers: None,
        rows_left: asked.rows_max,
        bytes: 0,
        _registered: registered,
    };
    rest.check(&rest.answer.warnings())?;
    match first {
        Some(batch) => begin.extend(rest.write(batch)?),
        None => begin.extend(rest.finish()?),
    }
    let begun = futures_util::stream::iter([Ok(data(begin))]);
    let rest = unfold(rest, |mut rest| async move {
        rest.next().await.map(|frame| (frame, rest))
    });
    Ok(StreamBody::new(Box::pin(begun.chain(rest))).boxed_unsync())
}

/// The value of [`WARNINGS`], in a header or a trailer.
pub(super) fn warnings_value(warnings: &[String]) -> Option<HeaderValue> {
    if warnings.is_empty() {
        return None;
    }
    HeaderValue::from_str(&joined(warnings)).ok()
}

fn data(bytes: Vec<u8>) -> Frame<Bytes> {
    Frame::data(Bytes::from(bytes))
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        if self.writer.is_none() {
            return self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)));
        }
        if self.end.truncated.is_some() {
            return Some(self.finish().map(data));
        }
        let bytes = match self.answer.next().await {
            Ok(Some(batch)) => match self.check(&self.answer.warnings()) {
                Ok(()) => self.write(batch),
                Err(fault) => self.fail(fault),
            },
            Ok(None) => self.finish(),
            Err(fault) => self.fail(fault),
        };
        Some(bytes.map(data))
    }

    /// Refuses to pass off a part as the whole.
    fn check(&self, warnings: &[String]) -> Result<(), Fault> {
        if warnings.is_empty() || self.is_partial || self.format.has_room_for_warnings() {
            return Ok(());
        }
        let fault = Fault::incomplete(warnings);
        Err(fault.hint("`partial=true` gives the rows that there are; in JSON these warnings come with them"))
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
        let Some(writer) = self.writer.take() else {
            return Ok(Vec::new());
        };
        self.check(&self.end.warnings)?;
        let mut bytes = writer.end(&self.end).map_err(unwritable)?;
        if self.format == Format::Table {
            let lines = self
                .end
                .warnings
                .iter()
                .map(|warning| format!("warning: {warning}\n"));
            bytes.extend(lines.flat_map(String::into_bytes));
        }
        if let Some(value) = warnings_value(&self.end.warnings)
            && !self.format.has_room_for_warnings()
        {
            self.trailers = Some(HeaderMap::from_iter([(WARNINGS, value)]));
        }
        Ok(bytes)
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
