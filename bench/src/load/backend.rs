//! A connection that a server has opened to the backend.

use std::collections::VecDeque;

use mio::net::TcpStream;

use crate::Result;
use crate::load::http::Request;
use crate::load::pipe::Pipe;
use crate::load::{Event, Turn, number_in};
use crate::server::Server;

pub(super) struct Backend {
    pub(super) pipe: Pipe,
    unread: Vec<u8>,
}

impl Backend {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { pipe: Pipe::new(stream, Vec::new()), unread: Vec::new() }
    }

    /// Answers requests, and tells which messages they brought. Returns whether the connection
    /// still stands: servers may end it as they like.
    pub(super) fn serve(
        &mut self,
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
            self.unread.extend_from_slice(&buffer[..size]);
            let mut done = 0;
            while let Some((request, size)) = Request::read(&self.unread[done..])? {
                if let Some(message) = server.backend(&request, reply) {
                    happened.push_back(Event::Received(number_in(message)?));
                }
                done += size;
            }
            self.unread.drain(..done);
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
}
