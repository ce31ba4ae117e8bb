//! An answer taken apart as its bytes come (RFC 9112), without a socket and without a clock: the
//! head, where the body ends, and whether the connection may be kept. How a chunked body is read
//! is in `chunked.rs`, how bytes come in `exchange.rs`.

use std::borrow::Cow;
use std::mem;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::ParserConfig;

use kuiperbelt::http1::{Chunked, InvalidChunk, Piece};

use crate::outbound::{LongHead, PartialHead, WholeHead, parse};

/// The most interim answers before the one that counts.
const MAX_INTERIM: usize = 100;

/// Why there is no answer, or not all of one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the connection ended too early")]
    Ended,
    #[error("malformed head: {0}")]
    Head(httparse::Error),
    #[error("malformed head: invalid field")]
    Field,
    #[error(transparent)]
    LongHead(#[from] LongHead),
    #[error("more than 100 interim answers")]
    Interim,
    #[error("malformed or contradictory Content-Length")]
    Length,
    #[error("a Transfer-Encoding other than chunked")]
    Coding,
    #[error("malformed body: {0}")]
    Chunk(#[from] InvalidChunk),
    /// Beyond the limit of the one who asked.
    #[error("the body is too large")]
    TooLarge,
}

/// The most of an answer whose body nobody uses is read for the sake of its connection.
const MAX_UNUSED: usize = 1 << 20;

/// What is wanted of an answer beside its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) fields: WantedFields,
    /// Whether the body is kept. Otherwise it is counted and dropped.
    pub(crate) body: bool,
    /// The longest body, in bytes.
    pub(crate) limit: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum WantedFields {
    All,
    /// Those of these names.
    Of(&'static [HeaderName]),
}

impl Wanted {
    /// Fields and body.
    pub(crate) const fn everything(limit: usize) -> Self {
        Self { fields: WantedFields::All, body: true, limit }
    }

    /// The fields of these names.
    pub(crate) const fn fields(names: &'static [HeaderName]) -> Self {
        Self { fields: WantedFields::Of(names), body: false, limit: MAX_UNUSED }
    }

    /// The status alone.
    pub(crate) const fn status() -> Self {
        Self::fields(&[])
    }
}

/// An answer on its way in. The outcome is the same however its bytes are cut.
#[derive(Debug)]
pub(crate) struct Response {
    wanted: Wanted,
    state: State,
    interim: usize,
    head: Option<Head>,
    body: Vec<u8>,
    body_length: usize,
    is_begun: bool,
    /// What the head says; see `may_be_followed`.
    keeps: bool,
    has_surplus: bool,
}

/// The head of an answer that counts.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// Those that are wanted.
    pub(crate) headers: HeaderMap,
}

#[derive(Debug)]
enum State {
    Head(PartialHead),
    /// So many bytes of the body are to come, at least one.
    Sized(u64),
    Chunked(Chunked),
    UntilEnd,
    Complete,
    Failed(Fault),
}

impl Response {
    /// An answer of which no byte has come.
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            state: State::Head(PartialHead::default()),
            interim: 0,
            head: None,
            body: Vec::new(),
            body_length: 0,
            is_begun: false,
            keeps: false,
            has_surplus: false,
        }
    }

    /// Takes in the next bytes of the connection.
    pub(crate) fn feed(&mut self, mut input: &[u8]) {
        self.is_begun |= !input.is_empty();
        while !input.is_empty() {
            match self.step(input) {
                Ok(0) => break,
                Ok(read) => input = &input[read..],
                Err(fault) => self.state = State::Failed(fault),
            }
        }
    }

    /// The connection has ended.
    pub(crate) fn end(&mut self) {
        self.keeps = false;
        match self.state {
            State::Head(_) | State::Sized(_) | State::Chunked(_) => {
                self.state = State::Failed(Fault::Ended);
            }
            State::UntilEnd => self.state = State::Complete,
            State::Complete | State::Failed(_) => {}
        }
    }

    /// Whether a byte of it has come.
    pub(crate) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Whether the head has come, be the body good or not.
    pub(crate) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Whether nothing is missing.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Whether another request may follow on the connection: the answer is complete, does not end
    /// it, and nothing came behind it.
    pub(crate) fn may_be_followed(&self) -> bool {
        self.is_complete() && self.keeps && !self.has_surplus
    }

    /// Why it will never be complete. Leaves an unspecific fault behind.
    pub(crate) fn take_fault(&mut self) -> Option<Fault> {
        match &mut self.state {
            State::Failed(fault) => Some(mem::replace(fault, Fault::Ended)),
            _ => None,
        }
    }

    /// The head, once.
    pub(crate) fn take_head(&mut self) -> Option<Head> {
        self.head.take()
    }

    /// What has come of the body; empty where it is not wanted.
    pub(crate) fn take_body(&mut self) -> Bytes {
        mem::take(&mut self.body).into()
    }

    /// Reads something of the input, which is not empty. 0 means that the rest is not read.
    fn step(&mut self, input: &[u8]) -> Result<usize, Fault> {
        match &mut self.state {
            State::Head(partial) => {
                let Some(WholeHead { bytes, size }) = partial.take_in(input)? else {
                    return Ok(input.len());
                };
                self.take_in_head(&bytes)?;
                Ok(size)
            }
            State::Sized(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= size as u64;
                let is_complete = *left == 0;
                self.take_in_body(&input[..size])?;
                if is_complete {
                    self.state = State::Complete;
                }
                Ok(size)
            }
            State::Chunked(chunked) => {
                let piece = chunked.next(input)?;
                let is_complete = chunked.is_complete();
                let size = match piece {
                    Piece::Coding(size) | Piece::Trailers(size) => size,
                    Piece::Data(size) => {
                        self.take_in_body(&input[..size])?;
                        size
                    }
                };
                if is_complete {
                    self.state = State::Complete;
                }
                Ok(size)
            }
            State::UntilEnd => {
                self.take_in_body(input)?;
                Ok(input.len())
            }
            State::Complete => {
                self.has_surplus = true;
                Ok(0)
            }
            State::Failed(_) => Ok(0),
        }
    }

    fn take_in_body(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > self.wanted.limit - self.body_length {
            return Err(Fault::TooLarge);
        }
        self.body_length += bytes.len();
        if self.wanted.body {
            self.body.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn take_in_head(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut parser = ParserConfig::default();
        parser
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true);
        parse(bytes, &parser, |parsed| self.take_in_fields(parsed)).map_err(Fault::Head)?
    }

    fn take_in_fields(&mut self, parsed: &httparse::Response<'_, '_>) -> Result<(), Fault> {
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Fault::Head(httparse::Error::Status))?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Fault::Interim);
            }
            self.state = State::Head(PartialHead::default());
            return Ok(());
        }
        let rules = Rules::of(parsed.headers)?;
        self.state = rules.body(status, parsed.version == Some(1))?;
        self.keeps = rules.keeps(status, parsed.version == Some(1), &self.state);
        let headers = match self.wanted.fields {
            WantedFields::All => header_map(parsed.headers.iter())?,
            WantedFields::Of(names) => {
                let is_wanted = |field: &&httparse::Header<'_>| {
                    names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_str()))
                };
                header_map(parsed.headers.iter().filter(is_wanted))?
            }
        };
        self.head = Some(Head { status, headers });
        match self.state {
            State::Sized(length) if length > self.wanted.limit as u64 => Err(Fault::TooLarge),
            _ => Ok(()),
        }
    }
}

/// What the fields of a head say of its body and its connection (RFC 9112 sections 6.3 and 9.3).
#[derive(Debug, Default)]
struct Rules {
    length: Option<u64>,
    has_coding: bool,
    closes: bool,
    keeps_alive: bool,
}

impl Rules {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Self, Fault> {
        let mut rules = Self::default();
        for field in fields {
            let is = |name: &HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
            if is(&CONTENT_LENGTH) {
                for item in items(&unfolded(field.value)) {
                    let length = number(item).ok_or(Fault::Length)?;
                    if rules.length.is_some_and(|other| other != length) {
                        return Err(Fault::Length);
                    }
                    rules.length = Some(length);
                }
            } else if is(&TRANSFER_ENCODING) {
                // Nothing else was asked for, nor would it be understood.
                if rules.has_coding || !unfolded(field.value).eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Coding);
                }
                rules.has_coding = true;
            } else if is(&CONNECTION) {
                for option in items(&unfolded(field.value)) {
                    rules.closes |= option.eq_ignore_ascii_case(b"close");
                    rules.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        Ok(rules)
    }

    /// Where the body ends.
    fn body(&self, status: StatusCode, is_1_1: bool) -> Result<State, Fault> {
        Ok(match (status.as_u16(), self.length) {
            (101 | 204 | 304, _) => State::Complete,
            _ if self.has_coding && !is_1_1 => return Err(Fault::Coding),
            _ if self.has_coding => State::Chunked(Chunked::new()),
            (_, Some(0)) => State::Complete,
            (_, Some(length)) => State::Sized(length),
            (_, None) => State::UntilEnd,
        })
    }

    fn keeps(&self, status: StatusCode, is_1_1: bool, body: &State) -> bool {
        let is_ended_by_body = matches!(body, State::UntilEnd);
        // What has no body all the same announces one may well send it (RFC 9112 section 6.3).
        let announces_body = match status {
            StatusCode::NO_CONTENT => self.has_coding || self.length.is_some_and(|size| size > 0),
            StatusCode::NOT_MODIFIED => self.has_coding,
            _ => false,
        };
        let is_suspicious = announces_body || self.has_coding && self.length.is_some();
        let is_other_protocol = status == StatusCode::SWITCHING_PROTOCOLS;
        let is_persistent = !self.closes && (is_1_1 || self.keeps_alive);
        is_persistent && !is_ended_by_body && !is_suspicious && !is_other_protocol
    }
}

/// The fields with their folded lines put together.
fn header_map<'a>(
    fields: impl Iterator<Item = &'a httparse::Header<'a>>,
) -> Result<HeaderMap, Fault> {
    // As many as there are for certain: one that stays empty costs nothing.
    let mut headers = HeaderMap::with_capacity(fields.size_hint().0);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Fault::Field)?;
        let value = HeaderValue::from_bytes(&unfolded(field.value)).map_err(|_| Fault::Field)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// A field's value in one line: each fold becomes a space (RFC 9112 section 5.2).
fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return Cow::Borrowed(value);
    }
    let lines = value.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    Cow::Owned(lines.join(&b' '))
}

/// The members of a list.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// A number of digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests;
