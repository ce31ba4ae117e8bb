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
use crate::load::backend::Backend;
use crate::load::outgoing::Outgoing;
use crate::server::{Dial, Server};
use crate::stop::Stop;

mod backend;
pub(crate) mod http;
mod outgoing;
pub(crate) mod pipe;
pub(crate) mod tunnel;
pub(crate) mod websocket;
pub(crate) mod zmtp;

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

/// One of the connections that the load has opened, or the backend accepted.
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
    /// The backend was asked over this connection for all that is published from now on.
    Subscribed(Line),
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
    Outgoing(Outgoing),
    /// Opened by the server.
    Backend(Backend),
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

impl Turn {
    /// Whether there is something to read, if only that there will be nothing more.
    fn brings_bytes(self) -> bool {
        self.readable || self.closed
    }

    /// Whether reading can end after `size` bytes: a short read has emptied the socket, and what
    /// comes next is an event of its own. That does not hold for the end.
    fn was_all(self, size: usize, buffer: &[u8]) -> bool {
        size < buffer.len() && !self.closed
    }
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
        let outgoing = Outgoing::open(dial, self.opened)?;
        self.opened += 1;
        Ok(Line(self.keep(Slot::Outgoing(outgoing), lane)?))
    }

    /// Writes; what the socket does not take at once follows when it does.
    pub(crate) fn write(&mut self, line: Line, bytes: &[u8]) -> Result<()> {
        match &mut self.slots[line.0] {
            Slot::Outgoing(Outgoing { pipe, .. }) | Slot::Backend(Backend { pipe, .. }) => {
                pipe.write(bytes)
            }
            Slot::Free => Err("a connection is used that is not open".into()),
        }
    }

    /// Closes a connection, without any farewell.
    pub(crate) fn close(&mut self, line: Line) {
        self.slots[line.0] = Slot::Free;
        self.free.push(line.0);
    }

    /// Never reads from a connection again by itself.
    pub(crate) fn stop_reading(&mut self, line: Line) {
        if let Slot::Outgoing(outgoing) = &mut self.slots[line.0] {
            outgoing.stop_reading();
        }
    }

    /// Reads a little from a connection, if there is something: no more than the buffer holds. What
    /// that means is told by the next events.
    pub(crate) fn sip(&mut self, line: Line) -> Result<()> {
        let Self { slots, buffer, reply, happened, .. } = self;
        match &mut slots[line.0] {
            Slot::Outgoing(outgoing) => {
                outgoing.read(line, buffer, reply, happened)?;
                Ok(())
            }
            _ => Err("a connection is used that is not open".into()),
        }
    }

    /// What has happened next. An error is the end of this measurement.
    pub(crate) fn next(&mut self, server: &dyn Server) -> Result<Event> {
        loop {
            if let Some(event) = self.happened.pop_front() {
                return Ok(event);
            }
            self.stop.check()?;
            self.bulk.poll(if self.urgent.was_full() { Duration::ZERO } else { GLANCE })?;
            // With more to come, the word that there is something urgent may be among that.
            let urgent = self.bulk.was_full() || self.urgent.was_full() || self.bulk.says(URGENT);
            self.urgent.clear();
            if urgent {
                self.urgent.poll(Duration::ZERO)?;
            }
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
        match &mut slot {
            Slot::Outgoing(Outgoing { pipe, .. }) | Slot::Backend(Backend { pipe, .. }) => {
                poll.registry().register(pipe.stream(), Token(number), BOTH)?;
            }
            Slot::Free => {}
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
                    self.keep(Slot::Backend(Backend::new(stream)), Lane::Urgent)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("the backend cannot accept: {error}").into()),
            }
        }
    }

    fn serve(&mut self, number: usize, turn: Turn, server: &dyn Server) -> Result<()> {
        let Self { slots, buffer, reply, happened, .. } = self;
        match &mut slots[number] {
            // Closed just now.
            Slot::Free => {}
            Slot::Outgoing(outgoing) => {
                outgoing.serve(Line(number), turn, buffer, reply, happened)?;
            }
            Slot::Backend(backend) => {
                if !backend.serve(Line(number), turn, server, buffer, reply, happened)? {
                    self.close(Line(number));
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

    /// Whether there may be more than was said.
    fn was_full(&self) -> bool {
        self.events.iter().count() == EVENTS_AT_A_TIME
    }

    fn says(&self, token: Token) -> bool {
        self.events.iter().any(|event| event.token() == token)
    }

    fn clear(&mut self) {
        self.events.clear();
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
