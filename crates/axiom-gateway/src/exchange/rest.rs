//! The rest of a large answer, on its way while the client reads already.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axiom_core::Limit;
use axiom_transport::http_client::AnswerBody;
use bytes::Bytes;

use crate::fault::Fault;
use crate::record::Record;
use crate::upstream::Link;

/// A body that must keep coming: silence ends it.
#[derive(Debug)]
pub(crate) struct Rest {
    body: AnswerBody,
    /// Length of the whole answer as the client gets it, where the server said its own.
    pub len: Option<u64>,
    /// The record of its call, which ends with it.
    pub record: Record,
    link: Arc<Link>,
    silence: Duration,
    limit: Limit,
}

impl Rest {
    pub(crate) fn new(body: AnswerBody, len: Option<u64>, link: &Arc<Link>) -> Rest {
        let silence = link.upstream.options.call_timeout;
        Rest {
            body,
            len,
            record: Record::default(),
            link: Arc::clone(link),
            silence,
            limit: Limit::new(silence),
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken until it is returned.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, Fault>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let polled = self.poll_body(cx);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => self.record.passed(chunk),
            Poll::Ready(Some(Err(fault))) => self.record.failed(fault),
            Poll::Ready(None) => self.record.passed_all(),
            Poll::Pending => {}
        }
        polled
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Poll::Ready(chunk) = self.body.poll_chunk(cx) {
            self.limit = Limit::new(self.silence);
            return Poll::Ready(chunk.map(|chunk| chunk.map_err(|error| self.link.died(&error.to_string()))));
        }
        self.limit.poll_reached(cx).map(|()| {
            Some(Err(Fault::Timeout {
                server: self.link.upstream.name.to_string(),
                after: self.silence,
            }))
        })
    }
}
