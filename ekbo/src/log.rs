//! Log lines on standard error: time, level, message and fields as JSON, separated by tabs. And
//! what of a request may be shown in them.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::flags::LogLevel;
use crate::secret::{MASK, is_secret_header};

/// The most that is shown of a header, a body or a URL, in bytes.
const LONGEST_TEXT: usize = 4096;

/// Lines that wait to be written.
const QUEUED_LINES: usize = 4096;

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Starts logging for the whole process. Lines are written by a thread of their own: whoever reads
/// standard error too slowly loses lines, and never stops the server.
#[must_use = "dropping it waits for the last lines to be written"]
pub(crate) fn start(level: LogLevel) -> Writer {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let ours = Targets::new().with_target("ekbo", level).with_target("kuiperbelt", level);
    // A second start in one process keeps the first; there is none.
    let (writer, lines) = Writer::start();
    let _ = Registry::default().with(lines.with_filter(ours)).try_init();
    writer
}

/// Header fields for a log line, credentials masked.
pub(crate) struct Shown<'a>(pub(crate) &'a HeaderMap);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            let is_secret = value.is_sensitive() || is_secret_header(name.as_str());
            let value = String::from_utf8_lossy(value.as_bytes());
            let value = if is_secret { MASK } else { &*value };
            write!(f, "{separator}{name}: {value}")?;
        }
        Ok(())
    }
}

/// A message body for a log line: text as it is, anything else in hexadecimal.
pub(crate) struct ShownBody<'a>(pub(crate) &'a [u8]);

impl fmt::Display for ShownBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) => f.write_str(text),
            Err(_) => self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// Where log lines go: a bounded queue to the writer's thread.
struct Lines {
    queue: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

/// The thread that writes log lines.
pub(crate) struct Writer {
    stop: SyncSender<String>,
    stopped: Receiver<()>,
}

impl Writer {
    fn start() -> (Self, Lines) {
        let (queue, lines) = sync_channel::<String>(QUEUED_LINES);
        let (tell, stopped) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let missing = Arc::clone(&lost);
        std::thread::spawn(move || {
            for line in lines {
                // An empty line asks to stop. With standard error gone there is nowhere to say so.
                let _ = std::io::stderr().write_all(line.as_bytes());
                let count = missing.swap(0, Ordering::Relaxed);
                if count > 0 {
                    let _ = writeln!(std::io::stderr(), "{count} log lines were lost");
                }
                if line.is_empty() {
                    break;
                }
            }
            let _ = tell.send(());
        });
        (Self { stop: queue.clone(), stopped }, Lines { queue, lost })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A queue that stays full is one that nobody reads.
        if self.stop.try_send(String::new()).is_ok() {
            let _ = self.stopped.recv_timeout(LAST_LINES);
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = String::with_capacity(160);
        let _ = SystemTime.format_time(&mut format::Writer::new(&mut line));
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let _ = write!(line, "\t{level}\t{}", fields.message.replace(['\n', '\t'], " "));
        if !fields.others.is_empty() {
            let _ = write!(line, "\t{}", Value::Object(fields.others));
        }
        line.push('\n');
        if self.queue.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }

    /// The beginning of a long text: lines wait in memory.
    fn put_text(&mut self, field: &Field, mut text: String) {
        if text.len() > LONGEST_TEXT {
            let length = text.len();
            text.truncate(text.floor_char_boundary(LONGEST_TEXT));
            let _ = write!(text, "… ({length} bytes)");
        }
        self.put(field, text.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put_text(field, text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=b".parse().unwrap());
        headers.insert("authorization", "Bearer x".parse().unwrap());
        headers.insert("accept", "y".parse().unwrap());
        assert_eq!(Shown(&headers).to_string(), "cookie: ****; authorization: ****; accept: y");
    }

    #[test]
    fn bodies_that_are_not_text_are_shown_in_hexadecimal() {
        assert_eq!(ShownBody(b"hi").to_string(), "hi");
        assert_eq!(ShownBody(b"\xff\x00").to_string(), "ff00");
    }
}
