//! The gateway as an application sees it: an address to POST to.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than an answer that lists every member of a full room as gone.
const MAX_ANSWER: u64 = 1024 * 1024;

pub(super) struct Gateway {
    address: SocketAddr,
}

impl Gateway {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Sends `message` to the sessions, and returns the keys of those that no longer exist. An
    /// error means that nothing is known: the gateway is unreachable, or refused the request.
    pub(super) fn send(&self, keys: &[String], message: &Value) -> io::Result<Vec<String>> {
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(self.request(keys, &message.to_string()).as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        gone(&answer)
    }

    /// HTTP/1.0 is the shortest way to one answer that ends with the connection and never comes
    /// in chunks.
    fn request(&self, keys: &[String], body: &str) -> String {
        let sessions: String =
            keys.iter().map(|key| format!("X-Kuiperbelt-Session: {key}\r\n")).collect();
        format!(
            "POST /send HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{sessions}\r\n{body}",
            self.address,
            body.len()
        )
    }
}

/// The sessions that an answer of `/send` lists as failed.
fn gone(answer: &[u8]) -> io::Result<Vec<String>> {
    let unexpected = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(head_size)) = head.parse(answer) else {
        return Err(unexpected("the gateway's answer to /send is not HTTP"));
    };
    let body: Value = serde_json::from_slice(&answer[head_size..])
        .map_err(|_| unexpected("the gateway's answer to /send is not JSON"))?;
    if body["result"] != "OK" {
        return Err(unexpected(&format!("the gateway refused /send: {body}")));
    }
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(errors.iter().filter_map(|error| error["session"].as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_per_session() {
        let gateway = Gateway::new("127.0.0.1:9180".parse().unwrap());
        assert_eq!(
            gateway.request(&["anna".to_owned(), "bob".to_owned()], "{}"),
            "POST /send HTTP/1.0\r\nHost: 127.0.0.1:9180\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\nX-Kuiperbelt-Session: anna\r\nX-Kuiperbelt-Session: bob\r\n\r\n{}"
        );
    }

    #[test]
    fn listed_sessions_are_gone() {
        let answer = b"HTTP/1.0 200 OK\r\n\r\n{\"errors\":[{\"error\":\"kuiperbelt: session is not found\",\"session\":\"bob\"}],\"result\":\"OK\"}\n";
        assert_eq!(gone(answer).unwrap(), ["bob"]);
        assert!(gone(b"HTTP/1.1 200 OK\r\n\r\n{\"result\":\"OK\"}").unwrap().is_empty());
    }

    #[test]
    fn anything_else_is_an_error() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n",
            "HTTP/1.1 500 Internal Server Error\r\n\r\n{\"result\":\"NG\"}",
        ] {
            assert!(gone(answer.as_bytes()).is_err(), "{answer:?}");
        }
    }
}
