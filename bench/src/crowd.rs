//! Thousands of clients, spread over processes of this same program: descriptors are limited per
//! process, and what the clients cost must not show in the server's figures.
//!
//! A holding process tells on its standard output, a line each, what happens to its clients, and
//! ends when its standard input does.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Client;
use crate::gateway::with_all_descriptors;
use crate::{Error, Result};

/// The word that makes this program a holding process.
pub(crate) const HOLD: &str = "hold";

const CLIENTS_PER_PROCESS: usize = 5000;
/// Handshakes that a process has under way at a time: fewer than a listener's queue holds.
const AT_A_TIME: usize = 32;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Crowd {
    processes: Vec<Child>,
    events: mpsc::Receiver<String>,
}

impl Crowd {
    /// Opens the clients, with the keys of [`key`], and returns when all are connected.
    pub(crate) async fn open(server: SocketAddr, clients: usize) -> Result<Self> {
        let (sender, events) = mpsc::channel(1024);
        let mut crowd = Self { processes: Vec::new(), events };
        for first in (0..clients).step_by(CLIENTS_PER_PROCESS) {
            let count = CLIENTS_PER_PROCESS.min(clients - first);
            let host = u8::try_from(crowd.processes.len() + 2)?;
            let mut process = with_all_descriptors(&std::env::current_exe()?)
                .args([HOLD, &server.to_string(), &Ipv4Addr::new(127, 0, 0, host).to_string()])
                .args([first.to_string(), count.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let output = process.stdout.take().ok_or("a pipe is missing")?;
            crowd.processes.push(process);
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                // Too early: otherwise nobody receives any more, and nobody need know.
                let _ = sender.blocking_send("my process has ended".to_owned());
            });
        }
        drop(sender);
        for _ in 0..crowd.processes.len() {
            crowd.expect("open").await?;
        }
        Ok(crowd)
    }

    /// Waits for one message to one client, and checks that it is this one to this one.
    pub(crate) async fn expect_message(&mut self, key: &str, text: &str) -> Result<()> {
        self.expect(&format!("message {key} {text}")).await
    }

    /// Checks that nothing has happened that nobody asked about: above all, no client was lost.
    pub(crate) fn expect_quiet(&mut self) -> Result<()> {
        match self.events.try_recv() {
            Err(_) => Ok(()),
            Ok(event) => Err(format!("a client says: {event}").into()),
        }
    }

    async fn expect(&mut self, wanted: &str) -> Result<()> {
        let event = timeout(PATIENCE, self.events.recv())
            .await
            .map_err(|_| format!("no client said {wanted:?} within {PATIENCE:?}"))?
            .ok_or("the holding processes have ended")?;
        if event != wanted {
            return Err(format!("a client says {event:?} instead of {wanted:?}").into());
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Neither fails for a child that was not waited for yet.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The key of the nth client.
pub(crate) fn key(n: usize) -> String {
    format!("client-{n}")
}

/// The holding process: `SERVER SOURCE FIRST COUNT`.
pub(crate) async fn hold(arguments: &[&str]) -> Result<()> {
    let &[server, source, first, count] = arguments else {
        return Err(crate::USAGE.into());
    };
    let (server, source): (SocketAddr, IpAddr) = (server.parse()?, source.parse()?);
    let (first, count): (usize, usize) = (first.parse()?, count.parse()?);

    let (sender, mut lost) = mpsc::channel::<Error>(1);
    let mut openers = JoinSet::new();
    for opener in 0..AT_A_TIME {
        let sender = sender.clone();
        openers.spawn(async move {
            for n in (first + opener..first + count).step_by(AT_A_TIME) {
                let client = Client::open(server, source, &key(n)).await?;
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Err(error) = report_messages(client, n).await {
                        // Full when another one was lost just before: one is enough to fail.
                        let _ = sender.try_send(error);
                    }
                });
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(opened) = openers.join_next().await {
        opened??;
    }
    println!("open");
    tokio::select! {
        error = lost.recv() => error.map_or(Ok(()), Err),
        _ = end_of_input() => Ok(()),
    }
}

async fn report_messages(mut client: Client, n: usize) -> Result<()> {
    let key = key(n);
    loop {
        let text = client.message().await.map_err(|error| format!("{key} was lost: {error}"))?;
        println!("message {key} {text}");
    }
}

fn end_of_input() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // Whatever ends it, the process that started this one is gone or done.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = sender.send(());
    });
    receiver
}
