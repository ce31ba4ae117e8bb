//! `pushpin`: a proxy that holds WebSockets for a backend which speaks HTTP only
//! (WebSocket-over-HTTP), made of five processes that talk over ZeroMQ; their work is summed.
//!
//! Compared in everything. The backend is asked about every connection and told of every message,
//! as with `ekbo`, and subscribes the client to a channel in its answer; a post to all names one
//! channel instead of every session. Posts go to the command socket (ZeroMQ, a kept connection),
//! because posting over HTTP costs a connection each. A post is answered before it has been
//! written to the clients, and nothing slows a poster down: the bound after which messages are
//! dropped is set out of reach. Debian runs `zurl` as a service; here it is one of the five. In
//! `receive` pushpin 1.36 now and then closes a connection without any word in its log.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::http::{self, Request};
use crate::load::websocket;
use crate::server::{ALL, Dial, Heard, Server, Site, Wire, Work};

/// Header fields of the backend's answers.
const EVENTS: &str = "Content-Type: application/websocket-events\r\n\
                      Sec-WebSocket-Extensions: grip\r\n";

/// Where a client opens its WebSocket: whether it gets a message when its subscription is in
/// force, which is some time after the handshake.
const ANNOUNCED: &str = "/announced";
const SILENT: &str = "/silent";

const DEFAULT_BUFFER: usize = 8 * 1024;
/// When the clients of one channel have used up their buffers they all give credit back at once,
/// some of which is lost, and they get nothing any more: seen at 1,000 sessions after 8 KiB each.
const WIDE_BUFFER: usize = 256 * 1024;

pub(crate) struct Pushpin {
    program: PathBuf,
}

impl Pushpin {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl Server for Pushpin {
    fn name(&self) -> &'static str {
        "pushpin"
    }

    fn remedy(&self) -> &'static str {
        "apt-get install pushpin"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("--version"))
    }

    fn cannot(&self, _work: Work) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        let directory = &site.directory;
        let (config, routes) = (directory.join("pushpin.conf"), directory.join("routes"));
        std::fs::write(&config, config_text(site))?;
        std::fs::write(routes, format!("* {},over_http\n", site.backend))?;
        for name in ["run", "logs"] {
            std::fs::create_dir(directory.join(name))?;
        }
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(config).args(["--merge-output", "--loglevel", "1"]);
        Ok(command)
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        let target = match site.work {
            Work::Fanout | Work::Unicast => ANNOUNCED,
            _ => SILENT,
        };
        let target_and_channel = format!("{target}?{}", site.channel(key));
        let mut dial = websocket::dial(clients(site), &target_and_channel, "");
        if target == ANNOUNCED {
            dial.wire = Box::new(Subscriber { inner: dial.wire, announced: false });
        }
        dial
    }

    fn client_message(&self, payload: &[u8]) -> Vec<u8> {
        websocket::text(payload)
    }

    fn poster(&self, site: &Site) -> Dial {
        Dial { address: commands(site), greeting: greeting(), wire: Box::new(Replies::default()) }
    }

    fn post_to_all(&self, _site: &Site, _keys: &[String], payload: &[u8]) -> Vec<u8> {
        post(ALL, payload)
    }

    fn post_to_one(&self, _site: &Site, key: &str, payload: &[u8]) -> Vec<u8> {
        post(key, payload)
    }

    fn backend<'a>(&self, request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
        let (kind, content) = event(request.body);
        match kind {
            b"OPEN" => {
                let (target, channel) = request.target().split_once('?').unwrap_or_default();
                let mut body = "OPEN\r\n".to_owned();
                body += &control(&format!("\"subscribe\",\"channel\":\"{channel}\""));
                if target == ANNOUNCED {
                    body += &control("\"send-delayed\",\"content\":\"subscribed\"");
                    body += &control("\"flush-delayed\"");
                }
                http::respond(response, EVENTS, body.as_bytes());
                None
            }
            b"TEXT" => {
                http::respond(response, EVENTS, b"");
                Some(content)
            }
            // What it tells of the end of a connection.
            _ => {
                http::respond(response, EVENTS, b"");
                None
            }
        }
    }
}

fn clients(site: &Site) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, site.ports[0]).into()
}

fn commands(site: &Site) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, site.ports[1]).into()
}

/// The first event that the backend is told of: its name, and its content unless it has none. A
/// client here has one message on its way, so that there is no second event.
fn event(body: &[u8]) -> (&[u8], &[u8]) {
    let end = body.windows(2).position(|two| two == b"\r\n").unwrap_or(body.len());
    let (head, rest) = body.split_at(end);
    let kind = head.split(|byte| *byte == b' ').next().unwrap_or_default();
    let content = rest.strip_prefix(b"\r\n").unwrap_or_default();
    (kind, content.strip_suffix(b"\r\n").unwrap_or_default())
}

/// An event of the backend that is not for the client: a control message of this type, with what
/// belongs to it.
fn control(kind: &str) -> String {
    let message = format!("c:{{\"type\":{kind}}}");
    format!("TEXT {:x}\r\n{message}\r\n", message.len())
}

fn config_text(site: &Site) -> String {
    let Site { directory, ports: [client, command, pull, subscribe, http, ..], .. } = site;
    let directory = directory.display();
    let connections = site.connections + 1000;
    let buffer = if site.work == Work::Fanout { WIDE_BUFFER } else { DEFAULT_BUFFER };
    format!(
        "[global]
include={{libdir}}/internal.conf
rundir={directory}/run
ipc_prefix=p-
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{client}
logdir={directory}/logs
log_level=1
client_buffer_size={buffer}
client_maxconn={connections}
condure_bin=condure
zurl_bin=zurl
[proxy]
routesfile={directory}/routes
zurl_out_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in
zurl_out_stream_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in-stream
zurl_in_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-out
updates_check=off
[handler]
push_in_spec=tcp://127.0.0.1:{pull}
push_in_sub_specs=tcp://127.0.0.1:{subscribe}
push_in_http_addr=127.0.0.1
push_in_http_port={http}
stats_spec=ipc://{{rundir}}/{{ipc_prefix}}stats
command_spec=tcp://127.0.0.1:{command}
message_rate=0
message_hwm=100000000
"
    )
}

/// What a ZMTP 3.0 client of type REQ without security says first. The server's part need not be
/// awaited.
fn greeting() -> Vec<u8> {
    const COMMAND: u8 = 4;
    let mut greeting = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".to_vec();
    greeting.resize(Replies::GREETING, 0);
    let ready = b"\x05READY\x0bSocket-Type\0\0\0\x03REQ\x08Identity\0\0\0\0";
    greeting.extend([COMMAND, ready.len() as u8]);
    greeting.extend_from_slice(ready);
    greeting
}

/// The command `publish`, as a request of two frames: the empty one that REQ begins with, and
/// nested netstrings with a type at the end of each.
fn post(channel: &str, payload: &[u8]) -> Vec<u8> {
    let message = map(&[("content", text(payload))]);
    let formats = map(&[("ws-message", message)]);
    let item = map(&[("channel", text(channel.as_bytes())), ("formats", formats)]);
    let args = map(&[("items", netstring(&item, b']'))]);
    let request = map(&[("method", text(b"publish")), ("args", args)]);
    let mut bytes = vec![Replies::MORE, 0, Replies::LONG];
    bytes.extend((request.len() as u64).to_be_bytes());
    bytes.extend(request);
    bytes
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let content: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| [text(key.as_bytes()), value.clone()])
        .flatten()
        .collect();
    netstring(&content, b'}')
}

fn text(content: &[u8]) -> Vec<u8> {
    netstring(content, b',')
}

fn netstring(content: &[u8], kind: u8) -> Vec<u8> {
    let mut bytes = format!("{}:", content.len()).into_bytes();
    bytes.extend_from_slice(content);
    bytes.push(kind);
    bytes
}

/// A client that is ready when it has been told that it is subscribed.
struct Subscriber {
    inner: Box<dyn Wire>,
    announced: bool,
}

impl Wire for Subscriber {
    fn hear(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<Heard> {
        let mut heard = self.inner.hear(bytes, reply)?;
        heard.ready = !self.announced && heard.messages > 0;
        if heard.ready {
            self.announced = true;
            heard.messages -= 1;
        }
        Ok(heard)
    }
}

/// The other side of ZMTP: a greeting of fixed size, a frame with the command `READY`, then a
/// reply of two frames to each request.
#[derive(Default)]
struct Replies {
    greeted: usize,
    ready: bool,
    /// Flags and length of a frame, as far as they have arrived.
    header: Vec<u8>,
    frame: Vec<u8>,
}

impl Replies {
    const GREETING: usize = 64;
    const MORE: u8 = 1;
    const LONG: u8 = 2;

    /// The length of the frame, when its header is complete.
    fn length(&self) -> Option<usize> {
        let (flags, length) = self.header.split_first()?;
        let expected = if flags & Self::LONG != 0 { 8 } else { 1 };
        (length.len() == expected)
            .then(|| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn end(&mut self, heard: &mut Heard) -> Result<()> {
        if !self.ready {
            self.ready = true;
            heard.ready = true;
        } else if self.header[0] & Self::MORE == 0 {
            let success = b"7:success,4:true!";
            if !self.frame.windows(success.len()).any(|part| part == success) {
                let said = String::from_utf8_lossy(&self.frame);
                return Err(format!("a post was answered {said}").into());
            }
            heard.answers += 1;
        }
        self.header.clear();
        self.frame.clear();
        Ok(())
    }
}

impl Wire for Replies {
    fn hear(&mut self, bytes: &[u8], _reply: &mut Vec<u8>) -> Result<Heard> {
        let here = bytes.len().min(Self::GREETING - self.greeted);
        self.greeted += here;
        let mut heard = Heard::default();
        // Replies are some dozens of bytes.
        for byte in &bytes[here..] {
            match self.length() {
                None => self.header.push(*byte),
                Some(_) => self.frame.push(*byte),
            }
            if self.length() == Some(self.frame.len()) {
                self.end(&mut heard)?;
            }
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_replies_however_the_stream_is_cut() {
        let mut stream = greeting();
        for _ in 0..2 {
            stream.extend([Replies::MORE, 0, 0, 31]);
            stream.extend(b"28:5:value,0:~7:success,4:true!}");
        }
        let long = b"28:7:success,4:true!5:value,0:~}";
        stream.extend([Replies::MORE, 0, Replies::LONG, 0, 0, 0, 0, 0, 0, 0, long.len() as u8]);
        stream.extend(long);
        for size in [1, 2, 3, 63, 65, usize::MAX] {
            let mut replies = Replies::default();
            let mut sum = (0, 0);
            for piece in stream.chunks(size) {
                let heard = replies.hear(piece, &mut Vec::new()).unwrap();
                sum.0 += usize::from(heard.ready);
                sum.1 += heard.answers;
            }
            assert_eq!(sum, (1, 3), "in pieces of {size}");
        }
    }

    #[test]
    fn a_failed_post_is_an_error() {
        let mut stream = greeting();
        let reply = b"45:7:success,5:false!9:condition,10:bad-format,}";
        stream.extend([Replies::MORE, 0, 0, reply.len() as u8]);
        stream.extend(reply);
        let error = Replies::default().hear(&stream, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("bad-format"), "{error}");
    }

    #[test]
    fn a_post_is_nested_netstrings() {
        let bytes = post("all", b"hi");
        let request = b"109:6:method,7:publish,4:args,79:5:items,67:63:7:channel,3:all,7:formats,\
                        33:10:ws-message,15:7:content,2:hi,}}}]}}";
        assert_eq!(String::from_utf8_lossy(&bytes[11..]), String::from_utf8_lossy(request),);
        assert_eq!(bytes[..3], [Replies::MORE, 0, Replies::LONG]);
    }

    #[test]
    fn the_backend_subscribes_who_opens_and_is_told_messages() {
        let pushpin = Pushpin::new(PathBuf::from("pushpin"));
        let subscribe = "OPEN\r\nTEXT 26\r\nc:{\"type\":\"subscribe\",\"channel\":\"all\"}\r\n";
        let announce = "TEXT 30\r\nc:{\"type\":\"send-delayed\",\"content\":\"subscribed\"}\r\n\
                        TEXT 1a\r\nc:{\"type\":\"flush-delayed\"}\r\n";
        for (target, expected) in
            [(SILENT, subscribe.to_owned()), (ANNOUNCED, format!("{subscribe}{announce}"))]
        {
            let open = format!("POST {target}?all HTTP/1.1\r\nContent-Length: 6\r\n\r\nOPEN\r\n");
            let (request, _) = Request::read(open.as_bytes()).unwrap().unwrap();
            let mut response = Vec::new();
            assert_eq!(pushpin.backend(&request, &mut response), None);
            let response = String::from_utf8(response).unwrap();
            assert_eq!(response.split_once("\r\n\r\n").unwrap().1, expected);
        }
        assert_eq!(event(b"TEXT 2\r\nhi\r\n"), (&b"TEXT"[..], &b"hi"[..]));
        assert_eq!(event(b"DISCONNECT\r\n"), (&b"DISCONNECT"[..], &b""[..]));
    }

    #[test]
    fn a_subscriber_is_ready_with_its_first_message() {
        let mut dial = websocket::dial(([127, 0, 0, 1], 80).into(), "/", "");
        dial.wire = Box::new(Subscriber { inner: dial.wire, announced: false });
        let mut hear = |bytes: &[u8]| dial.wire.hear(bytes, &mut Vec::new()).unwrap();
        assert_eq!(hear(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Heard::default());
        let heard = Heard { ready: true, messages: 1, answers: 0 };
        assert_eq!(hear(&[0x81, 1, b's', 0x81, 1, b'm']), heard);
        assert_eq!(hear(&[0x81, 1, b'm']), Heard { messages: 1, ..Heard::default() });
    }
}
