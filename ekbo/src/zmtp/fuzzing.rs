//! What holds of the decoder whatever a peer sends, for the fuzz target `zmtp`. An input is a stream
//! and its cuts ([`Pieces`]).

use bytes::{BufMut as _, Bytes};

use super::command::{self, Command};
use super::decoder::{Decoder, Event, Excess, ROOM};
use super::frame::Header;
use super::greeting;
use super::protocol_error::ProtocolError;
use crate::pieces::Pieces;

/// A limit that a short stream can exceed.
const LIMIT: usize = 1000;

/// However the stream is cut, the same comes of it, in memory that what has arrived accounts for.
/// What has been read is read as it was when this side writes it. A limit takes away the messages
/// that exceed it, and nothing else.
pub fn zmtp(input: &[u8]) {
    let Some(pieces) = Pieces::parse(input) else { return };
    let (mut events, error) = decode_anyhow(usize::MAX, pieces);
    assert_read_back(&events);
    for event in &mut events {
        if let Event::Message(parts) = event
            && parts.iter().map(Bytes::len).sum::<usize>() > LIMIT
        {
            *event = Event::Oversized(Excess::Bytes(LIMIT));
        }
    }
    let (mut limited, limited_error) = decode_anyhow(LIMIT, pieces);
    // A message may be beyond both limits.
    for (event, limited) in events.iter().zip(&mut limited) {
        if let (Event::Oversized(_), Event::Oversized(_)) = (event, &limited) {
            limited.clone_from(event);
        }
    }
    assert_eq!((limited, limited_error), (events, error));
}

/// What comes of the stream however it is cut.
fn decode_anyhow(limit: usize, pieces: Pieces<'_>) -> (Vec<Event>, Option<ProtocolError>) {
    let joined = decode(limit, pieces.joined());
    assert_eq!(decode(limit, pieces), joined, "limit {limit}");
    assert_eq!(decode(limit, pieces.torn()), joined, "limit {limit}, byte by byte");
    joined
}

fn decode(limit: usize, pieces: Pieces<'_>) -> (Vec<Event>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(limit);
    let mut events = Vec::new();
    for mut piece in pieces.iter() {
        while !piece.is_empty() {
            let space = decoder.space();
            let (now, later) = piece.split_at(piece.len().min(space.capacity() - space.len()));
            space.put_slice(now);
            piece = later;
            loop {
                match decoder.next() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(error) => return (events, Some(error)),
                }
            }
            let space = decoder.space();
            let (has, may_have) = (space.capacity(), 4 * space.len().max(ROOM));
            assert!(has <= may_have, "room for {has} bytes with {} there", space.len());
        }
    }
    (events, None)
}

/// Writes what was said as this side writes, and asserts that it is read as the same.
fn assert_read_back(events: &[Event]) {
    let mut expected = Vec::new();
    let mut written = greeting::OURS.to_vec();
    for event in events {
        match event {
            Event::Message(parts) => {
                let last = parts.len() - 1;
                for (at, part) in parts.iter().enumerate() {
                    written.extend_from_slice(&Header::part(part.len(), at < last).encode());
                    written.extend_from_slice(part);
                }
                expected.push(event.clone());
            }
            Event::Command(Command::Ready(Some(name))) => {
                let Ok(name) = str::from_utf8(name) else { continue };
                written.extend_from_slice(&command::ready(name));
                expected.push(event.clone());
            }
            Event::Command(Command::Ping(context)) => {
                written.extend_from_slice(&command::ping());
                expected.push(Event::Command(Command::Ping(Bytes::new())));
                written.extend_from_slice(&command::pong(context));
                written.extend_from_slice(&command::subscribe(context));
                expected.extend([const { Event::Command(Command::Other) }; 2]);
            }
            Event::Greeting(_) | Event::Command(_) | Event::Oversized(_) => {}
        }
    }
    let input = [b"\n", &written[..]].concat();
    let pieces = Pieces::parse(&input).expect("a line end");
    let (read, error) = decode(usize::MAX, pieces);
    assert_eq!((&read[1..], error), (&expected[..], None));
}
