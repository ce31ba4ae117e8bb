//! The server's side of the opening handshake (RFC 6455 section 4.2).
//!
//! Which Origins are welcome is the caller's decision; [`check`] only says when to ask.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha1::{Digest, Sha1};

/// What RFC 6455 section 1.3 appends to the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request cannot become a WebSocket. The answer should carry `Sec-WebSocket-Version: 13`
/// (RFC 6455 section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// `Connection` has no token `upgrade`.
    #[error("the Connection header has no token \"upgrade\"")]
    Connection,
    /// `Upgrade` has no token `websocket`.
    #[error("the Upgrade header has no token \"websocket\"")]
    Upgrade,
    /// The method is not GET.
    #[error("the method is not GET")]
    Method,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("Sec-WebSocket-Version is not 13")]
    Version,
    /// The caller refused the Origin.
    #[error("the Origin is not welcome")]
    Origin,
    /// `Sec-WebSocket-Key` is missing or blank.
    #[error("Sec-WebSocket-Key is missing")]
    Key,
}

impl Rejection {
    /// The status of the answer: 400, 403 or 405.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Checks a request, calling `origin` when everything before the Origin is in order.
/// Returns the value of `Sec-WebSocket-Accept`.
pub fn check(
    method: &Method,
    headers: &HeaderMap,
    origin: impl FnOnce(&HeaderMap) -> bool,
) -> Result<HeaderValue, Rejection> {
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(Rejection::Connection);
    }
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(Rejection::Upgrade);
    }
    if method != Method::GET {
        return Err(Rejection::Method);
    }
    if !has_token(headers, &SEC_WEBSOCKET_VERSION, "13") {
        return Err(Rejection::Version);
    }
    if !origin(headers) {
        return Err(Rejection::Origin);
    }
    match headers.get(SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().trim_ascii()) {
        Some(key) if !key.is_empty() => Ok(accept(key)),
        _ => Err(Rejection::Key),
    }
}

/// The subprotocols a client offers, in its order.
pub fn offered_subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL)
}

fn accept(key: &[u8]) -> HeaderValue {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    let text = STANDARD.encode(hash.finalize());
    HeaderValue::try_from(text).unwrap_or_else(|_| unreachable!("base64 is visible ASCII"))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proper() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        headers.insert(SEC_WEBSOCKET_KEY, key);
        headers
    }

    #[test]
    fn the_example_of_the_rfc() {
        let accept = check(&Method::GET, &proper(), |_| true).unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_check_in_its_order() {
        let mut headers = HeaderMap::new();
        let expect = |headers: &HeaderMap, method: Method, rejection| {
            assert_eq!(check(&method, headers, |_| false), Err(rejection));
        };
        expect(&headers, Method::POST, Rejection::Connection);
        let full = proper();
        for (name, next) in [(&CONNECTION, Rejection::Upgrade), (&UPGRADE, Rejection::Method)] {
            headers.insert(name, full[name].clone());
            expect(&headers, Method::POST, next);
        }
        expect(&headers, Method::GET, Rejection::Version);
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8, 13"));
        expect(&headers, Method::GET, Rejection::Origin);
        assert_eq!(check(&Method::GET, &headers, |_| true), Err(Rejection::Key));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("  "));
        assert_eq!(check(&Method::GET, &headers, |_| true), Err(Rejection::Key));
    }

    #[test]
    fn tokens_may_be_spread_over_fields() {
        let mut headers = proper();
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        assert_eq!(check(&Method::GET, &headers, |_| true), Err(Rejection::Connection));
        headers.append(CONNECTION, HeaderValue::from_static("x,UPGRADE"));
        assert!(check(&Method::GET, &headers, |_| true).is_ok());
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a, b"));
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("c"));
        assert_eq!(offered_subprotocols(&headers).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
