//! HTTP/1.1 by hand, so that a test decides every byte that it sends and sees every byte that comes back.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::wait;

/// A request to be written. `connection: close` unless the test says otherwise.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A POST as every MCP client sends it.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = Request::new("POST", path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        request.body = body.into();
        request
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a header away, for requests that lack one.
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(found, _)| found.eq_ignore_ascii_case(name))
    }

    /// The bytes on the wire. A length and a host are added unless the test set them.
    pub fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.has("host") {
            head.push_str(&format!("host: {address}\r\n"));
        }
        if !self.has("content-length") && !self.has("transfer-encoding") && self.method != "GET" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        if !self.has("connection") {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it on a connection of its own and reads the head of the answer.
    pub fn send(&self, address: SocketAddr) -> Answer {
        self.try_send(address)
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path))
    }

    pub fn try_send(&self, address: SocketAddr) -> io::Result<Answer> {
        let mut stream = connect(address)?;
        // A server may answer and close before it has read a body that it refuses; the answer counts then.
        let written = stream.write_all(&self.bytes(address));
        match Answer::read(stream) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(written.err().unwrap_or(error)),
        }
    }
}

/// A connection whose reads and writes end at the deadline.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(wait::DEADLINE))?;
    stream.set_write_timeout(Some(wait::DEADLINE))?;
    Ok(stream)
}

/// The head of an answer, and its body still to be read.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    body: BufReader<Body>,
}

impl Answer {
    /// Reads the head of an answer to something that was written already.
    pub fn read(stream: TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let status_line = line(&mut reader)?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP answer but {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut reader)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let body = Body {
            framing: framing(&headers),
            stream: reader,
        };
        Ok(Answer {
            status,
            headers,
            body: BufReader::new(body),
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn is_sse(&self) -> bool {
        self.header("content-type")
            .is_some_and(|value| value.starts_with("text/event-stream"))
    }

    /// The connection, for a test that hangs up while another thread reads.
    pub fn connection(&self) -> TcpStream {
        let stream = self.body.get_ref().stream.get_ref();
        stream.try_clone().expect("a socket can be shared")
    }

    /// The whole body.
    pub fn bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes).expect("the body ends");
        bytes
    }

    pub fn text(self) -> String {
        String::from_utf8(self.bytes()).expect("the body is UTF-8")
    }

    pub fn json(self) -> serde_json::Value {
        let status = self.status;
        let text = self.text();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error} in the body of {status}: {text:?}"))
    }

    /// Reads what is left; true if the connection was cut before the end.
    pub fn was_cut(mut self) -> bool {
        self.body.read_to_end(&mut Vec::new()).is_err()
    }

    /// The next JSON-RPC message of the body, which is a stream or one JSON text. `None` at its end.
    pub fn next_message(&mut self) -> Option<String> {
        if self.is_sse() {
            return std::iter::from_fn(|| self.next_event())
                .find(|event| !event.data.is_empty())
                .map(|event| event.data);
        }
        let mut text = String::new();
        self.body.read_to_string(&mut text).expect("the body ends");
        (!text.is_empty()).then_some(text)
    }

    /// The next server-sent event. `None` at the end of the stream.
    pub fn next_event(&mut self) -> Option<Event> {
        let mut event = Event::default();
        let mut any = false;
        loop {
            let mut line = String::new();
            if self
                .body
                .read_line(&mut line)
                .expect("the stream goes on or ends")
                == 0
            {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                if any {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            // A line that starts with a colon is a comment and keeps the connection alive.
            any |= !field.is_empty();
            match field {
                "data" if event.data.is_empty() => event.data = value.to_owned(),
                "data" => event.data.push_str(&format!("\n{value}")),
                "id" => event.id = Some(value.to_owned()),
                "event" => event.event = Some(value.to_owned()),
                _ => {}
            }
        }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default)]
pub struct Event {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: String,
}

enum Framing {
    /// Bytes still to come.
    Length(u64),
    /// Bytes still to come of the current chunk; `None` before a chunk's size.
    Chunks(Option<u64>),
    UntilClose,
    Ended,
}

fn framing(headers: &[(String, String)]) -> Framing {
    let find = |name: &str| {
        headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    };
    match (find("transfer-encoding"), find("content-length")) {
        (Some("chunked"), _) => Framing::Chunks(None),
        (_, Some(length)) => Framing::Length(length.parse().expect("a length is a number")),
        _ => Framing::UntilClose,
    }
}

/// The body without its framing.
struct Body {
    framing: Framing,
    stream: BufReader<TcpStream>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match self.framing {
            Framing::Ended => return Ok(0),
            Framing::UntilClose => return self.stream.read(buffer),
            Framing::Chunks(None) => {
                let size = line(&mut self.stream)?;
                u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?
            }
            Framing::Length(left) | Framing::Chunks(Some(left)) => left,
        };
        if left == 0 {
            self.framing = Framing::Ended;
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the body was cut off",
            ));
        }
        let left = left - read as u64;
        self.framing = match self.framing {
            Framing::Length(_) => Framing::Length(left),
            _ if left > 0 => Framing::Chunks(Some(left)),
            _ => {
                line(&mut self.stream)?;
                Framing::Chunks(None)
            }
        };
        Ok(read)
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection was closed",
        ));
    }
    Ok(line.trim_end().to_owned())
}
