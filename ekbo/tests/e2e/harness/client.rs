//! A browser or app: opens the WebSocket and reads and writes frames. It is a strict reader:
//! whatever a server must not send makes it panic. It does nothing by itself, neither answers
//! pings nor echoes closes.

use std::net::Shutdown;

use tungstenite::WebSocket;

use super::ekbo::Ekbo;
use super::frame::Frame;
use super::http::{Draft, Http, Response};
use super::server::Server;
use super::system;
use super::wire::{End, Incoming, Wire};

/// A client whose connection was upgraded.
pub(crate) struct Client {
    incoming: Incoming,
    /// The answer that opened the WebSocket.
    pub(crate) response: Response,
}

/// A client before its handshake.
pub(crate) struct ClientPlan<'a> {
    server: &'a dyn Server,
    path: String,
    query: Option<String>,
    draft: Draft,
    early: Vec<u8>,
}

/// What a client gets to see next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Code and reason, unless the payload was empty.
    Close(Option<(u16, String)>),
    /// The end of the connection.
    End(End),
}

impl Client {
    /// Opens a WebSocket at `/connect`; panics when it is refused.
    #[track_caller]
    pub(crate) fn connect(ekbo: &Ekbo) -> Self {
        Self::to(ekbo).connect()
    }

    /// Opens a WebSocket at `/connect` with `key` as the query string, for a backend that
    /// admits by query.
    #[track_caller]
    pub(crate) fn connect_as(ekbo: &Ekbo, key: &str) -> Self {
        Self::to(ekbo).query(key).connect()
    }

    /// A client that is about to open a WebSocket at `/connect`.
    pub(crate) fn to(server: &dyn Server) -> ClientPlan<'_> {
        let mut draft = Draft::new("GET", "");
        draft.add("Host", server.host().as_bytes());
        draft.add("Upgrade", b"websocket");
        draft.add("Connection", b"Upgrade");
        draft.add("Sec-WebSocket-Version", b"13");
        draft.add("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==");
        let path = "/connect".to_owned();
        ClientPlan { server, path, query: None, draft, early: Vec::new() }
    }

    /// Opens a WebSocket at `/connect` with somebody else's client library, which closes and
    /// answers pings as RFC 6455 demands.
    #[track_caller]
    pub(crate) fn conforming(ekbo: &Ekbo) -> WebSocket<Wire> {
        let url = format!("ws://{}/connect", ekbo.host());
        match tungstenite::client(url, ekbo.wire()) {
            Ok((socket, _)) => socket,
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, frame: &Frame) {
        self.write(frame.to_bytes());
    }

    /// Writes bytes as they are.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.try_write(bytes) {
            panic!("writing failed: {error}");
        }
    }

    /// Writes bytes as they are, to a server that may have gone.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        std::io::Write::write_all(self.incoming.wire(), bytes.as_ref())
    }

    /// Reads the next frame, or the end.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Received {
        match self.receive_frame().map(|(start, payload)| (Self::plain(start), payload)) {
            Ok((Frame::TEXT, payload)) => match String::from_utf8(payload) {
                Ok(text) => Received::Text(text),
                Err(error) => panic!("text that is not UTF-8: {error}"),
            },
            Ok((Frame::BINARY, payload)) => Received::Binary(payload),
            Ok((Frame::PING, payload)) => Received::Ping(payload),
            Ok((Frame::PONG, payload)) => Received::Pong(payload),
            Ok((Frame::CLOSE, payload)) => Received::Close(read_close(&payload)),
            Ok((opcode, _)) => panic!("a frame with opcode {opcode}"),
            Err(end) => Received::End(end),
        }
    }

    /// Reads the next frame as it is, or the end: its first byte, with FIN, the reserved bits and
    /// the opcode, and its payload. Fragments and masks are not taken here either.
    #[track_caller]
    pub(crate) fn receive_frame(&mut self) -> Result<(u8, Vec<u8>), End> {
        let start = self.incoming.exactly(2)?;
        assert_eq!(start[0] & 0x80, 0x80, "a fragment: {start:x?}");
        assert_eq!(start[1] & 0x80, 0, "a masked frame from a server: {start:x?}");
        let length = match start[1] {
            126 => {
                let bytes = self.incoming.exactly(2)?;
                let length = u16::from_be_bytes(bytes.try_into().unwrap());
                assert!(length > 125, "{length} written in two bytes");
                usize::from(length)
            }
            127 => {
                let bytes = self.incoming.exactly(8)?;
                let length = u64::from_be_bytes(bytes.try_into().unwrap());
                assert!(length > 0xffff, "{length} written in eight bytes");
                usize::try_from(length).unwrap()
            }
            length => usize::from(length),
        };
        let opcode = start[0] & 0x0f;
        assert!(opcode < Frame::CLOSE || length < 126, "a control frame of {length} bytes");
        Ok((start[0], self.incoming.exactly(length)?))
    }

    #[track_caller]
    pub(crate) fn expect_text(&mut self, text: &str) {
        assert_eq!(self.receive(), Received::Text(text.to_owned()));
    }

    #[track_caller]
    pub(crate) fn expect_binary(&mut self, bytes: impl AsRef<[u8]>) {
        assert_eq!(self.receive(), Received::Binary(bytes.as_ref().to_owned()));
    }

    #[track_caller]
    pub(crate) fn expect_pong(&mut self, payload: &str) {
        assert_eq!(self.receive(), Received::Pong(payload.as_bytes().to_owned()));
    }

    /// Expects a close frame with that code and reason; the connection is still there after it.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16, reason: &str) {
        assert_eq!(self.receive(), Received::Close(Some((code, reason.to_owned()))));
    }

    /// Expects a close frame with that code and whatever reason.
    #[track_caller]
    pub(crate) fn expect_close_code(&mut self, code: u16) {
        match self.receive() {
            Received::Close(Some((came, _))) if came == code => {}
            other => panic!("expected a close with {code}, got {other:?}"),
        }
    }

    /// Expects the orderly end of the TCP connection.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.receive(), Received::End(End::Eof));
    }

    /// Ends the sending direction only.
    pub(crate) fn finish_sending(&mut self) {
        self.incoming.wire().shutdown(Shutdown::Write);
    }

    /// Lets the system hold only a little of what comes and is not read.
    pub(crate) fn hold_little(&mut self) {
        system::hold_little(self.tcp());
    }

    /// Goes away with a TCP reset.
    pub(crate) fn reset(mut self) {
        system::reset_on_close(self.tcp());
    }

    /// A second handle, to write with from another thread.
    pub(crate) fn writer(&mut self) -> Wire {
        self.incoming.wire().another()
    }

    fn tcp(&mut self) -> &std::net::TcpStream {
        self.incoming.wire().as_tcp().expect("a client over TCP")
    }

    /// The opcode in the first byte of a frame without reserved bits.
    #[track_caller]
    fn plain(start: u8) -> u8 {
        assert_eq!(start & 0x70, 0, "a reserved bit: {start:x}");
        start & 0x0f
    }
}

#[track_caller]
fn read_close(payload: &[u8]) -> Option<(u16, String)> {
    if payload.is_empty() {
        return None;
    }
    let (code, reason) = payload.split_first_chunk().expect("a close payload of one byte");
    Some((u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap()))
}

impl ClientPlan<'_> {
    pub(crate) fn method(mut self, method: &str) -> Self {
        self.draft.set_method(method);
        self
    }

    pub(crate) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// What follows the `?`, as it is.
    pub(crate) fn query(mut self, query: &str) -> Self {
        self.query = Some(query.to_owned());
        self
    }

    /// Adds a field, after those of the same name.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.draft.add(name, value.as_ref());
        self
    }

    /// Replaces a field that a client has anyway.
    pub(crate) fn instead(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.draft.set(name, value.as_ref());
        self
    }

    /// Leaves out a field that a client has anyway.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.draft.remove(name);
        self
    }

    pub(crate) fn host(self, host: &str) -> Self {
        self.instead("Host", host)
    }

    pub(crate) fn origin(self, origin: &str) -> Self {
        self.header("Origin", origin)
    }

    /// Offers these subprotocols, comma-separated in one field.
    pub(crate) fn protocols(self, protocols: &str) -> Self {
        self.header("Sec-WebSocket-Protocol", protocols)
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.draft.set_body(body.as_bytes());
        self
    }

    /// Sends this frame together with the handshake, before the answer can have come.
    pub(crate) fn early(mut self, frame: &Frame) -> Self {
        self.early.extend(frame.to_bytes());
        self
    }

    /// Writes the handshake and comes back without having waited for the answer.
    pub(crate) fn start(mut self) -> Pending {
        let target = match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        };
        self.draft.set_target(&target);
        let mut http = Http::over(self.server.wire());
        let mut bytes = self.draft.to_bytes();
        bytes.extend(self.early);
        http.write(bytes);
        Pending { http, method: self.draft.method().to_owned() }
    }

    /// Opens the WebSocket; panics when it is refused.
    #[track_caller]
    pub(crate) fn connect(self) -> Client {
        self.start().connect()
    }

    /// The answer of a server that refuses; panics when it does not.
    #[track_caller]
    pub(crate) fn refused(self) -> Response {
        self.start().refused()
    }
}

/// A client whose handshake is under way.
pub(crate) struct Pending {
    http: Http,
    method: String,
}

impl Pending {
    /// Waits for the WebSocket to be open; panics when it is refused.
    #[track_caller]
    pub(crate) fn connect(mut self) -> Client {
        let response = self.http.read_answer_to(&self.method);
        assert_eq!(response.status, 101, "{response:?} {:?}", response.text());
        Client { incoming: self.http.into_incoming(), response }
    }

    /// Waits for the refusal; panics when there is none.
    #[track_caller]
    pub(crate) fn refused(mut self) -> Response {
        let response = self.http.read_answer_to(&self.method);
        assert_ne!(response.status, 101, "the WebSocket was opened");
        response
    }

    /// Waits for the answer, whatever it is, and tells its status.
    #[track_caller]
    pub(crate) fn status(mut self) -> u16 {
        self.http.read_answer_to(&self.method).status
    }

    /// Waits until something of the answer has come, and leaves it unread.
    #[track_caller]
    pub(crate) fn wait_for_bytes(&mut self) {
        let seen = self.http.wire().as_tcp().unwrap().peek(&mut [0]).unwrap();
        assert_eq!(seen, 1, "the connection has ended");
    }

    /// Goes away without waiting for the answer.
    pub(crate) fn give_up(self) {
        drop(self);
    }
}
