//! What a task's shim and those who watch it say to each other, over the socket in the task's folder.
//!
//! ```text
//! message := len u32 LE, of what follows: 1 to 65,537 bytes
//!            kind u8       1 a request, 2 a reply: JSON follows;  3 input: bytes follow
//!            body
//! ```
//!
//! Requests are answered in their order, by one [`Reply`] each. Between answers a shim tells news: that there is more output, that
//! the command has read input, and that the task has ended, which is the last message. A client may have [`UNREAD_BYTES_MAX`] of input
//! under way that the command has not read: so a command that reads nothing stops nobody who wants to end it.

use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::spec::Size;

/// Bytes of a message behind its length.
const MESSAGE_BYTES_MAX: usize = (64 << 10) + 1;
/// Bytes of input that one message takes.
pub const INPUT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 1;

/// Input of one client that the command has not read, at most. A client that puts in more is let go.
pub const UNREAD_BYTES_MAX: usize = 256 << 10;

/// What a shim is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The next so many bytes that this client puts in are the first that the command is to read. Somebody who died may have put in
    /// some of them, who said the same: those are passed by, so that the command reads each once. If it `ends`, nothing more will be
    /// put in behind them.
    FirstInput {
        bytes: u64,
        ends: bool,
    },
    /// Nothing more will be put in.
    EndInput,
    /// Sends a signal to the command's process group.
    Signal(i32),
    Resize(Size),
    Freeze,
    Thaw,
    /// Ends all of it, and says why in its [`Exit`].
    Kill {
        why: String,
    },
    /// Output up to this byte of the file is kept elsewhere.
    Taken(u64),
    /// How it is.
    Status,
}

/// What a shim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done,
    Refused {
        why: String,
    },
    Status(Status),
    /// News: the file with the output has so many bytes now. It is told again when there is more.
    Grown(u64),
    /// News: the command has read so many more bytes of this client's input, or will never read them.
    Read(usize),
    /// News, and the last.
    Ended(Exit),
}

/// How a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The command's process.
    pub pid: i32,
    /// When it was started, nanoseconds since 1970.
    pub started: i64,
    /// Bytes of the file with its output, and of those that nobody has taken.
    pub output_bytes: u64,
    pub spooled_bytes: u64,
    /// Input that the command has not read.
    pub input_bytes: usize,
    pub is_frozen: bool,
    /// It waits because nobody takes its output.
    pub is_held: bool,
    /// The disk takes no more output: it waits, and every second it is tried again.
    pub disk_error: Option<String>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Reply(Reply),
    Input(Vec<u8>),
}

/// What came is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message to or from a task is {0}")]
pub struct Garbled(String);

impl Message {
    /// Appends it. Input of more than [`INPUT_BYTES_MAX`] is several messages.
    pub fn push(&self, out: &mut Vec<u8>) {
        match self {
            Message::Request(request) => push(out, 1, &json(request)),
            Message::Reply(reply) => push(out, 2, &json(reply)),
            Message::Input(bytes) => {
                for bytes in bytes.chunks(INPUT_BYTES_MAX) {
                    push(out, 3, bytes);
                }
            }
        }
    }

    /// The first message of these bytes and how many it takes; `None` if it is not all there.
    ///
    /// # Errors
    /// When it is none: there is no way to go on.
    pub fn read(bytes: &[u8]) -> Result<Option<(Message, usize)>, Garbled> {
        let Some((len, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        if !(1..=MESSAGE_BYTES_MAX).contains(&len) {
            return Err(Garbled(format!(
                "{len} B long; it has 1 to {MESSAGE_BYTES_MAX} B"
            )));
        }
        let Some((kind, body)) = rest.get(..len).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let message = match kind {
            1 => Message::Request(read(body)?),
            2 => Message::Reply(read(body)?),
            3 => Message::Input(body.to_vec()),
            kind => return Err(Garbled(format!("of the unknown kind {kind}"))),
        };
        Ok(Some((message, 4 + len)))
    }
}

fn push(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let len = u32::try_from(1 + body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(body);
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these are numbers and texts")
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Garbled> {
    serde_json::from_slice(body).map_err(|error| Garbled(format!("not understood: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::How;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = Message> {
        let requests = prop_oneof![
            Just(Request::EndInput),
            any::<(u64, bool)>().prop_map(|(bytes, ends)| Request::FirstInput { bytes, ends }),
            any::<i32>().prop_map(Request::Signal),
            any::<(u16, u16)>().prop_map(|(columns, rows)| Request::Resize(Size { columns, rows })),
            ".{0,9}".prop_map(|why| Request::Kill { why }),
            any::<u64>().prop_map(Request::Taken),
        ];
        let exit = Exit {
            how: How::Limit {
                limit: "wall".to_owned(),
                value: "1s".to_owned(),
            },
            started: 1,
            ended: 2,
            output_bytes: 3,
            output_frames: 4,
        };
        prop_oneof![
            requests.prop_map(Message::Request),
            any::<u64>().prop_map(|end| Message::Reply(Reply::Grown(end))),
            Just(Message::Reply(Reply::Ended(exit))),
            prop::collection::vec(any::<u8>(), 1..50).prop_map(Message::Input),
        ]
    }

    proptest! {
        #[test]
        fn messages_are_read_as_they_were_said(messages in prop::collection::vec(message(), 0..6), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            messages.iter().for_each(|message| message.push(&mut bytes));
            let mut found = Vec::new();
            // In two pieces.
            let cut = cut.index(bytes.len() + 1);
            let mut at = 0;
            for end in [cut, bytes.len()] {
                while let Some((message, took)) = Message::read(&bytes[at..end]).unwrap() {
                    found.push(message);
                    at += took;
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some((_, took))) = Message::read(&bytes) {
                prop_assert!(took <= bytes.len());
            }
        }
    }
}
