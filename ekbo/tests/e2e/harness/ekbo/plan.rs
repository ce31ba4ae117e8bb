//! An `ekbo` before its start: configuration, environment, command line, working directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::super::clock::{eventually, patiently};
use super::super::directory::Directory;
use super::log::Log;
use super::{CERTIFICATE, Ekbo, Listener};

/// Everything a process of `ekbo` is given. Of the test's own environment it sees nothing.
pub(crate) struct EkboPlan {
    directory: Directory,
    file: File,
    environment: BTreeMap<String, OsString>,
    /// What comes before `-config`: `check`, `config`, …
    command: Option<String>,
    arguments: Vec<String>,
}

/// What is in `config.yml`.
enum File {
    Keys(Keys),
    Text(Vec<u8>),
    /// There is none, and no `-config` either.
    Missing,
}

#[derive(Default)]
struct Keys(BTreeMap<String, Entry>);

enum Entry {
    /// A value as it is written in YAML.
    Value(String),
    Section(Keys),
}

/// How a process ended that has come to its end by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit status; `None`: it was killed by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl EkboPlan {
    pub(super) fn new() -> Self {
        Self {
            directory: Directory::new(),
            file: File::Keys(Keys::default()),
            environment: BTreeMap::new(),
            command: None,
            arguments: Vec::new(),
        }
    }

    /// Sets a key of the configuration, sections divided by dots, to a value as it is written
    /// in YAML.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        match &mut self.file {
            File::Keys(keys) => keys.set(key, value),
            File::Text(_) | File::Missing => panic!("{key}: the file is not made of keys"),
        }
        self
    }

    pub(super) fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        self.file = File::Text(text.as_ref().to_owned());
        self
    }

    /// Writes no file and gives no `-config`.
    pub(crate) fn no_file(mut self) -> Self {
        self.file = File::Missing;
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// The first word on the command line.
    pub(crate) fn command(mut self, word: &str) -> Self {
        self.command = Some(word.to_owned());
        self
    }

    /// One more word on the command line.
    pub(crate) fn argument(mut self, word: &str) -> Self {
        self.arguments.push(word.to_owned());
        self
    }

    /// Listens on the unix socket `ekbo.sock` in the working directory.
    pub(crate) fn on_unix_socket(self) -> Self {
        let path = self.directory.join("ekbo.sock");
        self.set("sock", path.to_str().unwrap())
    }

    /// Speaks TLS, under a certificate that nobody else knows, as 127.0.0.1 and `localhost`.
    pub(crate) fn over_tls(self) -> Self {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let identity = rcgen::generate_simple_self_signed(names).unwrap();
        self.directory.write(CERTIFICATE, identity.cert.pem());
        self.directory.write("key.pem", identity.signing_key.serialize_pem());
        self.set("tls.cert", CERTIFICATE).set("tls.key", "key.pem")
    }

    /// Its working directory, which is there before the start.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Ekbo {
        let directory = self.directory.path().to_owned();
        self.start_as("`listen start`", |log, _| {
            let lines = log.lines();
            let start = lines
                .iter()
                .find(|line| line.message == "listen start" && line.fields["for"] != "api")?;
            Some(Listener::of(start, &directory))
        })
    }

    /// Starts it on a unix socket, with a log that may not tell where it listens.
    #[track_caller]
    pub(crate) fn start_unheard(self) -> Ekbo {
        let plan = self.on_unix_socket();
        let socket = plan.directory.join("ekbo.sock");
        plan.start_as("its socket", |_, _| {
            let listens = UnixStream::connect(&socket).is_ok();
            listens.then(|| Listener::Socket(socket.clone()))
        })
    }

    /// Starts the demo, which prints where its page is instead of logging where it listens.
    #[track_caller]
    pub(crate) fn start_demo(self) -> Ekbo {
        self.start_as("the address of the page", |_, stdout| {
            let (_, after) = stdout.split_once("http://127.0.0.1:")?;
            let (port, _) = after.split_once('/')?;
            Some(Listener::Port(port.parse().unwrap()))
        })
    }

    /// Starts it and waits until `listener` finds in log or standard output where it listens.
    #[track_caller]
    fn start_as(self, what: &str, listener: impl Fn(&Log, &str) -> Option<Listener>) -> Ekbo {
        let mut process = self.spawn();
        let log = Log::follow(process.stderr.take().unwrap());
        let (stdout, _) = collect(process.stdout.take().unwrap());
        let found = patiently(|| {
            assert!(!log.has_ended(), "ekbo did not start:\n{}", log.text());
            listener(&log, &stdout.lock().unwrap())
        });
        let Some(public) = found else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("waited in vain for {what}, the log is:\n{}", log.text());
        };
        Ekbo { process, log, stdout, public, directory: self.directory }
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        let mut process = self.spawn();
        let log = Log::follow(process.stderr.take().unwrap());
        let (stdout, whole) = collect(process.stdout.take().unwrap());
        let Some(status) = patiently(|| process.try_wait().unwrap()) else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("ekbo still runs, its log is:\n{}", log.text());
        };
        eventually("the last line of the log", || log.has_ended());
        whole.join().unwrap();
        let stdout = stdout.lock().unwrap().clone();
        Finished { code: status.code(), stdout, stderr: log.text() }
    }

    /// Runs it and checks that it ends with `code` before it listens anywhere; returns what it
    /// wrote to standard error.
    #[track_caller]
    pub(crate) fn fails_to_start(self, code: i32) -> String {
        let finished = self.run();
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert!(!finished.stderr.contains("listen start"), "{finished:?}");
        assert_eq!(finished.stdout, "", "{finished:?}");
        finished.stderr
    }

    #[track_caller]
    fn spawn(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ekbo"));
        command.args(&self.command);
        match &self.file {
            File::Keys(keys) => {
                self.directory.write("config.yml", keys.to_yaml(0));
                command.arg("-config=config.yml");
            }
            File::Text(text) => {
                self.directory.write("config.yml", text);
                command.arg("-config=config.yml");
            }
            File::Missing => {}
        }
        command
            .args(&self.arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}", env!("CARGO_BIN_EXE_ekbo")))
    }
}

impl Keys {
    fn set(&mut self, key: &str, value: &str) {
        let Some((section, rest)) = key.split_once('.') else {
            self.0.insert(key.to_owned(), Entry::Value(value.to_owned()));
            return;
        };
        let section = self.0.entry(section.to_owned());
        match section.or_insert_with(|| Entry::Section(Self::default())) {
            Entry::Section(keys) => keys.set(rest, value),
            Entry::Value(_) => panic!("{key}: is a value already"),
        }
    }

    fn to_yaml(&self, depth: usize) -> String {
        let indent = "  ".repeat(depth);
        let entries = self.0.iter().map(|(key, entry)| match entry {
            Entry::Value(value) => format!("{indent}{key}: {value}\n"),
            Entry::Section(keys) => format!("{indent}{key}:\n{}", keys.to_yaml(depth + 1)),
        });
        entries.collect()
    }
}

/// Reads on in a thread of its own, which ends with the stream.
fn collect(mut stream: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let collected = Arc::new(Mutex::new(String::new()));
    let shared = collected.clone();
    let reader = thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    });
    (collected, reader)
}
