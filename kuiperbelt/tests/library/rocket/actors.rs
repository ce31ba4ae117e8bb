//! A server with Rocket hubs, and clients of them.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kuiperbelt::rocket::{Credentials, Rocket, Settings};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::Response;
use tungstenite::{HandshakeError, Message, WebSocket};

pub(super) const OK: &str = r#"{"ok":true}"#;
pub(super) const INVALID_DATA: &str = r#"{"err":"invalid_data"}"#;
pub(super) const INVALID_CREDENTIALS: &str = r#"{"err":"invalid_credentials"}"#;
pub(super) const INVALID_CHANNEL_NAME: &str = r#"{"err":"invalid_channel_name"}"#;
pub(super) const INVALID_CHANNEL: &str = r#"{"err":"invalid_channel"}"#;
pub(super) const ACCESS_DENIED: &str = r#"{"err":"access_denied"}"#;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Hubs behind doors; they end with it.
pub(super) struct Server {
    /// On `/echo`, with the secrets `read-secret` and `read-write-secret` unless a test has others.
    pub(super) rocket: Rocket,
    pub(super) address: SocketAddr,
    _runtime: Runtime,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(Settings { credentials: secrets(), ..Settings::default() })
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut server = kuiperbelt::Server::new();
        let rocket = Rocket::new(server.hub(), "/echo", settings);
        server.door_with("/echo", rocket.clone(), rocket.options()).unwrap();
        Self::run(rocket, server)
    }

    /// Runs a server with doors to `rocket`, and whatever else.
    pub(super) fn run(rocket: Rocket, mut server: kuiperbelt::Server) -> Self {
        let runtime = Runtime::new().unwrap();
        let address = runtime.block_on(server.bind("127.0.0.1:0")).unwrap()[0];
        runtime.spawn(server.run(std::future::pending::<()>()));
        Self { rocket, address, _runtime: runtime }
    }

    #[track_caller]
    pub(super) fn client(&self) -> Client {
        self.client_at("/echo")
    }

    #[track_caller]
    pub(super) fn client_at(&self, path: &str) -> Client {
        self.handshake(path, &[]).unwrap().0
    }

    /// A client that has logged in.
    #[track_caller]
    pub(super) fn member(&self, access: &str) -> Client {
        let mut client = self.client();
        client.log_in(access);
        client
    }

    /// A client that listens to a channel.
    #[track_caller]
    pub(super) fn listener(&self, channel: &str) -> Client {
        let mut client = self.member("read-only");
        assert_eq!(client.subscribe(channel), OK);
        client
    }

    /// Opens a WebSocket; an error is the status of the answer.
    pub(super) fn handshake(
        &self,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<(Client, Response), u16> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((socket, response)) => Ok((Client(socket), response)),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns when exactly so many listen to the channel, of which all get `event` now and then
    /// until then.
    #[track_caller]
    pub(super) fn await_listeners(&self, channel: &str, expected: usize) {
        let until = Instant::now() + PATIENCE;
        while self.rocket.publish_json(channel, r#"{"event":null}"#) != Ok(expected) {
            assert!(Instant::now() < until, "{channel} has not come to {expected} listeners");
            std::thread::yield_now();
        }
    }
}

pub(super) fn secrets() -> Credentials {
    Credentials { read_only: "read-secret".into(), read_write: "read-write-secret".into() }
}

pub(super) struct Client(pub(super) WebSocket<TcpStream>);

impl Client {
    /// Sends a message and reads the next.
    #[track_caller]
    pub(super) fn ask(&mut self, json: &str) -> String {
        self.say(json);
        self.hear()
    }

    #[track_caller]
    pub(super) fn say(&mut self, json: &str) {
        self.0.send(json.into()).unwrap();
    }

    /// Reads the next message, which is a text.
    #[track_caller]
    pub(super) fn hear(&mut self) -> String {
        match self.0.read() {
            Ok(Message::Text(text)) => text.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// Shows that nothing waits to be read: what is asked now is answered first.
    #[track_caller]
    pub(super) fn hears_nothing(&mut self) {
        assert_eq!(self.ask(r#"{"unsubscribe":true}"#), INVALID_DATA);
    }

    /// Reads the close frame, past other messages, and the end. Returns the code.
    #[track_caller]
    pub(super) fn end(&mut self) -> u16 {
        let code = loop {
            match self.0.read() {
                Ok(Message::Close(frame)) => break frame.map_or(1005, |frame| frame.code.into()),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        };
        match self.0.read() {
            Err(tungstenite::Error::ConnectionClosed) => code,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn auth(&mut self, access: &str, secret: &str) -> String {
        self.ask(&format!(r#"{{"auth":{{"access":"{access}","secret":"{secret}"}}}}"#))
    }

    /// With the right secret.
    #[track_caller]
    pub(super) fn log_in(&mut self, access: &str) {
        let secret = if access == "read-only" { "read-secret" } else { "read-write-secret" };
        assert_eq!(self.auth(access, secret), OK);
    }

    #[track_caller]
    pub(super) fn subscribe(&mut self, channel: &str) -> String {
        self.ask(&format!(r#"{{"subscribe":{{"channel":"{channel}"}}}}"#))
    }

    #[track_caller]
    pub(super) fn unsubscribe(&mut self, channel: &str) -> String {
        self.ask(&format!(r#"{{"unsubscribe":{{"channel":"{channel}"}}}}"#))
    }

    #[track_caller]
    pub(super) fn publish(&mut self, channel: &str, data: &str) -> String {
        self.ask(&format!(r#"{{"publish":{{"event":"e","channel":"{channel}","data":{data}}}}}"#))
    }
}
