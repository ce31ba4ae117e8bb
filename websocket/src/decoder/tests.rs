mod compressed;

use proptest::prelude::*;

use super::*;
use crate::CloseCode;

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xa1, 0x5c, 0x00, 0xff];
    let mut frame = vec![first];
    match payload.len() {
        short @ ..=125 => frame.push(0x80 | short as u8),
        medium @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    let at = frame.len();
    frame.extend(payload);
    unmask(&mut frame[at..], mask, 0);
    frame
}

/// Decodes `bytes` in pieces of the given sizes (the last repeats), reading to lent places when
/// `lend` says so, as a connection would.
fn run(
    decoder: &mut Decoder,
    bytes: &[u8],
    pieces: &[usize],
    lend: bool,
) -> Result<Vec<Event>, ProtocolError> {
    let mut events = Vec::new();
    let mut rest = bytes;
    let mut sizes = pieces.iter().copied().chain(std::iter::repeat(*pieces.last().unwrap()));
    while !rest.is_empty() {
        let size = sizes.next().unwrap().max(1).min(rest.len());
        if lend && let Some(mut place) = decoder.lend() {
            let size = size.min(place.remaining_mut());
            place.put_slice(&rest[..size]);
            rest = &rest[size..];
            events.extend(decoder.lent()?);
            continue;
        }
        let mut piece = rest[..size].to_vec();
        let mut input = &mut piece[..];
        while let Some(event) = decoder.decode(&mut input)? {
            events.push(event);
        }
        assert!(input.is_empty());
        rest = &rest[size..];
    }
    Ok(events)
}

fn decode(bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
    let whole = run(&mut Decoder::new(1 << 20), bytes, &[bytes.len().max(1)], false);
    let bytewise = run(&mut Decoder::new(1 << 20), bytes, &[1], false);
    if whole.is_ok() {
        assert_eq!(whole, bytewise);
    } else {
        assert_eq!(whole.as_ref().err(), bytewise.as_ref().err());
    }
    whole
}

fn text(text: &str) -> Event {
    Event::Message(Kind::Text, Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn messages_and_control_frames() {
    let mut bytes = frame(0x81, "grüße".as_bytes());
    bytes.extend(frame(0x82, b""));
    bytes.extend(frame(0x89, b"are you there"));
    bytes.extend(frame(0x8a, b""));
    bytes.extend(frame(0x88, b"\x03\xe8bye"));
    let close = CloseFrame::new(CloseCode::NORMAL, "bye").unwrap();
    assert_eq!(
        decode(&bytes).unwrap(),
        [
            text("grüße"),
            Event::Message(Kind::Binary, Bytes::new()),
            Event::Ping(Bytes::from_static(b"are you there")),
            Event::Pong(Bytes::new()),
            Event::Close(Some(close)),
        ]
    );
}

#[test]
fn a_ping_between_fragments_comes_first() {
    let mut bytes = frame(0x01, b"a");
    bytes.extend(frame(0x89, b"p"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x80, b"b"));
    assert_eq!(decode(&bytes).unwrap(), [Event::Ping(Bytes::from_static(b"p")), text("ab")]);
}

#[test]
fn order_of_fragments() {
    assert_eq!(decode(&frame(0x80, b"x")), Err(ProtocolError::Continuation));
    assert_eq!(decode(&frame(0x00, b"x")), Err(ProtocolError::Continuation));
    let mut bytes = frame(0x01, b"a");
    bytes.extend(frame(0x81, b"b"));
    assert_eq!(decode(&bytes), Err(ProtocolError::Interleaved));
}

#[test]
fn characters_may_be_split_but_not_broken() {
    let euro = "€".as_bytes();
    let mut bytes = frame(0x01, &euro[..1]);
    bytes.extend(frame(0x80, &euro[1..]));
    assert_eq!(decode(&bytes).unwrap(), [text("€")]);
    assert_eq!(decode(&frame(0x81, &euro[..2])), Err(ProtocolError::Utf8));
    assert_eq!(decode(&frame(0x81, b"\xed\xa0\x80")), Err(ProtocolError::Utf8));
}

#[test]
fn bad_text_is_refused_before_the_frame_is_complete() {
    let whole = frame(0x01, b"fine so far \xf4\x90 and this never comes");
    let mut decoder = Decoder::new(1 << 20);
    let upto = 6 + 14;
    assert_eq!(run(&mut decoder, &whole[..upto], &[upto], false), Err(ProtocolError::Utf8));
}

#[test]
fn the_limit_is_checked_at_the_header_and_over_all_fragments() {
    let mut decoder = Decoder::new(10);
    assert_eq!(run(&mut decoder, &frame(0x82, &[0; 10]), &[99], false).unwrap().len(), 1);
    let header = &frame(0x82, &[0; 11])[..6];
    assert_eq!(run(&mut decoder, header, &[99], false), Err(ProtocolError::TooLarge));

    let mut decoder = Decoder::new(10);
    let mut bytes = frame(0x02, &[0; 6]);
    bytes.extend(frame(0x80, &[0; 5]));
    assert_eq!(run(&mut decoder, &bytes, &[99], false), Err(ProtocolError::TooLarge));
}

#[test]
fn an_announced_length_is_not_yet_memory() {
    let mut decoder = Decoder::new(usize::MAX);
    let mut header = vec![0x82, 0xff];
    header.extend((1_u64 << 40).to_be_bytes());
    header.extend([0; 4]);
    assert_eq!(run(&mut decoder, &header, &[99], false), Ok(vec![]));
    let place = decoder.lend().unwrap();
    assert!(place.remaining_mut() <= 2 * FIRST_ROOM);
}

#[test]
fn nothing_is_held_between_messages() {
    let mut decoder = Decoder::new(1 << 20);
    let mut bytes = frame(0x01, b"a");
    bytes.extend(frame(0x80, b"b"));
    run(&mut decoder, &bytes, &[1], false).unwrap();
    assert!(!decoder.is_inside());
    run(&mut decoder, &bytes[..3], &[1], false).unwrap();
    assert!(decoder.is_inside());
}

proptest! {
    /// The events of a conversation do not depend on how its bytes are cut, nor on where they are
    /// read to.
    #[test]
    fn cutting_changes_nothing(
        messages in prop::collection::vec(
            (prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 1..4), any::<bool>()),
            1..5,
        ),
        pieces in prop::collection::vec(1_usize..6000, 1..12),
        lend in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (fragments, ping) in &messages {
            for (at, fragment) in fragments.iter().enumerate() {
                let opcode = if at == 0 { 2 } else { 0 };
                let fin = if at + 1 == fragments.len() { 0x80 } else { 0 };
                if *ping && at == 1 {
                    bytes.extend(frame(0x89, b"between"));
                    expected.push(Event::Ping(Bytes::from_static(b"between")));
                }
                bytes.extend(frame(opcode | fin, fragment));
            }
            expected.push(Event::Message(Kind::Binary, fragments.concat().into()));
        }
        let mut decoder = Decoder::new(usize::MAX);
        prop_assert_eq!(run(&mut decoder, &bytes, &pieces, lend).unwrap(), expected);
        prop_assert!(!decoder.is_inside());
    }

    /// Arbitrary bytes end in an error or in events, never in a panic, and never depend on cuts.
    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 1..200), size in 1_usize..50) {
        let whole = run(&mut Decoder::new(1000), &bytes, &[bytes.len()], false);
        let cut = run(&mut Decoder::new(1000), &bytes, &[size], true);
        prop_assert_eq!(whole.is_ok(), cut.is_ok());
    }
}
