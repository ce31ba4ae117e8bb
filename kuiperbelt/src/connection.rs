//! The task of one socket after the handshake: read, ping, idle, close, and writing when the socket is
//! full or an end is near; all else is written from the session's lane. It knows frames and the
//! session's outbox, never what a handler does with a message.
//!
//! Reading and writing are independent: a slow handler never delays a send. Between messages the
//! task holds no buffer: reads go to one of the worker thread's.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kuiperbelt_websocket::{CloseCode, CloseFrame, Decoder, Event, ProtocolError, encode_close};
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::debug;

use crate::message::{End, Received};
use crate::seat::Seat;
use crate::session::Ending;
use crate::stream::{Stream, with_scratch};

mod alarm;
mod pings;

use pings::Pings;

/// How long the client has to take our close frame, to answer it, and to end its side of TCP.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much of a client's next message is read while the handler has one.
const HELD_BYTES: usize = 64 * 1024;

/// Reads before others have their turn.
const READS_IN_A_TURN: usize = 16;

/// A WebSocket from its 101 to the end of its socket.
pub(crate) struct Connection {
    /// Left when the session is over; the socket may be lingering still.
    seat: Option<Seat>,
    /// Closed, which is to say gone, when the connection is done; the handler may not be.
    stream: Option<Arc<Stream>>,
    phase: Phase,
    /// How the session ends, once it is known here.
    farewell: Option<Box<Farewell>>,
    decoder: Decoder,
    /// Read and not yet decoded: what came before the 101, or behind a message that is held.
    unread: Option<Box<BytesMut>>,
    receiving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The client's next message, while the handler has one.
    held: Option<Box<Received>>,
    /// The client has said that it closes.
    close_seen: bool,
    /// Nothing more can come from the client.
    input_ended: bool,
    /// Nothing more can go to it.
    output_ended: bool,
    /// The socket took nothing more at the last attempt.
    is_blocked: bool,
    /// When something was read that is traffic.
    last_read: Instant,
    /// Only where the door has any.
    pings: Option<Box<Pings>>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Keeps a stop waiting for the socket's orderly end.
    _unfinished: TaskTrackerToken,
}

#[derive(Debug, Default)]
struct Farewell {
    /// Why the session ends, until that is told.
    end: Option<End>,
    /// When the phase is given up.
    deadline: Option<Instant>,
}

/// In the order in which a connection goes through them; some are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// The end is decided: what is queued is written, what the client says is not listened to.
    Flushing,
    /// The last frame is being written. Whether the client's close frame is awaited then.
    Parting {
        awaits_close: bool,
    },
    /// The client has our close frame and is to answer it.
    Awaiting,
    /// Our side of the socket is shut down. What the client sends is read and discarded, because
    /// closing on unread bytes would reset what is still on its way to it.
    Lingering,
    Done,
}

impl Connection {
    /// A connection that starts with what the client sent early.
    pub(crate) fn new(seat: Seat, stream: Stream, early: &[u8]) -> Self {
        let unfinished = seat.hub().unfinished();
        let stream = Arc::new(stream);
        seat.session.open(Arc::clone(&stream));
        let decoder = Decoder::new(seat.options().max_message);
        let is_compressed = seat.session.deflate().is_some();
        let now = Instant::now();
        Self {
            decoder: if is_compressed { decoder.inflating() } else { decoder },
            last_read: now,
            pings: Pings::new(seat.options(), now),
            seat: Some(seat),
            stream: Some(stream),
            phase: Phase::Open,
            farewell: None,
            // A copy: what is read ahead of the 101 keeps its whole buffer.
            unread: (!early.is_empty()).then(|| Box::new(BytesMut::from(early))),
            receiving: None,
            held: None,
            close_seen: false,
            input_ended: false,
            output_ended: false,
            is_blocked: false,
            alarm: None,
            _unfinished: unfinished,
        }
    }

    /// A connection whose session ends before it has begun: what was sent to it is never written.
    pub(crate) fn refused(mut seat: Seat, stream: Stream, early: &[u8], end: End) -> Self {
        // The client is told what its handler will be.
        let end = seat.session.decided().unwrap_or(end);
        seat.detach();
        seat.session.drop_messages();
        let mut connection = Self::new(seat, stream, early);
        connection.part_by_server(end);
        connection
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let before = (this.phase, this.receives_for_nobody());
            this.learn_of_end(context);
            this.poll_receiving(context);
            // Before reading: a client that never stops sending must not keep us from answering.
            this.poll_write(context);
            this.poll_read(context);
            this.poll_write(context);
            this.poll_alarm(context);
            this.leave_if_over();
            if this.phase == Phase::Done && this.seat.is_none() {
                return Poll::Ready(());
            }
            if (this.phase, this.receives_for_nobody()) == before {
                return Poll::Pending;
            }
        }
    }
}

// --- in ---

impl Connection {
    fn poll_read(&mut self, context: &mut Context<'_>) {
        for _ in 0..READS_IN_A_TURN {
            match self.phase {
                Phase::Parting { .. } | Phase::Done => return,
                _ if self.input_ended => return,
                Phase::Open if self.is_full() => {
                    if let Some(pings) = &mut self.pings {
                        pings.holds_back();
                    }
                    let Some(stream) = &self.stream else { return };
                    if stream.poll_hangup(context).is_ready() {
                        self.drop_messages();
                        self.detach();
                    }
                    return;
                }
                _ => {}
            }
            if let Some(mut unread) = self.unread.take()
                && self.phase != Phase::Lingering
            {
                let mut input = &mut unread[..];
                self.decode(&mut input, context);
                let rest = input.len();
                if rest > 0 {
                    let _ = unread.split_to(unread.len() - rest);
                    self.unread = Some(unread);
                }
                continue;
            }
            match self.poll_fill(context) {
                Poll::Pending => {
                    if let Some(pings) = &mut self.pings {
                        pings.waits();
                    }
                    return;
                }
                Poll::Ready(Ok(0)) => {
                    self.input_ended = true;
                    self.lost();
                }
                Poll::Ready(Ok(size)) => {
                    if self.pings.as_mut().is_none_or(|pings| pings.read(size)) {
                        self.last_read = Instant::now();
                    }
                }
                Poll::Ready(Err(error)) => {
                    debug!(error = %error, "read failed");
                    self.input_ended = true;
                    self.over(End::abnormal(""));
                }
            }
        }
        // There may be more, after everybody else's turn.
        context.waker().wake_by_ref();
    }

    /// Reads once, to where the bytes belong, and decodes them. Returns how many they were.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.phase != Phase::Lingering
            && let Some(mut place) = self.decoder.lend()
        {
            let Some(stream) = &self.stream else { return Poll::Pending };
            let size = match stream.poll_read(context, &mut place) {
                Poll::Ready(Ok(size)) if size > 0 => size,
                other => return other,
            };
            match self.decoder.lent() {
                Ok(Some(event)) => self.on_event(event, context),
                Ok(None) => {}
                Err(error) => self.fail(error),
            }
            return Poll::Ready(Ok(size));
        }
        with_scratch(|scratch| {
            let Some(stream) = &self.stream else { return Poll::Pending };
            let size = match stream.poll_read(context, &mut &mut scratch[..]) {
                Poll::Ready(Ok(size)) => size,
                other => return other,
            };
            if self.phase != Phase::Lingering {
                let mut input = &mut scratch[..size];
                self.decode(&mut input, context);
                if !input.is_empty() {
                    self.unread.get_or_insert_default().extend_from_slice(input);
                }
            }
            Poll::Ready(Ok(size))
        })
    }

    /// Decodes until the input is used up, or may not be listened to for now.
    fn decode(&mut self, input: &mut &mut [u8], context: &mut Context<'_>) {
        loop {
            match self.decoder.decode(input) {
                Ok(Some(event)) => self.on_event(event, context),
                Ok(None) => return,
                Err(error) => self.fail(error),
            }
            match self.phase {
                Phase::Open if self.is_full() => return,
                // What is answered could not be written for now.
                Phase::Open | Phase::Flushing if !has_budget_remaining() => return,
                Phase::Open | Phase::Flushing | Phase::Awaiting => {}
                Phase::Parting { .. } | Phase::Lingering | Phase::Done => {
                    *input = &mut [];
                    return;
                }
            }
        }
    }

    fn on_event(&mut self, event: Event, context: &mut Context<'_>) {
        match event {
            Event::Message(kind, payload) => {
                if self.phase == Phase::Open {
                    if let Some(seat) = &self.seat {
                        seat.session.count_received(payload.len());
                    }
                    let message = Received { kind, payload };
                    if self.receiving.is_some() {
                        self.held = Some(Box::new(message));
                    } else {
                        self.receive(message);
                        self.poll_receiving(context);
                    }
                }
            }
            Event::Ping(payload) => self.pong(&payload, context),
            Event::Pong(payload) => {
                if let Some(pings) = &mut self.pings {
                    pings.pong(payload.len());
                }
            }
            Event::Close(frame) => {
                self.close_seen = true;
                match self.phase {
                    Phase::Open => {
                        self.drop_messages();
                        let code = frame.as_ref().map(CloseFrame::code);
                        let echo = code.and_then(|code| CloseFrame::new(code, "").ok());
                        let end =
                            frame.map_or_else(|| End::new(CloseCode::NO_STATUS, ""), End::from);
                        self.part(end, Some(encode_close(echo.as_ref())), false);
                    }
                    Phase::Awaiting => self.linger(),
                    _ => {}
                }
            }
        }
    }

    /// Hands a message to the handler, unless an end is decided that it is not to hear of.
    fn receive(&mut self, message: Received) {
        let Some(seat) = &self.seat else { return };
        if !seat.session.is_ending_quietly() {
            self.receiving =
                Some(Arc::clone(&seat.premises.handler).receive(seat.session.clone(), message));
        }
    }

    fn poll_receiving(&mut self, context: &mut Context<'_>) {
        while let Some(receiving) = &mut self.receiving {
            if receiving.as_mut().poll(context).is_pending() {
                return;
            }
            self.receiving = None;
            if let Some(held) = self.held.take() {
                self.receive(*held);
            }
        }
    }

    /// Whether the handler has a message in hand of a session that is over, which it is to see.
    fn receives_for_nobody(&self) -> bool {
        self.receiving.is_some() && self.seat.as_ref().is_some_and(|seat| seat.session.is_over())
    }

    /// Whether as much is read ahead of the handler as may be.
    fn is_full(&self) -> bool {
        self.receiving.is_some() && (self.held.is_some() || self.decoder.held() >= HELD_BYTES)
    }
}

// --- out ---

impl Connection {
    /// Learns of an end decided elsewhere.
    fn learn_of_end(&mut self, context: &Context<'_>) {
        let Some(seat) = &self.seat else { return };
        let Some(Ending { end, flush_by }) = seat.session.ending(context) else { return };
        if self.phase == Phase::Open && !self.output_ended {
            self.farewell = Some(Box::new(Farewell { end: Some(end), deadline: flush_by }));
            self.phase = Phase::Flushing;
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) {
        while let Some(seat) = &self.seat {
            match seat.session.poll_flush(context) {
                Poll::Ready(Ok(())) => self.is_blocked = false,
                Poll::Ready(Err(error)) => {
                    debug!(error = %error, "write failed");
                    return self.write_failed();
                }
                Poll::Pending => return self.is_blocked = true,
            }
            match self.phase {
                Phase::Flushing => self.flushed(),
                Phase::Parting { awaits_close: true } => {
                    self.phase = Phase::Awaiting;
                    return self.give_up_after(FAREWELL);
                }
                Phase::Parting { awaits_close: false } => return self.linger(),
                _ => return,
            }
        }
    }

    /// Answers a ping, unless the last frame is on its way. Of many that come at once all are
    /// answered, as long as the socket takes it.
    fn pong(&mut self, payload: &[u8], context: &mut Context<'_>) {
        if self.seat.as_ref().is_some_and(|seat| seat.session.should_write_pongs()) {
            self.poll_write(context);
        }
        if matches!(self.phase, Phase::Open | Phase::Flushing)
            && !self.output_ended
            && let Some(seat) = &self.seat
        {
            seat.session.pong(payload);
        }
    }
}

// --- end ---

impl Connection {
    /// Everything queued before a decided end is written.
    fn flushed(&mut self) {
        let end = self.farewell.as_ref().and_then(|farewell| farewell.end.clone());
        self.part_by_server(end.unwrap_or_else(|| End::abnormal("")));
    }

    /// Ends the session from this side, announced by a close frame if the door does that.
    fn part_by_server(&mut self, end: End) {
        let announced = self.seat.as_ref().is_some_and(|seat| seat.options().close_frame);
        let frame = announced.then(|| encode_close(end.frame().as_ref()));
        let awaits_close = announced && !self.close_seen && !self.input_ended;
        self.drop_messages();
        self.part(end, frame, awaits_close);
    }

    /// The client broke the protocol, and is always told.
    fn fail(&mut self, error: ProtocolError) {
        if self.phase >= Phase::Awaiting {
            self.linger();
            return;
        }
        debug!(error = %error, "the client broke the protocol");
        let end = End { reason: error.to_string().into(), ..End::new(error.code(), "") };
        let frame = encode_close(end.frame().as_ref());
        // What was accepted before is still worth writing. What follows from the client cannot be
        // understood, a close frame neither.
        self.part(end, Some(frame), false);
    }

    /// Ends the session: `frame` is the last.
    fn part(&mut self, end: End, frame: Option<Bytes>, awaits_close: bool) {
        self.ends(end);
        self.detach();
        if let Some(frame) = frame.filter(|_| !self.output_ended)
            && let Some(seat) = &self.seat
        {
            seat.session.close_frame(frame);
        }
        self.phase = Phase::Parting { awaits_close };
        self.give_up_after(FAREWELL);
    }

    /// The first reason stays.
    fn ends(&mut self, end: End) {
        self.farewell.get_or_insert_default().end.get_or_insert(end);
    }

    fn give_up_after(&mut self, time: Duration) {
        self.farewell.get_or_insert_default().deadline = Some(Instant::now() + time);
    }

    /// The client ended its side. It may still read on to a last word.
    fn lost(&mut self) {
        if self.phase != Phase::Flushing {
            self.over(End::abnormal(""));
        }
    }

    /// The socket takes nothing any more; what the client sent before is still read.
    fn write_failed(&mut self) {
        if let Some(seat) = &self.seat {
            seat.hub().metrics().message_errors.increment();
            seat.session.shut();
        }
        self.detach();
        self.output_ended = true;
        self.is_blocked = false;
        if self.phase > Phase::Open || self.input_ended {
            self.over(End::abnormal(""));
        }
    }

    /// Nothing more can be written or read.
    fn over(&mut self, end: End) {
        self.ends(end);
        self.detach();
        if let Some(seat) = &self.seat {
            seat.session.shut();
        }
        self.stream = None;
        self.phase = Phase::Done;
    }

    /// Says by TCP that nothing more comes, and waits for the client to say so.
    fn linger(&mut self) {
        let said = self.stream.as_ref().is_some_and(|stream| stream.shutdown_write().is_ok());
        if self.input_ended || !said {
            self.over(End::abnormal(""));
            return;
        }
        self.phase = Phase::Lingering;
        self.give_up_after(FAREWELL);
    }

    fn drop_messages(&self) {
        if let Some(seat) = &self.seat {
            seat.session.drop_messages();
        }
    }

    fn detach(&mut self) {
        if let Some(seat) = &mut self.seat {
            seat.detach();
        }
    }

    /// The session is over when its last frame is written and the handler has nothing in hand;
    /// the socket is not, yet.
    fn leave_if_over(&mut self) {
        if self.phase < Phase::Awaiting || self.receiving.is_some() {
            return;
        }
        if let Some(seat) = self.seat.take() {
            let end = self.farewell.as_mut().and_then(|farewell| farewell.end.take());
            seat.leave(end.unwrap_or_else(|| End::abnormal("")));
        }
    }
}

#[cfg(test)]
mod tests;
