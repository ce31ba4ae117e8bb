//! `ekbo-rocket`: a Rocket hub of `ekbo`, as people have it by default: open to everybody, in JSON.
//! Clients log in and listen to a channel; posters log in as well, publish over their WebSockets,
//! and do not listen.
//!
//! Compared in fan-out, unicast and idle memory: no backend is asked about connections or told of
//! messages. A message is a JSON object with the payload in it, 42 bytes more for the channel of
//! all. `ekbo` reads what is published as JSON and writes it anew.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::http;
use crate::load::websocket::{self, Frames};
use crate::server::ekbo::{address, command};
use crate::server::{ALL, Dial, Heard, Server, Site, Wire, Work};

/// Where the hub is.
const HUB: &str = "/hub";
/// What it says to whatever is done.
const OK: &[u8] = br#"{"ok":true}"#;

pub(crate) struct Rocket {
    program: PathBuf,
}

impl Rocket {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl Server for Rocket {
    fn name(&self) -> &'static str {
        "ekbo-rocket"
    }

    fn remedy(&self) -> &'static str {
        "cargo build --release -p ekbo"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("version"))
    }

    fn cannot(&self, work: Work) -> Option<&'static str> {
        match work {
            Work::Connect => Some("a Rocket hub asks no backend whether a client may connect"),
            Work::Receive => Some("a Rocket hub tells no backend what a client says"),
            _ => None,
        }
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        command(&self.program, site, &format!("hubs:\n  - path: {HUB}\n"))
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        let channel = site.channel(key);
        let subscription = format!(r#"{{"subscribe":{{"channel":"{channel}"}}}}"#);
        dial(site, &[&login("read-only"), &subscription], Member::Listener)
    }

    fn poster(&self, site: &Site) -> Dial {
        dial(site, &[&login("read-write")], Member::Publisher)
    }

    fn post_to_all(&self, _site: &Site, _keys: &[String], payload: &[u8]) -> Vec<u8> {
        publish(ALL, payload)
    }

    fn post_to_one(&self, _site: &Site, key: &str, payload: &[u8]) -> Vec<u8> {
        publish(key, payload)
    }
}

fn login(access: &str) -> String {
    format!(r#"{{"auth":{{"access":"{access}","secret":""}}}}"#)
}

/// The payload consists of letters and digits.
fn publish(channel: &str, payload: &[u8]) -> Vec<u8> {
    let payload = String::from_utf8_lossy(payload);
    let event =
        format!(r#"{{"publish":{{"channel":"{channel}","data":"{payload}","event":"post"}}}}"#);
    websocket::text(event.as_bytes())
}

/// A member of the hub, who says this first.
fn dial(site: &Site, events: &[&str], member: Member) -> Dial {
    let said = events.iter().flat_map(|event| websocket::text(event.as_bytes())).collect();
    let wire = Conversation {
        head: http::Head::default(),
        frames: Frames::default(),
        greeting: said,
        unanswered: events.len(),
        member,
        heard: 0,
        answer_bytes: match member {
            Member::Listener => events.len() * OK.len(),
            Member::Publisher => usize::MAX,
        },
    };
    let greeting = websocket::handshake(address(site), HUB, "");
    Dial { address: address(site), greeting, wire: Box::new(wire) }
}

/// What a member hears once it is greeted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Messages.
    Listener,
    /// Answers.
    Publisher,
}

struct Conversation {
    head: http::Head,
    frames: Frames,
    /// What is said after the handshake.
    greeting: Vec<u8>,
    /// Of the greeting, how many events.
    unanswered: usize,
    member: Member,
    /// Bytes of the hub's messages so far.
    heard: usize,
    /// How many of them are of answers; the others are of messages.
    answer_bytes: usize,
}

impl Wire for Conversation {
    fn hear(&mut self, mut bytes: &[u8], reply: &mut Vec<u8>) -> Result<Heard> {
        if !self.head.ended() {
            bytes = websocket::admitted(&mut self.head, bytes)?;
            if !self.head.ended() {
                return Ok(Heard::default());
            }
            reply.append(&mut std::mem::take(&mut self.greeting));
        }
        let Self { frames, unanswered, member, heard: place, answer_bytes, .. } = self;
        let is_greeted = *unanswered == 0;
        let messages = frames.open(bytes, reply, |payload| {
            let answer = &payload[..payload.len().min(answer_bytes.saturating_sub(*place))];
            let expected = OK.iter().cycle().skip(*place % OK.len());
            if !answer.iter().eq(expected.take(answer.len())) {
                return Err(format!("the hub says {}", String::from_utf8_lossy(payload)).into());
            }
            *place += payload.len();
            Ok(())
        })?;
        let greetings = messages.min(*unanswered);
        *unanswered -= greetings;
        let rest = messages - greetings;
        let (messages, answers) = match member {
            Member::Listener => (rest, 0),
            Member::Publisher => (0, rest),
        };
        Ok(Heard { ready: !is_greeted && *unanswered == 0, messages, answers })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    fn site() -> Site {
        Site {
            work: Work::Fanout,
            directory: PathBuf::new(),
            ports: [9; 6],
            backend: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
            connections: 1,
            workers: 1,
        }
    }

    /// The 101, and these messages.
    fn stream(messages: &[&str]) -> Vec<u8> {
        let mut stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        for message in messages {
            stream.extend([0x81, message.len() as u8]);
            stream.extend(message.as_bytes());
        }
        stream
    }

    const ANSWER: &str = r#"{"ok":true}"#;
    const MESSAGE: &str = r#"{"channel":"all","data":"00000000","event":"post"}"#;
    const REFUSAL: &str = r#"{"err":"access_denied"}"#;

    #[test]
    fn members_are_greeted_and_hear_however_the_stream_is_cut() {
        let rocket = Rocket::new(PathBuf::from("ekbo"));
        let site = site();
        let listener = || rocket.client(&site, "alice");
        let publisher = || rocket.poster(&site);
        let reading = websocket::text(br#"{"auth":{"access":"read-only","secret":""}}"#);
        let writing = websocket::text(br#"{"auth":{"access":"read-write","secret":""}}"#);
        let subscribing = websocket::text(br#"{"subscribe":{"channel":"all"}}"#);
        let heard = [ANSWER, ANSWER, MESSAGE, MESSAGE, MESSAGE];
        let answered = [ANSWER, ANSWER, ANSWER];
        for size in [1, 2, 3, 12, 17, usize::MAX] {
            for (mut dial, stream, expected, said) in [
                (
                    listener(),
                    stream(&heard),
                    (1, 3, 0),
                    [reading.clone(), subscribing.clone()].concat(),
                ),
                (publisher(), stream(&answered), (1, 0, 2), writing.clone()),
            ] {
                let (mut reply, mut sum) = (Vec::new(), (0, 0, 0));
                for piece in stream.chunks(size) {
                    let heard = dial.wire.hear(piece, &mut reply).unwrap();
                    sum.0 += usize::from(heard.ready);
                    sum.1 += heard.messages;
                    sum.2 += heard.answers;
                }
                assert_eq!(sum, expected, "in pieces of {size}");
                assert_eq!(reply, said, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_refusal_is_an_error_and_a_message_that_looks_like_one_is_none() {
        let rocket = Rocket::new(PathBuf::from("ekbo"));
        for (mut dial, messages) in [
            (rocket.client(&site(), "alice"), &[ANSWER, REFUSAL][..]),
            (rocket.poster(&site()), &[ANSWER, ANSWER, REFUSAL]),
        ] {
            let error = dial.wire.hear(&stream(messages), &mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), format!("the hub says {REFUSAL}"));
        }
        let mut listener = rocket.client(&site(), "alice");
        let messages = stream(&[ANSWER, ANSWER, REFUSAL]);
        assert_eq!(listener.wire.hear(&messages, &mut Vec::new()).unwrap().messages, 1);
    }

    /// The head of this file says how many bytes more.
    #[test]
    fn what_is_published_is_what_listeners_get() {
        let event = format!(r#"{{"publish":{MESSAGE}}}"#);
        assert_eq!(publish(ALL, b"00000000"), websocket::text(event.as_bytes()));
        assert_eq!(MESSAGE.len() - "00000000".len(), 42);
    }
}
