//! The load: every client, every poster and the backend, on one thread over epoll, on a core of
//! their own. It moves bytes and says what has happened; what is done about it is the business of
//! a scenario, what the bytes mean that of a server's file.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::Result;
use crate::load::http::Request;
use crate::load::pipe::Pipe;
use crate::server::{Dial, Server, Wire};
use crate::stop::Stop;

pub(crate) mod http;
mod pipe;
pub(crate) mod tunnel;
pub(crate) mod websocket;

/// So few events at a time that a post is answered by the next one before the other clients'
/// turn, as it would be by a backend of its own.
const EVENTS_AT_A_TIME: usize = 32;
const BUFFER: usize = 64 * 1024;
const GLANCE: Duration = Duration::from_millis(200);
const LISTENER: Token = Token(usize::MAX - 2);
const URGENT: Token = Token(usize::MAX - 3);
/// Digits of a client's number at the start of its messages.
const NUMBER: usize = 8;
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// One of the connections that the load has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line(usize);

impl Line {
    /// A small number, its own among the open ones.
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

/// Which of two connections that both have something to say is heard first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Clients.
    Bulk,
    /// Posters, like the backend: the server's next work depends on them.
    Urgent,
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A connection stands and has been greeted.
    Ready(Line),
    /// A client got so many messages.
    Messages { line: Line, count: usize, at: Instant },
    /// A poster was answered, so often.
    Answered { line: Line, count: usize },
    /// The backend was told the message of a client, of which this is the number at its start.
    Received(usize),
    /// Nothing, for a while: time to look whether anything still can.
    Quiet,
}

pub(crate) struct Load {
    bulk: Watch,
    urgent: Watch,
    listener: TcpListener,
    slots: Vec<Slot>,
    free: Vec<usize>,
    turns: Vec<Turn>,
    happened: VecDeque<Event>,
    buffer: Box<[u8]>,
    reply: Vec<u8>,
    /// Counts the connections opened, to spread them over source addresses.
    opened: usize,
    stop: Stop,
}

enum Slot {
    Free,
    /// Opened by the load.
    Line {
        pipe: Pipe,
        wire: Box<dyn Wire>,
        /// Whether there is no greeting to be answered.
        silent: bool,
        ready: bool,
        deaf: bool,
    },
    /// Opened by the server, to the backend.
    Backend {
        pipe: Pipe,
        unread: Vec<u8>,
    },
}

struct Watch {
    poll: Poll,
    events: Events,
}

/// What epoll says of one connection.
#[derive(Clone, Copy)]
struct Turn {
    token: Token,
    readable: bool,
    writable: bool,
    closed: bool,
}

impl Load {
    /// Starts with the backend alone.
    pub(crate) fn new(stop: Stop) -> Result<Self> {
        let (bulk, urgent) = (Watch::new()?, Watch::new()?);
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        urgent.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        bulk.poll.registry().register(
            &mut SourceFd(&urgent.poll.as_raw_fd()),
            URGENT,
            Interest::READABLE,
        )?;
        Ok(Self {
            bulk,
            urgent,
            listener,
            slots: Vec::new(),
            free: Vec::new(),
            turns: Vec::new(),
            happened: VecDeque::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            reply: Vec::new(),
            opened: 0,
            stop,
        })
    }

    /// Where the backend listens.
    pub(crate) fn backend(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Begins to open a connection; an event says when it is ready.
    pub(crate) fn open(&mut self, dial: Dial, lane: Lane) -> Result<Line> {
        let stream = pipe::connect(dial.address, self.opened)?;
        self.opened += 1;
        let silent = dial.greeting.is_empty();
        let pipe = Pipe::new(stream, dial.greeting);
        let wire = dial.wire;
        Ok(Line(self.keep(Slot::Line { pipe, wire, silent, ready: false, deaf: false }, lane)?))
    }

    /// Writes; what the socket does not take at once follows when it does.
    pub(crate) fn write(&mut self, line: Line, bytes: &[u8]) -> Result<()> {
        match &mut self.slots[line.0] {
            Slot::Line { pipe, .. } => pipe.write(bytes),
            _ => Err("a connection is used that is not open".into()),
        }
    }

    /// Closes a connection, without any farewell.
    pub(crate) fn close(&mut self, line: Line) {
        self.slots[line.0] = Slot::Free;
        self.free.push(line.0);
    }

    /// Never reads from a connection again.
    pub(crate) fn stop_reading(&mut self, line: Line) {
        if let Slot::Line { deaf, .. } = &mut self.slots[line.0] {
            *deaf = true;
        }
    }

    /// What has happened next. An error is the end of this measurement.
    pub(crate) fn next(&mut self, server: &dyn Server) -> Result<Event> {
        loop {
            if let Some(event) = self.happened.pop_front() {
                return Ok(event);
            }
            self.stop.check()?;
            self.bulk.poll(GLANCE)?;
            self.urgent.poll(Duration::ZERO)?;
            self.turns.clear();
            self.turns.extend(self.urgent.turns());
            self.turns.extend(self.bulk.turns());
            if self.turns.is_empty() {
                return Ok(Event::Quiet);
            }
            for n in 0..self.turns.len() {
                let turn = self.turns[n];
                match turn.token {
                    LISTENER => self.accept()?,
                    // Its own events come with it.
                    URGENT => {}
                    Token(slot) => self.serve(slot, turn, server)?,
                }
            }
        }
    }

    fn keep(&mut self, mut slot: Slot, lane: Lane) -> Result<usize> {
        let number = self.free.pop().unwrap_or(self.slots.len());
        let poll = match lane {
            Lane::Bulk => &self.bulk.poll,
            Lane::Urgent => &self.urgent.poll,
        };
        if let Slot::Line { pipe, .. } | Slot::Backend { pipe, .. } = &mut slot {
            poll.registry().register(pipe.stream(), Token(number), BOTH)?;
        }
        match self.slots.get_mut(number) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        Ok(number)
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    let pipe = Pipe::new(stream, Vec::new());
                    self.keep(Slot::Backend { pipe, unread: Vec::new() }, Lane::Urgent)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("the backend cannot accept: {error}").into()),
            }
        }
    }

    fn serve(&mut self, number: usize, turn: Turn, server: &dyn Server) -> Result<()> {
        let line = Line(number);
        match &mut self.slots[number] {
            Slot::Line { deaf: true, .. } | Slot::Free => {}
            Slot::Line { pipe, wire, silent, ready, .. } => {
                if turn.writable {
                    pipe.flush()?;
                    if *silent && !*ready {
                        *ready = true;
                        self.happened.push_back(Event::Ready(line));
                    }
                }
                while turn.readable || turn.closed {
                    let Some(size) = pipe.read(&mut self.buffer)? else { break };
                    if size == 0 {
                        return Err("a connection was closed by the server".into());
                    }
                    let heard = wire.hear(&self.buffer[..size], &mut self.reply)?;
                    if heard.ready && !*ready {
                        *ready = true;
                        self.happened.push_back(Event::Ready(line));
                    }
                    if heard.messages > 0 {
                        let (count, at) = (heard.messages, Instant::now());
                        self.happened.push_back(Event::Messages { line, count, at });
                    }
                    if heard.answers > 0 {
                        self.happened.push_back(Event::Answered { line, count: heard.answers });
                    }
                    if !self.reply.is_empty() {
                        pipe.write(&self.reply)?;
                        self.reply.clear();
                    }
                    // A short read has emptied the socket, so that the next bytes are an event.
                    if size < self.buffer.len() && !turn.closed {
                        break;
                    }
                }
            }
            Slot::Backend { pipe, unread } => {
                pipe.flush()?;
                while turn.readable || turn.closed {
                    let size = match pipe.read(&mut self.buffer) {
                        Ok(None) => break,
                        // Servers may end these connections as they like.
                        Ok(Some(0)) | Err(_) => {
                            self.close(line);
                            return Ok(());
                        }
                        Ok(Some(size)) => size,
                    };
                    unread.extend_from_slice(&self.buffer[..size]);
                    let mut done = 0;
                    while let Some((request, size)) = Request::read(&unread[done..])? {
                        if let Some(message) = server.backend(&request, &mut self.reply) {
                            self.happened.push_back(Event::Received(number_in(message)?));
                        }
                        done += size;
                    }
                    unread.drain(..done);
                    pipe.write(&self.reply)?;
                    self.reply.clear();
                    if size < self.buffer.len() && !turn.closed {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Watch {
    fn new() -> Result<Self> {
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENTS_AT_A_TIME) })
    }

    fn poll(&mut self, timeout: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            // Perhaps a signal to stop, which is looked at before the next time.
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn turns(&self) -> impl Iterator<Item = Turn> {
        self.events.iter().map(|event| Turn {
            token: event.token(),
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed() || event.is_error(),
        })
    }
}

/// The number of a client, which its messages begin with.
fn number_in(message: &[u8]) -> Result<usize> {
    message
        .get(..NUMBER)
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .ok_or_else(|| "the backend was told something that no client has sent".into())
}

/// A message of `size` bytes, at least [`NUMBER`], that begins with a client's number.
pub(crate) fn numbered_message(number: usize, size: usize) -> Vec<u8> {
    let mut message = format!("{number:0NUMBER$}").into_bytes();
    message.resize(size, b'x');
    message
}
