//! What an idle connection costs the server: memory with so many connections, less memory with
//! none, divided by their number. The connections are alive, which is checked at the end.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::crowd::{Crowd, key};
use crate::gateway::Gateway;
use crate::{Result, USAGE, backend};

/// After the handshakes: longer than the gateway keeps idle connections to its backend (10 s),
/// which belong to the handshakes and not to the clients.
const STEADY: Duration = Duration::from_secs(12);
const STEADY_AT_START: Duration = Duration::from_secs(1);
/// Descriptors that a server needs besides those of its clients.
const SPARE: usize = 500;

pub(crate) async fn run(options: &[&str]) -> Result<()> {
    let Options { connections, server } = Options::parse(options)?;
    let limit = descriptor_limit()?;
    if connections + SPARE > limit {
        return Err(format!(
            "{connections} connections need {SPARE} descriptors more than that, and a process may \
             have {limit} (ulimit -Hn): raise that, or give --connections"
        )
        .into());
    }

    let gateway = Gateway::start(&server, backend::start().await?).await?;
    let before = gateway.settled_memory(STEADY_AT_START).await?;
    let began = Instant::now();
    let mut crowd = Crowd::open(gateway.address, connections).await?;
    let opened_in = began.elapsed();
    let after = gateway.settled_memory(STEADY).await?;

    let counted = gateway.connections().await?;
    if counted != connections {
        return Err(format!("/stats counts {counted} connections, not {connections}").into());
    }
    crowd.expect_quiet()?;
    let someone = key(anybody(connections));
    gateway.send(&someone, "still-there?").await?;
    crowd.expect_message(&someone, "still-there?").await?;

    let each = after.saturating_sub(before) as f64 / connections as f64;
    println!("idle connections       {connections:>10}");
    println!("opened in              {:>10.1} s", opened_in.as_secs_f64());
    println!("server memory before   {:>10} KiB", before / 1024);
    println!("server memory after    {:>10} KiB", after / 1024);
    println!("per connection         {each:>10.0} bytes");
    println!("alive                  all by /stats; {someone} has got a message");
    Ok(())
}

struct Options {
    connections: usize,
    server: PathBuf,
}

impl Options {
    fn parse(options: &[&str]) -> Result<Self> {
        let mut parsed = Self { connections: 10_000, server: release_build()? };
        for option in options.chunks(2) {
            match option {
                ["--connections", number] => parsed.connections = number.parse()?,
                ["--server", path] => parsed.server = PathBuf::from(path),
                _ => {
                    return Err(
                        format!("{} is not an option with its value\n{USAGE}", option[0]).into()
                    );
                }
            }
        }
        if parsed.connections == 0 {
            return Err("--connections: at least 1".into());
        }
        Ok(parsed)
    }
}

/// `target/release/ekbo`, from where this program was built.
fn release_build() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program is not in a target directory")?;
    Ok(target.join("release").join("ekbo"))
}

fn descriptor_limit() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    limits
        .lines()
        .find_map(|line| {
            line.strip_prefix("Max open files")?.split_whitespace().nth(1)?.parse().ok()
        })
        .ok_or_else(|| "/proc/self/limits names no limit of open files".into())
}

/// One of them, another at each run.
fn anybody(connections: usize) -> usize {
    RandomState::new().hash_one(connections) as usize % connections
}
