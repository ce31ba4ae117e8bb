//! Who the sockets talk to in tests: libzmq in a process of its own, or a few lines of bytes.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs, process, thread};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::subscriber::DefaultGuard;

use crate::endpoint::Endpoint;
use crate::zmtp::State;

/// The Python that Debian's `python3-zmq` is installed for.
const PYTHON: &str = "/usr/bin/python3";

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A socket of libzmq that is bound. Dropping it kills its process.
pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    process: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Peer {
    /// A socket of this type, on a free port.
    pub(super) async fn start(kind: &str) -> Self {
        Self::bind(kind, "tcp://127.0.0.1:*").await
    }

    pub(super) async fn bind(kind: &str, endpoint: &str) -> Self {
        let mut process = Command::new(PYTHON)
            .args(["-c", include_str!("peer.py"), kind, endpoint])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("install it with: apt-get install python3");
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, mut lines) = mpsc::channel(64);
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.blocking_send(line))
        });
        let bound = within(lines.recv()).await;
        let bound = bound.expect("no ZeroMQ socket: apt-get install python3-zmq");
        Self { endpoint: bound.parse().unwrap(), process, input, lines }
    }

    /// Another one where this one was.
    pub(super) async fn restart(self, kind: &str) -> Self {
        let endpoint = self.endpoint.to_string();
        drop(self);
        Self::bind(kind, &endpoint).await
    }

    pub(super) fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    pub(super) fn send(&mut self, parts: &[&[u8]]) {
        let words: Vec<String> = parts.iter().map(|part| hexadecimal(part)).collect();
        self.tell(&words.join(" "));
    }

    /// The parts of the next message that it received.
    pub(super) async fn received(&mut self) -> Vec<Vec<u8>> {
        let line = within(self.lines.recv()).await.unwrap();
        line.split(' ').map(bytes).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hexadecimal(part: &[u8]) -> String {
    let mut word = String::new();
    part.iter().for_each(|byte| write!(word, "{byte:02x}").unwrap());
    if word.is_empty() { "-".into() } else { word }
}

fn bytes(word: &str) -> Vec<u8> {
    let digits = word.trim_start_matches('-').as_bytes();
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Fails where something that works would long have happened.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

pub(super) async fn until(mut state: watch::Receiver<State>, wanted: State) {
    within(state.wait_for(|state| *state == wanted)).await.unwrap();
}

/// Where peers of bytes are reached: a unix socket, as what is written to one is there at once,
/// also in paused time.
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    path: PathBuf,
    listener: UnixListener,
}

impl Address {
    pub(super) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("ekbo-zmtp-{}-{number}", process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        Self { endpoint: Endpoint::Ipc(path.clone()), path, listener }
    }

    /// The next connection, as it is.
    pub(super) async fn accept(&self) -> Wire {
        Wire(self.listener.accept().await.unwrap().0)
    }

    /// The next connection, after a handshake with a client that is `ours` as a socket that is
    /// `theirs` and speaks ZMTP 3 with this minor version.
    pub(super) async fn welcome(&self, ours: &str, theirs: &str, minor: u8) -> Wire {
        let mut wire = self.accept().await;
        wire.write(&greeting(3, minor, "NULL")).await;
        wire.expect(&greeting(3, 1, "NULL")).await;
        wire.write(&ready(theirs)).await;
        wire.expect(&ready(ours)).await;
        wire
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The peer's end of a connection.
pub(super) struct Wire(pub(super) UnixStream);

impl Wire {
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// These bytes come next.
    #[track_caller]
    pub(super) fn expect<'a>(&'a mut self, bytes: &'a [u8]) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let mut read = vec![0; bytes.len()];
            self.0.read_exact(&mut read).await.unwrap_or_else(|error| panic!("{caller}: {error}"));
            let (read, bytes) = (read.escape_ascii(), bytes.escape_ascii());
            assert_eq!(read.to_string(), bytes.to_string(), "{caller}");
        }
    }

    /// Nothing but the end of the connection comes.
    pub(super) async fn expect_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 64]).await.unwrap(), 0);
    }
}

pub(super) fn greeting(major: u8, minor: u8, mechanism: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    (bytes[0], bytes[9], bytes[10], bytes[11]) = (0xff, 0x7f, major, minor);
    bytes[12..][..mechanism.len()].copy_from_slice(mechanism.as_bytes());
    bytes
}

pub(super) fn ready(socket_type: &str) -> Vec<u8> {
    let properties = [b"\x0bSocket-Type\0\0\0", &[socket_type.len() as u8][..]].concat();
    let body = [b"\x05READY", &properties[..], socket_type.as_bytes()].concat();
    [&[4, body.len() as u8], &body[..]].concat()
}

/// What this thread logs, for as long as this lives.
pub(super) struct Log(Arc<Mutex<Vec<u8>>>, #[expect(dead_code, reason = "ends it")] DefaultGuard);

impl Log {
    pub(super) fn start() -> Self {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        Self(lines, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines contain this.
    pub(super) fn count(&self, text: &str) -> usize {
        self.all().lines().filter(|line| line.contains(text)).count()
    }

    pub(super) fn all(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
