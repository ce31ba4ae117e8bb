//! `mosquitto`: an MQTT broker, spoken to in MQTT 3.1.1 over TCP (`mosquitto`) or inside WebSocket
//! (`mosquitto-ws`, what a browser would use); posts always come over TCP.
//!
//! Compared in fan-out, unicast and idle memory. Posts have QoS 1, so that they are answered
//! (PUBACK), after the message has been written to the clients; these subscribe with QoS 0. It
//! does less than `ekbo`: a post to all names one topic instead of every session, and no backend
//! is asked about connections or told of messages. For a client that takes nothing it keeps 1,000
//! messages and drops what comes after. It has one thread, whatever the number of cores.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::tunnel;
use crate::server::{ALL, Dial, Heard, Server, Site, Wire, Work};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const QOS_1: u8 = 2;
/// A poster has one message in flight, so that one identifier will do.
const IDENTIFIER: [u8; 2] = [0, 1];
/// The return code of a refused subscription.
const REFUSED: u8 = 0x80;

pub(crate) struct Mosquitto {
    pub(super) program: PathBuf,
    /// Whether clients are inside WebSocket.
    pub(super) websocket: bool,
}

impl Server for Mosquitto {
    fn name(&self) -> &'static str {
        if self.websocket { "mosquitto-ws" } else { "mosquitto" }
    }

    fn by_default(&self) -> bool {
        !self.websocket
    }

    fn remedy(&self) -> &'static str {
        "apt-get install mosquitto"
    }

    fn version(&self) -> Result<String> {
        // Its help says the version, and its status is 3.
        let output = Command::new(&self.program)
            .arg("-h")
            .output()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.lines().next() {
            Some(line) if line.contains("version") => Ok(line.to_owned()),
            _ => Err(format!("{} -h does not say a version", self.program.display()).into()),
        }
    }

    fn cannot(&self, work: Work) -> Option<&'static str> {
        match work {
            Work::Connect => Some("mosquitto asks no backend whether a client may connect"),
            Work::Receive => Some("mosquitto has no callback for a client's message"),
            _ => None,
        }
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        let config = site.directory.join("mosquitto.conf");
        let (native, browsers) = (native(site), browsers(site));
        // Run by root, it would become a user who may not read here.
        std::fs::write(
            &config,
            format!(
                "user root\nallow_anonymous true\npersistence false\nlog_dest stderr\nlog_type \
                 error\nlog_type warning\nconnection_messages false\nsys_interval \
                 0\nset_tcp_nodelay true\nlistener {} {}\nlistener {} {}\nprotocol websockets\n",
                native.port(),
                native.ip(),
                browsers.port(),
                browsers.ip()
            ),
        )?;
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(config);
        Ok(command)
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        let subscription = [&IDENTIFIER[..], &text(site.channel(key)), &[0]].concat();
        let mut greeting = connect(key);
        greeting.extend(packet(SUBSCRIBE, &subscription));
        let dial =
            Dial { address: native(site), greeting, wire: Box::new(Protocol::until(SUBACK)) };
        if self.websocket {
            let fields = "Sec-WebSocket-Protocol: mqtt\r\n";
            tunnel::dial(Dial { address: browsers(site), ..dial }, "/mqtt", fields)
        } else {
            dial
        }
    }

    fn poster(&self, site: &Site) -> Dial {
        // Without a name it is given one of its own.
        let (address, greeting) = (native(site), connect(""));
        Dial { address, greeting, wire: Box::new(Protocol::until(CONNACK)) }
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

/// A clean session of this name that needs no pings.
fn connect(name: &str) -> Vec<u8> {
    const LEVEL: u8 = 4;
    const CLEAN: u8 = 2;
    packet(CONNECT, &[&text("MQTT")[..], &[LEVEL, CLEAN, 0, 0], &text(name)].concat())
}

fn post(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(PUBLISH | QOS_1, &[&text(topic)[..], &IDENTIFIER, payload].concat())
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    while length > 0x7f {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

/// With its length before it; ours are short.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Packets: a kind, a length of up to four bytes, a body.
struct Protocol {
    /// The kind of packet that answers the greeting.
    greeting: u8,
    kind: Option<u8>,
    length: usize,
    /// How many bits of the length have arrived; `None` when all have.
    bits: Option<u32>,
    /// The byte of the body that came last: the return code of what is answered with one.
    code: u8,
}

impl Protocol {
    fn until(greeting: u8) -> Self {
        Self { greeting, kind: None, length: 0, bits: Some(0), code: 0 }
    }

    fn end(&mut self, kind: u8, heard: &mut Heard) -> Result<()> {
        self.kind = None;
        match kind & 0xf0 {
            CONNACK if self.code != 0 => return Err(format!("refused with {}", self.code).into()),
            SUBACK if self.code >= REFUSED => return Err("the subscription was refused".into()),
            PUBLISH => heard.messages += 1,
            PUBACK => heard.answers += 1,
            kind if kind == self.greeting => heard.ready = true,
            CONNACK => {}
            kind => return Err(format!("the server sends a packet of kind {kind:#x}").into()),
        }
        Ok(())
    }
}

impl Wire for Protocol {
    fn hear(&mut self, mut bytes: &[u8], _reply: &mut Vec<u8>) -> Result<Heard> {
        let mut heard = Heard::default();
        while let Some((first, rest)) = bytes.split_first() {
            let Some(kind) = self.kind else {
                (self.kind, self.length, self.bits) = (Some(*first), 0, Some(0));
                bytes = rest;
                continue;
            };
            if let Some(bits) = self.bits {
                self.length |= usize::from(first & 0x7f) << bits;
                self.bits = (first & 0x80 != 0).then_some(bits + 7);
                if bits > 21 {
                    return Err("a length without end".into());
                }
                bytes = rest;
            } else {
                let here = bytes.len().min(self.length);
                self.code = bytes[here - 1];
                self.length -= here;
                bytes = &bytes[here..];
            }
            if self.bits.is_none() && self.length == 0 {
                self.end(kind, &mut heard)?;
            }
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_messages_and_answers_however_the_stream_is_cut() {
        let mut stream = vec![CONNACK, 2, 0, 0, SUBACK, 3, 0, 1, 0];
        stream.extend(packet(PUBLISH, &[&text("all")[..], &[7; 300]].concat()));
        stream.extend([PUBACK, 2, 0, 1]);
        stream.extend(packet(PUBLISH, &text("all")));
        for size in [1, 2, 3, 7, 100, usize::MAX] {
            let mut protocol = Protocol::until(SUBACK);
            let mut sum = (0, 0, 0);
            for piece in stream.chunks(size) {
                let heard = protocol.hear(piece, &mut Vec::new()).unwrap();
                sum.0 += usize::from(heard.ready);
                sum.1 += heard.messages;
                sum.2 += heard.answers;
            }
            assert_eq!(sum, (1, 2, 1), "in pieces of {size}");
        }
    }

    #[test]
    fn refusals_are_errors() {
        for bytes in [&[CONNACK, 2, 0, 5][..], &[SUBACK, 3, 0, 1, 0x80]] {
            assert!(Protocol::until(SUBACK).hear(bytes, &mut Vec::new()).is_err());
        }
        let without_end = [PUBLISH, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(Protocol::until(SUBACK).hear(&without_end, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_length_of_more_than_seven_bits_takes_two_bytes() {
        assert_eq!(packet(PUBLISH, &[7; 321])[..3], [PUBLISH, 0xc1, 0x02]);
        assert_eq!(text("MQTT"), b"\0\x04MQTT");
    }
}
