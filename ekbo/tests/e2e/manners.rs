//! How clients behave in these tests beyond reading and writing frames: they stop reading,
//! answer a close, leave; and what the backend is told of it.

use socket2::SockRef;

use super::harness::{Backend, Client, Ekbo, End, Frame, Received};

/// More than the buffers of two sockets hold, if that of the client does not grow: who writes this to
/// a client that does not read cannot finish.
pub(crate) const MORE_THAN_SOCKETS_HOLD: usize = 8 << 20;

impl Client {
    /// Has a message sent to itself that `ekbo` cannot finish writing, and comes back when it
    /// is being written. Until [`Client::resume`] the session's writer is busy.
    #[track_caller]
    pub(crate) fn stall(&mut self, ekbo: &Ekbo, key: &str) {
        // The system would let it grow, once a lot has been read.
        let wire = self.writer();
        SockRef::from(wire.as_tcp().unwrap()).set_recv_buffer_size(64 * 1024).unwrap();
        ekbo.send([key], "#".repeat(MORE_THAN_SOCKETS_HOLD)).assert_accepted();
        self.wait_for_bytes();
    }

    /// Reads the message that [`Client::stall`] left unread.
    #[track_caller]
    pub(crate) fn resume(&mut self) {
        match self.receive() {
            Received::Text(text)
                if text.len() == MORE_THAN_SOCKETS_HOLD && text.bytes().all(|b| b == b'#') => {}
            other => panic!("expected the large message, got {:.100}", format!("{other:?}")),
        }
    }

    /// Waits until something has come, and leaves it unread.
    #[track_caller]
    pub(crate) fn wait_for_bytes(&mut self) {
        let wire = self.writer();
        let seen = wire.as_tcp().unwrap().peek(&mut [0]).unwrap();
        assert_eq!(seen, 1, "the connection has ended");
    }

    /// Expects a close, answers it as RFC 6455 demands, and expects the orderly end.
    #[track_caller]
    pub(crate) fn expect_farewell(&mut self, code: u16, reason: &str) {
        self.expect_close(code, reason);
        self.send(&Frame::close(code, ""));
        self.expect_end();
    }

    /// Expects a close with `code` for what it has done, and the orderly end.
    #[track_caller]
    pub(crate) fn expect_refusal(mut self, what: &str, code: u16) {
        match self.receive() {
            Received::Close(Some((came, _))) if came == code => {}
            other => panic!("{what}: expected a close with {code}, got {other:?}"),
        }
        // The end comes at once or after a moment, whether the server takes this or not.
        let _ = self.try_write(Frame::close(code, "").to_bytes());
        assert_eq!(self.receive(), Received::End(End::Eof), "{what}");
    }

    /// Closes with `code` and no reason, and expects the echo and the orderly end.
    #[track_caller]
    pub(crate) fn leave(mut self, code: u16) {
        self.send(&Frame::close(code, ""));
        self.expect_close(code, "");
        self.expect_end();
    }

    /// Proves that everything it has written so far has been read, by a ping and its pong.
    #[track_caller]
    pub(crate) fn expect_to_be_read(&mut self) {
        self.send(&Frame::ping("read?"));
        self.expect_pong("read?");
    }
}

impl Backend {
    /// Expects that `/close` is told for the `count`th time, with `code`.
    #[track_caller]
    pub(crate) fn expect_close(&self, what: &str, code: u16, count: usize) {
        let told = self.wait_for("/close", count);
        assert_eq!(told.len(), count, "{what}");
        assert_eq!(told[count - 1].close_code(), Some(code), "{what}");
    }
}
