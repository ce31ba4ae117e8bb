//! `/stats`: six numbers, as JSON or as tab-separated lines.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use kuiperbelt::{Answer, Metric, Metrics, Request};

use super::BackendApi;
use super::access::Reach;

/// A number, by its name in JSON and its name in the lines.
struct Counter {
    json: &'static str,
    line: &'static str,
    metric: fn(&Metrics) -> &Metric,
}

/// In the order of the JSON.
const COUNTERS: [Counter; 6] = [
    Counter { json: "connections", line: "conn.current", metric: |m| &m.connections },
    Counter { json: "total_connections", line: "conn.total", metric: |m| &m.total_connections },
    Counter { json: "total_messages", line: "messages.total", metric: |m| &m.total_messages },
    Counter { json: "connect_errors", line: "conn.errors", metric: |m| &m.connect_errors },
    Counter { json: "message_errors", line: "messages.errors", metric: |m| &m.message_errors },
    Counter {
        json: "closing_connections",
        line: "conn.closing",
        metric: |m| &m.closing_connections,
    },
];

/// The order of the lines, as indices of `COUNTERS`.
const LINES: [usize; 6] = [0, 1, 3, 5, 2, 4];

impl BackendApi {
    /// Any method; the format is asked for by the query or a form.
    pub(crate) async fn stats(&self, request: Request) -> Answer {
        if let Err(refused) = self.check_access(&request, Reach::All) {
            return refused.into();
        }
        let format = self.format(request).await;
        let (kind, body) = match format.as_deref() {
            Some("tsv" | "txt" | "text") => ("text/plain", lines(self.hub.metrics())),
            _ => ("application/json", json(self.hub.metrics())),
        };
        let mut answer = Answer::new(body.into());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    /// A form's `format` before the query's.
    async fn format(&self, request: Request) -> Option<String> {
        let Request { method, uri, fields, body, .. } = request;
        let is_form = fields.get(&CONTENT_TYPE).is_some_and(|kind| {
            kind.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
        });
        let has_form = matches!(method, Method::POST | Method::PUT | Method::PATCH);
        let form = if is_form && has_form {
            self.read(body, true).await.unwrap_or_default()
        } else {
            Bytes::new()
        };
        let query = uri.query().unwrap_or_default();
        let mut fields =
            form_urlencoded::parse(&form).chain(form_urlencoded::parse(query.as_bytes()));
        fields.find(|(name, _)| name == "format").map(|(_, value)| value.into_owned())
    }
}

fn json(metrics: &Metrics) -> String {
    let fields: Vec<String> = COUNTERS
        .iter()
        .map(|counter| format!("\"{}\":{}", counter.json, (counter.metric)(metrics).value()))
        .collect();
    format!("{{{}}}\n", fields.join(","))
}

fn lines(metrics: &Metrics) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut lines = String::new();
    for counter in LINES.map(|index| &COUNTERS[index]) {
        let value = (counter.metric)(metrics).value();
        let _ = writeln!(lines, "kuiperbelt.{}\t{value}\t{now}", counter.line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// README.md has a row for each number, with both its names.
    #[test]
    fn the_readme_lists_the_counters() {
        let readme = include_str!("../../../README.md");
        let table = readme.split("| counter |").nth(1).unwrap().split("\n\n").next().unwrap();
        let rows: Vec<Vec<&str>> =
            table.lines().skip(2).map(|row| row.split('`').skip(1).step_by(2).collect()).collect();
        let lines: Vec<String> =
            COUNTERS.iter().map(|counter| format!("kuiperbelt.{}", counter.line)).collect();
        let expected: Vec<Vec<&str>> =
            COUNTERS.iter().zip(&lines).map(|(counter, line)| vec![counter.json, line]).collect();
        assert_eq!(rows, expected);
    }
}
