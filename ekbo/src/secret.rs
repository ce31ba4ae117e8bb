//! What is never shown: tokens, how they are compared, and the headers that carry such.

use std::fmt;

/// What stands in the place of a secret, wherever one would be shown.
pub(crate) const MASK: &str = "****";

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether `given` is the same text. Takes as long for every `given` of one length, so that
    /// nobody learns a token bit by bit.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let expected = self.0.as_bytes();
        let differences = given.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        given.len() == expected.len() && std::hint::black_box(differences) == 0
    }
}

impl Secret {
    /// The text itself, for whoever compares it in a way of their own.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

/// Whether a text is one of the secrets. Every one is compared, whichever matches.
pub(crate) fn any_is(secrets: &[Secret], given: &[u8]) -> bool {
    secrets.iter().fold(false, |found, expected| found | expected.is(given))
}

/// The token of an `Authorization` field (RFC 6750 section 2.1), if it has such a one.
pub(crate) fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let end = authorization.iter().position(|&byte| byte == b' ')?;
    let (scheme, token) = authorization.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| token.trim_ascii_start())
}

/// Whether a header of this name usually carries a credential.
pub(crate) fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "cookie", "token", "secret", "password", "key", "credential", "signature"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_whole_and_never_shown() {
        let secret = Secret::new("secret");
        assert!(secret.is(b"secret"));
        assert!(!secret.is(b"secres"));
        assert!(!secret.is(b"secre"));
        assert!(!secret.is(b"secrets"));
        assert!(!secret.is(b""));
        assert_eq!(format!("{secret:?}"), MASK);
    }

    #[test]
    fn bearers_show_one_of_the_tokens() {
        let tokens = [Secret::new("one"), Secret::new("two")];
        for (authorization, expected) in [
            ("Bearer one", true),
            ("bearer  two", true),
            ("Bearer three", false),
            ("Bearer", false),
            ("Bearerone", false),
            ("Basic one", false),
            ("", false),
        ] {
            let token = bearer(authorization.as_bytes());
            let is_one = token.is_some_and(|token| any_is(&tokens, token));
            assert_eq!(is_one, expected, "{authorization}");
        }
    }

    #[test]
    fn headers_that_carry_credentials() {
        for name in ["Authorization", "set-cookie", "X-Api-Key", "x-auth-token"] {
            assert!(is_secret_header(name), "{name}");
        }
        for name in ["Accept", "Origin", "X-Forwarded-For", "X-Kuiperbelt-Session"] {
            assert!(!is_secret_header(name), "{name}");
        }
    }
}
