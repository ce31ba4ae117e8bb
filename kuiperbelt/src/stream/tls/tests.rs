//! Against rustls as a client: bytes handed over in pieces of every size, and over real sockets.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, HandshakeKind,
    ProtocolVersion, RootCertStore, StreamOwned, SupportedCipherSuite, SupportedProtocolVersion,
    version,
};
use tokio::time::timeout;

use super::*;
use crate::stream::Stream;
use crate::tls::Tls;

const PATIENCE: Duration = Duration::from_secs(10);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A server's identity, and clients that trust it.
struct World {
    tls: Tls,
    root: CertificateDer<'static>,
}

impl World {
    fn new() -> Self {
        let (tls, root) = Tls::of_localhost();
        Self { tls, root }
    }

    fn client_config(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let mut provider = ring::default_provider();
        // One of which a test can make records of its own.
        provider.cipher_suites.retain(|suite| format!("{suite:?}").contains("CHACHA20"));
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        config
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConnection {
        client(self.client_config(version))
    }

    fn state(&self) -> State {
        TlsLayer::new(self.tls.connection().unwrap()).state.into_inner()
    }
}

fn client(config: ClientConfig) -> ClientConnection {
    ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

/// What the client has to send.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut said = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut said).unwrap();
    }
    said
}

/// Has the server take in some bytes, as if read with `room` for plaintext; returns all of that.
fn take_in(state: &mut State, piece: &[u8], room: usize) -> Vec<u8> {
    let mut records = std::mem::take(&mut state.partial);
    records.extend_from_slice(piece);
    let mut plaintext = Vec::new();
    let mut size = state.receive(&mut records, &mut (&mut plaintext).limit(room));
    assert_eq!(size, plaintext.len());
    while !state.plaintext.is_empty() {
        size = state.take_plaintext(&mut (&mut plaintext).limit(room));
        assert!(0 < size && size <= room);
    }
    plaintext
}

/// Has the client take in what the server has to send.
fn answer(state: &mut State, client: &mut ClientConnection) {
    let unsent = std::mem::take(&mut state.unsent);
    let mut unsent = &unsent[..];
    while !unsent.is_empty() {
        client.read_tls(&mut unsent).unwrap();
        client.process_new_packets().unwrap();
    }
}

/// Carries bytes, the client's in pieces of so many, until neither side has anything to say;
/// returns the server's plaintext.
fn converse(
    state: &mut State,
    client: &mut ClientConnection,
    piece: usize,
    room: usize,
) -> Vec<u8> {
    let mut plaintext = Vec::new();
    loop {
        let said = said(client);
        if said.is_empty() && state.unsent.is_empty() {
            return plaintext;
        }
        for piece in said.chunks(piece) {
            plaintext.extend(take_in(state, piece, room));
        }
        answer(state, client);
    }
}

/// Encrypts without a socket.
fn encrypt(state: &mut State, bytes: &[u8]) {
    let mut records = vec![0; RECORDS_BYTES];
    let size = state.traffic().unwrap().encrypt(bytes, &mut records).unwrap();
    state.unsent.extend_from_slice(&records[..size]);
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

#[test]
fn records_may_be_split_anywhere() {
    let world = World::new();
    for version in VERSIONS {
        for piece in [1, 2, 5, 6, 100, 4096, 20_000] {
            for room in [1, 1000, 64 * 1024] {
                let (mut state, mut client) = (world.state(), world.client(version));
                assert_eq!(converse(&mut state, &mut client, piece, room), b"");
                assert!(!client.is_handshaking());
                let (mut sent, mut received) = (Vec::new(), Vec::new());
                for size in [1, 20_000, 3, 50_000, 0, 17] {
                    let message = pattern(size);
                    client.writer().write_all(&message).unwrap();
                    sent.extend(message);
                    received.extend(converse(&mut state, &mut client, piece, room));
                }
                assert!(sent == received, "pieces of {piece} bytes, room for {room}");
                assert!(state.partial.is_empty() && state.unsent.is_empty());
                assert_eq!(state.partial.capacity(), 0, "a connection at rest holds no buffer");
            }
        }
    }
}

/// A client may stop in the middle of a record for as long as it likes.
#[test]
fn half_a_record_takes_no_more_than_its_bytes() {
    let world = World::new();
    for version in VERSIONS {
        let (mut state, mut client) = (world.state(), world.client(version));
        converse(&mut state, &mut client, usize::MAX, 100);
        let message = pattern(10_000);
        client.writer().write_all(&message).unwrap();
        let record = said(&mut client);
        let (beginning, end) = record.split_at(record.len() - 1);
        let mut come = 0;
        for piece in [&beginning[..3], &beginning[3..100], &beginning[100..]] {
            assert_eq!(take_in(&mut state, piece, 20_000), b"");
            come += piece.len();
            assert_eq!((state.partial.len(), state.partial.capacity()), (come, come));
            assert_eq!(state.plaintext.capacity() + state.unsent.capacity(), 0);
        }
        assert!(take_in(&mut state, end, 20_000) == message);
        assert_eq!(state.partial.capacity(), 0);
    }
}

#[test]
fn a_client_asks_for_new_keys() {
    let world = World::new();
    let (mut state, mut client) = (world.state(), world.client(&version::TLS13));
    converse(&mut state, &mut client, 1, 100);
    for round in 0..3_u8 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[round]).unwrap();
        assert_eq!(converse(&mut state, &mut client, 1, 100), [round]);
        encrypt(&mut state, &[round; 70]);
        answer(&mut state, &mut client);
        let mut received = [0; 70];
        client.reader().read_exact(&mut received).unwrap();
        assert_eq!(received, [round; 70]);
    }
}

/// The server writes while half of a handshake message of the client's has come.
#[test]
fn writing_between_the_halves_of_a_key_update() {
    let world = World::new();
    let (mut state, mut client) = (world.state(), world.client(&version::TLS13));
    converse(&mut state, &mut client, usize::MAX, 100);
    let mut forger = Forger::of(client);
    let update = [24, 0, 0, 1, 0];
    take_in(&mut state, &forger.record(ContentType::Handshake, &update[..2]), 100);
    assert!(!state.partial.is_empty());
    encrypt(&mut state, b"meanwhile");
    take_in(&mut state, &forger.record(ContentType::Handshake, &update[2..]), 100);
    assert!(matches!(state.input, Input::Open) && state.partial.is_empty());
    encrypt(&mut state, b"afterwards");
}

/// A handshake message that never ends is not kept for ever.
#[test]
fn an_endless_handshake_message() {
    let world = World::new();
    let mut state = world.state();
    // A ClientHello of 64 KiB less one byte, in records of one byte each.
    let mut hello = vec![1, 0, 0xff, 0xff];
    hello.resize(64 * 1024, 0);
    let mut kept = 0;
    for byte in hello {
        if matches!(state.input, Input::Failed(_)) {
            assert!(kept < RECORDS_BYTES);
            return;
        }
        take_in(&mut state, &[22, 3, 1, 0, 1, byte], 100);
        kept = kept.max(state.partial.len());
    }
    panic!("{kept} bytes are kept");
}

#[test]
fn what_is_no_tls_is_told_so() {
    let world = World::new();
    let inputs = [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0; 100],
        &[22, 3, 1, 0xff, 0xff, 1],
        // A ClientHello of nothing, and a record of the application before it.
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        &[23, 3, 3, 0, 1, 0],
    ];
    for input in inputs {
        for piece in [1, 1000] {
            let mut state = world.state();
            for piece in input.chunks(piece) {
                if let Input::Open = state.input {
                    assert_eq!(take_in(&mut state, piece, 100), b"");
                }
            }
            assert!(matches!(state.input, Input::Failed(_)), "{input:?}");
            assert_eq!(state.unsent[0], 21, "an alert");
            assert!(state.traffic().is_none());
        }
    }
}

#[test]
fn a_record_that_was_changed_on_its_way() {
    let world = World::new();
    for version in VERSIONS {
        let (mut state, mut client) = (world.state(), world.client(version));
        converse(&mut state, &mut client, usize::MAX, 100);
        client.writer().write_all(b"good").unwrap();
        let mut records = said(&mut client);
        client.writer().write_all(b"evil").unwrap();
        records.extend(said(&mut client));
        *records.last_mut().unwrap() ^= 1;
        assert_eq!(take_in(&mut state, &records, 100), b"good");
        let Input::Failed(error) = &state.input else { panic!("it is taken") };
        assert_eq!(*error, rustls::Error::DecryptError);
        assert!(!state.unsent.is_empty(), "an alert");
    }
}

/// TLS 1.2 lets clients ask for another handshake (RFC 5246 section 7.4.1.1). We do not.
#[test]
fn renegotiation_is_refused() {
    let world = World::new();
    let mut state = world.state();
    let mut client = world.client(&version::TLS12);
    let hello = said(&mut client);
    take_in(&mut state, &hello, 100);
    answer(&mut state, &mut client);
    converse(&mut state, &mut client, usize::MAX, 100);
    let mut forger = Forger::of(client);
    take_in(&mut state, &forger.record(ContentType::Handshake, &hello[5..]), 100);
    assert_eq!(state.unsent.split()[0], 21, "an alert");
    let plaintext = take_in(&mut state, &forger.record(ContentType::ApplicationData, b"on"), 100);
    assert_eq!(plaintext, b"on");
    take_in(&mut state, &forger.record(ContentType::Handshake, &hello[5..]), 100);
    assert!(matches!(state.input, Input::Failed(_)), "who insists is given up");
}

/// The next client resumes the session of the last, though the server remembers none.
#[test]
fn sessions_are_resumed() {
    let world = World::new();
    for version in VERSIONS {
        let config = world.client_config(version);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (mut state, mut client) = (world.state(), client(config.clone()));
            converse(&mut state, &mut client, usize::MAX, 100);
            assert_eq!(client.handshake_kind(), Some(kind));
        }
    }
}

#[test]
fn the_protocol_is_http() {
    let world = World::new();
    let mut config = world.client_config(&version::TLS13);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (mut state, mut both) = (world.state(), client(config.clone()));
    converse(&mut state, &mut both, usize::MAX, 100);
    assert_eq!(both.alpn_protocol(), Some(&b"http/1.1"[..]));
    config.alpn_protocols.pop();
    let (mut state, mut neither) = (world.state(), client(config));
    take_in(&mut state, &said(&mut neither), 100);
    assert!(matches!(state.input, Input::Failed(_)));
}

/// Makes records of a client's that rustls would not make.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    fn of(client: ClientConnection) -> Self {
        let suite = client.negotiated_cipher_suite().unwrap();
        #[allow(deprecated, reason = "there are no tickets or new keys to come")]
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another cipher")
        };
        let encrypter = match suite {
            SupportedCipherSuite::Tls12(suite) => suite.aead_alg.encrypter(key, iv.as_ref(), &[]),
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        };
        Self { encrypter, sequence }
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let version = ProtocolVersion::TLSv1_2;
        let plain = OutboundPlainMessage { typ, version, payload: OutboundChunks::Single(payload) };
        let record = self.encrypter.encrypt(plain, self.sequence).unwrap().encode();
        self.sequence += 1;
        record
    }
}

// --- over sockets ---

type Secured = StreamOwned<ClientConnection, UnixStream>;

/// Both ends of a connection before its handshake.
fn pair(world: &World, version: &'static SupportedProtocolVersion) -> (Stream, Secured) {
    let (stream, socket) = bare_pair(world);
    (stream, StreamOwned::new(world.client(version), socket))
}

fn bare_pair(world: &World) -> (Stream, UnixStream) {
    let (here, there) = tokio::net::UnixStream::pair().unwrap();
    let there = there.into_std().unwrap();
    there.set_nonblocking(false).unwrap();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    there.set_write_timeout(Some(PATIENCE)).unwrap();
    (Stream::from(here).over_tls(world.tls.connection().unwrap()), there)
}

async fn read(stream: &Stream) -> io::Result<Vec<u8>> {
    let mut place = vec![0; 10_000];
    let reading = poll_fn(|context| stream.poll_read(context, &mut &mut place[..]));
    let size = timeout(PATIENCE, reading).await.expect("nothing comes")?;
    place.truncate(size);
    Ok(place)
}

/// Writes all, as whoever waits for the socket does.
async fn write(stream: &Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() || stream.has_unsent() {
        match stream.try_write(bytes) {
            Ok(size) => bytes = &bytes[size..],
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                let writable = poll_fn(|context| stream.poll_writable(context));
                timeout(PATIENCE, writable).await.expect("the client reads");
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn large_messages_both_ways() {
    const SIZE: usize = 1 << 20;
    let world = World::new();
    for version in VERSIONS {
        let (stream, mut client) = pair(&world, version);
        let client = tokio::task::spawn_blocking(move || {
            client.write_all(&pattern(SIZE)).unwrap();
            let mut back = vec![0; SIZE];
            client.read_exact(&mut back).unwrap();
            assert!(back == pattern(SIZE));
            client.write_all(b"done").unwrap();
            // A clean end: without close_notify this would be an error.
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        });
        let mut received = Vec::new();
        while received.len() < SIZE {
            received.extend(read(&stream).await.unwrap());
        }
        assert!(received == pattern(SIZE));
        write(&stream, &received).await;
        // A socket that is full would not take the close_notify.
        assert_eq!(read(&stream).await.unwrap(), b"done");
        drop(stream);
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_waited_for() {
    let world = World::new();
    for version in VERSIONS {
        let (stream, mut client) = pair(&world, version);
        let greeting = tokio::task::spawn_blocking(move || {
            client.write_all(b"hello").unwrap();
            client
        });
        assert_eq!(read(&stream).await.unwrap(), b"hello");
        let mut client = greeting.await.unwrap();
        let message = pattern(PLAINTEXT_AT_ONCE);
        let mut written = 0;
        let error = loop {
            match stream.try_write(&message[written % message.len()..]) {
                Ok(size) => written += size,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(stream.has_unsent());
        // Nothing more is taken, nor kept, until that is gone.
        assert!(stream.try_write(b"more").is_err());
        let reading = tokio::task::spawn_blocking(move || {
            let mut received = vec![0; written];
            client.read_exact(&mut received).unwrap();
            received
        });
        write(&stream, &[]).await;
        assert!(!stream.has_unsent());
        let received = reading.await.unwrap();
        for piece in received.chunks(message.len()) {
            assert!(piece == &message[..piece.len()]);
        }
    }
}

/// Each side may end its direction; the other goes on.
#[tokio::test]
async fn ends() {
    let world = World::new();
    for version in VERSIONS {
        for says_so in [true, false] {
            let (stream, mut client) = pair(&world, version);
            let client = tokio::task::spawn_blocking(move || {
                client.write_all(b"last word").unwrap();
                if says_so {
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                } else {
                    client.sock.shutdown(Shutdown::Write).unwrap();
                }
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                answer
            });
            assert_eq!(read(&stream).await.unwrap(), b"last word");
            for _ in 0..3 {
                assert_eq!(read(&stream).await.unwrap(), b"");
            }
            write(&stream, b"answer").await;
            stream.shutdown_write().unwrap();
            assert_eq!(client.await.unwrap(), "answer");
            assert!(stream.try_write(b"more").is_err());
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_ends_the_connection() {
    let world = World::new();
    let (stream, mut client) = bare_pair(&world);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    for _ in 0..3 {
        let error = read(&stream).await.expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
    assert!(stream.try_write(b"answer").is_err());
    drop(stream);
    let answer = blocking(move || {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        answer
    })
    .await;
    // A fatal alert, decode_error (RFC 8446 section 6).
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50]);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_handshake() {
    let world = World::new();
    let hello = said(&mut world.client(&version::TLS13));
    for size in [0, 1, 100, hello.len()] {
        let (stream, mut client) = bare_pair(&world);
        client.write_all(&hello[..size]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&stream).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn who_is_at_the_other_end() {
    let world = World::new();
    let (unix, _client) = bare_pair(&world);
    assert_eq!((unix.peer(), unix.transport()), (None, "unix"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let plain = Stream::from(listener.accept().await.unwrap().0);
    assert_eq!(plain.peer(), Some(client.local_addr().unwrap()));
    assert_eq!(plain.transport(), "ws");
    assert_eq!(plain.over_tls(world.tls.connection().unwrap()).transport(), "wss");
}
