//! What a profiler says, for tests to look at: MessagePack as the original writes it, read into
//! JSON. Whatever it does not use makes the reader panic: ext, bin, signed numbers, float 32.

use serde_json::{Map, Value};

/// Reads one value, which must be all there is. Keys that are numbers become texts.
#[track_caller]
pub(crate) fn unpack(bytes: &[u8]) -> Value {
    let mut reader = Reader(bytes);
    let value = reader.value();
    assert!(reader.0.is_empty(), "{} bytes after {value}", reader.0.len());
    value
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[track_caller]
    fn value(&mut self) -> Value {
        match self.bytes(1)[0] {
            small @ 0..=0x7f => small.into(),
            map @ 0x80..=0x8f => self.map(usize::from(map & 0x0f)),
            array @ 0x90..=0x9f => self.array(usize::from(array & 0x0f)),
            text @ 0xa0..=0xbf => self.text(usize::from(text & 0x1f)).into(),
            0xc0 => Value::Null,
            0xc2 => false.into(),
            0xc3 => true.into(),
            0xcb => f64::from_bits(self.number(8)).into(),
            number @ 0xcc..=0xcf => self.number(1 << (number - 0xcc)).into(),
            0xda => {
                let length = self.length(2);
                self.text(length).into()
            }
            0xdb => {
                let length = self.length(4);
                self.text(length).into()
            }
            0xdc => {
                let length = self.length(2);
                self.array(length)
            }
            0xdd => {
                let length = self.length(4);
                self.array(length)
            }
            0xde => {
                let length = self.length(2);
                self.map(length)
            }
            other => panic!("{other:#x}, which the original does not write"),
        }
    }

    fn map(&mut self, length: usize) -> Value {
        let mut map = Map::new();
        for _ in 0..length {
            let key = match self.value() {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.insert(key, self.value());
        }
        map.into()
    }

    fn array(&mut self, length: usize) -> Value {
        (0..length).map(|_| self.value()).collect()
    }

    fn text(&mut self, length: usize) -> String {
        String::from_utf8(self.bytes(length).to_vec()).unwrap()
    }

    fn length(&mut self, width: usize) -> usize {
        usize::try_from(self.number(width)).unwrap()
    }

    fn number(&mut self, width: usize) -> u64 {
        self.bytes(width).iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    #[track_caller]
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(length).expect("a whole value");
        self.0 = rest;
        taken
    }
}
