//! Text or binary: how a Content-Type chooses, and what becomes of text that is not UTF-8.

use kuiperbelt::{InvalidText, Kind, Message};

/// What to do with text from the backend that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidTextPolicy {
    /// Refuse the message.
    Reject,
    /// Send it as binary.
    Binary,
    /// Send it as it is; conforming clients drop the connection.
    Raw,
}

/// The message that a body of this type means: `application/octet-stream` is binary, everything
/// else, nothing included, is text.
pub(crate) fn message(
    content_type: Option<&[u8]>,
    body: &[u8],
    invalid_text: InvalidTextPolicy,
) -> Result<Message, InvalidText> {
    let kind = kind(content_type);
    match (Message::new(kind, body), invalid_text) {
        (Err(_), InvalidTextPolicy::Binary) => Ok(Message::raw(Kind::Binary, body)),
        (Err(_), InvalidTextPolicy::Raw) => Ok(Message::raw(kind, body)),
        (made, _) => made,
    }
}

fn kind(content_type: Option<&[u8]>) -> Kind {
    let value = content_type.unwrap_or_default();
    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    if value[..end].trim_ascii().eq_ignore_ascii_case(b"application/octet-stream") {
        Kind::Binary
    } else {
        Kind::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_octet_stream_is_binary() {
        let kind_of = |value: &str| kind(Some(value.as_bytes()));
        assert_eq!(kind_of("APPLICATION/octet-stream ;param=foobar"), Kind::Binary);
        assert_eq!(kind_of("application/x-www-form-urlencoded"), Kind::Text);
        assert_eq!(kind_of("application/octet-streams"), Kind::Text);
        assert_eq!(kind(None), Kind::Text);
    }

    #[test]
    fn what_becomes_of_invalid_text() {
        assert!(message(None, b"\xff", InvalidTextPolicy::Reject).is_err());
        assert!(message(None, b"\xff", InvalidTextPolicy::Binary).is_ok());
        assert!(message(None, b"\xff", InvalidTextPolicy::Raw).is_ok());
        assert!(message(None, "ÿ".as_bytes(), InvalidTextPolicy::Reject).is_ok());
    }
}
