//! Who may come in: whoever has a token, where there is one; and in which encoding, which the
//! subprotocol says. The Origin is the door's business.

use http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use kuiperbelt::{Refusal, answer, offered_subprotocols};
use percent_encoding::percent_decode;
use thiserror::Error;

use super::encoding::Encoding;
use crate::secret::{Secret, any_is, bearer};

/// The way in of one bridge.
#[derive(Debug)]
pub(super) struct Access {
    /// The name, and that of the raw variant, with what their clients get.
    subprotocols: [(String, Encoding); 2],
    tokens: Vec<Secret>,
}

impl Access {
    pub(super) fn new(subprotocol: &str, usual: Encoding, tokens: Vec<Secret>) -> Self {
        let [name, raw] = names(subprotocol);
        Self { subprotocols: [(name, usual), (raw, Encoding::Raw)], tokens }
    }

    /// The subprotocol of the 101, and what it means.
    pub(super) fn judge(&self, request: &Parts) -> Result<(HeaderValue, Encoding), Denied> {
        if !self.has_token(request) {
            return Err(Denied::Token);
        }
        self.chosen(&request.headers).ok_or(Denied::Subprotocol)
    }

    /// The first of the client's offers that is known.
    fn chosen(&self, headers: &HeaderMap) -> Option<(HeaderValue, Encoding)> {
        offered_subprotocols(headers).find_map(|offered| {
            let (name, encoding) = self.subprotocols.iter().find(|(name, _)| name == offered)?;
            Some((HeaderValue::from_str(name).ok()?, *encoding))
        })
    }

    fn has_token(&self, request: &Parts) -> bool {
        if self.tokens.is_empty() {
            return true;
        }
        let field = request.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let is_in_field = field.and_then(bearer).is_some_and(|token| any_is(&self.tokens, token));
        let query = request.uri.query().unwrap_or_default().as_bytes();
        let mut parameters = query.split(|&byte| byte == b'&');
        let value = parameters.find_map(|parameter| parameter.strip_prefix(b"token="));
        let is_in_query = value
            .is_some_and(|value| any_is(&self.tokens, &percent_decode(value).collect::<Vec<u8>>()));
        is_in_field || is_in_query
    }
}

/// Why a client is not let in, in words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Denied {
    #[error("unauthorized: send the token as \"Authorization: Bearer\" or in ?token=")]
    Token,
    #[error("none of the subprotocols offered is known here")]
    Subprotocol,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let reason = format!("{denied}\n");
        Self::with(match denied {
            Denied::Token => {
                let mut answer = answer::plain(StatusCode::UNAUTHORIZED, reason);
                // RFC 9110 section 15.5.2
                let scheme = HeaderValue::from_static("Bearer");
                answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                answer
            }
            Denied::Subprotocol => answer::plain(StatusCode::BAD_REQUEST, reason),
        })
    }
}

/// What a bridge is called, and its raw variant.
pub(super) fn names(subprotocol: &str) -> [String; 2] {
    [subprotocol.to_owned(), format!("{subprotocol}.raw")]
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(target: &str, fields: &[(&'static str, &str)]) -> Parts {
        let mut request = Request::get(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn denied(access: &Access, target: &str, fields: &[(&'static str, &str)]) -> Option<Denied> {
        let offer = [fields, &[("sec-websocket-protocol", "rbkit")]].concat();
        access.judge(&request(target, &offer)).err()
    }

    /// RB-SEL-1, W2
    #[test]
    fn the_first_known_offer_is_chosen() {
        let access = Access::new("rbkit", Encoding::Cgi, vec![]);
        for (offers, chosen) in [
            (&["rbkit"][..], Some(("rbkit", Encoding::Cgi))),
            (&["rbkit.raw"], Some(("rbkit.raw", Encoding::Raw))),
            (&["other, rbkit"], Some(("rbkit", Encoding::Cgi))),
            (&["other", "rbkit.raw, rbkit"], Some(("rbkit.raw", Encoding::Raw))),
            (&["RBKIT"], None),
            (&["rbkit2"], None),
            (&[], None),
        ] {
            let fields: Vec<_> =
                offers.iter().map(|offer| ("sec-websocket-protocol", *offer)).collect();
            let judged = access.judge(&request("/", &fields));
            let found = judged.as_ref().map(|(name, encoding)| (name.to_str().unwrap(), *encoding));
            assert_eq!(found.ok(), chosen, "{offers:?}");
        }
        let raw = Access::new("rbkit", Encoding::Raw, vec![]);
        let judged = raw.judge(&request("/", &[("sec-websocket-protocol", "rbkit")]));
        assert_eq!(judged.unwrap(), (HeaderValue::from_static("rbkit"), Encoding::Raw));
    }

    #[test]
    fn a_token_comes_in_a_field_or_in_the_query() {
        let open = Access::new("rbkit", Encoding::Cgi, vec![]);
        assert_eq!(denied(&open, "/", &[]), None);
        let tokens = vec![Secret::new("o+e &%"), Secret::new("two")];
        let guarded = Access::new("rbkit", Encoding::Cgi, tokens);
        for target in ["/?token=two", "/x?a=b&token=o+e%20%26%25", "/?token=%74wo&token=x"] {
            assert_eq!(denied(&guarded, target, &[]), None, "{target}");
        }
        for target in ["/", "/?token", "/?token=", "/?token=tw", "/?token=x&token=two", "/?x=two"] {
            assert_eq!(denied(&guarded, target, &[]), Some(Denied::Token), "{target}");
        }
        assert_eq!(denied(&guarded, "/", &[("authorization", "bearer two")]), None);
        assert_eq!(denied(&guarded, "/", &[("authorization", "Basic two")]), Some(Denied::Token));
        assert_eq!(denied(&guarded, "/?token=two", &[("authorization", "Basic x")]), None);
    }

    #[test]
    fn a_refusal_says_why() {
        let refusal = Refusal::from(Denied::Token);
        assert_eq!(refusal.answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(refusal.answer.headers()[WWW_AUTHENTICATE], "Bearer");
        let refusal = Refusal::from(Denied::Subprotocol);
        assert_eq!(refusal.answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(refusal.answer.body(), "none of the subprotocols offered is known here\n");
    }
}
