//! From a client's bytes to messages: masking, fragments, control frames between them, UTF-8
//! checked as it arrives, compressed messages inflated at their end, and the size limit. At a
//! boundary between messages nothing is held.

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};

use crate::close::CloseFrame;
use crate::deflate::inflate;
use crate::frame::{Header, Kind, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};
use crate::mask::unmask;
use crate::protocol_error::ProtocolError;

/// The first room of a message that has not arrived whole. It doubles as bytes arrive: an
/// announced length is not yet memory.
const FIRST_ROOM: usize = 64 * 1024;

/// From this much outstanding payload on, the next bytes are best read to where they will stay.
const WORTH_LENDING: usize = 4 * 1024;

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message, its fragments joined; text is valid UTF-8.
    Message(Kind, Bytes),
    /// A ping with up to 125 bytes, to be answered by [`encode_pong`](crate::encode_pong).
    Ping(Bytes),
    /// A pong, asked for or not.
    Pong(Bytes),
    /// A close frame; `None` when it carries no code.
    Close(Option<CloseFrame>),
}

/// Turns the bytes of one client into [`Event`]s; how they are cut into pieces does not matter.
///
/// Feed what was read to [`decode`](Self::decode) until it returns `None`. While a large message
/// is on its way, [`lend`](Self::lend) offers the place where the next bytes belong, so that they
/// need not be copied: read there, then call [`lent`](Self::lent).
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    inflating: bool,
    /// What of a frame or message has arrived. Nothing between messages.
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// The bytes of a header that is not complete.
    header: [u8; MAX_HEADER],
    header_length: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    control: Vec<u8>,
    /// The data message that is arriving: its kind, whether it is compressed, payload so far, and
    /// how much of a text that is not is known to be whole characters.
    kind: Option<Kind>,
    compressed: bool,
    message: BytesMut,
    checked: usize,
    /// How much of `message` is unmasked and accounted for; less than its length only after bytes
    /// were read to a lent place.
    taken: usize,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    length: usize,
    received: usize,
}

impl Decoder {
    /// A decoder that refuses messages of more than `max_message` bytes.
    pub const fn new(max_message: usize) -> Self {
        Self { max_message, inflating: false, partial: None }
    }

    /// The same decoder for a client with which [`Deflate`](crate::Deflate) was negotiated: it
    /// takes compressed messages, whatever their window, and inflates them.
    ///
    /// The limit holds twice: no more than `max_message` bytes of a compressed message are
    /// gathered, and it is inflated to no more than `max_message`. A thread that inflates keeps
    /// 64 KB for it.
    pub const fn inflating(mut self) -> Self {
        self.inflating = true;
        self
    }

    /// Takes bytes from the front of `input` up to the end of the next event. `None` means that
    /// `input` is used up. Payload bytes are unmasked where they lie.
    pub fn decode(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, ProtocolError> {
        loop {
            if input.is_empty() {
                self.release();
                return Ok(None);
            }
            let event = match self.partial.as_ref().and_then(|partial| partial.frame) {
                Some(frame) => self.payload(frame, input)?,
                None => self.header(input)?,
            };
            if event.is_some() {
                self.release();
                return Ok(event);
            }
        }
    }

    /// Whether a message or frame has arrived in part.
    const fn is_inside(&self) -> bool {
        self.partial.is_some()
    }

    /// How many bytes of an unfinished data message have arrived.
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.message.len())
    }

    /// The place where the next bytes of a large payload belong, never longer than the payload.
    /// `None`: read them anywhere and give them to [`decode`](Self::decode).
    pub fn lend(&mut self) -> Option<Limit<&mut BytesMut>> {
        let partial = self.partial.as_mut()?;
        let frame = partial.frame.filter(|frame| !frame.opcode.is_control())?;
        let outstanding = frame.length - frame.received;
        if outstanding < WORTH_LENDING {
            return None;
        }
        if partial.message.len() == partial.message.capacity() {
            let room = partial.message.len().max(FIRST_ROOM).min(outstanding);
            partial.message.reserve(room);
        }
        let room = partial.message.capacity() - partial.message.len();
        Some((&mut partial.message).limit(room.min(outstanding)))
    }

    /// Takes note of what was read to the place lent last; returns the message if that ends it.
    pub fn lent(&mut self) -> Result<Option<Event>, ProtocolError> {
        let Some((partial, frame)) =
            self.partial.as_mut().and_then(|partial| partial.frame.map(|frame| (partial, frame)))
        else {
            return Ok(None);
        };
        let from = partial.taken;
        unmask(&mut partial.message[from..], frame.mask, frame.received);
        let event = partial.advance(frame, partial.message.len() - from, self.max_message)?;
        self.release();
        Ok(event)
    }

    /// Reads a header, here or joined from pieces; a small whole frame is read at once.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, ProtocolError> {
        let gathered = self.partial.as_ref().map_or(0, |partial| partial.header_length);
        let found = if gathered == 0 {
            Header::parse(input, self.inflating)?
        } else {
            let partial = self.partial.get_or_insert_default();
            let more = (MAX_HEADER - gathered).min(input.len());
            partial.header[gathered..gathered + more].copy_from_slice(&input[..more]);
            Header::parse(&partial.header[..gathered + more], self.inflating)?
        };
        let Some((header, size)) = found else {
            let partial = self.partial.get_or_insert_default();
            let end = gathered + input.len();
            partial.header[gathered..end].copy_from_slice(input);
            partial.header_length = end;
            take(input, input.len());
            return Ok(None);
        };
        take(input, size - gathered);
        let length = self.check(header)?;
        if !self.is_inside() && header.fin && input.len() >= length {
            let payload = take(input, length);
            unmask(payload, header.mask, 0);
            if header.compressed
                && let Opcode::Data(kind) = header.opcode
            {
                return inflated(kind, payload, self.max_message).map(Some);
            }
            return whole(header.opcode, payload).map(Some);
        }
        let partial = self.partial.get_or_insert_default();
        partial.header_length = 0;
        let frame = Frame {
            opcode: header.opcode,
            fin: header.fin,
            mask: header.mask,
            length,
            received: 0,
        };
        partial.frame = Some(frame);
        if let Opcode::Data(kind) = header.opcode {
            partial.kind = Some(kind);
            partial.compressed = header.compressed;
        }
        if length == 0 { partial.advance(frame, 0, self.max_message) } else { Ok(None) }
    }

    /// The rules between frames; the payload's length when they are kept.
    fn check(&self, header: Header) -> Result<usize, ProtocolError> {
        let kind = self.partial.as_ref().and_then(|partial| partial.kind);
        match (header.opcode, kind) {
            (Opcode::Continuation, None) => return Err(ProtocolError::Continuation),
            (Opcode::Data(_), Some(_)) => return Err(ProtocolError::Interleaved),
            _ => {}
        }
        let length = usize::try_from(header.length).map_err(|_| ProtocolError::TooLarge)?;
        if !header.opcode.is_control() && length > self.max_message - self.held() {
            return Err(ProtocolError::TooLarge);
        }
        Ok(length)
    }

    /// Takes what `input` has of the payload of `frame`.
    fn payload(
        &mut self,
        frame: Frame,
        input: &mut &mut [u8],
    ) -> Result<Option<Event>, ProtocolError> {
        let partial = self.partial.get_or_insert_default();
        let size = (frame.length - frame.received).min(input.len());
        let payload = take(input, size);
        unmask(payload, frame.mask, frame.received);
        if frame.opcode.is_control() {
            partial.control.extend_from_slice(payload);
        } else {
            partial.message.extend_from_slice(payload);
        }
        partial.advance(frame, size, self.max_message)
    }

    /// Gives the memory back once nothing is left half arrived.
    fn release(&mut self) {
        if self.partial.as_ref().is_some_and(|partial| partial.is_empty()) {
            self.partial = None;
        }
    }
}

impl Partial {
    const fn is_empty(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.kind.is_none()
    }

    /// Accounts for `size` more bytes of `frame`, which already lie in their place, unmasked.
    /// A compressed message that this ends is inflated to at most `max_message` bytes.
    fn advance(
        &mut self,
        frame: Frame,
        size: usize,
        max_message: usize,
    ) -> Result<Option<Event>, ProtocolError> {
        let frame = Frame { received: frame.received + size, ..frame };
        let complete = frame.received == frame.length;
        self.frame = (!complete).then_some(frame);
        if frame.opcode.is_control() {
            if !complete {
                return Ok(None);
            }
            let payload = std::mem::take(&mut self.control);
            return whole(frame.opcode, &payload).map(Some);
        }
        self.taken = self.message.len();
        let Some(kind) = self.kind else {
            return Ok(None);
        };
        let last = complete && frame.fin;
        if kind == Kind::Text && !self.compressed {
            self.check_text(last)?;
        }
        if !last {
            return Ok(None);
        }
        self.kind = None;
        self.checked = 0;
        self.taken = 0;
        let message = std::mem::take(&mut self.message);
        if std::mem::take(&mut self.compressed) {
            return inflated(kind, &message, max_message).map(Some);
        }
        Ok(Some(Event::Message(kind, message.freeze())))
    }

    /// Refuses text as soon as no continuation could make it valid.
    fn check_text(&mut self, last: bool) -> Result<(), ProtocolError> {
        match simdutf8::compat::from_utf8(&self.message[self.checked..]) {
            Ok(_) => self.checked = self.message.len(),
            Err(error) if error.error_len().is_none() && !last => {
                self.checked += error.valid_up_to();
            }
            Err(_) => return Err(ProtocolError::Utf8),
        }
        Ok(())
    }
}

/// The event of an unfragmented frame that has arrived whole.
fn whole(opcode: Opcode, payload: &[u8]) -> Result<Event, ProtocolError> {
    debug_assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL_PAYLOAD);
    Ok(match opcode {
        Opcode::Data(kind) => {
            if kind == Kind::Text && simdutf8::basic::from_utf8(payload).is_err() {
                return Err(ProtocolError::Utf8);
            }
            Event::Message(kind, Bytes::copy_from_slice(payload))
        }
        Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
        Opcode::Pong => Event::Pong(Bytes::copy_from_slice(payload)),
        Opcode::Close => Event::Close(CloseFrame::parse(payload)?),
        Opcode::Continuation => return Err(ProtocolError::Continuation),
    })
}

/// The event of a compressed message.
fn inflated(kind: Kind, payload: &[u8], max_message: usize) -> Result<Event, ProtocolError> {
    let message = inflate(payload, max_message)?;
    if kind == Kind::Text && simdutf8::basic::from_utf8(&message).is_err() {
        return Err(ProtocolError::Utf8);
    }
    Ok(Event::Message(kind, message))
}

/// Splits `size` bytes off the front of `input`.
fn take<'a>(input: &mut &'a mut [u8], size: usize) -> &'a mut [u8] {
    let (front, rest) = std::mem::take(input).split_at_mut(size);
    *input = rest;
    front
}

#[cfg(test)]
mod tests;
