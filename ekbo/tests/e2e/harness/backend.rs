//! The application behind `ekbo`: an HTTP/1.1 server that keeps every request it gets and
//! answers by path as the test has told it. A thread per connection, keep-alive, over TCP, TLS
//! or a unix socket. The answers themselves are in `backend/answer.rs`.

mod answer;

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use self::answer::Ending;
pub(crate) use self::answer::{Answer, Gate};
use super::clock::eventually_some;
use super::directory::Directory;
use super::http::{Headers, NoMessage, read_request};
use super::wire::{Incoming, Wire};

/// The requests a backend may get, by what it is to answer: the plan before it is started.
pub(crate) struct BackendPlan(HashMap<String, Behaviour>);

type Behaviour = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// A running backend.
pub(crate) struct Backend {
    state: Arc<State>,
    address: Address,
    /// The certificate of a backend over TLS lives here.
    directory: Directory,
}

/// A request as the backend got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query as they were written.
    pub(crate) target: String,
    /// Fields in order, names as they were spelled.
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// Which of the backend's connections it came over, counted from 0.
    pub(crate) connection: usize,
}

#[derive(Clone)]
enum Address {
    Tcp(u16),
    Tls(u16),
    Unix(PathBuf),
}

#[derive(Default)]
struct State {
    behaviours: Mutex<HashMap<String, Behaviour>>,
    seen: Mutex<Seen>,
    stopped: Gate,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    /// What came that was no whole request.
    broken: Vec<String>,
    /// A handle on every connection, to end it with the backend.
    connections: Vec<Wire>,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// What follows the `?`, if there is one.
    pub(crate) fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The value of the only field of that name; panics when there are several.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.only(name)
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        !self.headers.all(name).is_empty()
    }

    /// The session header under its default name.
    #[track_caller]
    pub(crate) fn session(&self) -> Option<&str> {
        self.header("X-Kuiperbelt-Session")
    }

    /// The body as text; panics when it is not UTF-8.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

impl Backend {
    /// Answers 404 to everything, until told otherwise.
    pub(crate) fn plan() -> BackendPlan {
        BackendPlan(HashMap::new())
    }

    /// Admits every client as `key`, without a first message; takes close callbacks.
    pub(crate) fn admitting(key: &str) -> BackendPlan {
        Self::plan().on("/connect", Answer::admit(key)).on("/close", Answer::ok())
    }

    /// Admits every client under the key that is its query string; takes close callbacks.
    pub(crate) fn admitting_by_query() -> BackendPlan {
        Self::plan()
            .on_request("/connect", |request| Answer::admit(request.query().unwrap_or_default()))
            .on("/close", Answer::ok())
    }

    /// From now on requests for `path` get `answer`.
    pub(crate) fn on(&self, path: &str, answer: Answer) {
        self.on_request(path, move |_| answer.clone());
    }

    /// From now on requests for `path` are answered by what `behaviour` makes of them.
    pub(crate) fn on_request(
        &self,
        path: &str,
        behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) {
        self.state.behaviours.lock().unwrap().insert(path.to_owned(), Arc::new(behaviour));
    }

    /// Whether there is an answer for `path` other than 404.
    pub(crate) fn answers(&self, path: &str) -> bool {
        self.state.behaviours.lock().unwrap().contains_key(path)
    }

    /// The URL of `path` here, as it is written in a configuration.
    pub(crate) fn url(&self, path: &str) -> String {
        match &self.address {
            Address::Tcp(port) => format!("http://127.0.0.1:{port}{path}"),
            Address::Tls(port) => format!("https://localhost:{port}{path}"),
            Address::Unix(socket) => format!("unix:{}:{path}", socket.display()),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self.address {
            Address::Tcp(port) | Address::Tls(port) => port,
            Address::Unix(_) => panic!("a unix socket has no port"),
        }
    }

    /// The file with the certificate that clients of a backend over TLS have to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The requests for `path` so far, in the order in which they arrived.
    #[track_caller]
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        self.all_requests().into_iter().filter(|request| request.path() == path).collect()
    }

    /// All requests so far, in the order in which they arrived. Panics when something arrived
    /// that was no whole request.
    #[track_caller]
    pub(crate) fn all_requests(&self) -> Vec<Request> {
        let (requests, broken) = {
            let seen = self.state.seen.lock().unwrap();
            (seen.requests.clone(), seen.broken.clone())
        };
        assert!(broken.is_empty(), "the backend got: {broken:?}");
        requests
    }

    /// Waits until `count` requests for `path` have arrived; returns all there are then.
    #[track_caller]
    pub(crate) fn wait_for(&self, path: &str, count: usize) -> Vec<Request> {
        eventually_some(&format!("{count} requests for {path}"), || {
            Some(self.requests(path)).filter(|requests| requests.len() >= count)
        })
    }

    /// Waits for the first request for `path`.
    #[track_caller]
    pub(crate) fn wait_for_first(&self, path: &str) -> Request {
        self.wait_for(path, 1).remove(0)
    }

    /// How many connections have been made to it so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.seen.lock().unwrap().connections.len()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.state.stopped.open();
        for connection in &self.state.seen.lock().unwrap().connections {
            connection.shutdown(Shutdown::Both);
        }
        // Wakes the thread that waits for connections, which then sees that it is over.
        let _ = match &self.address {
            Address::Tcp(port) | Address::Tls(port) => {
                TcpStream::connect(("127.0.0.1", *port)).map(drop)
            }
            Address::Unix(path) => UnixStream::connect(path).map(drop),
        };
    }
}

impl BackendPlan {
    /// Requests for `path` get `answer`.
    pub(crate) fn on(self, path: &str, answer: Answer) -> Self {
        self.on_request(path, move |_| answer.clone())
    }

    /// Requests for `path` are answered by what `behaviour` makes of them.
    pub(crate) fn on_request(
        mut self,
        path: &str,
        behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(path.to_owned(), Arc::new(behaviour));
        self
    }

    /// Listens on a port of the system's choice.
    pub(crate) fn start(self) -> Backend {
        self.start_on(0)
    }

    /// Listens on that port.
    pub(crate) fn start_on(self, port: u16) -> Backend {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().port());
        self.run(address, Directory::new(), move || {
            let stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            Some(Wire::Tcp(stream))
        })
    }

    /// Listens on a unix socket.
    pub(crate) fn start_unix(self, path: &Path) -> Backend {
        let listener = UnixListener::bind(path).unwrap();
        self.run(Address::Unix(path.to_owned()), Directory::new(), move || {
            Some(Wire::Unix(listener.accept().unwrap().0))
        })
    }

    /// Listens with TLS, as `localhost`, under a certificate nobody else knows.
    pub(crate) fn start_tls(self) -> Backend {
        let directory = Directory::new();
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        directory.write("certificate.pem", cert.pem());
        let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = Address::Tls(listener.local_addr().unwrap().port());
        self.run(address, directory, move || {
            let stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            let session = ServerConnection::new(config.clone()).unwrap();
            Some(Wire::Tls(Box::new(StreamOwned::new(session, stream))))
        })
    }

    fn run(
        self,
        address: Address,
        directory: Directory,
        mut accept: impl FnMut() -> Option<Wire> + Send + 'static,
    ) -> Backend {
        let state = Arc::new(State { behaviours: Mutex::new(self.0), ..State::default() });
        let shared = state.clone();
        thread::spawn(move || {
            while let Some(wire) = accept() {
                if shared.stopped.is_open() {
                    return;
                }
                let number = {
                    let mut seen = shared.seen.lock().unwrap();
                    seen.connections.push(wire.another());
                    seen.connections.len() - 1
                };
                let state = shared.clone();
                thread::spawn(move || {
                    let serve = AssertUnwindSafe(|| state.serve(wire, number));
                    if panic::catch_unwind(serve).is_err() {
                        let broken = format!("connection {number} made its thread panic");
                        state.seen.lock().unwrap().broken.push(broken);
                    }
                });
            }
        });
        Backend { state, address, directory }
    }
}

impl State {
    fn serve(&self, wire: Wire, connection: usize) {
        let mut incoming = Incoming::new(wire);
        loop {
            let message = match read_request(&mut incoming) {
                Ok(message) => message,
                Err(NoMessage::Ended(_)) => return,
                Err(NoMessage::Broken(what)) => {
                    if !self.stopped.is_open() {
                        self.seen.lock().unwrap().broken.push(what);
                    }
                    return;
                }
            };
            let mut words = message.first_line.split(' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let request = Request {
                method: word(),
                target: word(),
                headers: message.headers,
                body: message.body,
                connection,
            };
            let behaviour = self.behaviours.lock().unwrap().get(request.path()).cloned();
            self.seen.lock().unwrap().requests.push(request.clone());
            let answer = match behaviour {
                Some(behaviour) => behaviour(&request),
                None => Answer::status(404),
            };
            let ending = answer.write(&request, &self.stopped, &mut |bytes| {
                let wire = incoming.wire();
                wire.write_all(bytes).and_then(|()| wire.flush())
            });
            match ending {
                Ending::Stay => {}
                Ending::HangUp => {
                    if let Wire::Tls(stream) = incoming.wire() {
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                    incoming.wire().shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }
}
