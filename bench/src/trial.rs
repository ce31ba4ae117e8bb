//! One server, started for one measurement, and the load for it; all is gone when it is dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Result;
use crate::application;
use crate::callgrind::Callgrind;
use crate::cpu::{self, Cores};
use crate::load::{Event, Lane, Line, Load};
use crate::process::Process;
use crate::scenario::Scenario;
use crate::server::{Server, Site, Work};
use crate::stop::Stop;

/// Handshakes under way at a time: fewer than a listener's queue holds.
const HANDSHAKES: usize = 32;

pub(crate) struct Trial<'a> {
    server: &'a dyn Server,
    site: Site,
    process: Process,
    callgrind: Option<Callgrind>,
    load: Load,
    /// What is behind a proxy, beside the load.
    application: Option<Process>,
    /// Who gets what the backend publishes, once somebody does.
    subscriber: Option<Line>,
    /// How long nothing may happen.
    patience: Duration,
    last_event: Instant,
    _directory: Directory,
}

/// What work is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gauge {
    /// Time, of processors and of the day.
    Clock,
    /// Instructions as well, which makes the server slow and the times useless.
    Callgrind,
}

/// Bytes of a server's processes, see `process.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) most: u64,
}

/// What a measured stretch has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// Processor seconds of the server's processes.
    pub(crate) server: f64,
    /// Processor seconds of the load, and of the application if that is a process of its own.
    pub(crate) load: f64,
    /// Processor seconds of everything else on the machine.
    pub(crate) others: f64,
    /// Seconds.
    pub(crate) wall: f64,
    /// Executed by the server's own code, if they were counted.
    pub(crate) instructions: Option<u64>,
}

impl Spent {
    /// Which part of its processor the load has used.
    pub(crate) fn load_busy(&self) -> f64 {
        self.load / self.wall
    }

    /// How many processors everything else has used.
    pub(crate) fn others_busy(&self) -> f64 {
        self.others / self.wall
    }
}

/// The beginning of a measured stretch.
pub(crate) struct Window {
    server: Duration,
    load: Duration,
    all: Duration,
    began: Instant,
}

impl<'a> Trial<'a> {
    /// Starts the server.
    pub(crate) fn start(
        server: &'a dyn Server,
        scenario: &dyn Scenario,
        gauge: Gauge,
        cores: &Cores,
        patience: Duration,
        stop: Stop,
    ) -> Result<Self> {
        let directory = Directory::new()?;
        let callgrind = match gauge {
            Gauge::Clock => None,
            Gauge::Callgrind => Some(Callgrind::new(&directory.0)),
        };
        let load = Load::new(stop)?;
        let (theirs, workers) = match scenario.shared_cores() {
            Some(count) => (cores.first(count), count),
            None => (cores.of_server(), 1),
        };
        let (work, ports) = (scenario.work(), free_ports()?);
        let application = match work {
            Work::Relay => Some(start_application(&directory.0, ports[5], cores)?),
            _ => None,
        };
        let site = Site {
            work,
            directory: directory.0.clone(),
            ports,
            backend: match application {
                Some(_) => (Ipv4Addr::LOCALHOST, ports[5]).into(),
                None => load.backend()?,
            },
            connections: scenario.connections(),
            workers,
        };
        let mut command = server.prepare(&site)?;
        if let Some(callgrind) = &callgrind {
            command = callgrind.around(&command);
        }
        let addresses = [server.client(&site, "nobody").address, server.poster(&site).address];
        let log = site.directory.join("log");
        let process = Process::start(command, log, theirs, cores.of_load(), &addresses)?;
        let last_event = Instant::now();
        let patience = scenario.patience().unwrap_or(patience);
        Ok(Self {
            server,
            site,
            process,
            callgrind,
            load,
            application,
            subscriber: None,
            patience,
            last_event,
            _directory: directory,
        })
    }

    /// What has happened next. An error when the server has died, or nothing happens any more.
    pub(crate) fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.advance()? {
                return Ok(event);
            }
        }
    }

    /// The same, but `None` if somebody has subscribed, which is no scenario's business until it
    /// publishes.
    fn advance(&mut self) -> Result<Option<Event>> {
        loop {
            let event = self.load.next(self.server)?;
            if !matches!(event, Event::Quiet) {
                self.last_event = Instant::now();
            }
            match event {
                Event::Quiet => {
                    self.check()?;
                    if self.last_event.elapsed() > self.patience {
                        return Err(format!("stalled for {} s", self.patience.as_secs()).into());
                    }
                }
                Event::Subscribed(line) => {
                    self.subscriber = Some(line);
                    return Ok(None);
                }
                event => return Ok(Some(event)),
            }
        }
    }

    /// The connection that brings the server what the backend publishes, as soon as it is there:
    /// nothing else is expected to happen before.
    pub(crate) fn subscriber(&mut self) -> Result<Line> {
        loop {
            if let Some(line) = self.subscriber {
                return Ok(line);
            }
            let event = self.advance().map_err(|error| format!("{error} (nobody subscribes)"))?;
            if let Some(event) = event {
                return Err(format!("unexpected before anything is published: {event:?}").into());
            }
        }
    }

    /// Passes the time until `end`, in which nothing is expected to happen.
    pub(crate) fn rest_until(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            match self.load.next(self.server)? {
                Event::Quiet => self.check()?,
                event => return Err(format!("unexpected while at rest: {event:?}").into()),
            }
        }
        self.last_event = Instant::now();
        Ok(())
    }

    /// Opens the clients with these keys, and returns when all are ready.
    pub(crate) fn clients(&mut self, keys: &[String]) -> Result<Vec<Line>> {
        let mut lines = Vec::with_capacity(keys.len());
        let mut ready = 0;
        while ready < keys.len() {
            while lines.len() < keys.len() && lines.len() < ready + HANDSHAKES {
                lines.push(self.client(&keys[lines.len()])?);
            }
            let event = self.next().map_err(|error| {
                format!("{error} (after {ready} of {} clients had connected)", keys.len())
            })?;
            match event {
                Event::Ready(_) => ready += 1,
                event => return Err(format!("unexpected from a new client: {event:?}").into()),
            }
        }
        Ok(lines)
    }

    /// Begins to open one client.
    pub(crate) fn client(&mut self, key: &str) -> Result<Line> {
        self.load.open(self.server.client(&self.site, key), Lane::Bulk)
    }

    /// Opens posters, and returns when all are ready.
    pub(crate) fn posters(&mut self, count: usize) -> Result<Vec<Line>> {
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            lines.push(self.load.open(self.server.poster(&self.site), Lane::Urgent)?);
        }
        for _ in 0..count {
            match self.next()? {
                Event::Ready(_) => {}
                event => return Err(format!("unexpected from a new poster: {event:?}").into()),
            }
        }
        Ok(lines)
    }

    pub(crate) fn write(&mut self, line: Line, bytes: &[u8]) -> Result<()> {
        self.load.write(line, bytes)
    }

    pub(crate) fn close(&mut self, line: Line) {
        self.load.close(line);
    }

    pub(crate) fn stop_reading(&mut self, line: Line) {
        self.load.stop_reading(line);
    }

    pub(crate) fn sip(&mut self, line: Line) -> Result<()> {
        self.load.sip(line)
    }

    pub(crate) fn server(&self) -> &'a dyn Server {
        self.server
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// An error if the server has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Memory of the server's processes now, and the most that they have used so far, in bytes.
    pub(crate) fn memory(&mut self) -> Result<Memory> {
        self.process.find_members()?;
        Ok(Memory { now: self.process.memory()?, most: self.process.peak_memory()? })
    }

    /// The last line of what the server has written.
    pub(crate) fn last_words(&self) -> String {
        self.process.last_words()
    }

    /// Begins to measure.
    pub(crate) fn begin(&mut self) -> Result<Window> {
        self.process.find_members()?;
        self.instructions()?;
        let server = self.process.cpu()?;
        let all = cpu::used_by_all()?;
        Ok(Window { server, load: self.load_cpu()?, all, began: Instant::now() })
    }

    /// What was used since the beginning.
    pub(crate) fn end(&mut self, window: &Window) -> Result<Spent> {
        let wall = window.began.elapsed();
        let server = self.process.cpu()?.saturating_sub(window.server);
        let load = self.load_cpu()?.saturating_sub(window.load);
        let all = cpu::used_by_all()?.saturating_sub(window.all);
        Ok(Spent {
            server: server.as_secs_f64(),
            load: load.as_secs_f64(),
            others: all.saturating_sub(server + load).as_secs_f64(),
            wall: wall.as_secs_f64(),
            instructions: self.instructions()?,
        })
    }

    /// Processor time of what makes the server work.
    fn load_cpu(&self) -> Result<Duration> {
        let application = self.application.as_ref().map_or(Ok(Duration::ZERO), Process::cpu)?;
        Ok(cpu::used_here()? + application)
    }

    /// Those executed since the last time; `None` if they are not counted.
    fn instructions(&mut self) -> Result<Option<u64>> {
        let process = self.process.id();
        self.callgrind.as_mut().map(|callgrind| callgrind.take(process)).transpose()
    }
}

/// The application, on the processor of the load.
fn start_application(directory: &Path, port: u16, cores: &Cores) -> Result<Process> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let command = application::command(&std::env::current_exe()?, address);
    let log = directory.join("application-log");
    Process::start(command, log, cores.of_load(), cores.of_load(), &[address])
        .map_err(|error| format!("the application: {error}").into())
}

/// The keys of so many clients: short ones, all of a length.
pub(crate) fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("c{n:07}")).collect()
}

/// A directory of its own for a server.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let process = std::process::id();
        let path = (0..)
            .map(|n: u64| std::env::temp_dir().join(format!("kuiperbelt-bench-{process}-{n}")))
            .find(|path| !Path::new(path).exists())
            .ok_or("no name is left for a directory")?;
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to the system, which cleans this place up anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ports that are free, below those that the kernel gives to clients.
fn free_ports() -> Result<[u16; 6]> {
    let seed = std::process::id() as u16 % 400 * 30 + 12_000;
    let mut ports =
        (seed..32_000).filter(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok());
    let mut found = [0; 6];
    for place in &mut found {
        *place = ports.next().ok_or("no port between 12000 and 32000 is free")?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::process::Command;

    use super::*;
    use crate::load::http::{self, Request};
    use crate::scenario::Quota;
    use crate::scenario::unicast::Unicast;
    use crate::server::Dial;

    /// A server that accepts and says nothing, beside a process that runs `command`.
    struct Mute {
        listener: TcpListener,
        command: &'static str,
    }

    impl Mute {
        fn running(command: &'static str) -> Self {
            Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), command }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }
    }

    impl Server for Mute {
        fn name(&self) -> &'static str {
            "mute"
        }

        fn remedy(&self) -> &'static str {
            ""
        }

        fn version(&self) -> Result<String> {
            Ok(String::new())
        }

        fn prepare(&self, site: &Site) -> Result<Command> {
            let mut command = Command::new("sh");
            command.args(["-c", self.command]).current_dir(&site.directory);
            Ok(command)
        }

        fn client(&self, _site: &Site, _key: &str) -> Dial {
            // Without a greeting, and so ready.
            http::dial(self.address())
        }

        fn client_message(&self, payload: &[u8]) -> Vec<u8> {
            payload.to_vec()
        }

        fn poster(&self, _site: &Site) -> Dial {
            http::dial(self.address())
        }

        fn post_to_all(&self, _site: &Site, _keys: &[String], payload: &[u8]) -> Vec<u8> {
            payload.to_vec()
        }

        fn post_to_one(&self, _site: &Site, _key: &str, payload: &[u8]) -> Vec<u8> {
            payload.to_vec()
        }

        fn backend<'a>(&self, _: &Request<'a>, _: &mut Vec<u8>) -> Option<&'a [u8]> {
            None
        }
    }

    const SCENARIO: Unicast = Unicast {
        sessions: 3,
        posters: 2,
        posts: Quota { count: 10, time: Duration::from_secs(60) },
        size: 8,
    };

    fn start(server: &Mute, patience: Duration) -> Trial<'_> {
        let cores = Cores::available().unwrap();
        Trial::start(server, &SCENARIO, Gauge::Clock, &cores, patience, Stop::default()).unwrap()
    }

    fn failure(server: &Mute) -> String {
        let mut trial = start(server, Duration::from_millis(1));
        SCENARIO.measure(&mut trial).unwrap_err().to_string()
    }

    #[test]
    fn a_server_that_does_nothing_has_stalled() {
        assert_eq!(
            failure(&Mute::running("exec tail -f /dev/null")),
            "stalled for 0 s (after 0 of 2 posts were answered and 0 messages delivered)"
        );
    }

    #[test]
    fn a_server_that_has_died_is_told_from_one_that_stalls() {
        assert_eq!(
            failure(&Mute::running("exit 7")),
            "the server has ended with status 7 (after 0 of 2 posts were answered and 0 messages \
             delivered)"
        );
    }

    #[test]
    fn nothing_is_left_of_a_trial() {
        // Another in a session of its own, as servers do.
        let server = Mute::running("setsid sh -c 'echo $$ >child; exec tail -f /dev/null' & wait");
        let trial = start(&server, Duration::from_secs(1));
        let directory = trial.site.directory.clone();
        let child = loop {
            let pid = std::fs::read_to_string(directory.join("child")).unwrap_or_default();
            if pid.ends_with('\n') {
                break pid.trim().to_owned();
            }
        };
        drop(trial);
        assert!(!directory.exists());
        let runs = || {
            // A dead one may wait for its new parent to notice.
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z")
        };
        let began = Instant::now();
        while runs() {
            assert!(began.elapsed() < Duration::from_secs(10), "process {child} still runs");
        }
    }
}
