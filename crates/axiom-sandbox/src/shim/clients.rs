//! Those who watch a task, each at its own end of the shim's socket.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::exit::Exit;
use crate::wire::{Message, Reply, Request, UNREAD_BYTES_MAX};

/// Clients at once. The gateway is one, a person who looks on another.
const CLIENTS_MAX: usize = 16;
/// Replies that wait for a client. One that asks on and on and never reads is let go.
const WAITING_BYTES_MAX: usize = 256 << 10;
const READ_BYTES: usize = 16 << 10;
/// How long a client may take to hear of the end. It finds it in the folder anyway.
const END_TIME: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Clients {
    listener: UnixListener,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    heard: Vec<u8>,
    waiting: Vec<u8>,
    /// There is more than it was told. It is told when what waits has been sent off, and so once for all that came meanwhile.
    grown: Option<u64>,
    /// Its input that was not read: where each piece of it ends in all input, and how long it is.
    unread: VecDeque<(u64, usize)>,
    /// Input of it that was read since it was told.
    read: usize,
    /// Of the first input, where it is and where that ends.
    first: Option<(u64, u64)>,
    is_gone: bool,
}

/// What a client said.
#[derive(Debug)]
pub(super) enum Said {
    Request(Request),
    Input(Vec<u8>),
}

impl Clients {
    pub(super) fn new(listener: UnixListener) -> io::Result<Clients> {
        listener.set_nonblocking(true)?;
        Ok(Clients {
            listener,
            clients: Vec::new(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Where new ones come from, while there is room for one.
    pub(super) fn listening(&self) -> Option<BorrowedFd<'_>> {
        (self.clients.len() < CLIENTS_MAX).then(|| self.listener.as_fd())
    }

    /// Those of whom something is wanted, and what.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().enumerate().map(|(nth, client)| {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, !client.waiting.is_empty());
            (nth, client.stream.as_fd(), flags)
        })
    }

    /// Lets one in, who is told how much output there is: what it looked at before may have grown.
    pub(super) fn accept(&mut self, end: u64) {
        if let Ok((stream, _)) = self.listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            let mut client = Client {
                stream,
                heard: Vec::new(),
                waiting: Vec::new(),
                grown: Some(end),
                unread: VecDeque::new(),
                read: 0,
                first: None,
                is_gone: false,
            };
            client.write();
            self.clients.push(client);
        }
    }

    /// Sends off what waits for a client, and reads what it says.
    pub(super) fn read(&mut self, nth: usize) -> Vec<Said> {
        let client = &mut self.clients[nth];
        client.write();
        client.hear()
    }

    pub(super) fn answer(&mut self, nth: usize, reply: &Reply) {
        let client = &mut self.clients[nth];
        Message::Reply(reply.clone()).push(&mut client.waiting);
        client.write();
    }

    pub(super) fn tell_grown(&mut self, end: u64) {
        for client in &mut self.clients {
            client.grown = Some(end);
            client.write();
        }
    }

    /// What a client puts in next is the first input, of so many bytes.
    pub(super) fn begin_first(&mut self, nth: usize, bytes: u64) {
        self.clients[nth].first = Some((0, bytes));
    }

    /// A client puts in so many bytes. How many of them are of the first input, and where in it they begin.
    pub(super) fn first(&mut self, nth: usize, bytes: usize) -> (usize, u64) {
        let Some((at, end)) = &mut self.clients[nth].first else {
            return (0, 0);
        };
        let begin = *at;
        let count = usize::try_from(*end - begin).unwrap_or(usize::MAX).min(bytes);
        *at += count as u64;
        (count, begin)
    }

    /// A client has put something in, which ends there in all input.
    pub(super) fn note_input(&mut self, nth: usize, end: u64, bytes: usize) {
        let client = &mut self.clients[nth];
        client.unread.push_back((end, bytes));
        let unread: usize = client.unread.iter().map(|(_, bytes)| bytes).sum();
        // It does not keep to what we agreed.
        client.is_gone |= unread > UNREAD_BYTES_MAX;
    }

    /// Input is read, or will never be, up to there.
    pub(super) fn tell_read(&mut self, gone: u64) {
        for client in &mut self.clients {
            while let Some((_, bytes)) = client.unread.pop_front_if(|(end, _)| *end <= gone) {
                client.read += bytes;
            }
            client.write();
        }
    }

    pub(super) fn tell_end(&mut self, exit: &Exit) {
        for client in &mut self.clients {
            Message::Reply(Reply::Ended(exit.clone())).push(&mut client.waiting);
            // Nothing is told behind it.
            (client.grown, client.read) = (None, 0);
            client.write();
            if client.waiting.is_empty() {
                continue;
            }
            let timed = client
                .stream
                .set_nonblocking(false)
                .and_then(|()| client.stream.set_write_timeout(Some(END_TIME)));
            if timed.is_ok() {
                client.stream.write_all(&client.waiting).ok();
            }
        }
    }

    pub(super) fn drop_gone(&mut self) {
        self.clients.retain(|client| !client.is_gone);
    }
}

impl Client {
    fn write(&mut self) {
        loop {
            if self.waiting.is_empty() {
                let read = std::mem::take(&mut self.read);
                let news = match (self.grown.take(), read) {
                    (Some(end), 0) => Reply::Grown(end),
                    (grown, read @ 1..) => {
                        self.grown = grown;
                        Reply::Read(read)
                    }
                    (None, 0) => return,
                };
                Message::Reply(news).push(&mut self.waiting);
            }
            match self.stream.write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_gone |= self.waiting.len() > WAITING_BYTES_MAX;
                    return;
                }
                Err(_) => {
                    self.is_gone = true;
                    return;
                }
            }
        }
    }

    fn hear(&mut self) -> Vec<Said> {
        self.heard.reserve(READ_BYTES);
        match rustix::io::read(&self.stream, spare_capacity(&mut self.heard)) {
            Ok(0) => self.is_gone = true,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.is_gone = true,
        }
        let mut said = Vec::new();
        let mut at = 0;
        loop {
            match Message::read(&self.heard[at..]) {
                Ok(Some((message, took))) => {
                    at += took;
                    match message {
                        Message::Request(request) => said.push(Said::Request(request)),
                        Message::Input(bytes) => said.push(Said::Input(bytes)),
                        // Nobody but us replies here.
                        Message::Reply(_) => self.is_gone = true,
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.is_gone = true;
                    break;
                }
            }
        }
        self.heard.drain(..at);
        if self.heard.is_empty() {
            self.heard = Vec::new();
        }
        said
    }
}
