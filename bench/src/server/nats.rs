//! `nats-server`: a message broker whose clients speak a text protocol over TCP (`nats`) or inside
//! WebSocket (`nats-ws`, what a browser would use); posts always come over TCP.
//!
//! Compared in fan-out, unicast and idle memory. It does less than `ekbo`: a post to all names one
//! subject instead of every session, and no backend is asked about connections or told of
//! messages. A post is answered by the PONG to a PING after it, which on one core mostly comes when
//! the clients have been written to: one poster that awaits it sees no batches; posts that come
//! without waiting, or from several posters, leave in one write for each client. What a client
//! does not take is held up to 64 MiB, then the client is closed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::tunnel;
use crate::server::{ALL, Dial, Heard, Server, Site, Wire, Work};

/// INFO is the longest line.
const MAX_LINE: usize = 32 * 1024;

pub(crate) struct Nats {
    pub(super) program: PathBuf,
    /// Whether clients are inside WebSocket.
    pub(super) websocket: bool,
}

impl Server for Nats {
    fn name(&self) -> &'static str {
        if self.websocket { "nats-ws" } else { "nats" }
    }

    fn by_default(&self) -> bool {
        !self.websocket
    }

    fn remedy(&self) -> &'static str {
        "apt-get install nats-server"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("--version"))
    }

    fn cannot(&self, work: Work) -> Option<&'static str> {
        match work {
            Work::Connect => Some("nats-server asks no backend whether a client may connect"),
            Work::Receive => Some("nats-server has no callback for a client's message"),
            _ => None,
        }
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        let config = site.directory.join("nats.conf");
        let (native, websocket) = (native(site), browsers(site));
        // Its own pings would come every two minutes to every client. Threads follow the cores.
        std::fs::write(
            &config,
            format!(
                "listen: \"{native}\"\nmax_connections: {}\nping_interval: \"1h\"\nwebsocket {{\n  \
                 listen: \"{websocket}\"\n  no_tls: true\n  compression: false\n}}\n",
                site.connections + 1000
            ),
        )?;
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(config);
        Ok(command)
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        let dial = dial(native(site), &format!("SUB {} 1\r\n", site.channel(key)));
        if self.websocket {
            tunnel::dial(Dial { address: browsers(site), ..dial }, "/", "")
        } else {
            dial
        }
    }

    fn poster(&self, site: &Site) -> Dial {
        dial(native(site), "")
    }

    fn post_to_all(&self, _site: &Site, _keys: &[String], payload: &[u8]) -> Vec<u8> {
        post(ALL, payload)
    }

    fn post_to_one(&self, _site: &Site, key: &str, payload: &[u8]) -> Vec<u8> {
        post(key, payload)
    }
}

fn native(site: &Site) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, site.ports[0]).into()
}

fn browsers(site: &Site) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, site.ports[1]).into()
}

fn dial(address: SocketAddr, subscription: &str) -> Dial {
    let greeting = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"bench\",\
         \"version\":\"1\"}}\r\n{subscription}PING\r\n"
    );
    Dial { address, greeting: greeting.into_bytes(), wire: Box::new(Protocol::default()) }
}

/// The ping makes the server answer when it has taken the message.
fn post(subject: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\nPING\r\n");
    bytes
}

/// Lines, and after `MSG` a payload.
#[derive(Default)]
struct Protocol {
    /// Of a line that has not arrived completely.
    line: Vec<u8>,
    /// What of a payload and its end of line is still to come.
    missing: usize,
    greeted: bool,
}

impl Wire for Protocol {
    fn hear(&mut self, mut bytes: &[u8], reply: &mut Vec<u8>) -> Result<Heard> {
        let mut heard = Heard::default();
        while !bytes.is_empty() {
            if self.missing > 0 {
                let here = bytes.len().min(self.missing);
                bytes = &bytes[here..];
                self.missing -= here;
                heard.messages += usize::from(self.missing == 0);
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                if self.line.len() > MAX_LINE {
                    return Err("a line without end".into());
                }
                break;
            };
            let (here, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.line.is_empty() {
                self.take(here, &mut heard, reply)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(here);
                self.take(&line, &mut heard, reply)?;
            }
        }
        Ok(heard)
    }
}

impl Protocol {
    fn take(&mut self, line: &[u8], heard: &mut Heard, reply: &mut Vec<u8>) -> Result<()> {
        let line = line.trim_ascii_end();
        if line.starts_with(b"MSG ") {
            let size = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            self.missing = std::str::from_utf8(size)?.parse::<usize>()? + b"\r\n".len();
        } else if line == b"PONG" {
            if self.greeted {
                heard.answers += 1;
            } else {
                self.greeted = true;
                heard.ready = true;
            }
        } else if line == b"PING" {
            reply.extend_from_slice(b"PONG\r\n");
        } else if !line.starts_with(b"INFO ") {
            return Err(format!("the server says {}", String::from_utf8_lossy(line)).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_messages_and_answers_however_the_stream_is_cut() {
        let stream = b"INFO {\"version\":\"2\"}\r\nPONG\r\nMSG all 1 6\r\nMSG \r\n\r\nPING\r\n\
                       MSG all 1 0\r\n\r\nPONG\r\n";
        for size in [1, 2, 3, 5, 17, usize::MAX] {
            let (mut protocol, mut reply) = (Protocol::default(), Vec::new());
            let mut sum = (0, 0, 0);
            for piece in stream.chunks(size) {
                let heard = protocol.hear(piece, &mut reply).unwrap();
                sum.0 += usize::from(heard.ready);
                sum.1 += heard.messages;
                sum.2 += heard.answers;
            }
            assert_eq!(sum, (1, 2, 1), "in pieces of {size}");
            assert_eq!(reply, b"PONG\r\n", "in pieces of {size}");
        }
    }

    #[test]
    fn what_the_server_complains_about_is_an_error() {
        let heard = Protocol::default().hear(b"-ERR 'Slow Consumer'\r\n", &mut Vec::new());
        assert_eq!(heard.unwrap_err().to_string(), "the server says -ERR 'Slow Consumer'");
    }

    #[test]
    fn a_post_is_followed_by_a_ping() {
        assert_eq!(post("all", b"hi"), b"PUB all 2\r\nhi\r\nPING\r\n");
    }
}
