//! Bodies that nobody wants.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axiom_core::time;
use http::{HeaderMap, header};
use http_body::Body as _;
use hyper::body::Incoming;

/// What is read of one at most: four times the longest message that the gateway takes unless it is told otherwise. Whoever
/// sends more learns of it by the end of the connection.
const BYTES_MAX: u64 = 16 << 20;
/// How long that may take.
const WAIT: Duration = Duration::from_secs(5);

/// Reads a body that will not be looked at, because its request is refused: most clients write all of it before they
/// listen, and of a connection that is closed meanwhile they say that it broke.
///
/// A client that asks first (`expect: 100-continue`) has sent nothing yet, and one that announces more than is read here is
/// told at once.
///
/// # Cancel safety
/// Safe to drop: then the rest is not read.
pub async fn discard(headers: &HeaderMap, mut body: Incoming) {
    if headers.contains_key(header::EXPECT) || body.size_hint().lower() > BYTES_MAX {
        return;
    }
    let read = async {
        let mut bytes = 0;
        while bytes <= BYTES_MAX
            && let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
    };
    // One that comes too slowly is not waited for.
    let _in_time = time::timeout(WAIT, read).await.is_ok();
}
