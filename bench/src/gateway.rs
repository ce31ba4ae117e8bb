//! The `ekbo` under measurement: a process of its own, its memory, and its HTTP side.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::Result;

const PATIENCE: Duration = Duration::from_secs(10);
const SAMPLE: Duration = Duration::from_millis(250);
const MAX_SETTLING: Duration = Duration::from_secs(60);
/// Changes of less than this are noise.
const TOLERANCE: u64 = 64 * 1024;

pub(crate) struct Gateway {
    process: Child,
    config: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts `binary` on a port of the system's choice, with the configuration that people have
    /// by default, and a connect callback.
    pub(crate) async fn start(binary: &Path, backend: SocketAddr) -> Result<Self> {
        if !binary.exists() {
            return Err(format!(
                "{} is missing: build it with cargo build --release -p ekbo, or name another with \
                 --server",
                binary.display()
            )
            .into());
        }
        let config = std::env::temp_dir().join(format!("ekbo-bench-{}.yml", std::process::id()));
        std::fs::write(
            &config,
            format!("port: 0\ncallback:\n  connect: http://{backend}/connect\n"),
        )?;
        let process = with_all_descriptors(binary)
            .arg("-config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", binary.display()))?;
        // From here on, dropping it cleans up.
        let mut gateway = Self { process, config, address: (Ipv4Addr::LOCALHOST, 0).into() };
        let log = gateway.process.stderr.take().ok_or("a pipe is missing")?;
        let (sender, port) = oneshot::channel();
        std::thread::spawn(move || read_log(log, sender));
        let port = timeout(PATIENCE, port)
            .await
            .map_err(|_| format!("ekbo did not say where it listens within {PATIENCE:?}"))?
            .map_err(|_| "ekbo has ended instead of listening: its messages are above")?;
        gateway.address.set_port(port);
        Ok(gateway)
    }

    /// The server's own memory, in bytes: pages that belong to it alone and are in use. What the
    /// kernel keeps for its sockets is not in it.
    pub(crate) fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&path)
            .map_err(|error| format!("{path}: {error}: has ekbo ended?"))?;
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"))
            .ok_or_else(|| format!("{path} has no RssAnon in kB: has ekbo ended?"))?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    }

    /// Its memory once that has not changed for `steady`.
    pub(crate) async fn settled_memory(&self, steady: Duration) -> Result<u64> {
        let began = Instant::now();
        let (mut settled, mut since) = (self.memory()?, began);
        while since.elapsed() < steady {
            if began.elapsed() > MAX_SETTLING {
                return Err(format!("ekbo's memory still changes after {MAX_SETTLING:?}").into());
            }
            sleep(SAMPLE).await;
            let now = self.memory()?;
            if now.abs_diff(settled) > TOLERANCE {
                (settled, since) = (now, Instant::now());
            }
        }
        self.memory()
    }

    /// The number of connections in its statistics.
    pub(crate) async fn connections(&self) -> Result<usize> {
        let stats = self.request("GET /stats", "", "").await?;
        stats
            .split_once("\"connections\":")
            .and_then(|(_, rest)| rest.split([',', '}']).next()?.parse().ok())
            .ok_or_else(|| format!("/stats names no number of connections: {stats}").into())
    }

    /// Sends a text message to a session.
    pub(crate) async fn send(&self, key: &str, text: &str) -> Result<()> {
        let session = format!("X-Kuiperbelt-Session: {key}\r\n");
        let answer = self.request("POST /send", &session, text).await?;
        if answer != r#"{"result":"OK"}"# {
            return Err(format!("/send to {key} was answered {answer}").into());
        }
        Ok(())
    }

    async fn request(&self, start: &str, fields: &str, body: &str) -> Result<String> {
        let host = self.address;
        let length = body.len();
        let request = format!(
            "{start} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .map_err(|_| format!("{start} was not answered within {PATIENCE:?}"))??;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of head")?;
        Ok(body.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Nothing is measured any more, and the system cleans its temporary files up anyway.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// A command whose process may open as many descriptors as the system allows it to.
pub(crate) fn with_all_descriptors(program: &Path) -> Command {
    let raise = r#"ulimit -S -n "$(ulimit -H -n)" && exec "$@""#;
    let mut command = Command::new("sh");
    command.args([OsStr::new("-c"), OsStr::new(raise), OsStr::new("sh"), program.as_os_str()]);
    command
}

/// Tells the port as soon as the log does. The log is read to its end, since a full pipe would
/// stop the server; what it says above the level info is passed on.
fn read_log(log: ChildStderr, port: oneshot::Sender<u16>) {
    let mut port = Some(port);
    for line in BufReader::new(log).lines().map_while(std::io::Result::ok) {
        if let Some(found) = port_in(&line) {
            if let Some(port) = port.take() {
                // Not received when the start was given up meanwhile.
                let _ = port.send(found);
            }
        } else if !matches!(line.split('\t').nth(1), Some("info" | "debug")) {
            eprintln!("ekbo: {line}");
        }
    }
}

/// The port in the line that says `listen start`.
fn port_in(line: &str) -> Option<u16> {
    let fields = line.split_once("\tlisten start\t")?.1;
    fields.split_once("\"port\":\"")?.1.split('"').next()?.parse().ok()
}
