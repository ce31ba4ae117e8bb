//! One connection to a peer, from the greeting to its end: the handshake of the mechanism NULL,
//! messages both ways, and heartbeats. Whoever connects again is `dialer`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::{Instant, Sleep, sleep};

use super::Message;
use super::command::{self, Command};
use super::decoder::{Decoder, Event, Excess};
use super::frame::Header;
use super::greeting;
use super::protocol_error::ProtocolError;
use super::socket::Socket;

/// After so much silence of the peer it is pinged, and again.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Pings that may stay unanswered: after three heartbeats without a sign of life it is dead.
const PINGS: u32 = 2;

/// Pongs are not added to more frames than these that wait to be sent: who reads nothing waits for
/// none.
const MANY_FRAMES: usize = 64;

/// Frames that are written in one system call.
const SLICES: usize = 16;

/// What kind of socket this side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Req,
    Sub,
}

/// Why a connection is over, or never began. To be read behind the endpoint.
#[derive(Debug, Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nobody answers there")]
    Unreachable,
    #[error("the connection is accepted, but the peer says nothing; is it stopped?")]
    Mute,
    #[error("the peer ended the connection")]
    Ended,
    #[error("the peer has gone silent")]
    Silent,
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    #[error("the peer refuses the connection: {0}")]
    Refused(String),
    #[error("the peer is a {found} socket, and {} is needed; check the port", .role.peers())]
    SocketType { role: Role, found: String },
    #[error("the peer does not keep to the handshake; check the port")]
    Handshake,
}

/// What has come from the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Message(Message),
    /// A message beyond a limit, which has been passed over.
    Oversized(Excess),
}

/// A connection on which messages can be exchanged. Dropping it closes it.
pub(super) struct Link {
    socket: Box<dyn Socket>,
    decoder: Decoder,
    /// Frames, or parts of them, that have not been written. None is empty.
    outgoing: VecDeque<Bytes>,
    /// Of peers that know RFC 37.
    heartbeat: Option<Heartbeat>,
}

/// Notices a peer that is gone without a word.
struct Heartbeat {
    heard: Instant,
    unanswered: u32,
    alarm: Pin<Box<Sleep>>,
}

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Req => "REQ",
            Self::Sub => "SUB",
        }
    }

    fn goes_with(self, peer: &[u8]) -> bool {
        match self {
            Self::Req => matches!(peer, b"REP" | b"ROUTER"),
            Self::Sub => matches!(peer, b"PUB" | b"XPUB"),
        }
    }

    const fn peers(self) -> &'static str {
        match self {
            Self::Req => "REP or ROUTER",
            Self::Sub => "PUB or XPUB",
        }
    }
}

impl Link {
    /// Shakes hands. Messages of more than `limit` bytes will be passed over. There is no
    /// time-out.
    pub(super) async fn open(
        socket: Box<dyn Socket>,
        role: Role,
        limit: usize,
    ) -> Result<Self, LinkError> {
        let decoder = Decoder::new(limit);
        let mut link = Self { socket, decoder, outgoing: VecDeque::new(), heartbeat: None };
        link.outgoing.push_back(Bytes::from_static(&greeting::OURS));
        let Event::Greeting(greeting) = link.event().await? else {
            return Err(LinkError::Handshake);
        };
        link.outgoing.push_back(command::ready(role.name()));
        match link.event().await? {
            Event::Command(Command::Ready(Some(peer))) if role.goes_with(&peer) => {}
            Event::Command(Command::Ready(peer)) => {
                let found =
                    peer.map_or_else(|| "nameless".into(), |p| p.escape_ascii().to_string());
                return Err(LinkError::SocketType { role, found });
            }
            Event::Command(Command::Error(reason)) => return Err(LinkError::Refused(reason)),
            _ => return Err(LinkError::Handshake),
        }
        link.heartbeat = greeting.is_3_1.then(Heartbeat::new);
        Ok(link)
    }

    /// Puts a message behind what is to be written. [`receive`](Self::receive) writes it.
    pub(super) fn send<const PARTS: usize>(&mut self, parts: [Bytes; PARTS]) {
        for (at, part) in parts.into_iter().enumerate() {
            self.outgoing.push_back(Header::part(part.len(), at + 1 < PARTS).encode());
            if !part.is_empty() {
                self.outgoing.push_back(part);
            }
        }
    }

    /// Asks for the messages that begin with `topic`, in the way that the peer understands.
    pub(super) fn subscribe(&mut self, topic: &[u8]) {
        if self.heartbeat.is_some() {
            self.outgoing.push_back(command::subscribe(topic));
        } else {
            self.send([[&[1], topic].concat().into()]);
        }
    }

    /// What has arrived already. `None`: wait for more.
    pub(super) fn arrived(&mut self) -> Result<Option<Incoming>, LinkError> {
        while let Some(event) = self.decoder.next()? {
            match event {
                Event::Message(message) => return Ok(Some(Incoming::Message(message))),
                Event::Oversized(excess) => return Ok(Some(Incoming::Oversized(excess))),
                Event::Command(Command::Ping(context)) if self.outgoing.len() < MANY_FRAMES => {
                    self.outgoing.push_back(command::pong(&context));
                }
                Event::Command(Command::Error(reason)) => return Err(LinkError::Refused(reason)),
                Event::Command(_) | Event::Greeting(_) => {}
            }
        }
        Ok(None)
    }

    /// The next thing to come. Meanwhile what was sent is written, and pings are sent and
    /// answered. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Result<Incoming, LinkError> {
        loop {
            if let Some(incoming) = self.arrived()? {
                return Ok(incoming);
            }
            poll_fn(|context| self.poll_exchange(context)).await?;
        }
    }

    async fn event(&mut self) -> Result<Event, LinkError> {
        loop {
            if let Some(event) = self.decoder.next()? {
                return Ok(event);
            }
            poll_fn(|context| self.poll_exchange(context)).await?;
        }
    }

    /// Writes what can be written. Ready when something was read.
    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        loop {
            // What has been said is heard, even by a peer that takes no more of ours.
            let written = self.poll_write(context);
            let read = pin!(self.socket.read_buf(self.decoder.space())).poll(context);
            match read {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(LinkError::Ended)),
                Poll::Ready(Ok(_)) => {
                    self.heartbeat.as_mut().map(Heartbeat::hear);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {}
            }
            if let Poll::Ready(Err(error)) = written {
                return Poll::Ready(Err(error.into()));
            }
            let Some(heartbeat) = &mut self.heartbeat else {
                return Poll::Pending;
            };
            match heartbeat.poll(context) {
                Poll::Ready(true) => self.outgoing.push_back(command::ping()),
                Poll::Ready(false) => return Poll::Ready(Err(LinkError::Silent)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, frame) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(frame);
            }
            let count = self.outgoing.len().min(SLICES);
            let socket = Pin::new(&mut self.socket);
            let mut written = match socket.poll_write_vectored(context, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            while let Some(frame) = self.outgoing.front_mut() {
                if written < frame.len() {
                    frame.advance(written);
                    break;
                }
                written -= frame.len();
                self.outgoing.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Heartbeat {
    fn new() -> Self {
        let alarm = Box::pin(sleep(HEARTBEAT));
        Self { heard: Instant::now(), unanswered: 0, alarm }
    }

    fn hear(&mut self) {
        self.heard = Instant::now();
        self.unanswered = 0;
    }

    /// Ready when it is time for a ping, or, with `false`, when there were enough. The alarm is not
    /// set anew for everything that is heard, but goes off and is set for the rest.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if now < self.heard + HEARTBEAT {
                self.alarm.as_mut().reset(self.heard + HEARTBEAT);
                continue;
            }
            self.alarm.as_mut().reset(now + HEARTBEAT);
            self.unanswered += 1;
            return Poll::Ready(self.unanswered <= PINGS);
        }
        Poll::Pending
    }
}
