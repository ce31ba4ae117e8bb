//! The log of a running `ekbo`, line by line as it comes.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// One event of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    pub(crate) level: String,
    pub(crate) message: String,
    /// A JSON object, or null when the line has no fields.
    pub(crate) fields: Value,
}

/// Everything written to standard error so far.
#[derive(Default)]
pub(super) struct Log(Mutex<Written>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads on in a thread of its own until the process ends.
    pub(super) fn follow(stderr: ChildStderr) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let shared = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                shared.0.lock().unwrap().lines.push(line);
            }
            shared.0.lock().unwrap().ended = true;
        });
        log
    }

    /// The lines that are log lines: `TIME<tab>LEVEL<tab>MESSAGE[<tab>{JSON}]`.
    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.0.lock().unwrap().lines.iter().filter_map(|line| LogLine::parse(line)).collect()
    }

    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap().lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.0.lock().unwrap().ended
    }
}

impl LogLine {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, '\t');
        let _time = parts.next()?;
        let level = parts.next()?.to_owned();
        let message = parts.next()?.to_owned();
        let fields = parts.next().map_or(Value::Null, |fields| {
            serde_json::from_str(fields).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        Some(Self { level, message, fields })
    }
}
