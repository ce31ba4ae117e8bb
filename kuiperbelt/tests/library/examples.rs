//! Each example does what it says, started as a program of its own.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

/// An example that runs, on a port of the system's choice.
struct Example {
    process: Child,
    address: String,
}

impl Example {
    fn start(name: &str) -> Self {
        let mut process = Command::new(binary(name))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name} is not built ({error}): cargo build --examples")
            });
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address }
    }

    fn client(
        &self,
        target: &str,
        subprotocol: Option<&str>,
    ) -> Result<Client, tungstenite::Error> {
        let mut request = format!("ws://{}{target}", self.address).into_client_request()?;
        if let Some(name) = subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", name.parse().unwrap());
        }
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        match tungstenite::client(request, stream) {
            Ok((client, _)) => Ok(Client(client)),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
            Err(interrupted) => panic!("{interrupted}"),
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Examples are built beside the tests: `target/debug/examples`, tests being in `…/deps`.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(name)
}

struct Client(WebSocket<TcpStream>);

impl Client {
    fn send(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).unwrap();
    }

    #[track_caller]
    fn reads(&mut self, expected: impl Into<Message>) {
        assert_eq!(self.0.read().unwrap(), expected.into());
    }
}

#[test]
fn echo() {
    let example = Example::start("echo");
    let mut client = example.client("/", None).unwrap();
    client.send("hello");
    client.reads("hello");
    client.send(vec![0, 1, 2]);
    client.reads(vec![0, 1, 2]);
}

#[test]
fn chat() {
    let example = Example::start("chat");
    let mut anna = example.client("/chat?anna", None).unwrap();
    // An echo of her own shows that she is there.
    anna.send("is anybody here?");
    anna.reads("anna: is anybody here?");
    let mut bob = example.client("/chat?bob", None).unwrap();
    anna.reads("bob comes in");
    bob.send("me");
    anna.reads("bob: me");
    bob.reads("bob: me");
    bob.0.close(None).unwrap();
    anna.reads("bob goes");
    let refused = example.client("/chat", None).err().unwrap();
    assert!(refused.to_string().contains("403"), "{refused}");
}

#[test]
fn custom_protocol() {
    let example = Example::start("custom_protocol");
    assert!(example.client("/", None).is_err(), "the subprotocol is asked for");
    let mut client = example.client("/", Some("stopwatch")).unwrap();
    client.send(vec![0]);
    client.send(vec![1]);
    let Message::Binary(first) = client.0.read().unwrap() else { panic!("no time") };
    client.send(vec![1]);
    let Message::Binary(second) = client.0.read().unwrap() else { panic!("no time") };
    assert_eq!(first.len(), 8);
    assert!(first <= second, "big-endian, so that later is greater");
    client.send("what time is it?");
    let expected = CloseFrame { code: 1003.into(), reason: "send 0 or 1".into() };
    client.reads(Message::Close(Some(expected)));
}

#[test]
fn custom_codec() {
    let example = Example::start("custom_codec");
    let mut client = example.client("/hub", None).unwrap();
    for (asked, answer) in [
        ("subscribe\n\"channel\"=\"news\"", "access_denied"),
        ("auth\n\"access\"=\"read-write\"\n\"secret\"=\"\"", "ok"),
        ("subscribe\n\"channel\"=\"news\"", "ok"),
    ] {
        client.send(asked);
        client.reads(answer);
    }
    client.send("publish\n\"event\"=\"said\"\n\"channel\"=\"news\"\n\"data\"=[1,2.50]");
    client.reads("\"channel\"=\"news\"\n\"data\"=[1,2.50]\n\"event\"=\"said\"\n");
    client.reads("ok");
}
