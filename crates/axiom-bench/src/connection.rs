//! A client's HTTP/1.1 connection: bytes out, one whole answer in. As little as is still correct, because the client
//! shares the cores with what it measures.

use std::{io, net::SocketAddr, ops::Range};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One connection; requests go one after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    /// The body of a chunked answer, put together.
    joined: Vec<u8>,
}

/// An answer; the slices live until the next request.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// From the status line to the empty line.
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Response<'_> {
    /// The value of a header, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(self.head).ok()?;
        let header = parsed
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        String::from_utf8(header.value.to_vec()).ok()
    }
}

const HEADERS_MAX: usize = 32;
/// Room made for each read: a whole answer in most cases.
const READ_BYTES: usize = 80 * 1024;

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            received: BytesMut::with_capacity(READ_BYTES),
            joined: Vec::new(),
        })
    }

    /// Sends a request and waits for its whole answer.
    ///
    /// # Cancel safety
    /// Not cancel-safe: drop the connection with the call, since the answer may come later.
    pub(crate) async fn call(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.received.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            self.receive().await?;
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
        };
        let body = match head.length {
            Length::Known(length) => {
                let end = head.bytes + length;
                while self.received.len() < end {
                    self.receive().await?;
                }
                &self.received[head.bytes..end]
            }
            Length::Chunked => {
                self.join_chunks(head.bytes).await?;
                &self.joined
            }
        };
        Ok(Response {
            status: head.status,
            head: &self.received[..head.bytes],
            body,
        })
    }

    async fn receive(&mut self) -> io::Result<()> {
        self.received.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn join_chunks(&mut self, mut at: usize) -> io::Result<()> {
        self.joined.clear();
        loop {
            match chunk(&self.received[at..])? {
                Some(chunk) if chunk.data.is_empty() => return Ok(()),
                Some(chunk) => {
                    self.joined.extend_from_slice(&self.received[at..][chunk.data]);
                    at += chunk.bytes;
                }
                None => self.receive().await?,
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    bytes: usize,
    length: Length,
}

#[derive(Debug, Clone, Copy)]
enum Length {
    Known(usize),
    Chunked,
}

impl Head {
    /// `None` if more bytes are needed.
    fn parse(received: &[u8]) -> io::Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(bytes) = parsed.parse(received).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let mut length = Length::Known(0);
        for header in parsed.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let value = std::str::from_utf8(header.value)
                    .ok()
                    .and_then(|value| value.parse().ok());
                length = Length::Known(value.ok_or_else(|| io::Error::other("bad content-length"))?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                length = Length::Chunked;
                break;
            }
        }
        Ok(Some(Head {
            status: parsed.code.unwrap_or(0),
            bytes,
            length,
        }))
    }
}

struct Chunk {
    data: Range<usize>,
    /// With its size line and the line end after it.
    bytes: usize,
}

/// The chunk at the start of `received`, the last one without data; `None` if it is not whole yet.
fn chunk(received: &[u8]) -> io::Result<Option<Chunk>> {
    let size = httparse::parse_chunk_size(received).map_err(|_| io::Error::other("bad chunk size"))?;
    let httparse::Status::Complete((start, size)) = size else {
        return Ok(None);
    };
    let end = start + usize::try_from(size).map_err(io::Error::other)?;
    let bytes = end + b"\r\n".len();
    Ok((received.len() >= bytes).then_some(Chunk {
        data: start..end,
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a client sees of an answer that arrives in two pieces, cut at every byte.
    async fn check(answer: &'static str, expected: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        for cut in 1..answer.len() {
            let serve = async {
                let (mut stream, _) = listener.accept().await.expect("a client");
                stream.set_nodelay(true).expect("a socket");
                stream.read_u8().await.expect("a request");
                for piece in [&answer.as_bytes()[..cut], &answer.as_bytes()[cut..]] {
                    stream.write_all(piece).await.expect("the client reads");
                    tokio::task::yield_now().await;
                }
                stream
            };
            let call = async {
                let mut connection = Connection::open(address).await.expect("a connection");
                let response = connection.call(b"x").await.expect("an answer");
                assert_eq!(response.status, 200);
                assert_eq!(response.header("mcp-session-id").as_deref(), Some("s"));
                String::from_utf8(response.body.to_vec()).expect("utf-8")
            };
            let (_stream, body) = tokio::join!(serve, call);
            assert_eq!(body, expected, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn answers_of_known_length_and_in_chunks_are_whole() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nMcp-Session-Id: s\r\n\r\nhello",
            "hello",
        )
        .await;
        check(
            "HTTP/1.1 200 OK\r\nmcp-session-id: s\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            "hello",
        )
        .await;
    }
}
