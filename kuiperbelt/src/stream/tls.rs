//! TLS between a stream and its socket. At rest it holds what rustls must remember and no buffer:
//! records are read, decrypted, encrypted and written in a buffer of the worker thread, and only
//! what arrived in part or was not taken whole is kept. Who the server is, is `crate::tls`'s.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut, BytesMut};
use parking_lot::Mutex;
use rustls::InvalidMessage;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic,
};

use super::socket::Socket;

/// Encrypted together, and written by one system call: four of the largest records.
const PLAINTEXT_AT_ONCE: usize = 64 * 1024;

/// What four records take beyond their plaintext, and a key update ahead of them.
const OVERHEAD: usize = 1024;

/// Also the most that may be kept of a handshake message that arrives in many records.
const RECORDS_BYTES: usize = PLAINTEXT_AT_ONCE + OVERHEAD;

/// An alert, in a record.
const ALERT_BYTES: usize = 128;

thread_local! {
    /// Records on their way in or out; nothing is kept here.
    static RECORDS: RefCell<Box<[u8]>> = RefCell::new(vec![0; RECORDS_BYTES].into());
}

/// TLS on one connection, as the server.
///
/// The lock is held over reads and writes of the socket, which never wait: records must leave in
/// the order in which they were encrypted. At most the connection's task and one writer want it.
pub(super) struct TlsLayer {
    state: Mutex<State>,
    /// Whether `unsent` is not empty.
    has_unsent: AtomicBool,
}

struct State {
    connection: UnbufferedServerConnection,
    /// Received: the beginning of a record, or records with the beginning of a handshake message.
    partial: Vec<u8>,
    /// Decrypted beyond what was to be read.
    plaintext: BytesMut,
    /// Encrypted and not yet taken by the socket.
    unsent: BytesMut,
    input: Input,
    is_closed: bool,
}

/// What is still to come from the client.
enum Input {
    Open,
    Ended,
    Failed(rustls::Error),
}

impl TlsLayer {
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        let state = State {
            connection,
            partial: Vec::new(),
            plaintext: BytesMut::new(),
            unsent: BytesMut::new(),
            input: Input::Open,
            is_closed: false,
        };
        Self { state: Mutex::new(state), has_unsent: AtomicBool::new(false) }
    }

    /// Reads until there is plaintext for `place`. What TLS has to answer meanwhile is written, or
    /// left to whoever writes next if the socket is full.
    ///
    /// # Errors
    ///
    /// Those of the socket, and `InvalidData` when the client's TLS is broken, of which it has been
    /// told then.
    pub(super) fn poll_read(
        &self,
        socket: &Socket,
        context: &mut Context<'_>,
        place: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state.lock();
        loop {
            if !state.plaintext.is_empty() {
                return Poll::Ready(Ok(state.take_plaintext(place)));
            }
            match &state.input {
                Input::Open => {}
                Input::Ended => return Poll::Ready(Ok(0)),
                Input::Failed(error) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, error.clone());
                    return Poll::Ready(Err(error));
                }
            }
            let was_unsent = !state.unsent.is_empty();
            let size = ready!(state.poll_fill(socket, context, place))?;
            // What waits already is the business of who waits with it.
            if !was_unsent && !state.unsent.is_empty() {
                // A socket that has failed is found out by the next read.
                let _ = state.send(socket);
                self.has_unsent.store(!state.unsent.is_empty(), Ordering::Relaxed);
            }
            if size > 0 {
                return Poll::Ready(Ok(size));
            }
        }
    }

    /// Encrypts and writes, once nothing is unsent any more. Returns how many bytes are encrypted,
    /// which may be 0 when only some of what was unsent has been written.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket takes nothing now; others mean that nothing can be written any
    /// more.
    pub(super) fn try_write(&self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let written = state.write(socket, &bytes[..bytes.len().min(PLAINTEXT_AT_ONCE)]);
        self.has_unsent.store(!state.unsent.is_empty(), Ordering::Relaxed);
        written
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent.load(Ordering::Relaxed)
    }

    /// Never says that nothing more comes.
    pub(super) fn abandon(&self) {
        self.state.lock().is_closed = true;
    }

    /// Says to the client that nothing more comes, once, if the socket takes that now.
    pub(super) fn close(&self, socket: &Socket) {
        let mut state = self.state.lock();
        if state.is_closed || !state.unsent.is_empty() {
            return;
        }
        let mut alert = [0; ALERT_BYTES];
        if let Some(mut traffic) = state.traffic()
            && let Ok(size) = traffic.queue_close_notify(&mut alert)
        {
            let _ = socket.try_write(&alert[..size]);
        }
        state.is_closed = true;
    }
}

impl State {
    /// Reads once from the socket, and decrypts all of it. Returns how many bytes came to `place`.
    fn poll_fill(
        &mut self,
        socket: &Socket,
        context: &mut Context<'_>,
        place: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        RECORDS.with_borrow_mut(|records| {
            let kept = self.partial.len();
            // Not much more than is wanted, as the rest would have to be kept.
            let end = kept.saturating_add(place.remaining_mut()).saturating_add(OVERHEAD);
            let end = end.min(records.len());
            let size = ready!(socket.poll_read(context, &mut &mut records[kept..end]))?;
            if size == 0 {
                // Whether the client has said so in TLS matters little: messages and bodies tell
                // themselves where they end.
                self.input = Input::Ended;
                return Poll::Ready(Ok(0));
            }
            records[..kept].copy_from_slice(&self.partial);
            self.partial = Vec::new();
            Poll::Ready(Ok(self.receive(&mut records[..kept + size], place)))
        })
    }

    /// Goes through what was received, and keeps what is not complete. Returns how many bytes of
    /// plaintext came to `place`.
    fn receive(&mut self, received: &mut [u8], place: &mut impl BufMut) -> usize {
        let room = place.remaining_mut();
        let mut records = received;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(records);
            let mut is_done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        let fitting = record.payload.len().min(place.remaining_mut());
                        place.put_slice(&record.payload[..fitting]);
                        self.plaintext.extend_from_slice(&record.payload[fitting..]);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => queue(data, &mut self.unsent),
                Ok(ConnectionState::TransmitTlsData(queued)) => queued.done(),
                Ok(ConnectionState::PeerClosed) => self.input = Input::Ended,
                Ok(_) => is_done = true,
                Err(error) => {
                    self.fail(error);
                    return room - place.remaining_mut();
                }
            }
            records = &mut records[discard..];
            if is_done {
                break;
            }
        }
        if records.len() >= RECORDS_BYTES {
            self.fail(InvalidMessage::HandshakePayloadTooLarge.into());
        } else {
            // As rustls left them: it joins handshake messages in place.
            self.partial = records.to_vec();
        }
        room - place.remaining_mut()
    }

    /// Gives the client up. rustls may only be asked for the alert then.
    fn fail(&mut self, error: rustls::Error) {
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(data)) =
                self.connection.process_tls_records(&mut []).state
        {
            queue(data, &mut self.unsent);
        }
        self.input = Input::Failed(error);
    }

    fn take_plaintext(&mut self, place: &mut impl BufMut) -> usize {
        let size = self.plaintext.len().min(place.remaining_mut());
        place.put_slice(&self.plaintext[..size]);
        self.plaintext.advance(size);
        if self.plaintext.is_empty() {
            self.plaintext = BytesMut::new();
        }
        size
    }

    fn write(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        if !self.unsent.is_empty() {
            self.send(socket)?;
        }
        if !self.unsent.is_empty() || bytes.is_empty() {
            return Ok(0);
        }
        RECORDS.with_borrow_mut(|records| {
            let mut traffic = self.traffic().ok_or(io::ErrorKind::BrokenPipe)?;
            let size = traffic.encrypt(bytes, records).map_err(io::Error::other)?;
            let sent = match socket.try_write(&records[..size]) {
                Err(error) if is_for_now(&error) => 0,
                done => done?,
            };
            self.unsent.extend_from_slice(&records[sent..size]);
            Ok(bytes.len())
        })
    }

    /// Writes some of what is unsent.
    fn send(&mut self, socket: &Socket) -> io::Result<()> {
        let size = socket.try_write(&self.unsent)?;
        self.unsent.advance(size);
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
        }
        Ok(())
    }

    /// The way to write, between the handshake and the end.
    fn traffic(&mut self) -> Option<WriteTraffic<'_, ServerConnectionData>> {
        if self.is_closed || matches!(self.input, Input::Failed(_)) {
            return None;
        }
        match self.connection.process_tls_records(&mut self.partial).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => Some(traffic),
            _ => None,
        }
    }
}

/// Puts what TLS has to say behind what is to be sent.
fn queue(mut data: EncodeTlsData<'_, ServerConnectionData>, unsent: &mut BytesMut) {
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        let end = unsent.len();
        unsent.resize(end + needed.required_size, 0);
        // It has the room that it asked for.
        let _ = data.encode(&mut unsent[end..]);
    }
}

/// Whether a write may do better later.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
