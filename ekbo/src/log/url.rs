//! URLs of clients in log lines, without the token that some carry.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::secret::MASK;

/// A request's target for a log line. What its query has as `token` is masked, however that name is
/// spelt.
pub(crate) fn shown(target: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(target);
    match text.split_once('?') {
        Some((path, query)) if query.split('&').any(is_token) => {
            let parameters: Vec<_> = query.split('&').map(masked).collect();
            format!("{path}?{}", parameters.join("&")).into()
        }
        _ => text,
    }
}

fn is_token(parameter: &str) -> bool {
    let Some((name, _)) = parameter.split_once('=') else { return false };
    percent_decode_str(name).map(|byte| byte.to_ascii_lowercase()).eq(*b"token")
}

fn masked(parameter: &str) -> Cow<'_, str> {
    match parameter.split_once('=') {
        Some((name, _)) if is_token(parameter) => format!("{name}={MASK}").into(),
        _ => parameter.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_masked() {
        for (target, expected) in [
            ("/?token=x", "/?token=****"),
            ("/a?b=c&token=x=y?z&d", "/a?b=c&token=****&d"),
            ("/?%74ok%65n=x&TOKEN=y&token=", "/?%74ok%65n=****&TOKEN=****&token=****"),
            ("http://h/a?token=x", "http://h/a?token=****"),
        ] {
            assert_eq!(shown(target.as_bytes()), expected);
        }
    }

    #[test]
    fn everything_else_is_shown() {
        for target in ["*", "/token=x", "/?", "/?token", "/?tokens=x&=token&a=token", "/?%74%6=%"] {
            assert!(matches!(shown(target.as_bytes()), Cow::Borrowed(shown) if shown == target));
        }
        assert_eq!(shown(b"/\xff?a"), "/\u{fffd}?a");
    }
}
