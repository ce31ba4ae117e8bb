//! The profiler behind a bridge: a process of `rbkit.py`, which speaks ZeroMQ by libzmq. It reports
//! what it is asked and who subscribes, publishes when told, and dies and comes back at its endpoints.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::clock::{eventually, eventually_some};
use super::directory::Directory;
use super::system;

/// The Python that Debian's `python3-zmq` and `python3-msgpack` are installed for.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/harness/rbkit.py");

/// The files that [`recordings`] writes: one for each kind of message.
const RECORDINGS: [&str; 7] = [
    "gc_start",
    "gc_stats",
    "obj_created",
    "obj_destroyed",
    "object_dump",
    "split_dump",
    "cpu_sample",
];

/// Where a profiler is, or will be.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) request: String,
    pub(crate) publish: String,
}

/// A profiler before its start.
#[derive(Clone)]
pub(crate) struct RbkitPlan {
    endpoints: Option<Endpoints>,
    flags: Vec<String>,
}

/// A profiler.
pub(crate) struct Rbkit {
    plan: RbkitPlan,
    endpoints: Endpoints,
    process: Process,
}

/// One life of a profiler.
struct Process {
    child: Child,
    stdin: ChildStdin,
    reports: Arc<Mutex<Vec<Value>>>,
}

impl Endpoints {
    /// Ports that were free a moment ago.
    pub(crate) fn tcp() -> Self {
        let endpoint = || format!("tcp://127.0.0.1:{}", system::free_port());
        Self { request: endpoint(), publish: endpoint() }
    }

    /// Sockets in that directory.
    pub(crate) fn ipc(directory: &Directory) -> Self {
        let endpoint = |name| format!("ipc://{}", directory.join(name).display());
        Self { request: endpoint("request"), publish: endpoint("publish") }
    }

    /// A bridge to here, as an entry of `bridges`, with `more` of its keys. Pings would come between
    /// on a slow machine: unless they are asked for, there are none for long.
    #[track_caller]
    pub(crate) fn bridge(&self, more: &Value) -> Value {
        let Self { request, publish } = self;
        let mut bridge = json!({
            "request_endpoint": request,
            "publish_endpoint": publish,
            "ping_interval": "10m",
            "pong_timeout": "20m",
        });
        for (key, value) in more.as_object().expect("keys of a bridge") {
            bridge[key] = value.clone();
        }
        bridge
    }
}

impl Rbkit {
    pub(crate) fn plan() -> RbkitPlan {
        RbkitPlan { endpoints: None, flags: Vec::new() }
    }

    /// One on ports of the system's choice.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::plan().start()
    }

    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Has it do something: a line for `rbkit.py`. Comes back when that is done.
    #[track_caller]
    pub(crate) fn tell(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        let done = || {
            let reports = self.process.reports.lock().unwrap();
            reports.iter().filter(|report| report["done"] == line).count()
        };
        let before = done();
        writeln!(&self.process.stdin, "{line}").unwrap();
        eventually(&format!("rbkit to have done `{line}`"), || done() > before);
    }

    /// Publishes a message of these parts.
    #[track_caller]
    pub(crate) fn publish<const N: usize>(&self, parts: [&[u8]; N]) {
        let hex = parts.map(|part| part.iter().map(|byte| format!("{byte:02x}")).collect());
        self.tell(format!("message {}", <[String]>::join(&hex, " ")));
    }

    /// The commands it has got in this life, a character for each byte.
    #[track_caller]
    pub(crate) fn commands(&self) -> Vec<String> {
        self.tell("report");
        self.process.commands()
    }

    /// Waits for that command; it may be answered already, or not yet.
    #[track_caller]
    pub(crate) fn wait_for_command(&self, command: &str) {
        eventually(&format!("rbkit to be told `{command}`"), || {
            self.process.commands().iter().any(|told| told == command)
        });
    }

    /// How often somebody has subscribed in this life.
    #[track_caller]
    pub(crate) fn subscriptions(&self) -> usize {
        self.tell("report");
        self.process.count("subscribed")
    }

    /// Waits until there are so many subscriptions, those that have ended not counted.
    #[track_caller]
    pub(crate) fn wait_for_subscribers(&self, count: usize) {
        eventually(&format!("{count} subscriptions"), || {
            self.process.count("subscribed") - self.process.count("unsubscribed") == count
        });
    }

    /// Waits until it has published all of a load.
    #[track_caller]
    pub(crate) fn wait_for_load(&self) {
        eventually("the end of a load", || self.process.count("loaded") > 0);
    }

    /// Dies at once.
    pub(crate) fn kill(&mut self) {
        self.process.end();
    }

    /// Waits until it has died by itself.
    #[track_caller]
    pub(crate) fn wait_for_death(&mut self) {
        let child = &mut self.process.child;
        eventually_some("the end of rbkit", || child.try_wait().unwrap());
    }

    /// Another life at the same endpoints.
    #[track_caller]
    pub(crate) fn revive(&mut self) {
        self.process.end();
        let plan = RbkitPlan { endpoints: Some(self.endpoints.clone()), ..self.plan.clone() };
        *self = plan.start();
    }
}

impl RbkitPlan {
    pub(crate) fn at(self, endpoints: &Endpoints) -> Self {
        Self { endpoints: Some(endpoints.clone()), ..self }
    }

    /// Milliseconds between what it publishes while it profiles, and between statistics.
    pub(crate) fn every(self, tick: u32, stats: u32) -> Self {
        self.flag(format!("--tick={tick}")).flag(format!("--stats={stats}"))
    }

    /// How many objects a heap dump has.
    pub(crate) fn objects(self, count: u32) -> Self {
        self.flag(format!("--objects={count}"))
    }

    /// Is a PUB socket, as the original's, and cannot tell who subscribes.
    pub(crate) fn plain_pub(self) -> Self {
        self.flag("--plain-pub".to_owned())
    }

    /// Answers an unknown command by the command.
    pub(crate) fn echoing(self) -> Self {
        self.flag("--echo".to_owned())
    }

    /// Starts it and waits until it is bound.
    #[track_caller]
    pub(crate) fn start(self) -> Rbkit {
        let mut command = Command::new(PYTHON);
        command.arg(SCRIPT).args(&self.flags);
        if let Some(Endpoints { request, publish }) = &self.endpoints {
            command.args(["--request", request, "--publish", publish]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(PYTHON);
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Ok(start) = serde_json::from_str::<Value>(&line) else {
            let _ = child.wait();
            panic!(
                "rbkit.py does not start; if modules are missing, install them with: \
                 apt-get install python3-zmq python3-msgpack"
            );
        };
        let endpoint = |name: &str| start[name].as_str().unwrap().to_owned();
        let endpoints = Endpoints { request: endpoint("request"), publish: endpoint("publish") };
        let process = Process { child, stdin, reports: collect(stdout) };
        Rbkit { plan: self, endpoints, process }
    }

    fn flag(mut self, flag: String) -> Self {
        self.flags.push(flag);
        self
    }
}

impl Process {
    fn commands(&self) -> Vec<String> {
        let reports = self.reports.lock().unwrap();
        let commands = reports.iter().filter_map(|report| report["command"].as_str());
        commands.map(str::to_owned).collect()
    }

    /// How many reports there are of that kind.
    fn count(&self, kind: &str) -> usize {
        let reports = self.reports.lock().unwrap();
        reports.iter().filter(|report| report.get(kind).is_some()).count()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- the last that rbkit reported");
            let reports = self.reports.lock().unwrap();
            for report in &reports[reports.len().saturating_sub(20)..] {
                eprintln!("{report}");
            }
        }
    }
}

/// Has files written of the kinds and sizes that a profiler's messages have; the names and paths.
#[track_caller]
pub(crate) fn recordings(directory: &Directory) -> Vec<(&'static str, PathBuf)> {
    let path: &Path = directory.path();
    let status = Command::new(PYTHON).arg(SCRIPT).arg("record").arg(path).status().unwrap();
    assert!(status.success(), "{status}");
    let files = fs::read_dir(path).unwrap().count();
    assert_eq!(files, RECORDINGS.len());
    RECORDINGS.map(|name| (name, directory.join(name))).to_vec()
}

/// Reads on, line by line, in a thread of its own, which ends with the process.
fn collect(stdout: BufReader<ChildStdout>) -> Arc<Mutex<Vec<Value>>> {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let shared = reports.clone();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            shared.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        }
    });
    reports
}
