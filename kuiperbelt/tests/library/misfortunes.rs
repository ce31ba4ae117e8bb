//! What goes wrong in a program around the library: handlers that panic, a server that is dropped,
//! channels of the wrong hub.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use kuiperbelt::rocket::{Rocket, Settings};
use kuiperbelt::{
    Admission, CloseCode, End, Handler, Hub, Message as Sent, Received, Refusal, Server, Session,
};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout;
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(10);

/// Panics where a client says so, with a lock held that its close wants as well.
#[derive(Default)]
struct Clumsy {
    names: Mutex<Vec<String>>,
    closes: Arc<AtomicUsize>,
}

impl Handler for Clumsy {
    async fn connect(&self, _request: Parts) -> Result<Admission, Refusal> {
        Ok(Admission::default())
    }

    async fn receive(&self, _session: &Session, message: Received) {
        let mut names = self.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        names.push(String::from_utf8_lossy(&message.payload).into_owned());
        assert!(names.len() > 1, "the first message is one too many");
    }

    async fn close(&self, _session: &Session, _end: End) {
        self.closes.fetch_add(1, Ordering::SeqCst);
        // Poisoned: a second panic, while the first may be unwinding still.
        drop(self.names.lock().unwrap());
    }
}

fn client(address: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    tungstenite::client(format!("ws://{address}/"), stream).unwrap().0
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it is never so that {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_ends_its_session_alone() {
    let mut server = Server::new();
    let handler = Clumsy::default();
    let closes = Arc::clone(&handler.closes);
    server.door("/", handler).unwrap();
    let address = server.bind("127.0.0.1:0").await.unwrap()[0];
    let metrics = Arc::clone(server.hub().metrics());
    let served = tokio::spawn(server.run(std::future::pending::<()>()));
    let other = spawn_blocking(move || {
        let mut unlucky = client(address);
        let mut other = client(address);
        unlucky.send("panic".into()).unwrap();
        while unlucky.read().is_ok() {}
        // The server is still there for the others.
        other.send("hello".into()).unwrap();
        other.send(Message::Ping("x".into())).unwrap();
        assert_eq!(other.read().unwrap(), Message::Pong("x".into()));
        other
    });
    let other = other.await.unwrap();
    until("the end is told", || closes.load(Ordering::SeqCst) == 1).await;
    until("one is left", || metrics.connections.value() == 1).await;
    drop(other);
    until("both ends are told", || closes.load(Ordering::SeqCst) == 2).await;
    assert_eq!(metrics.connections.value(), 0);
    served.abort();
}

/// Lets everybody in.
struct Open;

impl Handler for Open {}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_ends_its_sessions() {
    let mut server = Server::new();
    server.door("/", Open).unwrap();
    let address = server.bind("127.0.0.1:0").await.unwrap()[0];
    let metrics = Arc::clone(server.hub().metrics());
    let served = tokio::spawn(server.run(std::future::pending::<()>()));
    let client = spawn_blocking(move || client(address)).await.unwrap();
    served.abort();
    let end = spawn_blocking(move || {
        let mut client = client;
        match client.read() {
            Ok(Message::Close(frame)) => frame.map(|frame| u16::from(frame.code)),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(end.await.unwrap(), Some(1001));
    until("nobody is left", || metrics.connections.value() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rocket_of_another_hub_subscribes_nobody() {
    let mut server = Server::new();
    let elsewhere = Hub::new();
    let rocket = Rocket::new(&elsewhere, "/", Settings::default());
    let options = rocket.options();
    server.door_with("/", rocket.clone(), options).unwrap();
    let address = server.bind("127.0.0.1:0").await.unwrap()[0];
    let served = tokio::spawn(server.run(std::future::pending::<()>()));
    spawn_blocking(move || {
        let mut client = client(address);
        for (asked, answer) in [
            (r#"{"auth":{"access":"read-only","secret":""}}"#, r#"{"ok":true}"#),
            (r#"{"subscribe":{"channel":"a"}}"#, r#"{"err":"invalid_channel_name"}"#),
        ] {
            client.send(asked.into()).unwrap();
            assert_eq!(client.read().unwrap(), answer.into());
        }
    })
    .await
    .unwrap();
    served.abort();
}

/// Keeps every message in hand for as long as its session lasts, and tells of each end.
struct Patient {
    sessions: Mutex<Vec<Session>>,
    ends: Arc<Mutex<Vec<u16>>>,
}

impl Handler for Patient {
    async fn receive(&self, session: &Session, _message: Received) {
        self.sessions.lock().unwrap().push(session.clone());
        let _ = session.send(&Sent::text("in hand"), None).await;
        std::future::poll_fn(|_| match session.is_over() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    async fn close(&self, _session: &Session, end: End) {
        self.ends.lock().unwrap().push(end.code.number());
    }
}

/// What a handler has in hand it can put away when nobody is there any more, however that comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_waits_learns_of_the_end() {
    let mut server = Server::new();
    let ends = Arc::default();
    let patient = Arc::new(Patient { sessions: Mutex::default(), ends: Arc::clone(&ends) });
    server.door("/", Arc::clone(&patient)).unwrap();
    let address = server.bind("127.0.0.1:0").await.unwrap()[0];
    let served = tokio::spawn(server.run(std::future::pending::<()>()));
    let client = move || {
        let mut client = client(address);
        client.send("wait".into()).unwrap();
        assert_eq!(client.read().unwrap(), "in hand".into());
        client
    };
    let told = |count: usize, code: u16| {
        let ends = Arc::clone(&ends);
        async move {
            until("the end is told", || ends.lock().unwrap().len() == count).await;
            assert_eq!(ends.lock().unwrap()[count - 1], code);
        }
    };
    // It just leaves.
    drop(spawn_blocking(client).await.unwrap());
    told(1, 1006).await;
    // It says that it does.
    let closing = move || {
        let mut client = client();
        client.close(None).unwrap();
        client
    };
    drop(spawn_blocking(closing).await.unwrap());
    told(2, 1005).await;
    // It has sent more than is read ahead, and leaves.
    let eager = move || {
        let mut client = client();
        for _ in 0..3 {
            client.send("more".into()).unwrap();
        }
        client
    };
    drop(spawn_blocking(eager).await.unwrap());
    told(3, 1006).await;
    // Its session is ended.
    let waiting = spawn_blocking(client).await.unwrap();
    let session = patient.sessions.lock().unwrap().last().unwrap().clone();
    session.end(End::new(CloseCode::POLICY, "enough"));
    let mut waiting = waiting;
    let said = spawn_blocking(move || {
        let said = waiting.read();
        while waiting.read().is_ok() {}
        said
    });
    assert!(matches!(said.await.unwrap(), Ok(Message::Close(_))));
    told(4, 1008).await;
    served.abort();
}
