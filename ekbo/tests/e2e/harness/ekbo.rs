//! The server under test: a process of the real binary with a configuration of its own. How
//! it is put together before the start is in `ekbo/plan.rs`, how it is asked something over
//! HTTP in `ekbo/request.rs`.

mod effective;
mod log;
mod plan;
mod request;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;

use self::log::Log;
pub(crate) use self::log::LogLine;
pub(crate) use self::plan::EkboPlan;
pub(crate) use self::request::RequestPlan;
use super::backend::Backend;
use super::clock::{eventually, eventually_some};
use super::directory::Directory;
use super::http::{Http, Response};
use super::server::Server;
use super::system::{self, Signal};
use super::wire::Wire;

/// The file with the certificate of an `ekbo` over TLS, in its working directory.
const CERTIFICATE: &str = "certificate.pem";

/// A running `ekbo`.
pub(crate) struct Ekbo {
    process: Child,
    log: Arc<Log>,
    stdout: Arc<Mutex<String>>,
    public: Listener,
    /// Its working directory, with its configuration.
    pub(crate) directory: Directory,
}

/// Where a process listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Port(u16),
    Socket(PathBuf),
    /// A port for TLS, and the certificate to trust.
    TlsPort(u16, PathBuf),
}

/// The counters of `/stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) connections: u64,
    pub(crate) total_connections: u64,
    pub(crate) total_messages: u64,
    pub(crate) connect_errors: u64,
    pub(crate) message_errors: u64,
    pub(crate) closing_connections: u64,
}

impl Ekbo {
    /// Port 0, and of the four callbacks those that `backend` answers.
    pub(crate) fn with(backend: &Backend) -> EkboPlan {
        let mut plan = EkboPlan::new().set("port", "0");
        for kind in ["connect", "establish", "receive", "close"] {
            let path = format!("/{kind}");
            if backend.answers(&path) {
                plan = plan.set(&format!("callback.{kind}"), &backend.url(&path));
            }
        }
        plan
    }

    /// Port 0, and no callbacks.
    pub(crate) fn alone() -> EkboPlan {
        EkboPlan::new().set("port", "0")
    }

    /// Port 0, no callbacks, and this `upstream` behind it.
    pub(crate) fn in_front_of(upstream: &str) -> EkboPlan {
        Self::alone().set("upstream", upstream)
    }

    /// This text as the configuration file, and nothing else.
    pub(crate) fn configured(text: impl AsRef<[u8]>) -> EkboPlan {
        EkboPlan::new().text(text)
    }

    /// These words as the command line, in an empty directory.
    pub(crate) fn command_line<const N: usize>(words: [&str; N]) -> EkboPlan {
        let plan = EkboPlan::new().no_file();
        words.into_iter().fold(plan, EkboPlan::argument)
    }

    /// The port of the public listener.
    #[track_caller]
    pub(crate) fn port(&self) -> u16 {
        match &self.public {
            Listener::Port(port) | Listener::TlsPort(port, _) => *port,
            Listener::Socket(path) => panic!("it listens on {}", path.display()),
        }
    }

    /// The address of the public listener.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The public listener.
    pub(crate) fn listener(&self) -> &Listener {
        &self.public
    }

    /// The second listener, which `api_listen` asks for.
    #[track_caller]
    pub(crate) fn api_listener(&self) -> Listener {
        eventually_some("`listen start` for the API", || {
            self.log.lines().iter().find_map(|line| {
                let is_api = line.message == "listen start" && line.fields["for"] == "api";
                is_api.then(|| Listener::of(line, self.directory.path()))
            })
        })
    }

    /// What a client writes into `Host`.
    pub(crate) fn host(&self) -> String {
        match &self.public {
            Listener::Port(port) | Listener::TlsPort(port, _) => format!("127.0.0.1:{port}"),
            Listener::Socket(_) => "localhost".to_owned(),
        }
    }

    /// A new connection to the public listener.
    #[track_caller]
    pub(crate) fn wire(&self) -> Wire {
        self.public.wire()
    }

    /// A new connection to the public listener, to write HTTP by hand.
    #[track_caller]
    pub(crate) fn http(&self) -> Http {
        Http::over(self.wire())
    }

    /// A request to the public listener.
    pub(crate) fn request(&self, method: &str, target: &str) -> RequestPlan {
        RequestPlan::new(self.public.clone(), &self.host(), method, target)
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        self.request("GET", target).send()
    }

    /// `/send` of a text to the sessions with these keys, one header field each.
    #[track_caller]
    pub(crate) fn send<const N: usize>(&self, keys: [&str; N], body: impl AsRef<[u8]>) -> Response {
        self.request("POST", "/send").sessions(keys).body(body).send()
    }

    /// `/close` with a text as the last word.
    #[track_caller]
    pub(crate) fn close<const N: usize>(
        &self,
        keys: [&str; N],
        body: impl AsRef<[u8]>,
    ) -> Response {
        self.request("POST", "/close").sessions(keys).body(body).send()
    }

    /// `/publish` of a text on the channels with these names, one header field each.
    #[track_caller]
    pub(crate) fn publish<const N: usize>(
        &self,
        channels: [&str; N],
        body: impl AsRef<[u8]>,
    ) -> Response {
        self.request("POST", "/publish").channels(channels).body(body).send()
    }

    /// `/broadcast` of a text.
    #[track_caller]
    pub(crate) fn broadcast(&self, body: impl AsRef<[u8]>) -> Response {
        self.request("POST", "/broadcast").body(body).send()
    }

    /// `/subscribe` of all these sessions to all these channels.
    #[track_caller]
    pub(crate) fn subscribe<const N: usize, const M: usize>(
        &self,
        keys: [&str; N],
        channels: [&str; M],
    ) -> Response {
        self.request("POST", "/subscribe").sessions(keys).channels(channels).send()
    }

    /// `/unsubscribe` of all these sessions from all these channels.
    #[track_caller]
    pub(crate) fn unsubscribe<const N: usize, const M: usize>(
        &self,
        keys: [&str; N],
        channels: [&str; M],
    ) -> Response {
        self.request("POST", "/unsubscribe").sessions(keys).channels(channels).send()
    }

    #[track_caller]
    pub(crate) fn stats(&self) -> Stats {
        Stats::of(&self.get("/stats"))
    }

    /// Waits until a counter has that value: `("connections", 0)`.
    #[track_caller]
    pub(crate) fn wait_for_stats(&self, what: &str, condition: impl Fn(&Stats) -> bool) -> Stats {
        eventually_some(what, || Some(self.stats()).filter(|stats| condition(stats)))
    }

    /// Waits until the key can be sent to or closed no more, or not yet.
    #[track_caller]
    pub(crate) fn wait_until_unknown(&self, key: &str) {
        eventually(&format!("{key} is unknown"), || {
            self.send([key], "are you there?").text().contains("session is not found")
        });
    }

    /// The log lines so far.
    pub(crate) fn log(&self) -> Vec<LogLine> {
        self.log.lines()
    }

    /// Whether a log line with that message has been written.
    pub(crate) fn log_contains(&self, message: &str) -> bool {
        self.log().iter().any(|line| line.message == message)
    }

    /// Waits for a log line whose message has `part` in it.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, part: &str) -> LogLine {
        eventually_some(&format!("`{part}` in the log"), || {
            self.log().into_iter().find(|line| line.message.contains(part))
        })
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// How many descriptors the process has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process_id())).unwrap().count()
    }

    /// Lets it open no file before it has closed another.
    pub(crate) fn exhaust_files(&self) {
        let open = format!("/proc/{}/fd", self.process_id());
        let is_open = |number: &u64| Path::new(&open).join(number.to_string()).is_symlink();
        let lowest = (0..).find(|number| !is_open(number)).unwrap();
        system::limit_open_files(self.process_id(), Some(lowest));
    }

    /// Lets it open as many files as it may.
    pub(crate) fn release_files(&self) {
        system::limit_open_files(self.process_id(), None);
    }

    /// The bytes that a line of `/proc/PID/status` tells: `RssAnon` is the memory in use now,
    /// `VmHWM` the most there has been.
    #[track_caller]
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process_id());
        let status = std::fs::read_to_string(path).unwrap();
        let mut values = status.lines().filter_map(|told| told.strip_prefix(line));
        let value = values.next().unwrap_or_else(|| panic!("no {line} in {status}"));
        let kibibytes = value.trim_start_matches(':').trim().strip_suffix(" kB").unwrap();
        kibibytes.parse::<u64>().unwrap() << 10
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        system::send_signal(self.process.id(), signal);
    }

    /// Waits for the process to end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let process = &mut self.process;
        eventually_some("the end of the process", || process.try_wait().unwrap())
    }
}

impl Server for Ekbo {
    fn host(&self) -> String {
        Self::host(self)
    }

    fn wire(&self) -> Wire {
        Self::wire(self)
    }
}

impl Drop for Ekbo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("--- log of ekbo\n{}---", self.log.text());
        }
    }
}

impl Listener {
    /// What a `listen start` line tells; a relative path is seen from `directory`.
    fn of(line: &LogLine, directory: &Path) -> Self {
        let field = |name: &str| line.fields[name].as_str().map(str::to_owned);
        match (field("port"), field("sock")) {
            (Some(port), None) if line.fields["tls"] == true => {
                Self::TlsPort(port.parse().unwrap(), directory.join(CERTIFICATE))
            }
            (Some(port), None) => Self::Port(port.parse().unwrap()),
            (None, Some(path)) => Self::Socket(directory.join(path)),
            _ => panic!("neither port nor sock: {line:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn wire(&self) -> Wire {
        match self {
            Self::Port(port) => Wire::tcp((Ipv4Addr::LOCALHOST, *port).into()),
            Self::TlsPort(port, certificate) => {
                Wire::tls((Ipv4Addr::LOCALHOST, *port).into(), certificate)
            }
            Self::Socket(path) => Wire::unix(path),
        }
    }

    /// A request to this listener.
    pub(crate) fn request(&self, method: &str, target: &str) -> RequestPlan {
        RequestPlan::new(self.clone(), "localhost", method, target)
    }
}

impl Stats {
    /// Reads the JSON of `/stats`, which must have these six keys and no others.
    #[track_caller]
    fn of(response: &Response) -> Self {
        assert_eq!(response.status, 200, "{response:?}");
        let json: serde_json::Value = serde_json::from_str(response.text()).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 6, "{json}");
        let count = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{name}: {json}"));
        Self {
            connections: count("connections"),
            total_connections: count("total_connections"),
            total_messages: count("total_messages"),
            connect_errors: count("connect_errors"),
            message_errors: count("message_errors"),
            closing_connections: count("closing_connections"),
        }
    }
}
