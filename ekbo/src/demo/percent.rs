//! Percent-encoding: names in a query string, and names as session keys (a header field holds
//! neither blanks at its ends nor every letter).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stays as it is survives a header field, a URL and a shell.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A session key for any text.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The text that `encoded` stands for; `None` for what is not UTF-8.
pub(super) fn decode(encoded: &str) -> Option<String> {
    percent_decode_str(encoded).decode_utf8().ok().map(Into::into)
}

/// The decoded value of the first `field` in a query string; empty when there is none.
pub(super) fn query_value(query: &str, field: &str) -> String {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == field).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_and_lead_back() {
        assert_eq!(encode("anna-1"), "anna-1");
        assert_eq!(encode("Jörg O'Neil"), "J%C3%B6rg%20O%27Neil");
        assert_eq!(decode("J%C3%B6rg%20O%27Neil").as_deref(), Some("Jörg O'Neil"));
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn values_of_a_query() {
        assert_eq!(query_value("a=1&name=J%C3%B6rg+B&name=x", "name"), "Jörg B");
        assert_eq!(query_value("a=1", "name"), "");
    }
}
