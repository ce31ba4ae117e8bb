//! What is measured: a server that can be started, and what is said to it over sockets. One file
//! in `server/` for each, which only knows processes and bytes; sockets belong to `load.rs`, what
//! is done with them to `scenario/`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::load::http::{self, Request};

mod bare;
mod bridge;
mod direct;
mod ekbo;
mod mosquitto;
mod nats;
mod nchan;
mod nginx;
mod pushpin;
mod rocket;
mod upstream;

/// A kind of server. Its methods only make bytes and commands: they neither block nor start
/// anything, `version` excepted.
pub(crate) trait Server {
    /// The head of its column; the word for it in `--server`.
    fn name(&self) -> &'static str;

    /// In which table it stands: what else is done is not asked of it.
    fn field(&self) -> Field {
        Field::WebSockets
    }

    /// Whether it is measured without being named. Not a second way to the same server.
    fn by_default(&self) -> bool {
        true
    }

    /// What to install when [`version`](Self::version) fails.
    fn remedy(&self) -> &'static str;

    /// Its version in a few words; an error when it is not installed.
    fn version(&self) -> Result<String>;

    /// Why it cannot be measured at this work of its field, for a footnote; `None` if it can.
    fn cannot(&self, _work: Work) -> Option<&'static str> {
        None
    }

    /// Writes its configuration into the site's directory and returns the command that runs it in
    /// the foreground with one worker for each of `site.workers`. The bench pins it, gives it all
    /// descriptors and a log file for its output, and waits until the addresses of
    /// [`client`](Self::client) and [`poster`](Self::poster) accept connections.
    fn prepare(&self, site: &Site) -> Result<Command>;

    /// A client that gets what is posted to `key`, and for [`Work::Fanout`] what is posted to all.
    /// Its key consists of letters and digits. A client of a proxy asks over HTTP, one of a bridge
    /// gets what is published; their keys mean nothing.
    fn client(&self, site: &Site, key: &str) -> Dial;

    /// What a client writes to send a message to the backend; nothing where no client does.
    fn client_message(&self, _payload: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    /// A connection on which [`post_to_all`](Self::post_to_all) and
    /// [`post_to_one`](Self::post_to_one) are written, one at a time.
    fn poster(&self, site: &Site) -> Dial {
        self.client(site, "poster")
    }

    /// What a poster writes to deliver a message once to each of `keys`, which are all clients;
    /// nothing where nobody posts.
    fn post_to_all(&self, _site: &Site, _keys: &[String], _payload: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    /// What a poster writes to deliver a message to one client; nothing where nobody posts.
    fn post_to_one(&self, _site: &Site, _key: &str, _payload: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    /// Plays the application behind the server: appends the whole HTTP response to `response`,
    /// and returns the payload if the request brings the message of a client.
    fn backend<'a>(&self, _request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
        http::respond(response, "", b"");
        None
    }
}

/// Servers of which the same can be asked, and which stand in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Messages to and from clients.
    WebSockets,
    /// HTTP requests on their way to an application.
    Proxies,
    /// WebSockets on one side, ZeroMQ on the other.
    Bridges,
}

/// What a server is asked to do while it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Hold clients that do nothing.
    Idle,
    /// Ask the backend whether a client may connect.
    Connect,
    /// Deliver each post to all clients.
    Fanout,
    /// Deliver each post to one client.
    Unicast,
    /// Tell the backend each message of a client.
    Receive,
    /// Hand each request on to the application, and the answer back.
    Relay,
    /// Hand what ZeroMQ brings on to all clients, in this encoding, and their commands to ZeroMQ.
    Bridge(Encoding),
}

impl Work {
    pub(crate) fn field(self) -> Field {
        match self {
            Self::Idle | Self::Connect | Self::Fanout | Self::Unicast | Self::Receive => {
                Field::WebSockets
            }
            Self::Relay => Field::Proxies,
            Self::Bridge(_) => Field::Bridges,
        }
    }
}

/// How a bridge writes what it hands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Escaped, in text.
    Cgi,
    /// As it is, in binary messages.
    Raw,
}

/// Where and for what a server is started.
pub(crate) struct Site {
    pub(crate) work: Work,
    /// Empty at first, removed with all that is in it at the end.
    pub(crate) directory: PathBuf,
    /// Free ports of 127.0.0.1, to be used as the server likes.
    pub(crate) ports: [u16; 6],
    /// The application: over HTTP/1.1 or, for [`Work::Bridge`], ZMTP 3.0.
    pub(crate) backend: SocketAddr,
    /// How many clients there will be at most.
    pub(crate) connections: usize,
    pub(crate) workers: usize,
}

impl Site {
    /// What a client listens to where posts go to channels: one for all, or one of its own.
    pub(crate) fn channel<'a>(&self, key: &'a str) -> &'a str {
        if self.work == Work::Fanout { ALL } else { key }
    }
}

/// The channel of everybody.
const ALL: &str = "all";

/// A connection to be opened.
pub(crate) struct Dial {
    pub(crate) address: SocketAddr,
    /// Written as soon as the connection stands.
    pub(crate) greeting: Vec<u8>,
    pub(crate) wire: Box<dyn Wire>,
}

/// What is understood of the bytes that a connection brings: as little as possible.
pub(crate) trait Wire {
    /// Takes all of `bytes`, however the stream has been cut, and appends to `reply` what has to
    /// be written back at once. An error ends the measurement: a refusal, a close, nonsense.
    fn hear(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<Heard>;
}

/// What some bytes meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The greeting has been answered: a client can be posted to, a poster can post. Said once, or
    /// never if the greeting is empty: then the connection is ready as soon as it stands.
    pub(crate) ready: bool,
    /// Messages delivered to a client.
    pub(crate) messages: usize,
    /// Posts answered.
    pub(crate) answers: usize,
}

/// Every kind of server, in the order of the columns; `program` gives another path or name of an
/// executable for one of them, that of `ekbo` for its other ways, too.
pub(crate) fn all(program: impl Fn(&str) -> Option<PathBuf>) -> Result<Vec<Box<dyn Server>>> {
    let at = |name: &str, default: PathBuf| program(name).unwrap_or(default);
    let bench = std::env::current_exe()?;
    let ekbo = at("ekbo", release_build(&bench)?);
    let nats = |name, websocket| {
        Box::new(nats::Nats { program: at(name, "/usr/sbin/nats-server".into()), websocket })
    };
    let mosquitto = |name, websocket| {
        let program = at(name, "/usr/sbin/mosquitto".into());
        Box::new(mosquitto::Mosquitto { program, websocket })
    };
    Ok(vec![
        Box::new(ekbo::Ekbo::new(ekbo.clone())),
        Box::new(ekbo::Ekbo::publishing(at("ekbo-publish", ekbo.clone()))),
        Box::new(rocket::Rocket::new(at("ekbo-rocket", ekbo.clone()))),
        Box::new(bare::Bare::new(at("bare", bench.clone()))),
        nats("nats", false),
        nats("nats-ws", true),
        Box::new(nchan::Nchan::new(at("nchan", "/usr/sbin/nginx".into()))),
        mosquitto("mosquitto", false),
        mosquitto("mosquitto-ws", true),
        Box::new(pushpin::Pushpin::new(at("pushpin", "/usr/bin/pushpin".into()))),
        Box::new(upstream::EkboUpstream { program: at("ekbo-upstream", ekbo.clone()) }),
        Box::new(nginx::Nginx { program: at("nginx", "/usr/sbin/nginx".into()) }),
        Box::new(direct::Direct { program: at("direct", bench.clone()) }),
        Box::new(bridge::EkboBridge { program: at("ekbo-bridge", ekbo) }),
    ])
}

/// `target/release/ekbo`, from where this program was built.
fn release_build(bench: &Path) -> Result<PathBuf> {
    let target = bench.ancestors().nth(2).ok_or("this program is not in a target directory")?;
    Ok(target.join("release").join("ekbo"))
}

/// The first line of what a command writes, for [`Server::version`].
fn said_by(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_owned();
    let output = command.output().map_err(|error| format!("{}: {error}", name.display()))?;
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let line = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
    if output.status.success() {
        Ok(line)
    } else {
        Err(format!("{}: {line}", name.display()).into())
    }
}
