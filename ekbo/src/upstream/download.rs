//! An answer on its way in: taken apart as its bytes come, and queued for the client at once. What
//! the client is given is what has come and no more, so that half an answer never looks whole.

use std::mem;

use kuiperbelt::http::StatusCode;
use kuiperbelt::http1::{Chunked, InvalidChunk, Piece};
use kuiperbelt::{AnswerBody, AnswerWriter};

use super::account::Account;
use super::answer_head::{self, AnswerHead, Extent};
use super::failure::Failure;
use super::hop_by_hop::may_trail;
use super::request_head::Asked;
use crate::outbound::{PartialHead, WholeHead};

/// The most interim answers before the one that counts.
const MAX_INTERIM: usize = 100;

/// The most fields behind one body.
const MAX_TRAILERS: usize = 100;

/// An answer, as far as it has come.
#[derive(Debug)]
pub(super) struct Download<'a> {
    asked: Asked<'a>,
    state: State,
    interim: usize,
    /// Whether a byte of it has come, be it of an interim answer.
    is_begun: bool,
    is_invited: bool,
    is_kept: bool,
}

#[derive(Debug)]
enum State {
    Head(PartialHead),
    /// So many bytes are to come, at least one.
    Length(u64),
    Chunked(Chunked, Vec<u8>),
    UntilEnd,
    Complete,
    Switched(Box<Switch>),
}

/// The connection has changed its protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch {
    /// What the client is told of it.
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// What came behind the head.
    pub(super) early: Vec<u8>,
}

impl<'a> Download<'a> {
    /// Nothing has come.
    pub(super) fn new(asked: Asked<'a>) -> Self {
        Self {
            asked,
            state: State::Head(PartialHead::default()),
            interim: 0,
            is_begun: false,
            is_invited: false,
            is_kept: false,
        }
    }

    /// Takes in the next bytes of the connection, which are not none, and queues what they say.
    pub(super) fn take_in(
        &mut self,
        mut input: &[u8],
        writer: &mut AnswerWriter,
        account: &mut Account,
    ) -> Result<(), Failure> {
        self.is_begun = true;
        while !input.is_empty() {
            let read = self.step(input, writer, account)?;
            input = &input[read..];
        }
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn end(&mut self, writer: &mut AnswerWriter) -> Result<(), Failure> {
        self.is_kept = false;
        match self.state {
            State::UntilEnd => self.complete([], writer),
            State::Complete => Ok(()),
            _ => Err(Failure::Ended),
        }
    }

    /// Whether a byte of it has come.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Whether the upstream wants the body of a request whose client waits to be asked.
    pub(super) fn is_invited(&self) -> bool {
        self.is_invited
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete | State::Switched(_))
    }

    /// Whether another request may follow on the connection.
    pub(super) fn may_be_followed(&self) -> bool {
        matches!(self.state, State::Complete) && self.is_kept
    }

    /// The change of protocol, if that is what the answer was.
    pub(super) fn into_switch(self) -> Option<Box<Switch>> {
        match self.state {
            State::Switched(switch) => Some(switch),
            _ => None,
        }
    }

    /// Reads something of the input and says how much.
    fn step(
        &mut self,
        input: &[u8],
        writer: &mut AnswerWriter,
        account: &mut Account,
    ) -> Result<usize, Failure> {
        match &mut self.state {
            State::Head(partial) => {
                let Some(WholeHead { bytes, size }) = partial.take_in(input)? else {
                    return Ok(input.len());
                };
                self.take_in_head(&bytes, writer, account)?;
                Ok(size)
            }
            State::Length(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= size as u64;
                let is_complete = *left == 0;
                pass_on(&input[..size], writer, account)?;
                if is_complete {
                    self.complete([], writer)?;
                }
                Ok(size)
            }
            State::Chunked(chunked, trailers) => {
                let piece = chunked.next(input).map_err(Failure::Chunk)?;
                let is_complete = chunked.is_complete();
                let size = match piece {
                    Piece::Coding(size) => size,
                    Piece::Trailers(size) => {
                        trailers.extend_from_slice(&input[..size]);
                        size
                    }
                    Piece::Data(size) => {
                        pass_on(&input[..size], writer, account)?;
                        size
                    }
                };
                if is_complete {
                    let trailers = mem::take(trailers);
                    self.end_with(&trailers, writer)?;
                }
                Ok(size)
            }
            State::UntilEnd => {
                pass_on(input, writer, account)?;
                Ok(input.len())
            }
            State::Complete => {
                // Bytes that answer no request of ours.
                self.is_kept = false;
                Ok(input.len())
            }
            State::Switched(switch) => {
                switch.early.extend_from_slice(input);
                Ok(input.len())
            }
        }
    }

    fn take_in_head(
        &mut self,
        bytes: &[u8],
        writer: &mut AnswerWriter,
        account: &mut Account,
    ) -> Result<(), Failure> {
        let asked = self.asked.clone();
        answer_head::read(bytes, &asked, |head| self.begin(head, writer, account))?
    }

    fn begin(
        &mut self,
        head: &AnswerHead<'_>,
        writer: &mut AnswerWriter,
        account: &mut Account,
    ) -> Result<(), Failure> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let fields = head.fields();
            let fields = fields.map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            self.state = State::Switched(Box::new(Switch { fields, early: Vec::new() }));
            return Ok(());
        }
        if head.status.is_informational() {
            self.interim += 1;
            self.is_invited |= head.status == StatusCode::CONTINUE;
            self.state = State::Head(PartialHead::default());
            return if self.interim > MAX_INTERIM { Err(Failure::Interim) } else { Ok(()) };
        }
        let body = match head.extent {
            Extent::None(length) => AnswerBody::None(length),
            Extent::Length(length) => AnswerBody::Length(length),
            Extent::Chunked | Extent::UntilEnd => AnswerBody::Unknown,
        };
        writer.begin(head.status, head.reason, head.fields(), body);
        account.status(head.status);
        self.is_kept = head.is_kept;
        match head.extent {
            Extent::None(_) | Extent::Length(0) => self.complete([], writer)?,
            Extent::Length(length) => self.state = State::Length(length),
            Extent::Chunked => self.state = State::Chunked(Chunked::new(), Vec::new()),
            Extent::UntilEnd => self.state = State::UntilEnd,
        }
        Ok(())
    }

    /// The end of a body in chunks, with what stands behind it.
    fn end_with(&mut self, trailers: &[u8], writer: &mut AnswerWriter) -> Result<(), Failure> {
        if trailers == b"\r\n" {
            return self.complete([], writer);
        }
        let mut fields = vec![httparse::EMPTY_HEADER; MAX_TRAILERS];
        match httparse::parse_headers(trailers, &mut fields) {
            Ok(httparse::Status::Complete((_, found))) => {
                let fields = found.iter().map(|field| (field.name.as_bytes(), field.value));
                self.complete(fields.filter(|(name, _)| may_trail(name)), writer)
            }
            _ => Err(Failure::Chunk(InvalidChunk::Trailers)),
        }
    }

    fn complete<'b>(
        &mut self,
        trailers: impl IntoIterator<Item = (&'b [u8], &'b [u8])>,
        writer: &mut AnswerWriter,
    ) -> Result<(), Failure> {
        self.state = State::Complete;
        writer.end(trailers).map_err(Failure::Client)
    }
}

fn pass_on(piece: &[u8], writer: &mut AnswerWriter, account: &mut Account) -> Result<(), Failure> {
    writer.write(piece).map_err(Failure::Client)?;
    account.sent(piece.len());
    Ok(())
}
