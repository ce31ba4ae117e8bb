//! The program `rocket` under test: a process of the real binary, with a JSON configuration and a
//! directory of its own.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::clock::{eventually_some, patiently};
use super::directory::Directory;
use super::server::Server;
use super::system::{self, Signal};
use super::wire::Wire;

/// What is told of each address; `localhost` may have several.
const LISTENS: &str = "About to listen on ";

/// The files that a server over TLS has in its working directory.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const KEY: &str = "key.pem";

/// How much of its standard error is shown when a test has failed.
const LAST_LINES: usize = 50;

/// A `rocket` before its start. Of the test's own environment it sees nothing.
pub(crate) struct RocketPlan {
    directory: Directory,
    arguments: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
    is_tls: bool,
}

/// A running `rocket`.
pub(crate) struct Rocket {
    process: Child,
    stderr: Arc<Mutex<String>>,
    port: u16,
    is_tls: bool,
    /// Its working directory, with its configuration and its log files.
    pub(crate) directory: Directory,
}

/// How a process ended that has come to its end by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit status; `None`: it was killed by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Its working directory, with what it has left there.
    pub(crate) directory: Directory,
}

impl Rocket {
    /// Hubs, as the configuration has them, on a port of the system's choice.
    pub(crate) fn with(hubs: &Value) -> RocketPlan {
        Self::configured(json!({"Port": 0, "Hubs": hubs}).to_string())
    }

    /// This text as the configuration file.
    pub(crate) fn configured(text: impl AsRef<[u8]>) -> RocketPlan {
        let plan = Self::command_line([]);
        plan.directory.write("rocket.json", text);
        RocketPlan { arguments: vec!["rocket.json".to_owned()], ..plan }
    }

    /// These words as the command line, in an empty directory.
    pub(crate) fn command_line<const N: usize>(words: [&str; N]) -> RocketPlan {
        RocketPlan {
            directory: Directory::new(),
            arguments: words.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            is_tls: false,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// What it has written to that log file so far.
    #[track_caller]
    pub(crate) fn log_file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap()
    }

    /// Waits until a line that ends so stands in a log, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, log: impl Fn(&Self) -> String, end: &str) -> String {
        eventually_some(&format!("a line that ends in `{end}`"), || {
            log(self).lines().find(|line| line.ends_with(end)).map(str::to_owned)
        })
    }

    /// How many descriptors the process has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
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

impl Server for Rocket {
    fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn wire(&self) -> Wire {
        match self.is_tls {
            true => Wire::tls(self.address(), &self.directory.join(CERTIFICATE)),
            false => Wire::tcp(self.address()),
        }
    }
}

impl Drop for Rocket {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let stderr = self.stderr();
            let start = stderr.rmatch_indices('\n').nth(LAST_LINES).map_or(0, |(at, _)| at + 1);
            eprintln!("--- the end of rocket's standard error\n{}---", &stderr[start..]);
        }
    }
}

impl RocketPlan {
    /// One more word on the command line, before those that there are.
    pub(crate) fn flag(mut self, word: &str) -> Self {
        self.arguments.insert(0, word.to_owned());
        self
    }

    pub(crate) fn environment(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Has a certificate that nobody else knows, as 127.0.0.1 and `localhost`, and its key. Whether
    /// the server is told of them is the test's business; its clients speak TLS.
    pub(crate) fn over_tls(self) -> Self {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let identity = rcgen::generate_simple_self_signed(names).unwrap();
        self.directory.write(CERTIFICATE, identity.cert.pem());
        self.directory.write(KEY, identity.signing_key.serialize_pem());
        Self { is_tls: true, ..self }
    }

    /// Its working directory, which is there before the start.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Starts it and waits until it tells where it listens: on standard error, or in a file
    /// `*.log` of its directory.
    #[track_caller]
    pub(crate) fn start(self) -> Rocket {
        let mut process = self.spawn();
        let (stderr, reader) = collect(process.stderr.take().unwrap());
        let found = patiently(|| {
            let port = self.listens_on(&stderr.lock().unwrap());
            let has_ended = port.is_none() && reader.is_finished();
            assert!(!has_ended, "rocket did not start:\n{}", stderr.lock().unwrap());
            port
        });
        let Some(port) = found else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("rocket does not listen:\n{}", stderr.lock().unwrap());
        };
        let Self { directory, is_tls, .. } = self;
        Rocket { process, stderr, port, is_tls, directory }
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        let mut process = self.spawn();
        let (stdout, printed) = collect(process.stdout.take().unwrap());
        let (stderr, complained) = collect(process.stderr.take().unwrap());
        let Some(status) = patiently(|| process.try_wait().unwrap()) else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("rocket still runs:\n{}", stderr.lock().unwrap());
        };
        printed.join().unwrap();
        complained.join().unwrap();
        let text = |stream: Arc<Mutex<String>>| stream.lock().unwrap().clone();
        let (stdout, stderr) = (text(stdout), text(stderr));
        Finished { code: status.code(), stdout, stderr, directory: self.directory }
    }

    /// Runs it and checks that it ends with `code` before it listens anywhere; returns what it
    /// wrote to standard error.
    #[track_caller]
    pub(crate) fn fails_to_start(self, code: i32) -> String {
        let finished = self.run();
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert!(!finished.stderr.contains(LISTENS), "{finished:?}");
        assert_eq!(finished.stdout, "", "{finished:?}");
        finished.stderr
    }

    /// The port of the IPv4 address, or of all addresses, that it tells of.
    fn listens_on(&self, stderr: &str) -> Option<u16> {
        let files = fs::read_dir(self.directory.path()).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        let logs: String = logs.map(|log| fs::read_to_string(log).unwrap()).collect();
        let lines = stderr.split_inclusive('\n').chain(logs.split_inclusive('\n'));
        let mut addresses = lines.filter_map(|line| line.strip_suffix('\n')?.split_once(LISTENS));
        addresses.find_map(|(_, address)| {
            let (ip, port) = address.rsplit_once(':').unwrap();
            ["127.0.0.1", "[::]", "0.0.0.0"].contains(&ip).then(|| port.parse().unwrap())
        })
    }

    #[track_caller]
    fn spawn(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rocket"));
        command
            .args(&self.arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}", env!("CARGO_BIN_EXE_rocket")))
    }
}

/// Reads on, line by line, in a thread of its own, which ends with the stream.
fn collect(stream: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let collected = Arc::new(Mutex::new(String::new()));
    let shared = collected.clone();
    let reader = thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = stream.read_until(b'\n', &mut line) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    (collected, reader)
}
