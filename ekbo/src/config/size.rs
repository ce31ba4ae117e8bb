//! Sizes in bytes as people write them: `16MiB`, `512 KiB`, `64KB`, `100B`.
//!
//! What a YAML number means as a size is decided in `value.rs`.

use thiserror::Error;

/// What is wrong with a size; every text quotes it and says what to write.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum SizeError {
    #[error("an empty text is not a size; write for example 16MiB")]
    Empty,
    #[error("{0:?} has no unit; write {0}B for bytes, or for example 16MiB")]
    NoUnit(String),
    #[error("{0:?} has an unknown unit; units are B, KiB, MiB, GiB, KB, MB and GB")]
    UnknownUnit(String),
    #[error("{0:?} is negative; write for example 16MiB, 512KiB or 100B")]
    Negative(String),
    #[error("{0:?} is too large; the largest size is 8 EiB")]
    TooLarge(String),
    #[error("{0:?} is not a size; write for example 16MiB, 512KiB or 100B")]
    Malformed(String),
}

/// The largest size accepted, so that sums of sizes have room.
pub(super) const LARGEST: u64 = i64::MAX as u64;

/// Bytes per unit, largest binary unit first; the names are compared without case.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

pub(super) fn parse(text: &str) -> Result<u64, SizeError> {
    if text.is_empty() {
        return Err(SizeError::Empty);
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(match text.strip_prefix('-') {
            Some(_) => SizeError::Negative(text.into()),
            None => SizeError::Malformed(text.into()),
        });
    }
    let unit = rest.trim_start_matches(' ');
    if unit.is_empty() {
        return Err(SizeError::NoUnit(text.trim_end().into()));
    }
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(|| SizeError::UnknownUnit(text.into()))?;
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(*factor))
        .filter(|&bytes| bytes <= LARGEST)
        .ok_or_else(|| SizeError::TooLarge(text.into()))
}

/// The size in the largest binary unit that leaves no remainder.
pub(super) fn format(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor))
        .map_or_else(|| "0".into(), |(name, factor)| format!("{}{name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 16: sizes are binary for KiB, MiB, GiB and decimal for KB, MB, GB.
    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("16MiB", 16 << 20),
            ("16 MiB", 16 << 20),
            ("512KiB", 512 << 10),
            ("1GiB", 1 << 30),
            ("64KB", 64_000),
            ("3MB", 3_000_000),
            ("2gb", 2_000_000_000),
            ("5kib", 5 << 10),
            ("100B", 100),
            ("100b", 100),
            ("0B", 0),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    /// Section 16: what is no size names the remedy.
    #[test]
    fn what_is_not_a_size_is_refused() {
        assert_eq!(parse(""), Err(SizeError::Empty));
        assert_eq!(parse("16"), Err(SizeError::NoUnit("16".into())));
        assert_eq!(parse("-1MiB"), Err(SizeError::Negative("-1MiB".into())));
        assert_eq!(parse("MiB"), Err(SizeError::Malformed("MiB".into())));
        for text in ["16TiB", "1.5MiB", "16 MiB ", "16M", "1\tB"] {
            assert_eq!(parse(text), Err(SizeError::UnknownUnit(text.into())), "{text}");
        }
        for text in ["99999999999999999999B", "9223372036854775808B", "18446744073709551615GiB"] {
            assert_eq!(parse(text), Err(SizeError::TooLarge(text.into())), "{text}");
        }
    }

    #[test]
    fn a_formatted_size_reads_back() {
        for (bytes, text) in [(16 << 20, "16MiB"), (1 << 10, "1KiB"), (1_000, "1000B")] {
            assert_eq!(format(bytes), text);
            assert_eq!(parse(text), Ok(bytes));
        }
        assert_eq!(format(0), "0");
    }
}
