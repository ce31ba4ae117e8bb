//! A stream of bytes and how it is cut, as one input of a fuzzer says both: its first line is the
//! cuts, everything behind that the stream. So the seeds in `fuzz/seeds` can be written by hand.

use std::iter;

/// A stream that arrives in pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces<'a> {
    /// Lengths, over and over; see [`length`]. Without any the stream is not cut.
    cuts: &'a [u8],
    stream: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// `None` if there is no line end. `1` to `9` are cuts of so many bytes, and any other
    /// character is one too.
    pub(crate) fn parse(input: &'a [u8]) -> Option<Self> {
        let end = input.iter().position(|&byte| byte == b'\n')?;
        Some(Self { cuts: &input[..end], stream: &input[end + 1..] })
    }

    /// All of them together.
    pub(crate) fn stream(self) -> &'a [u8] {
        self.stream
    }

    /// The same stream in one piece.
    pub(crate) fn joined(self) -> Self {
        Self { cuts: &[], ..self }
    }

    /// The same stream byte by byte.
    pub(crate) fn torn(self) -> Self {
        Self { cuts: b"1", ..self }
    }

    /// None of them is empty.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut cuts = self.cuts.iter().cycle();
        let mut rest = self.stream;
        iter::from_fn(move || {
            let wanted = cuts.next().map_or(rest.len(), |&cut| length(cut));
            let (piece, later) = rest.split_at(wanted.min(rest.len()));
            rest = later;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// From 1 to 255 bytes.
fn length(cut: u8) -> usize {
    cut.wrapping_sub(b'0').max(1).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_how_to_cut() {
        let pieces = |input: &'static str| {
            let pieces = Pieces::parse(input.as_bytes())?;
            Some(pieces.iter().map(|piece| str::from_utf8(piece).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(pieces("21\nabcdefg\n"), Some(vec!["ab", "c", "de", "f", "g\n"]));
        assert_eq!(pieces("0\nab"), Some(vec!["a", "b"]));
        assert_eq!(pieces("/\nab"), Some(vec!["ab"]));
        assert_eq!(pieces("\nab\nc"), Some(vec!["ab\nc"]));
        assert_eq!(pieces("1\n"), Some(vec![]));
        assert_eq!(pieces("no line"), None);
    }

    #[test]
    fn the_same_stream_cut_otherwise() {
        let pieces = Pieces::parse(b"2\nabc").unwrap();
        assert!(pieces.joined().iter().eq([b"abc"]));
        assert!(pieces.torn().iter().eq([b"a", b"b", b"c"]));
    }
}
