//! A connection that the load has opened: a client's or a poster's.

use std::collections::VecDeque;
use std::time::Instant;

use crate::Result;
use crate::load::pipe::{self, Pipe};
use crate::load::{Event, Line, Turn};
use crate::server::{Dial, Wire};

pub(super) struct Outgoing {
    pub(super) pipe: Pipe,
    wire: Box<dyn Wire>,
    /// Whether there is no greeting to be answered.
    silent: bool,
    ready: bool,
    /// Whether it never reads again by itself.
    deaf: bool,
}

impl Outgoing {
    /// Begins to open the `nth` connection.
    pub(super) fn open(dial: Dial, nth: usize) -> Result<Self> {
        let silent = dial.greeting.is_empty();
        let pipe = Pipe::new(pipe::connect(dial.address, nth)?, dial.greeting);
        Ok(Self { pipe, wire: dial.wire, silent, ready: false, deaf: false })
    }

    pub(super) fn stop_reading(&mut self) {
        self.deaf = true;
    }

    /// Moves bytes, and tells what they meant.
    pub(super) fn serve(
        &mut self,
        line: Line,
        turn: Turn,
        buffer: &mut [u8],
        reply: &mut Vec<u8>,
        happened: &mut VecDeque<Event>,
    ) -> Result<()> {
        if self.deaf {
            return Ok(());
        }
        if turn.writable {
            self.pipe.flush()?;
        }
        if turn.writable && self.silent && !self.ready && !turn.closed {
            self.ready = true;
            happened.push_back(Event::Ready(line));
        }
        if !turn.brings_bytes() {
            return Ok(());
        }
        while let Some(size) = self.read(line, buffer, reply, happened)? {
            if turn.was_all(size, buffer) {
                break;
            }
        }
        Ok(())
    }

    /// Reads once, and tells what that meant. Returns the number of bytes; `None` if there are none
    /// now.
    pub(super) fn read(
        &mut self,
        line: Line,
        buffer: &mut [u8],
        reply: &mut Vec<u8>,
        happened: &mut VecDeque<Event>,
    ) -> Result<Option<usize>> {
        let Some(size) = self.pipe.read(buffer)? else { return Ok(None) };
        if size == 0 {
            return Err("a connection was closed by the server".into());
        }
        let heard = self.wire.hear(&buffer[..size], reply)?;
        if heard.ready && !self.ready {
            self.ready = true;
            happened.push_back(Event::Ready(line));
        }
        if heard.messages > 0 {
            let at = Instant::now();
            happened.push_back(Event::Messages { line, count: heard.messages, at });
        }
        if heard.answers > 0 {
            happened.push_back(Event::Answered { line, count: heard.answers });
        }
        self.pipe.write(reply)?;
        reply.clear();
        Ok(Some(size))
    }
}
