//! The backend against a gateway that only takes `/send`: requests in, messages out.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::{Value, json};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// What one `/send` carried.
#[derive(Debug, PartialEq)]
struct Sent {
    to: Vec<String>,
    message: Value,
}

/// Answers each `/send` like the gateway, and hands over what was sent.
struct StubGateway {
    address: SocketAddr,
    sent: Receiver<Sent>,
    /// Keys that it reports as not found.
    gone: Arc<Mutex<Vec<String>>>,
}

impl StubGateway {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, sent) = sync_channel(100);
        let gone = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&gone);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if take_send(&stream.unwrap(), &sender, &reported).is_none() {
                    return;
                }
            }
        });
        Self { address, sent, gone }
    }

    fn lose(&self, key: &str) {
        self.gone.lock().unwrap().push(key.to_owned());
    }

    fn find_again(&self) {
        self.gone.lock().unwrap().clear();
    }

    #[track_caller]
    fn expect(&self, to: &[&str], message: Value) {
        let to = to.iter().map(|&key| key.to_owned()).collect();
        assert_eq!(self.sent.recv_timeout(PATIENCE), Ok(Sent { to, message }));
    }
}

/// `None` when the test is over.
fn take_send(stream: &TcpStream, sent: &SyncSender<Sent>, gone: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut to, mut length, mut line) = (Vec::new(), 0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some(("X-Kuiperbelt-Session", key)) => to.push(key.to_owned()),
            Some(("Content-Length", n)) => length = n.parse().unwrap(),
            None if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let gone = gone.lock().unwrap();
    let errors: Vec<_> = to
        .iter()
        .filter(|key| gone.contains(key))
        .map(|key| json!({"error": "kuiperbelt: session is not found", "session": key}))
        .collect();
    let answer = if errors.is_empty() {
        json!({"result": "OK"})
    } else {
        json!({"errors": errors, "result": "OK"})
    };
    sent.send(Sent { to, message: serde_json::from_slice(&body).unwrap() }).ok()?;
    let mut stream = stream;
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n{answer}").ok()
}

/// One callback, as the gateway makes it; head and body of the answer.
fn call(backend: &Backend, head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(backend.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(stream, "{head}\r\nHost: backend\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn about(backend: &Backend, path: &str, key: &str) {
    let head = format!("POST {path} HTTP/1.1\r\nX-Kuiperbelt-Session: {key}");
    let (head, _) = call(backend, &head, "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
}

fn say(backend: &Backend, key: &str, text: &str) {
    let head = format!(
        "POST /receive HTTP/1.1\r\nContent-Type: text/plain\r\nX-Kuiperbelt-Session: {key}"
    );
    let (head, _) = call(backend, &head, text);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

fn connect_as(backend: &Backend, query: &str) -> (String, String) {
    call(backend, &format!("GET /connect{query} HTTP/1.1\r\nCookie: a=b"), "")
}

/// A room with anna and bob, and nothing left to read from the gateway.
fn anna_and_bob() -> (StubGateway, Backend) {
    let gateway = StubGateway::start();
    let backend = Backend::start(gateway.address).unwrap();
    for name in ["anna", "bob"] {
        let (head, _) = connect_as(&backend, &format!("?name={name}"));
        assert!(head.contains(&format!("\r\nX-Kuiperbelt-Session: {name}\r\n")), "{head}");
        about(&backend, "/establish", name);
    }
    gateway.expect(&["anna"], json!({"joined": "anna", "here": ["anna"]}));
    gateway.expect(&["anna", "bob"], json!({"joined": "bob", "here": ["anna", "bob"]}));
    (gateway, backend)
}

#[test]
fn a_chat_from_join_to_leave() {
    let (gateway, backend) = anna_and_bob();

    let (_, welcome) = connect_as(&backend, "?name=J%C3%B6rg&x=y");
    assert_eq!(
        serde_json::from_str::<Value>(&welcome).unwrap(),
        json!({"welcome": "J\u{f6}rg", "session": "J%C3%B6rg", "here": ["anna", "bob"]})
    );
    say(&backend, "anna", "not for who is still joining");
    gateway
        .expect(&["anna", "bob"], json!({"from": "anna", "text": "not for who is still joining"}));
    about(&backend, "/establish", "J%C3%B6rg");
    gateway.expect(
        &["J%C3%B6rg", "anna", "bob"],
        json!({"joined": "J\u{f6}rg", "here": ["J\u{f6}rg", "anna", "bob"]}),
    );

    gateway.lose("anna");
    about(&backend, "/close", "anna");
    gateway.expect(&["anna"], json!({"here": ["J\u{f6}rg", "anna", "bob"]}));
    gateway.expect(&["J%C3%B6rg", "bob"], json!({"left": "anna", "here": ["J\u{f6}rg", "bob"]}));
}

#[test]
fn refusals_say_why() {
    let (gateway, backend) = anna_and_bob();
    let long = format!("?name={}", "x".repeat(33));
    for (query, why) in [
        ("", "a name is needed"),
        ("?name=", "a name is needed"),
        ("?name=%20", "a name is needed"),
        (&long, "too long"),
        ("?name=a%0Ab", "control characters"),
        ("?name=%FF", "not percent-encoded UTF-8"),
        ("?name=anna", "anna is already here"),
    ] {
        let (head, body) = connect_as(&backend, query);
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{query}: {head}");
        assert!(!head.contains("X-Kuiperbelt-Session"), "{query}: {head}");
        assert!(body.contains(why), "{query}: {body}");
    }
    gateway.expect(&["anna"], json!({"here": ["anna", "bob"]}));
    let longest = format!("?name={}", "%C3%B6".repeat(32));
    assert!(connect_as(&backend, &longest).0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn who_is_not_found_has_left() {
    let (gateway, backend) = anna_and_bob();
    gateway.lose("bob");
    say(&backend, "anna", "anybody?");
    gateway.expect(&["anna", "bob"], json!({"from": "anna", "text": "anybody?"}));
    gateway.expect(&["anna"], json!({"left": "bob", "here": ["anna"]}));
    about(&backend, "/close", "bob");
    say(&backend, "anna", "no second notice");
    gateway.expect(&["anna"], json!({"from": "anna", "text": "no second notice"}));
}

#[test]
fn a_name_is_free_once_its_session_is_gone() {
    let (gateway, backend) = anna_and_bob();
    gateway.lose("bob");
    assert!(connect_as(&backend, "?name=bob").0.starts_with("HTTP/1.1 200 "));
    gateway.expect(&["bob"], json!({"here": ["anna", "bob"]}));
    gateway.find_again();
    about(&backend, "/establish", "bob");
    gateway.expect(&["anna", "bob"], json!({"joined": "bob", "here": ["anna", "bob"]}));

    // The close callback of bob's first connection comes late: the second one stays.
    about(&backend, "/close", "bob");
    gateway.expect(&["bob"], json!({"here": ["anna", "bob"]}));
    say(&backend, "bob", "still here");
    gateway.expect(&["anna", "bob"], json!({"from": "bob", "text": "still here"}));
}

#[test]
fn what_is_not_a_callback_is_refused() {
    let (_gateway, backend) = anna_and_bob();
    for (head, status) in [
        ("GET / HTTP/1.1", "404"),
        ("GET /nowhere HTTP/1.1", "404"),
        ("POST /connect?name=eve HTTP/1.1", "405"),
        ("GET /close HTTP/1.1", "405"),
        ("POST /close HTTP/1.1", "400"),
        ("POST /close HTTP/1.1\r\nX-Kuiperbelt-Session: %FF", "400"),
        ("POST /receive HTTP/1.1\r\nX-Kuiperbelt-Session: anna", "415"),
    ] {
        let (answer, _) = call(&backend, head, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
    }
}

/// A body that nobody reads must not cost the client its answer.
#[test]
fn a_large_message_is_refused_readably() {
    let (_gateway, backend) = anna_and_bob();
    let (head, body) = call(
        &backend,
        "POST /receive HTTP/1.1\r\nX-Kuiperbelt-Session: anna",
        &"x".repeat(MAX_BODY + 1),
    );
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(body, "the message is too large\n");
}

#[test]
fn a_dropped_backend_stops_listening() {
    let gateway = StubGateway::start();
    let backend = Backend::start(gateway.address).unwrap();
    let address = backend.address();
    drop(backend);
    // Each attempt ends in a refusal, or wakes a thread that had not stopped yet.
    while TcpStream::connect_timeout(&address, PATIENCE).is_ok() {}
}
