//! Log lines on standard error: time, level, message and fields as JSON, separated by tabs. And
//! what of a request may be shown in them.

pub(crate) mod lines;
pub(crate) mod url;

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime as FormatSystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use self::lines::{Lines, Writer};
use crate::flags::LogLevel;
use crate::secret::{MASK, is_secret_header};

/// The most that is shown of a header, a body or a URL, in bytes.
const LONGEST_TEXT: usize = 4096;

/// Starts logging for the whole process, to standard error.
pub(crate) fn start(level: LogLevel) -> Writer {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let ours = Targets::new().with_target("ekbo", level).with_target("kuiperbelt", level);
    // That standard error takes nothing can be said nowhere else.
    let (writer, lines) = Writer::start(std::io::stderr(), |_| {});
    // A second start in one process keeps the first; there is none.
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

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, json } = fields;
        let mut line = String::with_capacity(160);
        push_time(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let _ = write!(line, "\t{level}\t{}", message.replace(['\n', '\t'], " "));
        if !json.is_empty() {
            let _ = write!(line, "\t{json}}}");
        }
        line.push('\n');
        self.add(&line);
    }
}

/// The time of day as RFC 3339 has it, in microseconds. All but those is made once a second.
fn push_time(line: &mut String) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = RefCell::default();
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut time = now();
    SECOND.with_borrow_mut(|(second, text)| {
        // Again, should a second begin meanwhile.
        while *second != time.as_secs() || text.is_empty() {
            text.clear();
            let _ = FormatSystemTime.format_time(&mut format::Writer::new(text));
            text.truncate(text.find('.').unwrap_or(text.len()));
            *second = time.as_secs();
            time = now();
        }
        line.push_str(text);
    });
    let mut micros = *b".000000Z";
    let mut rest = time.subsec_micros();
    for digit in micros[1..7].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    line.push_str(str::from_utf8(&micros).unwrap_or_default());
}

/// The message of an event, and its other fields as a JSON object that lacks its last brace.
#[derive(Default)]
struct Fields {
    message: String,
    json: String,
}

impl Fields {
    fn put(&mut self, field: &Field, json: impl fmt::Display) {
        let separator = if self.json.is_empty() { '{' } else { ',' };
        // Field names are identifiers.
        let _ = write!(self.json, "{separator}\"{}\":{json}", field.name());
    }

    /// The beginning of a long text: lines wait in memory.
    fn put_text(&mut self, field: &Field, text: &str) {
        let json = if text.len() > LONGEST_TEXT {
            let start = &text[..text.floor_char_boundary(LONGEST_TEXT)];
            serde_json::to_string(&format!("{start}… ({} bytes)", text.len()))
        } else {
            serde_json::to_string(text)
        };
        self.put(field, json.unwrap_or_default());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put_text(field, &text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds() {
        let mut line = String::new();
        push_time(&mut line);
        let shape: String =
            line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }

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
