//! Durations as Go writes them: `1m30s`, `1.5h`, `250ms`, and `0` without a unit.
//!
//! Negative durations and numbers without a unit are refused. What a YAML number means as a
//! duration is decided in `value.rs`.

use std::time::Duration;

use thiserror::Error;

/// What is wrong with a duration; every text quotes it and says what to write.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum DurationError {
    #[error("an empty text is not a duration; write for example 10s, or 0")]
    Empty,
    #[error("{0:?} has no unit; write {0}s")]
    NoUnit(String),
    #[error("{text:?} has the unknown unit {unit:?}; units are ns, us, ms, s, m and h")]
    UnknownUnit { text: String, unit: String },
    #[error("{0:?} is negative; a duration is 0 or more")]
    Negative(String),
    #[error("{0:?} is too long; the longest duration is about 292 years")]
    TooLong(String),
    #[error("{0:?} is not a duration; write for example 10s, 1m30s or 250ms")]
    Malformed(String),
}

/// The longest duration Go can hold; a longer one is an error there as well.
const LONGEST_NANOSECONDS: u128 = i64::MAX as u128;

/// Fraction digits that can matter: an hour has 3.6 * 10^12 nanoseconds.
const FRACTION_DIGITS: usize = 18;

pub(super) fn parse(text: &str) -> Result<Duration, DurationError> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(match text {
            "" => DurationError::Empty,
            _ => DurationError::Malformed(text.into()),
        });
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (nanoseconds, remaining) = leading_term(text, rest)?;
        total += nanoseconds;
        if total > LONGEST_NANOSECONDS {
            return Err(DurationError::TooLong(text.into()));
        }
        rest = remaining;
    }
    if negative && total > 0 {
        return Err(DurationError::Negative(text.into()));
    }
    let nanoseconds = u64::try_from(total).map_err(|_| DurationError::TooLong(text.into()))?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// The duration in the notation `parse` reads, largest unit first.
pub(super) fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0".into();
    }
    let mut text = String::new();
    for unit in ["h", "m", "s", "ms", "us", "ns"] {
        let size = unit_nanoseconds(unit).unwrap_or(1);
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// Reads one number with its unit off the front of `rest`, a part of `text`.
fn leading_term<'a>(text: &str, rest: &'a str) -> Result<(u128, &'a str), DurationError> {
    let (whole, after_whole) = leading_digits(rest);
    let (fraction, after_number) = match after_whole.strip_prefix('.') {
        Some(after_dot) => leading_digits(after_dot),
        None => ("", after_whole),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Malformed(text.into()));
    }
    let end = after_number.find(|c: char| c == '.' || c.is_ascii_digit());
    let (unit, remaining) = after_number.split_at(end.unwrap_or(after_number.len()));
    if unit.is_empty() {
        return Err(DurationError::NoUnit(text.into()));
    }
    let Some(unit_size) = unit_nanoseconds(unit) else {
        return Err(DurationError::UnknownUnit { text: text.into(), unit: unit.into() });
    };
    let significant = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let nanoseconds = number(whole)
        .filter(|&count| count <= LONGEST_NANOSECONDS)
        .map(|count| count * unit_size)
        .ok_or_else(|| DurationError::TooLong(text.into()))?;
    let part = number(significant).unwrap_or(0) * unit_size / 10u128.pow(significant.len() as u32);
    Ok((nanoseconds + part, remaining))
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The number the digits stand for, 0 for none; `None` when it does not fit.
fn number(digits: &str) -> Option<u128> {
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

fn unit_nanoseconds(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter mu look alike.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KB-CFG-2: one or more decimal numbers, each with a unit.
    #[test]
    fn go_durations_are_read() {
        for (text, nanoseconds) in [
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("250ms", 250_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("2\u{b5}s", 2_000),
            ("2\u{3bc}s", 2_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("+7ns", 7),
            ("1s1s", 2_000_000_000),
            ("0.000000000000000000000000000001h", 0),
            ("0.1234567890123456789012345s", 123_456_789),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    /// KB-CFG-2, D3: `0` needs no unit, with or without a sign.
    #[test]
    fn zero_needs_no_unit() {
        for text in ["0", "+0", "-0", "0s", "-0s"] {
            assert_eq!(parse(text), Ok(Duration::ZERO), "{text}");
        }
    }

    /// D3: a number without a unit is refused, with the text to write instead.
    #[test]
    fn a_number_without_unit_is_refused() {
        let error = parse("10").unwrap_err();
        assert_eq!(error.to_string(), "\"10\" has no unit; write 10s");
        assert_eq!(parse("1m30"), Err(DurationError::NoUnit("1m30".into())));
        assert_eq!(parse("1.5"), Err(DurationError::NoUnit("1.5".into())));
    }

    /// KB-CFG-2: a negative duration is refused.
    #[test]
    fn a_negative_duration_is_refused() {
        assert_eq!(parse("-5s"), Err(DurationError::Negative("-5s".into())));
    }

    /// KB-CFG-2: what is not a duration says why.
    #[test]
    fn what_is_not_a_duration_is_refused() {
        assert_eq!(parse(""), Err(DurationError::Empty));
        for text in ["s", ".s", "-", "+", "10 s", " 10s", "ten", "1m-5s", "--1s"] {
            let error = parse(text).unwrap_err();
            let unit =
                |unit: &str| DurationError::UnknownUnit { text: text.into(), unit: unit.into() };
            let expected = match text {
                "10 s" => unit(" s"),
                "1m-5s" => unit("m-"),
                _ => DurationError::Malformed(text.into()),
            };
            assert_eq!(error, expected, "{text}");
        }
        let day = parse("1d").unwrap_err().to_string();
        assert_eq!(day, "\"1d\" has the unknown unit \"d\"; units are ns, us, ms, s, m and h");
    }

    /// KB-CFG-2: what Go cannot hold is refused, never wrapped.
    #[test]
    fn an_overflow_is_refused() {
        assert_eq!(parse("9223372036854775807ns"), Ok(Duration::from_nanos(i64::MAX as u64)));
        let nines = format!("{}h", "9".repeat(60));
        for text in ["9223372036854775808ns", "2562048h", "9223372036854775807ns1ns", &nines] {
            assert_eq!(parse(text), Err(DurationError::TooLong(text.into())), "{text}");
        }
    }

    #[test]
    fn a_formatted_duration_reads_back() {
        for (text, formatted) in
            [("90s", "1m30s"), ("24h", "24h"), ("1.5s", "1s500ms"), ("0s", "0")]
        {
            let duration = parse(text).unwrap();
            assert_eq!(format(duration), formatted);
            assert_eq!(parse(formatted), Ok(duration));
        }
    }
}
