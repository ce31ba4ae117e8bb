//! One run: every scenario on every server, round by round, and what came out of it.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::arguments::{Arguments, Numbers};
use crate::cpu::{self, Cores};
use crate::scenario::bridge::Bridge;
use crate::scenario::command::Command as Commands;
use crate::scenario::connect::Connect;
use crate::scenario::download::Download;
use crate::scenario::fanout::{Fanout, Pace};
use crate::scenario::idle::Idle;
use crate::scenario::proxy::{Proxy, Request};
use crate::scenario::receive::Receive;
use crate::scenario::slow::Slow;
use crate::scenario::stuck::Stuck;
use crate::scenario::unicast::Unicast;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::{self, Encoding, Field, Server};
use crate::stop::Stop;
use crate::table::{Table, median_and_spread};
use crate::trial::{Gauge, Spent, Trial};

const SCENARIOS: [&str; 9] =
    ["idle", "connect", "fanout", "unicast", "receive", "stuck", SCALE, "proxy", "bridge"];
const SCALE: &str = "scale";
/// Those that are ours: how cost grows is asked of these only.
const OURS: [&str; 2] = ["ekbo", "bare"];
/// A column of its own says how the first is to the second.
const RATIO: [&str; 2] = ["ekbo-upstream", "nginx"];
/// As many as begin within the time, but no more.
const DOWNLOADS: usize = 100;
/// Each has a table of its own.
const FIELDS: [Field; 3] = [Field::WebSockets, Field::Proxies, Field::Bridges];

pub(crate) struct Report {
    head: Vec<String>,
    /// Names of the columns, and in which table they stand.
    servers: Vec<(String, Field)>,
    entries: Vec<Entry>,
    stopped: bool,
}

/// A scenario and what came out for each server.
struct Entry {
    title: String,
    rows: Vec<&'static str>,
    field: Field,
    /// For all servers, though those of other fields are not asked.
    cells: Vec<Cell>,
}

#[derive(Default)]
struct Cell {
    outcomes: Vec<Outcome>,
    failure: Option<Failure>,
    /// Why it was not measured at all.
    cannot: Option<&'static str>,
}

struct Failure {
    reason: String,
    last_words: String,
}

/// Something to be measured.
struct Job {
    scenario: Box<dyn Scenario>,
    /// The names of the servers that it is for; empty: all.
    only: &'static [&'static str],
    /// Whether one round is enough.
    once: bool,
    /// Before its title.
    prefix: &'static str,
}

struct Chosen {
    installed: Vec<Box<dyn Server>>,
    /// Names, and how to install them.
    missing: Vec<String>,
}

/// Measures everything that is asked for. What fails is in the report; an error is returned when
/// nothing can be measured.
pub(crate) fn make(arguments: &Arguments) -> Result<Report> {
    let stop = Stop::by_signals()?;
    let cores = Cores::available()?;
    let jobs = jobs(&arguments.scenarios, &arguments.numbers)?;
    let Chosen { installed: servers, missing } = chosen(arguments, &jobs)?;
    let mut report = Report {
        head: head(&cores, &arguments.numbers, &servers, &missing),
        servers: servers.iter().map(|server| (server.name().to_owned(), server.field())).collect(),
        entries: jobs.iter().map(|job| Entry::new(job, &servers)).collect(),
        stopped: false,
    };
    cpu::pin(cores.of_load())?;
    let patience = Duration::from_secs(arguments.numbers.patience as u64);
    for (job, entry) in jobs.iter().zip(&mut report.entries) {
        let rounds = if job.once { 1 } else { arguments.numbers.rounds };
        for round in 1..=rounds {
            for (server, cell) in servers.iter().zip(&mut entry.cells) {
                if cell.cannot.is_some() || cell.failure.is_some() {
                    continue;
                }
                eprintln!("round {round}, {}: {}", server.name(), job.scenario.title());
                let measured =
                    measure(server.as_ref(), job.scenario.as_ref(), &cores, patience, &stop);
                if stop.wished() {
                    report.stopped = true;
                    return Ok(report);
                }
                match measured {
                    Ok(outcome) => {
                        if let Some(Spent { server, load, wall, .. }) = outcome.spent {
                            eprintln!("  server {server:.2} s, load {load:.2} s, in {wall:.2} s");
                        }
                        cell.outcomes.push(outcome);
                    }
                    Err(failure) => {
                        eprintln!("failed: {}; {}", failure.reason, failure.last_words);
                        cell.failure = Some(failure);
                    }
                }
            }
        }
    }
    Ok(report)
}

impl Report {
    /// Whether everything could be measured.
    pub(crate) fn complete(&self) -> bool {
        let mut cells = self.entries.iter().flat_map(|entry| &entry.cells);
        !self.stopped && cells.all(|cell| cell.failure.is_none())
    }

    /// What came out in one field; `None` if nothing was measured in it.
    fn table(&self, field: Field, notes: &mut Vec<String>) -> Option<Table> {
        let is_here = |n: &usize| self.servers[*n].1 == field;
        let columns: Vec<usize> = (0..self.servers.len()).filter(is_here).collect();
        let mut entries = self.entries.iter().filter(|entry| entry.field == field).peekable();
        if columns.is_empty() || entries.peek().is_none() {
            return None;
        }
        let place = |name: &str| columns.iter().copied().find(|n| self.servers[*n].0 == name);
        let compared = place(RATIO[0]).zip(place(RATIO[1]));
        let mut head = vec!["scenario".to_owned()];
        head.extend(columns.iter().map(|n| self.servers[*n].0.clone()));
        head.extend(compared.map(|_| RATIO.join(" / ")));
        let mut table = Table::new(head);
        for entry in entries {
            for (n, row) in entry.rows.iter().enumerate() {
                let mut cells = vec![format!("{}: {row}", entry.title)];
                cells.extend(columns.iter().map(|column| entry.cells[*column].text(n, notes)));
                let ratios = compared.map(|(one, other)| {
                    median_and_spread(&entry.cells[one].ratios(&entry.cells[other], n))
                });
                cells.extend(ratios);
                table.push(cells);
            }
        }
        Some(table)
    }

    /// Processors used by what was not measured, which disturbs, in the stretch at this percentile.
    fn disturbance(&self, percentile: usize) -> f64 {
        let cells = self.entries.iter().flat_map(|entry| &entry.cells);
        let mut others: Vec<f64> = cells.flat_map(Cell::spent).map(Spent::others_busy).collect();
        others.sort_by(f64::total_cmp);
        let last = others.len().saturating_sub(1);
        others.get(last * percentile / 100).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.head {
            writeln!(formatter, "* {line}")?;
        }
        writeln!(
            formatter,
            "* other processes used {} of one processor while servers were measured (median), {} \
             at worst",
            percent(self.disturbance(50)),
            percent(self.disturbance(100))
        )?;
        let mut notes = Vec::new();
        for table in FIELDS.iter().filter_map(|field| self.table(*field, &mut notes)) {
            write!(formatter, "\n{table}")?;
        }
        if !notes.is_empty() {
            writeln!(formatter)?;
        }
        for (n, note) in notes.iter().enumerate() {
            writeln!(formatter, "{}. {note}", n + 1)?;
        }
        if self.stopped {
            writeln!(formatter, "\nStopped before the end.")?;
        }
        Ok(())
    }
}

impl Entry {
    fn new(job: &Job, servers: &[Box<dyn Server>]) -> Self {
        let work = job.scenario.work();
        let cells = servers.iter().map(|server| {
            let is_meant = server.field() == work.field()
                && (job.only.is_empty() || job.only.contains(&server.name()));
            let cannot = if is_meant { server.cannot(work) } else { Some("") };
            Cell { cannot, ..Cell::default() }
        });
        Self {
            title: format!("{}{}", job.prefix, job.scenario.title()),
            rows: job.scenario.rows(),
            field: work.field(),
            cells: cells.collect(),
        }
    }
}

impl Cell {
    fn spent(&self) -> impl Iterator<Item = &Spent> {
        self.outcomes.iter().filter_map(|outcome| outcome.spent.as_ref())
    }

    /// How its figures in the nth row are to those of another, round by round.
    fn ratios(&self, other: &Self, row: usize) -> Vec<f64> {
        let pairs = self.outcomes.iter().zip(&other.outcomes);
        let ratios = pairs.map(|(one, other)| one.figures[row] / other.figures[row]);
        ratios.filter(|ratio| ratio.is_finite()).collect()
    }

    /// What stands in its nth row. Longer explanations go to the notes.
    fn text(&self, row: usize, notes: &mut Vec<String>) -> String {
        if let Some(failure) = &self.failure {
            if row > 0 {
                return "failed".to_owned();
            }
            let note = note(&failure.last_words, notes);
            return format!("failed: {} [{note}]", failure.reason);
        }
        match self.cannot {
            Some("") => return "–".to_owned(),
            Some(reason) => return format!("n/a [{}]", note(reason, notes)),
            None => {}
        }
        let values: Vec<f64> = self.outcomes.iter().map(|outcome| outcome.figures[row]).collect();
        let mut text = median_and_spread(&values);
        let busy: Vec<f64> = self.spent().map(|spent| spent.load_busy()).collect();
        if row == 0 && !busy.is_empty() {
            let busy = busy.iter().sum::<f64>() / busy.len() as f64;
            text.push_str(&format!(", load {}", percent(busy)));
        }
        text
    }
}

/// Of one processor.
fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// The number of a note with this text.
fn note(text: &str, notes: &mut Vec<String>) -> usize {
    let known = notes.iter().position(|note| note == text);
    known.unwrap_or_else(|| {
        notes.push(text.to_owned());
        notes.len() - 1
    }) + 1
}

fn measure(
    server: &dyn Server,
    scenario: &dyn Scenario,
    cores: &Cores,
    patience: Duration,
    stop: &Stop,
) -> std::result::Result<Outcome, Failure> {
    let mut trial = Trial::start(server, scenario, Gauge::Clock, cores, patience, stop.clone())
        .map_err(|error| Failure { reason: error.to_string(), last_words: String::new() })?;
    scenario.measure(&mut trial).map_err(|error| {
        // That it is dead explains what else was seen.
        let reason = match trial.check() {
            Ok(()) => error.to_string(),
            Err(death) => format!("{death}: {error}"),
        };
        Failure { reason, last_words: trial.last_words() }
    })
}

/// The servers to measure: those that are named must be installed, and at least one is there.
fn chosen(arguments: &Arguments, jobs: &[Job]) -> Result<Chosen> {
    let program = |name: &str| {
        let chosen = arguments.servers.iter().find(|(server, _)| server == name);
        chosen.and_then(|(_, program)| program.clone())
    };
    let mut all = server::all(program)?;
    for (name, _) in &arguments.servers {
        if !all.iter().any(|server| server.name() == name) {
            let names: Vec<_> = all.iter().map(|server| server.name()).collect();
            return Err(format!("no server {name}: there are {}", names.join(", ")).into());
        }
    }
    let wanted = |name: &str| arguments.servers.iter().any(|(server, _)| server == name);
    all.retain(|server| match arguments.servers.is_empty() {
        true => server.by_default(),
        false => wanted(server.name()),
    });
    all.retain(|server| jobs.iter().any(|job| job.scenario.work().field() == server.field()));
    let mut missing = Vec::new();
    let mut installed = Vec::new();
    for server in all {
        match server.version() {
            Ok(_) => installed.push(server),
            Err(error) if wanted(server.name()) => {
                return Err(format!("{error}: {}", server.remedy()).into());
            }
            Err(_) => missing.push(format!("{} ({})", server.name(), server.remedy())),
        }
    }
    match (installed.is_empty(), missing.is_empty()) {
        (false, _) => Ok(Chosen { installed, missing }),
        (true, true) => Err("none of these scenarios is for any of these servers".into()),
        (true, false) => Err(format!("not installed: {}", missing.join(", ")).into()),
    }
}

fn jobs(names: &[String], numbers: &Numbers) -> Result<Vec<Job>> {
    if let Some(unknown) = names.iter().find(|name| !SCENARIOS.contains(&name.as_str())) {
        return Err(format!("no scenario {unknown}: there are {}", SCENARIOS.join(", ")).into());
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut jobs = Vec::new();
    for name in SCENARIOS.iter().filter(|name| wanted(name)) {
        let scale = *name == SCALE;
        let (only, prefix): (&[&str], _) = if scale { (&OURS, "scale: ") } else { (&[], "") };
        jobs.extend(scenarios(name, numbers).into_iter().map(|scenario| {
            let once = scale || scenario.is_steady();
            Job { scenario, only, once, prefix }
        }));
    }
    Ok(jobs)
}

/// What belongs to a name, with its numbers.
fn scenarios(name: &str, numbers: &Numbers) -> Vec<Box<dyn Scenario>> {
    let mut scenarios: Vec<Box<dyn Scenario>> = Vec::new();
    let mut add = |scenario| scenarios.push(scenario);
    let settle = Duration::from_millis(numbers.settle as u64);
    let &Numbers { size, posters, .. } = numbers;
    let time = Duration::from_secs(numbers.time as u64);
    let quota = |count| Quota { count, time };
    let (deliveries, posts) = (quota(numbers.deliveries), quota(numbers.sends));
    let fanout = |pace, sessions, posters, shared_cores| {
        Box::new(Fanout { pace, sessions, posters, deliveries, size, shared_cores })
    };
    let unicast = |sessions| Box::new(Unicast { sessions, posters, posts, size });
    match name {
        "idle" => {
            for connections in numbers.connections.iter().copied() {
                add(Box::new(Idle { connections, settle }));
            }
        }
        "connect" => add(Box::new(Connect { handshakes: quota(numbers.handshakes) })),
        "fanout" => {
            let streams = numbers.streams.iter().map(|posters| (Pace::Stream, *posters));
            for (pace, posters) in streams.chain([(Pace::Barrier, 1)]) {
                for sessions in numbers.sessions.iter().copied() {
                    add(fanout(pace, sessions, posters, None));
                }
            }
        }
        "unicast" => add(unicast(numbers.recipients)),
        "receive" => {
            let (clients, messages) = (numbers.senders, quota(numbers.callbacks));
            add(Box::new(Receive { clients, messages, size }));
        }
        "stuck" => {
            let (sessions, posts) = (numbers.stuck_sessions, quota(numbers.stuck_posts));
            for stuck in [0, sessions.div_ceil(10)] {
                add(Box::new(Stuck { sessions, stuck, posts, size: numbers.stuck_size }));
            }
        }
        "proxy" => {
            let (connections, requests) = (numbers.requesters, quota(numbers.requests));
            for request in [
                Request::Get { answer: 200 },
                Request::Get { answer: 16 * 1024 },
                Request::Post { body: 1024, answer: 200 },
            ] {
                add(Box::new(Proxy { request, connections, requests }));
            }
            add(Box::new(Download { bytes: numbers.download, downloads: quota(DOWNLOADS) }));
            let (bytes, downloads) = (numbers.slow_download, numbers.slow_downloads);
            add(Box::new(Slow { bytes, downloads, time }));
        }
        "bridge" => {
            let deliveries = quota(numbers.bridge_deliveries);
            for encoding in [Encoding::Cgi, Encoding::Raw] {
                for clients in numbers.bridge_clients.iter().copied() {
                    for size in numbers.bridge_sizes.iter().copied() {
                        add(Box::new(Bridge { encoding, clients, deliveries, size }));
                    }
                }
            }
            for clients in numbers.bridge_clients.iter().copied() {
                add(Box::new(Commands { clients, commands: quota(numbers.commands) }));
            }
        }
        SCALE => {
            for connections in numbers.scale.iter().copied() {
                add(Box::new(Idle { connections, settle }));
            }
            for sessions in numbers.scale.iter().copied() {
                add(unicast(sessions));
            }
            for sessions in numbers.scale.iter().copied() {
                add(fanout(Pace::Stream, sessions, 1, None));
            }
            if let Some(sessions) = numbers.sessions.iter().copied().max() {
                add(fanout(Pace::Stream, sessions, 1, None));
                add(fanout(Pace::Stream, sessions, 1, Some(2)));
            }
        }
        other => unreachable!("{other} is not in the list of scenarios"),
    }
    scenarios
}

fn head(
    cores: &Cores,
    numbers: &Numbers,
    servers: &[Box<dyn Server>],
    missing: &[String],
) -> Vec<String> {
    let mut head = vec![
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        format!("commit {}", said("git", &["describe", "--always", "--dirty"])),
        format!("kernel {}, {}, {} cores", said("uname", &["-r"]), cpu::model(), cores.count()),
        format!(
            "median of {} rounds (least–most), interleaved; messages of {} bytes",
            numbers.rounds, numbers.size
        ),
    ];
    if cores.count() < 2 {
        head.push("ONE CORE ONLY: servers share it with the load".to_owned());
    }
    for server in servers {
        let version = server.version().unwrap_or_else(|error| error.to_string());
        head.push(format!("{}: {version}", server.name()));
    }
    if !missing.is_empty() {
        head.push(format!("not installed: {}", missing.join(", ")));
    }
    head
}

/// What a program says about the machine or the tree; `unknown` if it says nothing.
pub(crate) fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(rounds: &[&[f64]]) -> Cell {
        let outcome =
            |figures: &&[f64]| Outcome { done: 1, figures: figures.to_vec(), spent: None };
        Cell { outcomes: rounds.iter().map(outcome).collect(), ..Cell::default() }
    }

    #[test]
    fn a_field_has_a_table_with_the_ratio_of_each_round() {
        let names = [
            ("bare", Field::WebSockets),
            ("ekbo-upstream", Field::Proxies),
            ("nginx", Field::Proxies),
        ];
        let mut report = Report {
            head: Vec::new(),
            servers: names.map(|(name, field)| (name.to_owned(), field)).into(),
            entries: vec![Entry {
                title: "proxy".to_owned(),
                rows: vec!["rate", "pause"],
                field: Field::Proxies,
                cells: vec![
                    cell(&[]),
                    cell(&[&[2.0, 0.0], &[9.0, 0.0], &[2.0, 0.0]]),
                    cell(&[&[4.0, 0.0], &[9.0, 0.0], &[8.0, 0.0]]),
                ],
            }],
            stopped: false,
        };
        let table = report.table(Field::Proxies, &mut Vec::new()).unwrap().to_string();
        let single_spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().map(single_spaced).collect();
        assert_eq!(lines[0], "| scenario | ekbo-upstream | nginx | ekbo-upstream / nginx |");
        assert_eq!(
            lines[2],
            "| proxy: rate | 2.00 (2.00–9.00) | 8.00 (4.00–9.00) | 0.50 (0.25–1.00) |"
        );
        assert_eq!(lines[3], "| proxy: pause | 0.00 (0.00–0.00) | 0.00 (0.00–0.00) | |");
        assert!(report.table(Field::WebSockets, &mut Vec::new()).is_none());

        report.servers.pop();
        let table = report.table(Field::Proxies, &mut Vec::new()).unwrap().to_string();
        assert!(!table.contains("nginx"), "{table}");
    }
}
