//! The chunked coding of a body (RFC 9112 section 7.1), taken apart as its bytes come. Strict:
//! lines end in CRLF, and what is not data is bounded: extensions are dropped, trailers told apart.

/// Bytes in extensions and trailers of one body.
const MAX_ASIDE: usize = 16 * 1024;

/// Hexadecimal digits of a chunk's size; leading zeros count.
const MAX_DIGITS: u8 = 16;

/// Why the rest of a body cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChunk {
    /// Not hexadecimal digits, or too many.
    #[error("malformed size of a chunk")]
    Size,
    /// Not CRLF where a line has to end.
    #[error("malformed line end of a chunk")]
    LineEnd,
    /// A control character in an extension or a trailer.
    #[error("control character beside the chunks")]
    Control,
    /// Trailers that are no header fields, or too many of them.
    #[error("malformed trailers, or more than 100")]
    Trailers,
    /// More extensions and trailers than are put up with.
    #[error("extensions and trailers of more than 16 KiB beside the chunks")]
    TooLong,
}

/// A chunked body on its way in.
#[derive(Debug, Default)]
pub struct Chunked {
    expected: Expected,
    /// Of the chunk whose size is being read, then bytes of it still to come.
    size: u64,
    digits: u8,
    aside: usize,
}

/// A piece of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes were of the coding itself.
    Coding(usize),
    /// So many bytes are of the trailer fields, the empty line behind them included.
    Trailers(usize),
    /// So many bytes are of the body.
    Data(usize),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expected {
    #[default]
    Size,
    /// White space behind a size, as some peers pad it.
    Padding,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastEnd,
    Nothing,
}

impl Chunked {
    /// A body of which nothing has come.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the last chunk and the trailers have been read.
    pub fn is_complete(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// What the input begins with, which is never empty; call again with what follows. Nothing may
    /// be given once the body is complete.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, InvalidChunk> {
        if self.expected == Expected::Data {
            let size = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len());
            self.size -= size as u64;
            if self.size == 0 {
                self.expected = Expected::DataReturn;
            }
            return Ok(Piece::Data(size));
        }
        let are_trailers = self.is_in_trailers();
        let mut read = 0;
        for &byte in input {
            self.take(byte)?;
            read += 1;
            if self.expected == Expected::Data || self.is_in_trailers() != are_trailers {
                break;
            }
        }
        Ok(if are_trailers { Piece::Trailers(read) } else { Piece::Coding(read) })
    }

    /// Whether what comes next belongs to the trailer fields.
    fn is_in_trailers(&self) -> bool {
        use Expected::{LastEnd, Trailer, TrailerEnd, TrailerStart};
        matches!(self.expected, TrailerStart | Trailer | TrailerEnd | LastEnd)
    }

    fn take(&mut self, byte: u8) -> Result<(), InvalidChunk> {
        self.expected = match (self.expected, byte) {
            (Expected::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                if self.digits == MAX_DIGITS {
                    return Err(InvalidChunk::Size);
                }
                self.digits += 1;
                self.size = self.size << 4 | u64::from(digit);
                Expected::Size
            }
            (Expected::Size, _) if self.digits == 0 => return Err(InvalidChunk::Size),
            (Expected::Size | Expected::Padding, b' ' | b'\t') => {
                self.count()?;
                Expected::Padding
            }
            (Expected::Size | Expected::Padding, b';') => Expected::Extension,
            (Expected::Size | Expected::Padding | Expected::Extension, b'\r') => Expected::SizeEnd,
            (Expected::Size | Expected::Padding, _) => return Err(InvalidChunk::Size),
            (Expected::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.size == 0 { Expected::TrailerStart } else { Expected::Data }
            }
            (Expected::DataReturn, b'\r') => Expected::DataEnd,
            (Expected::DataEnd, b'\n') => Expected::Size,
            (Expected::TrailerStart, b'\r') => Expected::LastEnd,
            (Expected::Trailer, b'\r') => Expected::TrailerEnd,
            (Expected::TrailerEnd, b'\n') => Expected::TrailerStart,
            (Expected::LastEnd, b'\n') => Expected::Nothing,
            (Expected::Extension, _) => {
                self.pass(byte)?;
                Expected::Extension
            }
            (Expected::TrailerStart | Expected::Trailer, _) => {
                self.pass(byte)?;
                Expected::Trailer
            }
            _ => return Err(InvalidChunk::LineEnd),
        };
        Ok(())
    }

    /// A byte of an extension or a trailer.
    fn pass(&mut self, byte: u8) -> Result<(), InvalidChunk> {
        if byte.is_ascii_control() && byte != b'\t' {
            return Err(InvalidChunk::Control);
        }
        self.count()
    }

    fn count(&mut self) -> Result<(), InvalidChunk> {
        self.aside += 1;
        if self.aside > MAX_ASIDE { Err(InvalidChunk::TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, and how many bytes follow it; `None` when it is not complete.
    fn read(input: impl AsRef<[u8]>) -> Result<Option<(Vec<u8>, usize)>, InvalidChunk> {
        let (mut input, mut body, mut chunked) = (input.as_ref(), Vec::new(), Chunked::new());
        while !input.is_empty() && !chunked.is_complete() {
            input = match chunked.next(input)? {
                Piece::Coding(size) | Piece::Trailers(size) => &input[size..],
                Piece::Data(size) => {
                    body.extend_from_slice(&input[..size]);
                    &input[size..]
                }
            };
        }
        Ok(chunked.is_complete().then_some((body, input.len())))
    }

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(read("3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), Ok(Some((b"hello".into(), 0))));
        assert_eq!(read("0\r\n\r\nmore"), Ok(Some((vec![], 4))));
        assert_eq!(read("00A\r\n0123456789\r\n0\r\n\r\n"), Ok(Some((b"0123456789".into(), 0))));
        assert_eq!(read("3\r\nhel\r\n0\r\n"), Ok(None));
        assert_eq!(read("3\r\nhe"), Ok(None));
    }

    #[test]
    fn what_is_beside_the_chunks_is_dropped() {
        let body = "2 ;a=\"b\"\r\nhi\r\n0;c\r\nDigest: x\r\nOther:\ty\r\n\r\n";
        assert_eq!(read(body), Ok(Some((b"hi".into(), 0))));
        let long = |size| format!("0;{}\r\n\r\n", "x".repeat(size));
        assert_eq!(read(long(MAX_ASIDE)), Ok(Some((vec![], 0))));
        assert_eq!(read(long(MAX_ASIDE + 1)), Err(InvalidChunk::TooLong));
        let trailer = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_ASIDE));
        assert_eq!(read(trailer), Err(InvalidChunk::TooLong));
        assert_eq!(read(format!("2{}", " ".repeat(MAX_ASIDE + 1))), Err(InvalidChunk::TooLong));
        assert_eq!(read("0;a\0\r\n\r\n"), Err(InvalidChunk::Control));
        assert_eq!(read("0\r\na: \x07\r\n\r\n"), Err(InvalidChunk::Control));
    }

    #[test]
    fn sizes_are_hexadecimal_and_not_too_long() {
        for size in ["", "x", "-1", "0x1", "+1", " 1", "1 1", "1_0", "10000000000000000"] {
            assert_eq!(read(format!("{size}\r\n\r\n")), Err(InvalidChunk::Size), "{size}");
        }
        assert_eq!(read("ffffffffffffffff\r\nx"), Ok(None));
    }

    #[test]
    fn lines_end_in_both_characters() {
        for body in ["1\r\nx0\r\n\r\n", "1\r\nx\n0\r\n\r\n", "1\rx", "0\r\n\rx", "0\r\na\r0"] {
            assert_eq!(read(body), Err(InvalidChunk::LineEnd), "{body:?}");
        }
        assert_eq!(read("1\nx\r\n0\r\n\r\n"), Err(InvalidChunk::Size));
        assert_eq!(read("0\r\n\n"), Err(InvalidChunk::Control));
        assert_eq!(read("0\r\na: b\n\r\n"), Err(InvalidChunk::Control));
    }
}
