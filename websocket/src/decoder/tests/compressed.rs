//! Compressed messages: the reserved bits, fragments, limits and cuts. The streams themselves are
//! tested beside the inflater.

use flate2::{Compress, Compression, FlushCompress};

use super::*;

/// A payload as RFC 7692 section 7.2.1 makes it, with a window of `bits`.
fn deflated(message: &[u8], bits: u8) -> Vec<u8> {
    let mut stream = Compress::new_with_window_bits(Compression::new(6), false, bits);
    let mut output = vec![0; message.len() + message.len() / 100 + 1000];
    stream.compress(message, &mut output, FlushCompress::Sync).unwrap();
    assert_eq!(stream.total_in(), message.len() as u64);
    output.truncate(stream.total_out() as usize - 4);
    output
}

/// What an inflating decoder with room for 1 MiB makes of `bytes`, whole and byte by byte.
fn decode(bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
    let decoder = || Decoder::new(1 << 20).inflating();
    let whole = run(&mut decoder(), bytes, &[bytes.len().max(1)], false);
    let bytewise = run(&mut decoder(), bytes, &[1], false);
    assert_eq!(whole, bytewise);
    whole
}

const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

#[test]
fn the_examples_of_the_rfc() {
    assert_eq!(decode(&frame(0xc1, HELLO)).unwrap(), [text("Hello")]);
    let fragments = [frame(0x41, &HELLO[..3]), frame(0x80, &HELLO[3..])].concat();
    assert_eq!(decode(&fragments).unwrap(), [text("Hello")]);
    assert_eq!(decode(&frame(0xc1, b"\x00")).unwrap(), [text("")]);
}

#[test]
fn compressed_and_plain_messages_take_turns() {
    let bytes = [
        frame(0xc1, HELLO),
        frame(0x81, b"plain"),
        frame(0x41, &HELLO[..1]),
        frame(0x89, b"p"),
        frame(0x00, b""),
        frame(0x80, &HELLO[1..]),
        frame(0x01, b"pl"),
        frame(0x80, b"ain"),
        frame(0xc2, HELLO),
    ]
    .concat();
    assert_eq!(
        decode(&bytes).unwrap(),
        [
            text("Hello"),
            text("plain"),
            Event::Ping(Bytes::from_static(b"p")),
            text("Hello"),
            text("plain"),
            Event::Message(Kind::Binary, Bytes::from_static(b"Hello")),
        ]
    );
}

#[test]
fn the_first_reserved_bit_starts_a_data_message_and_nothing_else() {
    let start = frame(0x41, &HELLO[..3]);
    for first in [0x40, 0xc0] {
        let continuation = [start.clone(), frame(first, &HELLO[3..])].concat();
        assert_eq!(decode(&continuation), Err(ProtocolError::ReservedBits), "{first:#x}");
        assert_eq!(decode(&frame(first, HELLO)), Err(ProtocolError::ReservedBits), "{first:#x}");
    }
    for first in [0xc8, 0xc9, 0xca] {
        assert_eq!(decode(&frame(first, b"")), Err(ProtocolError::ReservedBits), "{first:#x}");
        let between = [start.clone(), frame(first, b"")].concat();
        assert_eq!(decode(&between), Err(ProtocolError::ReservedBits), "{first:#x}");
    }
    for bits in [0x10, 0x20, 0x30, 0x50, 0x60, 0x70] {
        for opcode in [1, 2, 8, 9, 10] {
            let frame = frame(0x80 | bits | opcode, b"");
            assert_eq!(decode(&frame), Err(ProtocolError::ReservedBits), "{bits:#x} {opcode}");
        }
    }
    assert_eq!(ProtocolError::ReservedBits.code(), CloseCode::PROTOCOL_ERROR);
}

#[test]
fn without_compression_every_reserved_bit_is_refused() {
    for bits in [0x10, 0x20, 0x40, 0x70] {
        for opcode in [0, 1, 2, 8, 9, 10] {
            let bytes = [0x80 | bits | opcode];
            let result = run(&mut Decoder::new(100), &bytes, &[1], false);
            assert_eq!(result, Err(ProtocolError::ReservedBits), "{bits:#x} {opcode}");
        }
    }
}

#[test]
fn an_unmasked_compressed_frame_is_refused() {
    // As it came to yawc, from a server; ours must be masked.
    assert_eq!(decode(b"\xc2\x02\x03\x80"), Err(ProtocolError::Unmasked));
    let empty = Event::Message(Kind::Binary, Bytes::new());
    assert_eq!(decode(&frame(0xc2, b"\x03\x80")).unwrap(), [empty]);
}

#[test]
fn characters_may_be_split_over_compressed_frames() {
    let words = "grüße, 漢字, 🦀";
    let payload = deflated(words.as_bytes(), 15);
    for at in 0..=payload.len() {
        let bytes = [frame(0x41, &payload[..at]), frame(0x80, &payload[at..])].concat();
        assert_eq!(decode(&bytes).unwrap(), [text(words)], "{at}");
    }
    // Stored blocks put each byte of the character into a frame of its own.
    let mut bytes = Vec::new();
    for (at, byte) in "🦀".bytes().enumerate() {
        let block = [0x00, 0x01, 0x00, 0xfe, 0xff, byte];
        bytes.extend(frame(if at == 0 { 0x41 } else { 0x00 }, &block));
    }
    bytes.extend(frame(0x80, b"\x00"));
    assert_eq!(decode(&bytes).unwrap(), [text("🦀")]);
}

#[test]
fn text_is_checked_when_it_is_inflated() {
    let bad = deflated(b"fine so far \xf4\x90", 15);
    assert_eq!(decode(&frame(0xc1, &bad)), Err(ProtocolError::Utf8));
    let fragments = [frame(0x41, &bad[..4]), frame(0x80, &bad[4..])].concat();
    assert_eq!(decode(&fragments), Err(ProtocolError::Utf8));
    assert_eq!(decode(&frame(0xc2, &bad)).unwrap().len(), 1);
    // The compressed bytes themselves need not be UTF-8, nor does what is read to a lent place.
    let long = deflated(&"ü".repeat(9000).into_bytes(), 9);
    assert!(std::str::from_utf8(&long).is_err());
    assert_eq!(decode(&frame(0xc1, &long)).unwrap(), [text(&"ü".repeat(9000))]);
}

#[test]
fn malformed_streams_end_with_invalid_data() {
    assert_eq!(ProtocolError::Deflate.code(), CloseCode::INVALID_DATA);
    assert_eq!(decode(&frame(0xc1, b"\xff\xff")), Err(ProtocolError::Deflate));
    let cut = [frame(0x42, &HELLO[..3]), frame(0x80, b"")].concat();
    assert_eq!(decode(&cut), Err(ProtocolError::Deflate));
}

#[test]
fn the_limit_holds_before_and_after_inflating() {
    let zeros = deflated(&[0; 5000], 15);
    assert!(zeros.len() < 100);
    let with = |max| run(&mut Decoder::new(max).inflating(), &frame(0xc2, &zeros), &[999], false);
    assert_eq!(with(5000).unwrap().len(), 1);
    assert_eq!(with(4999), Err(ProtocolError::TooLarge));
    assert_eq!(with(zeros.len() - 1), Err(ProtocolError::TooLarge));

    let mut bytes = frame(0x42, &zeros[..10]);
    bytes.extend(frame(0x80, &zeros[10..]));
    let mut decoder = Decoder::new(4999).inflating();
    assert_eq!(run(&mut decoder, &bytes, &[1], false), Err(ProtocolError::TooLarge));
    // A payload of more than the limit is refused at its header, before any of it is gathered.
    let mut decoder = Decoder::new(100).inflating();
    let header = &frame(0xc2, &[0; 101])[..6];
    assert_eq!(run(&mut decoder, header, &[99], false), Err(ProtocolError::TooLarge));
}

#[test]
fn lengths_that_would_overflow() {
    let mut header = vec![0x80, 0xff];
    header.extend((u64::MAX >> 1).to_be_bytes());
    header.extend([0; 4]);
    let bytes = [frame(0x42, b"0123456789"), header].concat();
    let mut decoder = Decoder::new(1 << 20).inflating();
    assert_eq!(run(&mut decoder, &bytes, &[1], false), Err(ProtocolError::TooLarge));
    let mut decoder = Decoder::new(usize::MAX).inflating();
    assert_eq!(run(&mut decoder, &bytes, &[1], false), Ok(vec![]));
    assert_eq!(decoder.held(), 10);
}

#[test]
fn an_idle_decoder_stays_small() {
    let mut decoder = Decoder::new(1 << 20).inflating();
    run(&mut decoder, &frame(0xc1, HELLO), &[1], false).unwrap();
    assert!(!decoder.is_inside());
    assert!(size_of::<Decoder>() <= 24);
}

proptest! {
    /// A message is the same however it was compressed, fragmented and cut, and wherever it was
    /// read to.
    #[test]
    fn neither_cuts_nor_windows_nor_fragments_matter(
        messages in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..20), 0_usize..3000, any::<bool>()),
            1..4,
        ),
        bits in 9_u8..=15,
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        pieces in prop::collection::vec(1_usize..6000, 1..12),
        lend in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (pattern, times, compress) in messages {
            let noise = (0..times as u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8);
            let message = [pattern.repeat(times), noise.collect()].concat();
            let payload = if compress { deflated(&message, bits) } else { message.clone() };
            let mut ends: Vec<_> = ends.iter().map(|end| end.index(payload.len() + 1)).collect();
            ends.sort_unstable();
            ends.push(payload.len());
            let mut start = 0;
            for (at, end) in ends.iter().copied().enumerate() {
                let opcode = if at == 0 { 2 | if compress { 0x40 } else { 0 } } else { 0 };
                let fin = if at + 1 == ends.len() { 0x80 } else { 0 };
                bytes.extend(frame(opcode | fin, &payload[start..end]));
                start = end;
            }
            expected.push(Event::Message(Kind::Binary, message.into()));
        }
        let mut decoder = Decoder::new(usize::MAX).inflating();
        prop_assert_eq!(run(&mut decoder, &bytes, &pieces, lend).unwrap(), expected);
        prop_assert!(!decoder.is_inside());
    }

    /// What the encoder makes, the decoder reads (masked, as a client would send it).
    #[test]
    fn there_and_back(
        words in prop::collection::vec("[a-zä-ü漢🦀]{1,12}", 1..12),
        times in 1_usize..400,
        bits in 9_u8..=15,
    ) {
        let message = words.concat().repeat(times);
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::SEC_WEBSOCKET_EXTENSIONS, offer.try_into().unwrap());
        let (deflate, _) = crate::Deflate::negotiate(&headers).unwrap();
        if let Some(sent) = crate::encode_deflated(Kind::Text, message.as_bytes(), deflate) {
            let header = match sent[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            let bytes = frame(sent[0], &sent[header..]);
            prop_assert_eq!(decode(&bytes).unwrap(), [text(&message)]);
        }
    }

    /// Arbitrary bytes never end in a panic, and never depend on cuts.
    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 1..200), size in 1_usize..50) {
        let message = frame(0xc2, &bytes);
        let run_in = |size| run(&mut Decoder::new(1000).inflating(), &message, &[size], true);
        prop_assert_eq!(run_in(message.len()), run_in(size));
    }
}
