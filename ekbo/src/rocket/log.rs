//! The logs of `rocket`: the server's and one of each hub, in files or on standard error. A line is
//! what Go's `log` package makes of it: prefix, local date and time, text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local, Utc};
use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use super::config::Config;
use crate::log::lines::{Lines, Turn, Writer};

/// The field of an event that names the path of the hub whose log it belongs to.
const HUB: &str = "hub";

/// The field with the address of a client, which the original did not write.
const PEER: &str = "peer";

/// What lines of the server begin with.
const SERVER: &str = "S : ";

/// A log file that cannot be opened, in one line.
#[derive(Debug, Error)]
#[error("Log file error: {path}: {error}; name a file that this user may write")]
pub(super) struct LogError {
    path: PathBuf,
    error: io::Error,
}

/// Opens every log and starts logging for the whole process. Dropping what this returns waits for
/// the last lines to be written.
pub(super) fn start(config: &Config) -> Result<Vec<Writer>, LogError> {
    let mut files = Files::new();
    let server = Log { prefix: SERVER.to_owned(), lines: files.lines(config.log.as_deref())? };
    let mut hubs = HashMap::with_capacity(config.hubs.len());
    for hub in &config.hubs {
        let prefix = format!("{} : ", hub.path);
        let log = Log { prefix, lines: files.lines(hub.log.as_deref())? };
        hubs.insert(hub.path.clone(), log);
    }
    // Of the library only what went wrong, other than what the hubs tell.
    let shown = Targets::new()
        .with_target("ekbo", LevelFilter::INFO)
        .with_target("kuiperbelt", LevelFilter::WARN)
        .with_target("kuiperbelt::rocket", LevelFilter::DEBUG);
    let logs = Logs { server, hubs }.with_filter(shown);
    // A second start in one process keeps the first; there is none.
    let _ = Registry::default().with(logs).try_init();
    Ok(files.into_writers())
}

/// What is written to.
struct Files {
    opened: HashMap<PathBuf, Lines>,
    writers: Vec<Writer>,
    /// Standard error: a log, and where it is told what becomes of the others.
    stderr: Lines,
    stderr_writer: Writer,
}

impl Files {
    fn new() -> Self {
        // That standard error takes nothing can be said nowhere else.
        let (stderr_writer, stderr) = Writer::start(io::stderr(), |_| {});
        Self { opened: HashMap::new(), writers: Vec::new(), stderr, stderr_writer }
    }

    /// Those of a file; without a path, of standard error.
    fn lines(&mut self, path: Option<&Path>) -> Result<Lines, LogError> {
        let Some(path) = path else {
            return Ok(self.stderr.clone());
        };
        if let Some(lines) = self.opened.get(path) {
            return Ok(lines.clone());
        }
        let file = File::options().append(true).create(true).open(path);
        let file = file.map_err(|error| LogError { path: path.to_owned(), error })?;
        let (stderr, name) = (self.stderr.clone(), path.display().to_string());
        let (writer, lines) = Writer::start(file, move |turn| {
            stderr.add(&line(SERVER, Utc::now(), &told_of(&name, &turn)));
        });
        self.writers.push(writer);
        self.opened.insert(path.to_owned(), lines.clone());
        Ok(lines)
    }

    /// Standard error last: the others may have to tell something until their end.
    fn into_writers(self) -> Vec<Writer> {
        self.writers.into_iter().chain([self.stderr_writer]).collect()
    }
}

fn told_of(log: &str, turn: &Turn) -> String {
    match turn {
        Turn::Failed(error) => format!(
            "Error: Log file error: {log}: {error}; its lines are lost until it can be written"
        ),
        Turn::Recovered(lost) => {
            format!("Log file {log} can be written again; {lost} lines were lost")
        }
    }
}

/// Sends each event to the log that it belongs to.
struct Logs {
    server: Log,
    hubs: HashMap<String, Log>,
}

struct Log {
    prefix: String,
    lines: Lines,
}

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        let hub = told.hub.and_then(|hub| self.hubs.get(&hub));
        let log = hub.unwrap_or(&self.server);
        let kind = match *event.metadata().level() {
            // A hub says so itself.
            _ if hub.is_some() => "",
            Level::ERROR => "Error: ",
            Level::WARN => "Warning: ",
            Level::INFO | Level::DEBUG | Level::TRACE => "",
        };
        let text = format!("{kind}{}{}", told.message, told.fields);
        log.lines.add(&line(&log.prefix, Utc::now(), &text));
    }
}

/// What an event says.
#[derive(Default)]
struct Told {
    hub: Option<String>,
    message: String,
    /// The other fields, each after a blank.
    fields: String,
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            HUB => self.hub = Some(format!("{value:?}")),
            PEER => {}
            "message" => self.message = format!("{value:?}"),
            // Writing to a String cannot fail.
            name => drop(write!(self.fields, " {name}={value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// One line, whatever is in the text: a client that names a channel cannot begin another.
fn line(prefix: &str, time: DateTime<Utc>, text: &str) -> String {
    let mut line = String::with_capacity(128);
    push_escaped(&mut line, prefix);
    push_time(&mut line, time);
    line.push(' ');
    push_escaped(&mut line, text);
    line.push('\n');
    line
}

/// The local date and time in seconds. They are made once a second.
fn push_time(line: &mut String, time: DateTime<Utc>) {
    thread_local! {
        static SECOND: RefCell<(i64, String)> = RefCell::default();
    }
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != time.timestamp() || text.is_empty() {
            *second = time.timestamp();
            *text = time.with_timezone(&Local).format("%Y/%m/%d %H:%M:%S").to_string();
        }
        line.push_str(text);
    });
}

/// Characters that end a line somewhere, or turn the order of what follows, are spelled out.
fn push_escaped(line: &mut String, text: &str) {
    for character in text.chars() {
        let is_harmful = character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if is_harmful {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_as_go_writes_it() {
        let time = Utc::now();
        let local = time.with_timezone(&Local).format("%Y/%m/%d %H:%M:%S");
        assert_eq!(line("/a : ", time, "Connected"), format!("/a : {local} Connected\n"));
    }

    /// What a client chooses cannot forge a line.
    #[test]
    fn line_ends_and_direction_marks_are_spelled_out() {
        for (text, shown) in [
            ("Subscribed: grüße 日本 \"a\\b\"", "Subscribed: grüße 日本 \"a\\b\""),
            ("a\r\nS : 2026", "a\\r\\nS : 2026"),
            ("a\0\x1b[31m\u{85}", "a\\u{0}\\u{1b}[31m\\u{85}"),
            ("a\u{2028}b\u{202e}c", "a\\u{2028}b\\u{202e}c"),
        ] {
            let mut line = String::new();
            push_escaped(&mut line, text);
            assert_eq!(line, shown);
        }
    }
}
