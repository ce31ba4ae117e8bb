//! How payloads travel to a client: `cgi`, form-encoded in text messages, or `raw`, as they are in
//! binary ones. In both a prefix comes first that says what kind of payload it is.

use kuiperbelt::{Kind, Message};

/// What the payloads of one client look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Form-encoded text: letters, digits, `_`, `.` and `-` as they are, a space as `+`, every other
    /// byte as `%` and two upper-case hex digits.
    Cgi,
    Raw,
}

/// Room for what is encoded, to be used again. Empty meanwhile.
#[derive(Default)]
pub(super) struct Scratch(Vec<u8>);

/// What is kept of it from one message to the next, in bytes.
const KEPT_BYTES: usize = 1 << 20;

impl Encoding {
    pub(super) const ALL: [Self; 2] = [Self::Cgi, Self::Raw];

    /// A payload behind its prefix, which is ASCII.
    pub(super) fn message(
        self,
        prefix: u8,
        payload: &[u8],
        Scratch(room): &mut Scratch,
    ) -> Message {
        room.push(prefix);
        match self {
            Self::Cgi => escape(payload, room),
            Self::Raw => room.extend_from_slice(payload),
        }
        let message = Message::raw(self.kind(), room);
        room.clear();
        // At once: the next may be long in coming.
        room.shrink_to(KEPT_BYTES);
        message
    }

    /// A text of ours behind its prefix, never escaped.
    pub(super) fn notice(self, prefix: u8, text: &str) -> Message {
        let mut notice = vec![prefix];
        notice.extend_from_slice(text.as_bytes());
        Message::raw(self.kind(), &notice)
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Cgi => Kind::Text,
            Self::Raw => Kind::Binary,
        }
    }
}

/// How a byte is written: so many bytes of three.
#[derive(Clone, Copy)]
struct Escaped {
    bytes: [u8; 3],
    length: u8,
}

static ESCAPED: [Escaped; 256] = {
    let mut all = [Escaped { bytes: [0; 3], length: 0 }; 256];
    let hex = b"0123456789ABCDEF";
    let mut value = 0;
    while value < all.len() {
        let byte = value as u8;
        all[value] = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' => {
                Escaped { bytes: [byte, 0, 0], length: 1 }
            }
            b' ' => Escaped { bytes: [b'+', 0, 0], length: 1 },
            _ => Escaped { bytes: [b'%', hex[value >> 4], hex[value & 15]], length: 3 },
        };
        value += 1;
    }
    all
};

/// How many bytes are escaped at a time.
const STRETCH: usize = 1024;

fn escape(payload: &[u8], escaped: &mut Vec<u8>) {
    for stretch in payload.chunks(STRETCH) {
        let mut end = escaped.len();
        // Three bytes are written for each, and those that are too many are written over.
        escaped.resize(end + 3 * stretch.len(), 0);
        for byte in stretch {
            let Escaped { bytes, length } = ESCAPED[usize::from(*byte)];
            escaped[end..end + 3].copy_from_slice(&bytes);
            end += usize::from(length);
        }
        escaped.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As any client decodes it; `~` may be there as it is.
    fn unescape(text: &[u8]) -> Vec<u8> {
        let spaced: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        percent_encoding::percent_decode(&spaced).collect()
    }

    fn cgi(payload: &[u8]) -> Message {
        Encoding::Cgi.message(b'1', payload, &mut Scratch::default())
    }

    /// RB-MSG-1: the example of a collection with one event.
    #[test]
    fn a_payload_is_form_encoded_behind_its_prefix() {
        let payload = b"\x84\x00\x07\x01\xcb\x42\x74\x7b\x74\x21\x00\xe0\x00\x09\x00\x02\x91\x82\
                        \x00\x02\x01\xcb\x42\x74\x7b\x74\x21\x00\xe0\x00";
        let message = cgi(payload);
        assert_eq!(message.kind(), Kind::Text);
        let text =
            "1%84%00%07%01%CBBt%7Bt%21%00%E0%00%09%00%02%91%82%00%02%01%CBBt%7Bt%21%00%E0%00";
        assert_eq!(message.payload(), text.as_bytes());
        assert_eq!(unescape(&text.as_bytes()[1..]), payload);
    }

    /// RB-MSG-1: every byte, there and back, at every place of a stretch.
    #[test]
    fn every_byte_there_and_back() {
        for byte in 0..=255 {
            let encoded = cgi(&[byte]);
            let text = str::from_utf8(&encoded.payload()[1..]).unwrap();
            let is_plain = byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            let expected = match byte {
                b' ' => "+".to_owned(),
                _ if is_plain => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            };
            assert_eq!(text, expected);
            assert_eq!(unescape(text.as_bytes()), [byte]);
        }
        assert_eq!(cgi(b"~").payload(), b"1%7E");
        assert_eq!(unescape(b"~"), b"~");
        for length in [0, 1, STRETCH - 1, STRETCH, STRETCH + 1, 3 * STRETCH + 7] {
            let payload: Vec<u8> = (0..length).map(|at| (at * 31 + at / 256) as u8).collect();
            assert_eq!(unescape(&cgi(&payload).payload()[1..]), payload, "{length}");
        }
    }

    #[test]
    fn raw_payloads_are_binary_and_as_they_are() {
        let payload: Vec<u8> = (0..=255).collect();
        let message = Encoding::Raw.message(b'0', &payload, &mut Scratch::default());
        assert_eq!(message.kind(), Kind::Binary);
        assert_eq!(message.payload(), [b"0", &payload[..]].concat());
    }

    #[test]
    fn notices_are_never_escaped() {
        let text = Encoding::Cgi.notice(b'0', "client_count:2");
        assert_eq!((text.kind(), text.payload()), (Kind::Text, &b"0client_count:2"[..]));
        let binary = Encoding::Raw.notice(b'0', "client_count:2");
        assert_eq!((binary.kind(), binary.payload()), (Kind::Binary, &b"0client_count:2"[..]));
    }

    #[test]
    fn little_is_kept_of_a_large_one() {
        let mut scratch = Scratch::default();
        for encoding in Encoding::ALL {
            let large = encoding.message(b'1', &vec![0; 3 * KEPT_BYTES], &mut scratch);
            assert!(large.payload().len() > 3 * KEPT_BYTES);
            assert!(scratch.0.capacity() <= KEPT_BYTES, "{}", scratch.0.capacity());
            let small = encoding.message(b'1', b"small", &mut scratch);
            assert_eq!(small.payload(), b"1small");
        }
    }
}
