//! A connection that a server has opened to the backend: with requests over HTTP or, which its
//! first byte tells, over ZMTP.

use std::collections::VecDeque;

use mio::net::TcpStream;

use crate::Result;
use crate::load::http::Request;
use crate::load::pipe::Pipe;
use crate::load::{Event, Line, Turn, number_in, zmtp};
use crate::server::Server;

pub(super) struct Backend {
    pub(super) pipe: Pipe,
    language: Language,
}

enum Language {
    /// With what has arrived of a request.
    Http(Vec<u8>),
    Zmtp(zmtp::Peer),
}

impl Backend {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { pipe: Pipe::new(stream, Vec::new()), language: Language::Http(Vec::new()) }
    }

    /// Answers requests, and tells which messages they brought and whether somebody has subscribed.
    /// Returns whether the connection still stands: servers may end it as they like.
    pub(super) fn serve(
        &mut self,
        line: Line,
        turn: Turn,
        server: &dyn Server,
        buffer: &mut [u8],
        reply: &mut Vec<u8>,
        happened: &mut VecDeque<Event>,
    ) -> Result<bool> {
        if turn.writable && self.pipe.flush().is_err() {
            return Ok(false);
        }
        if !turn.brings_bytes() {
            return Ok(true);
        }
        loop {
            let size = match self.pipe.read(buffer) {
                Ok(None) => return Ok(true),
                Ok(Some(0)) | Err(_) => return Ok(false),
                Ok(Some(size)) => size,
            };
            self.hear(line, &buffer[..size], server, reply, happened)?;
            let written = self.pipe.write(reply);
            reply.clear();
            if written.is_err() {
                return Ok(false);
            }
            if turn.was_all(size, buffer) {
                return Ok(true);
            }
        }
    }

    fn hear(
        &mut self,
        line: Line,
        bytes: &[u8],
        server: &dyn Server,
        reply: &mut Vec<u8>,
        happened: &mut VecDeque<Event>,
    ) -> Result<()> {
        if matches!(&self.language, Language::Http(unread) if unread.is_empty())
            && bytes.first() == Some(&zmtp::FIRST_BYTE)
        {
            self.language = Language::Zmtp(zmtp::Peer::default());
        }
        match &mut self.language {
            Language::Http(unread) => {
                unread.extend_from_slice(bytes);
                let mut done = 0;
                while let Some((request, size)) = Request::read(&unread[done..])? {
                    if let Some(message) = server.backend(&request, reply) {
                        happened.push_back(Event::Received(number_in(message)?));
                    }
                    done += size;
                }
                unread.drain(..done);
            }
            Language::Zmtp(peer) => {
                if peer.hear(bytes, reply)? {
                    happened.push_back(Event::Subscribed(line));
                }
            }
        }
        Ok(())
    }
}
