//! `bench instructions`: how many instructions `ekbo` executes for a piece of work on each of its
//! hot paths. The scenarios and the load are those of the table, in small numbers, for the server
//! runs under `callgrind.rs` some fifty times slower.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::callgrind::Callgrind;
use crate::cpu::{self, Cores};
use crate::report::said;
use crate::scenario::bridge::Bridge;
use crate::scenario::connect::Connect;
use crate::scenario::fanout::{Fanout, Pace};
use crate::scenario::proxy::{Proxy, Request};
use crate::scenario::receive::Receive;
use crate::scenario::unicast::Unicast;
use crate::scenario::{Quota, Scenario};
use crate::server::{self, Encoding, Server};
use crate::stop::Stop;
use crate::table::{Table, figure};
use crate::trial::{Gauge, Trial};

/// The first argument.
pub(crate) const WORD: &str = "instructions";

pub(crate) const USAGE: &str = "\
usage: bench instructions [--server PROGRAM] [--record]
  --server PROGRAM  count this ekbo's (the release build's)
  --record          write the table to bench/instructions.md, too
";

/// From the root of the repository, which is the place to run it from.
const RECORD: &str = "bench/instructions.md";

/// Whose way it is, unless that is said.
const EKBO: &str = "ekbo";
const UPSTREAM: &str = "ekbo-upstream";
const BRIDGE: &str = "ekbo-bridge";

/// Measurements of each path, to see how far they agree.
const RUNS: usize = 3;
const SIZE: usize = 128;
const SESSIONS: usize = 1000;
/// Nothing is stopped by the clock: a count shall always be of the same work.
const TIME: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    program: Option<PathBuf>,
    record: bool,
}

/// Some way through the server.
struct Path {
    /// Whose way it is, by the name of a column of the table.
    server: &'static str,
    /// What is counted once.
    unit: &'static str,
    scenario: Box<dyn Scenario>,
}

/// The table with its head.
struct Count {
    head: Vec<String>,
    table: Table,
}

/// Counts, and prints or records what came out.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let wish = Wish::parse(words)?;
    if wish.record && !std::path::Path::new(RECORD).parent().is_some_and(std::path::Path::is_dir) {
        return Err(format!("{RECORD} can only be written from the repository's root").into());
    }
    let servers = servers(wish.program.as_ref())?;
    let count = count(&servers)?;
    print!("{count}");
    if wish.record {
        std::fs::write(RECORD, record(&count)).map_err(|error| format!("{RECORD}: {error}"))?;
    }
    Ok(())
}

impl Wish {
    fn parse(words: &[String]) -> Result<Self> {
        let mut wish = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value))) {
                ("--record", None) => wish.record = true,
                ("--server", value) => {
                    let program = value.or_else(|| words.next());
                    let program =
                        program.ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
                    wish.program = Some(program.into());
                }
                _ => return Err(format!("there is no option {word}\n{USAGE}").into()),
            }
        }
        Ok(wish)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.head {
            writeln!(formatter, "* {line}")?;
        }
        write!(formatter, "\n{}", self.table)
    }
}

/// The file in the repository.
fn record(count: &Count) -> String {
    format!(
        "# Instructions of the hot paths\n\nWritten by `just instructions --record`. \
         [README.md](README.md#instructions) says what is counted.\n\n{count}"
    )
}

/// Those that `paths` name.
fn servers(program: Option<&PathBuf>) -> Result<Vec<Box<dyn Server>>> {
    let mut servers = server::all(|_| program.cloned())?;
    servers.retain(|server| paths().iter().any(|path| path.server == server.name()));
    for server in &servers {
        server.version().map_err(|error| format!("{error}: {}", server.remedy()))?;
    }
    Ok(servers)
}

fn count(servers: &[Box<dyn Server>]) -> Result<Count> {
    let head = vec![
        format!("commit {}", said("git", &["describe", "--always", "--dirty"])),
        said("date", &["-u", "+%Y-%m-%d"]),
        format!("{}, {}", said("rustc", &["--version"]), Callgrind::version()?),
        cpu::model(),
    ];
    let stop = Stop::by_signals()?;
    let cores = Cores::available()?;
    cpu::pin(cores.of_load())?;
    let mut table = Table::new(
        ["path", "for each", "instructions", "spread"].iter().map(|&s| s.to_owned()).collect(),
    );
    for path in paths() {
        let Path { unit, scenario, .. } = &path;
        let title = path.title();
        let server = servers.iter().find(|server| server.name() == path.server);
        let server = server.ok_or_else(|| format!("{} is none of the servers", path.server))?;
        let mut counts = Vec::with_capacity(RUNS);
        for run in 1..=RUNS {
            eprintln!("run {run}: {title}");
            let each = count_once(server.as_ref(), scenario.as_ref(), &cores, stop.clone())
                .map_err(|error| format!("{title}: {error}"))?;
            eprintln!("  {} for each {unit}", figure(each));
            counts.push(each);
        }
        let (mean, spread) = mean_and_spread(&counts);
        let spread = format!("{:.1} %", spread * 100.0);
        table.push(vec![title, (*unit).to_owned(), figure(mean), spread]);
    }
    Ok(Count { head, table })
}

fn paths() -> Vec<Path> {
    let quota = |count| Quota { count, time: TIME };
    let fanout = |pace, posters, deliveries| Fanout {
        pace,
        sessions: SESSIONS,
        posters,
        deliveries: quota(deliveries),
        size: SIZE,
        shared_cores: None,
    };
    let unicast = Unicast { sessions: SESSIONS, posters: 64, posts: quota(5000), size: SIZE };
    let receive = Receive { clients: 64, messages: quota(5000), size: SIZE };
    let barrier = || Box::new(fanout(Pace::Barrier, 1, 20_000));
    let stream = || Box::new(fanout(Pace::Stream, 8, 100_000));
    let posts = Request::Post { body: 1024, answer: 200 };
    let proxy = |request| Box::new(Proxy { request, connections: 64, requests: quota(5000) });
    let bridge = |encoding, clients, deliveries| {
        Box::new(Bridge { encoding, clients, deliveries: quota(deliveries), size: SIZE })
    };
    let connect = Connect { handshakes: quota(2000) };
    vec![
        Path { server: EKBO, unit: "handshake", scenario: Box::new(connect) },
        Path { server: EKBO, unit: "delivery", scenario: barrier() },
        Path { server: EKBO, unit: "delivery", scenario: stream() },
        Path { server: "ekbo-publish", unit: "delivery", scenario: barrier() },
        Path { server: "ekbo-publish", unit: "delivery", scenario: stream() },
        Path { server: EKBO, unit: "send", scenario: Box::new(unicast) },
        Path { server: EKBO, unit: "callback", scenario: Box::new(receive) },
        Path { server: UPSTREAM, unit: "request", scenario: proxy(Request::Get { answer: 200 }) },
        Path { server: UPSTREAM, unit: "request", scenario: proxy(posts) },
        Path { server: BRIDGE, unit: "delivery", scenario: bridge(Encoding::Cgi, 1, 20_000) },
        Path { server: BRIDGE, unit: "delivery", scenario: bridge(Encoding::Cgi, 100, 200_000) },
    ]
}

impl Path {
    /// That of the scenario, and whose way it is unless that is plain.
    fn title(&self) -> String {
        match self.server {
            EKBO => self.scenario.title(),
            UPSTREAM | BRIDGE => self.scenario.title(),
            server => format!("{server}: {}", self.scenario.title()),
        }
    }
}

/// Instructions for each piece of work.
fn count_once(
    server: &dyn Server,
    scenario: &dyn Scenario,
    cores: &Cores,
    stop: Stop,
) -> Result<f64> {
    let mut trial = Trial::start(server, scenario, Gauge::Callgrind, cores, PATIENCE, stop)?;
    let outcome = scenario.measure(&mut trial).map_err(|error| match trial.check() {
        Ok(()) => format!("{error}; {}", trial.last_words()),
        Err(death) => format!("{death}: {error}; {}", trial.last_words()),
    })?;
    let instructions = outcome.spent.and_then(|spent| spent.instructions);
    let instructions = instructions.ok_or("nothing was counted")?;
    Ok(instructions as f64 / outcome.done as f64)
}

/// The spread is the difference of the greatest and the least, as a part of the mean.
fn mean_and_spread(counts: &[f64]) -> (f64, f64) {
    let mean = counts.iter().sum::<f64>() / counts.len() as f64;
    let most = counts.iter().copied().fold(f64::MIN, f64::max);
    let least = counts.iter().copied().fold(f64::MAX, f64::min);
    (mean, (most - least) / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Wish> {
        Wish::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        assert_eq!(parse("").unwrap(), Wish::default());
        let wish = Wish { program: Some("/bin/ekbo".into()), record: true };
        assert_eq!(parse("--server /bin/ekbo --record").unwrap(), wish);
        assert_eq!(parse("--record --server=/bin/ekbo").unwrap(), wish);
        for (line, part) in [
            ("--sessions 5", "there is no option --sessions"),
            ("--record=5", "there is no option --record=5"),
            ("ekbo", "there is no option ekbo"),
            ("--server", "--server needs a value"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.starts_with(part), "{line}: {error}");
        }
    }

    #[test]
    fn the_spread_is_a_part_of_the_mean() {
        assert_eq!(mean_and_spread(&[90.0, 110.0]), (100.0, 0.2));
        assert_eq!(mean_and_spread(&[7.0]), (7.0, 0.0));
    }
}
