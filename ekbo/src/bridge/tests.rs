//! A bridge between real WebSocket clients and a backend that does what a test says.

use std::net::{SocketAddr, TcpStream};

use http::HeaderValue;
use kuiperbelt::{Doors, Listener, Options, Server, SlowConsumer, SocketDoor};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::timeout;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use super::*;

mod backend;

use self::backend::{Bound, Peer};

const PATIENCE: Duration = Duration::from_secs(10);

/// In bytes.
const MORE_THAN_SOCKETS_HOLD: usize = 32 << 20;

/// A bridge that runs until it is dropped.
struct World {
    address: SocketAddr,
    hub: Arc<Hub>,
    runtime: Runtime,
}

impl World {
    fn with(config: Config) -> Self {
        Self::with_options(config, Options::default())
    }

    fn with_options(config: Config, options: Options) -> Self {
        // One thread: whoever must let others have their turn is seen when it does not.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let hub = Hub::new();
        let names = subprotocols(&config.subprotocol);
        let door = SocketDoor::new(&hub, Bridge::new(&hub, config), options);
        let mut doors = Doors::closed();
        doors.add_subprotocols(names, None, Arc::new(door));
        let entered = runtime.enter();
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        drop(entered);
        let address = listener.address().unwrap();
        let mut server = Server::of(&hub);
        server.listener(listener, Some(doors));
        runtime.spawn(server.run(std::future::pending::<()>()));
        Self { address, hub, runtime }
    }

    /// Waits until so many clients are left.
    fn until_there_are(&self, clients: u64) {
        let waiting = async {
            while self.hub.metrics().connections.value() != clients {
                yield_now().await;
            }
        };
        self.runtime.block_on(async { timeout(PATIENCE, waiting).await.unwrap() });
    }

    fn client(&self) -> Client {
        self.client_of("rbkit")
    }

    fn client_of(&self, subprotocol: &'static str) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("ws://{}/any", self.address).into_client_request().unwrap();
        let offered = HeaderValue::from_static(subprotocol);
        request.headers_mut().insert("sec-websocket-protocol", offered.clone());
        let (socket, answer) = tungstenite::client(request, stream).unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], offered);
        Client(socket)
    }
}

struct Client(WebSocket<TcpStream>);

impl Client {
    fn send(&mut self, command: &str) {
        self.0.send(command.into()).unwrap();
    }

    #[track_caller]
    fn expect(&mut self, text: &str) {
        assert_eq!(self.0.read().unwrap(), Message::text(text));
    }

    #[track_caller]
    fn expect_end(&mut self, code: u16, reason: &str) {
        match self.0.read().unwrap() {
            Message::Close(Some(frame)) => {
                assert_eq!((u16::from(frame.code), frame.reason.as_str()), (code, reason));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn config(requests: Option<&Bound>, data: Option<&Bound>) -> Config {
    Config {
        subprotocol: "rbkit".into(),
        encoding: Encoding::Cgi,
        tokens: vec![],
        request_endpoint: requests.map(Bound::endpoint),
        publish_endpoint: data.map(Bound::endpoint),
        topics: vec![Bytes::new()],
        joins_parts: false,
        manner: Manner {
            routing: Routing::Fanout,
            client_count_notices: true,
            response_prefix: b'0',
            publish_prefix: b'1',
        },
        max_message: 1 << 20,
        backend_check_timeout: PATIENCE,
        unavailable: End::new(CloseCode::NORMAL, "nobody is there"),
        request_timeout: PATIENCE,
        allowed_commands: vec![],
        on_last_client: None,
    }
}

fn without_notices(mut config: Config) -> Config {
    config.manner.client_count_notices = false;
    config
}

/// One client, and its backend.
fn one_client(world: &World, rep: &Bound) -> (Client, Peer) {
    (world.client(), rep.accept())
}

/// RB-MUL-1, RB-MUL-2, RB-BRG-4: everybody gets the data in order, the asker the answer, and those
/// who are there the number of clients.
#[test]
fn data_is_for_all_and_an_answer_for_one() {
    let (rep, publisher) = (Bound::rep(), Bound::publisher());
    let world = World::with(config(Some(&rep), Some(&publisher)));
    let mut first = world.client();
    let (mut subscriber, topic) = publisher.accept_subscriber();
    assert_eq!(topic, b"");
    let mut requester = rep.accept();
    first.send("handshake");
    assert_eq!(requester.asked(), "handshake");
    requester.reply(b"\x83 ok");
    first.expect("0%83+ok");
    let mut second = world.client_of("rbkit.raw");
    first.expect("0client_count:2");
    // A binary command is one as well.
    second.0.send(Message::binary("trigger_gc\0x")).unwrap();
    assert_eq!(requester.asked(), "trigger_gc\0x");
    requester.reply(b"ok");
    assert_eq!(second.0.read().unwrap(), Message::binary("0ok"));
    subscriber.send(&[b"~1"]);
    subscriber.send(&[b"a", b"", b"b"]);
    for text in ["1%7E1", "1a", "1", "1b"] {
        first.expect(text);
    }
    for bytes in ["1~1", "1a", "1", "1b"] {
        assert_eq!(second.0.read().unwrap(), Message::binary(bytes));
    }
    drop(second);
    world.until_there_are(1);
    // Of who leaves nobody is told.
    let mut third = world.client();
    first.expect("0client_count:2");
    third.send("");
    third.expect("0ok");
}

#[test]
fn parts_are_joined_where_that_is_wanted() {
    let publisher = Bound::publisher();
    let joining = Config { joins_parts: true, ..config(None, Some(&publisher)) };
    let world = World::with(Config { topics: vec!["news".into()], ..joining });
    let mut client = world.client();
    let (mut subscriber, topic) = publisher.accept_subscriber();
    assert_eq!(topic, b"news");
    subscriber.send(&[b"news", b" of ", b"today"]);
    client.expect("1news+of+today");
    client.send("anything");
    client.expect_end(1003, "commands are not taken here");
}

/// RB-BRG-1: one command at a time, and nobody comes twice before another comes once.
#[test]
fn commands_wait_in_one_line() {
    let rep = Bound::rep();
    let world = World::with(without_notices(config(Some(&rep), None)));
    let (mut first, mut requester) = one_client(&world, &rep);
    let mut second = world.client();
    let mut third = world.client();
    first.send("1a");
    assert_eq!(requester.asked(), "1a");
    first.send("1b");
    second.send("2a");
    wait_in_line(&mut second);
    third.send("3a");
    wait_in_line(&mut third);
    for (command, client) in [("1a", 0), ("2a", 1), ("3a", 2), ("1b", 0)] {
        if command != "1a" {
            assert_eq!(requester.asked(), command);
        }
        requester.reply(command.as_bytes());
        [&mut first, &mut second, &mut third][client].expect(&format!("0{command}"));
    }
}

/// When a ping is answered, what was sent before it has been handed over.
fn wait_in_line(client: &mut Client) {
    client.0.send(Message::Ping("x".into())).unwrap();
    assert_eq!(client.0.read().unwrap(), Message::Pong("x".into()));
}

/// RB-BRG-1: who leaves while it waits is not asked for; the answer to who leaves later is nobody's.
#[test]
fn commands_of_those_who_leave() {
    let rep = Bound::rep();
    let world = World::with(without_notices(config(Some(&rep), None)));
    let (mut asking, mut requester) = one_client(&world, &rep);
    let (mut waiting, mut staying) = (world.client(), world.client());
    asking.send("asked");
    assert_eq!(requester.asked(), "asked");
    waiting.send("given up");
    wait_in_line(&mut waiting);
    staying.send("wanted");
    wait_in_line(&mut staying);
    for leaving in [&mut asking, &mut waiting] {
        leaving.0.close(None).unwrap();
    }
    world.until_there_are(1);
    requester.reply(b"for nobody");
    assert_eq!(requester.asked(), "wanted");
    requester.reply(b"for the third");
    staying.expect("0for+the+third");
}

/// RB-BRG-1: also when all have left meanwhile there is one command outstanding.
#[test]
fn a_newcomer_waits_for_the_answer_of_who_has_left() {
    let rep = Bound::rep();
    let world = World::with(config(Some(&rep), None));
    let (mut gone, mut requester) = one_client(&world, &rep);
    gone.send("slow");
    assert_eq!(requester.asked(), "slow");
    gone.0.close(None).unwrap();
    world.until_there_are(0);
    let mut newcomer = world.client();
    newcomer.send("quick");
    wait_in_line(&mut newcomer);
    requester.reply(b"late");
    assert_eq!(requester.asked(), "quick");
    requester.reply(b"in time");
    newcomer.expect("0in+time");
}

/// RB-BRG-1: the time of a command begins when its turn has come, and then the next is asked on a
/// connection of its own.
#[test]
fn a_backend_that_does_not_answer() {
    let rep = Bound::rep();
    let request_timeout = Duration::from_millis(300);
    let world =
        World::with(Config { request_timeout, ..without_notices(config(Some(&rep), None)) });
    let (mut first, mut requester) = one_client(&world, &rep);
    let mut second = world.client();
    first.send("never");
    assert_eq!(requester.asked(), "never");
    second.send("at last");
    first.expect_end(1011, "the backend did not answer in time");
    let mut requester = rep.accept();
    assert_eq!(requester.asked(), "at last");
    requester.reply(b"ok");
    second.expect("0ok");
}

/// RB-BRG-6: the asker ends, the others stay and are served again when the backend is back.
#[test]
fn a_backend_that_goes_away_and_comes_back() {
    let (rep, publisher) = (Bound::rep(), Bound::publisher());
    let world = World::with(without_notices(config(Some(&rep), Some(&publisher))));
    let (mut asking, mut requester) = one_client(&world, &rep);
    let (subscriber, _) = publisher.accept_subscriber();
    let mut staying = world.client();
    asking.send("fatal");
    assert_eq!(requester.asked(), "fatal");
    drop((requester, subscriber));
    asking.expect_end(1011, "the connection to the backend was lost");
    let (mut subscriber, _) = publisher.accept_subscriber();
    let mut requester = rep.accept();
    subscriber.send(&[b"back"]);
    staying.expect("1back");
    staying.send("again");
    assert_eq!(requester.asked(), "again");
    requester.reply(b"ok");
    staying.expect("0ok");
}

/// RB-OFF-1
#[test]
fn a_backend_that_is_not_there() {
    let (rep, publisher) = (Bound::rep(), Bound::publisher());
    let both = config(Some(&rep), Some(&publisher));
    // Port 1 is for nobody.
    let away = Some(Endpoint::Tcp { host: "127.0.0.1".into(), port: 1 });
    for config in [
        Config { request_endpoint: away.clone(), ..both.clone() },
        Config { publish_endpoint: away, ..both },
    ] {
        World::with(config).client().expect_end(1000, "nobody is there");
    }
}

/// RB-MUL-2: `routing: newest`, as the original had it, but for when the newest leaves.
#[test]
fn everything_is_for_the_newest() {
    let (rep, publisher) = (Bound::rep(), Bound::publisher());
    let mut config = without_notices(config(Some(&rep), Some(&publisher)));
    config.manner.routing = Routing::Newest;
    let world = World::with(config);
    let (mut older, mut requester) = one_client(&world, &rep);
    let (mut subscriber, _) = publisher.accept_subscriber();
    let mut newer = world.client_of("rbkit.raw");
    // It has joined when it is answered.
    newer.send("");
    assert_eq!(newer.0.read().unwrap(), Message::binary("0ok"));
    older.send("x");
    assert_eq!(requester.asked(), "x");
    requester.reply(b"a b");
    assert_eq!(newer.0.read().unwrap(), Message::binary("0a b"));
    subscriber.send(&[b"c d"]);
    assert_eq!(newer.0.read().unwrap(), Message::binary("1c d"));
    newer.0.close(None).unwrap();
    world.until_there_are(1);
    older.send("y");
    assert_eq!(requester.asked(), "y");
    requester.reply(b"e");
    older.expect("0e");
    subscriber.send(&[b"f"]);
    older.expect("1f");
}

/// RB-MUL-2: an answer that the newest did not take is for who is the newest then.
#[test]
fn the_newest_leaves_with_answers_in_its_line() {
    let rep = Bound::rep();
    let mut config = without_notices(config(Some(&rep), None));
    config.manner.routing = Routing::Newest;
    config.max_message = MORE_THAN_SOCKETS_HOLD;
    let options = Options { outbox_messages: 1, outbox_bytes: usize::MAX, ..Options::default() };
    let world = World::with_options(config, options);
    let (mut asking, mut requester) = one_client(&world, &rep);
    let mut next = world.client();
    wait_in_line(&mut next);
    let mut newest = world.client();
    wait_in_line(&mut newest);
    // One is being written, one waits for that, and one for room.
    for answer in [&vec![b'x'; MORE_THAN_SOCKETS_HOLD], &b"second".to_vec(), &b"third".to_vec()] {
        asking.send("x");
        assert_eq!(requester.asked(), "x");
        requester.reply(answer);
    }
    next.send("y");
    assert_eq!(requester.asked(), "y");
    wait_in_line(&mut asking);
    drop(newest);
    world.until_there_are(2);
    next.expect("0third");
    requester.reply(b"fourth");
    next.expect("0fourth");
    // The asker is the last of them.
    asking.send("z");
    assert_eq!(requester.asked(), "z");
    next.0.close(None).unwrap();
    world.until_there_are(1);
    requester.reply(b"fifth");
    asking.expect("0fifth");
}

/// RB-MUL-2: what comes in many parts at once is not too much for a client that reads.
#[test]
fn messages_of_many_parts() {
    const MESSAGES: usize = 20;
    const PARTS: usize = 1024;
    let publisher = Bound::publisher();
    let slow_consumer = SlowConsumer::DropOldest;
    let options = Options { outbox_messages: 1000, slow_consumer, ..Options::default() };
    let world = World::with_options(config(None, Some(&publisher)), options);
    let mut client = world.client();
    let (mut subscriber, _) = publisher.accept_subscriber();
    let reader = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            for _ in 0..PARTS {
                client.expect(&format!("1{number}"));
            }
        }
    });
    for number in 0..MESSAGES {
        subscriber.send(&vec![number.to_string().as_bytes(); PARTS]);
    }
    reader.join().unwrap();
}

/// An answer beyond a limit: which one, and what to do.
#[test]
fn an_answer_that_is_too_large() {
    let rep = Bound::rep();
    let world = World::with(config(Some(&rep), None));
    for (parts, limit) in [
        (
            vec![&vec![b'x'; (1 << 20) + 1][..]],
            "1048576 bytes; raise max_message_size, or send less at once",
        ),
        (vec![&b""[..]; 1025], "1024 parts; send fewer and larger ones"),
    ] {
        let (mut client, mut requester) = one_client(&world, &rep);
        client.send("x");
        assert_eq!(requester.asked(), "x");
        requester.send(&[&[&b""[..]], &parts[..]].concat());
        client.expect_end(1009, &format!("the answer of the backend has more than {limit}"));
    }
}

/// RB-BRG-5, RB-BRG-7: nobody left, nothing open, and the backend is told.
#[test]
fn the_last_client_leaves() {
    let (rep, publisher) = (Bound::rep(), Bound::publisher());
    let world = World::with(Config {
        on_last_client: Some("stop".into()),
        ..config(Some(&rep), Some(&publisher))
    });
    for _ in 0..2 {
        let (mut first, mut requester) = one_client(&world, &rep);
        let (mut subscriber, _) = publisher.accept_subscriber();
        let second = world.client();
        first.expect("0client_count:2");
        drop((first, second));
        assert_eq!(requester.asked(), "stop");
        requester.reply(b"dropped");
        assert_eq!(requester.receive(), None);
        assert_eq!(subscriber.receive(), None);
    }
}

/// RB-BRG-7: the last command does not wait for the answer to one of nobody, nor does a stop wait
/// long for its own.
#[test]
fn the_last_client_leaves_with_a_command_outstanding() {
    let rep = Bound::rep();
    let world = World::with(Config {
        on_last_client: Some("stop".into()),
        backend_check_timeout: Duration::from_millis(300),
        request_timeout: Duration::from_secs(3600),
        ..config(Some(&rep), None)
    });
    let (mut client, mut mute) = one_client(&world, &rep);
    client.send("slow");
    assert_eq!(mute.asked(), "slow");
    drop(client);
    assert_eq!(mute.receive(), None);
    let mut requester = rep.accept();
    assert_eq!(requester.asked(), "stop");
    // There is one outstanding still, for whoever comes now.
    let mut newcomer = world.client();
    newcomer.send("next");
    wait_in_line(&mut newcomer);
    requester.reply(b"late");
    assert_eq!(requester.asked(), "next");
    requester.reply(b"ok");
    newcomer.expect("0ok");
}

/// RB-BRG-2
#[test]
fn steps() {
    let hub = Hub::new();
    let rep = Bound::rep();
    let bridge = Bridge::new(&hub, config(Some(&rep), None));
    for command in [&b""[..], b"\0", b"\0ping"] {
        assert_eq!(bridge.step(command), Step::Answer);
    }
    assert_eq!(bridge.step(b"ping\0x"), Step::Forward);
    let allowed_commands = vec!["ping".into()];
    let strict = Bridge::new(&hub, Config { allowed_commands, ..config(Some(&rep), None) });
    assert_eq!(strict.step(b""), Step::Answer);
    for command in [&b"ping"[..], b"ping\0pong"] {
        assert_eq!(strict.step(command), Step::Forward);
    }
    for command in [&b"pin"[..], b"ping ", b"PING", b"\xff"] {
        let Step::End(end) = strict.step(command) else { panic!("{command:?}") };
        assert_eq!(end.code, CloseCode::POLICY);
    }
    let deaf = Bridge::new(&hub, config(None, Some(&Bound::publisher())));
    let Step::End(end) = deaf.step(b"ping") else { panic!() };
    assert_eq!(end.code, CloseCode::UNSUPPORTED);
}
