//! Percent-encoding: names in a query string, and names as session keys (a header field holds
//! neither blanks at its ends nor every letter).

use std::fmt::Write as _;

/// `text` with every byte encoded that is not a letter, a digit or one of `-._~`: a session key
/// that survives a header field, a URL and a shell.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The text that `encoded` stands for; `None` for a broken escape and for what is not UTF-8.
pub(super) fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// The decoded value of the first `field` in a query string; empty when there is none, `None`
/// when it cannot be decoded.
pub(super) fn query_value(query: &str, field: &str) -> Option<String> {
    let value = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(name, value)| (name == field).then_some(value))
        .unwrap_or_default();
    // Forms write a blank as `+`; a plus sign itself arrives as %2B.
    decode(&value.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for (text, key) in [
            ("anna", "anna"),
            ("J\u{f6}rg", "J%C3%B6rg"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("x'y", "x%27y"),
        ] {
            assert_eq!(encode(text), key);
            assert_eq!(decode(key).as_deref(), Some(text));
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for broken in ["%", "a%4", "%zz", "%+1", "%FF"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn query_values() {
        assert_eq!(
            query_value("a=1&name=J%C3%B6rg+M&name=x", "name").as_deref(),
            Some("J\u{f6}rg M")
        );
        assert_eq!(query_value("name=C%2B%2B", "name").as_deref(), Some("C++"));
        assert_eq!(query_value("rename=x", "name").as_deref(), Some(""));
        assert_eq!(query_value("name", "name").as_deref(), Some(""));
        assert_eq!(query_value("name=%F", "name"), None);
    }
}
