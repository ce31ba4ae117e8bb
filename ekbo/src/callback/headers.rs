//! What a callback carries: of the client's headers those that are nobody else's, then what the
//! operator sets, then the protocol's own, which always win.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Config;
use crate::outbound::Address;

pub(crate) const ENDPOINT: HeaderName = HeaderName::from_static("x-kuiperbelt-endpoint");
pub(crate) const SUBPROTOCOL: HeaderName = HeaderName::from_static("x-kuiperbelt-subprotocol");
pub(crate) const CLOSE_CODE: HeaderName = HeaderName::from_static("x-kuiperbelt-close-code");
pub(crate) const CLOSE_REASON: HeaderName = HeaderName::from_static("x-kuiperbelt-close-reason");
pub(crate) const STATE: HeaderName = HeaderName::from_static("x-kuiperbelt-state");

const PRODUCT: HeaderValue =
    HeaderValue::from_static(concat!("kuiperbelt/", env!("CARGO_PKG_VERSION")));

/// Fields of one hop, or that the HTTP library writes (RFC 9110 section 7.6.1), and `Proxy`, which
/// CGI turns into an environment variable. Neither the client nor the operator sets them.
static OF_ONE_HOP: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields by which Kuiperbelt speaks with its backend, and which no client may forge.
pub(crate) const OF_THE_PROTOCOL: [&str; 13] = [
    "x-kuiperbelt-channel",
    "x-kuiperbelt-close",
    "x-kuiperbelt-close-code",
    "x-kuiperbelt-close-reason",
    "x-kuiperbelt-connection",
    "x-kuiperbelt-endpoint",
    "x-kuiperbelt-except",
    "x-kuiperbelt-hub",
    "x-kuiperbelt-session",
    "x-kuiperbelt-state",
    "x-kuiperbelt-subprotocol",
    "x-kuiperbelt-subscribe",
    "x-kuiperbelt-unsubscribe",
];

/// Left as they are in a close reason: visible ASCII, but not what encodes the rest.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"');

/// A close reason as a header carries it.
pub(crate) fn encoded(reason: &str) -> String {
    utf8_percent_encode(reason, ENCODED).to_string()
}

/// The rules of one gateway path.
#[derive(Debug, Clone)]
pub(crate) struct Headers {
    session: HeaderName,
    endpoint: HeaderValue,
    set: Vec<(HeaderName, HeaderValue)>,
    forward_session: bool,
}

impl Headers {
    pub(crate) fn new(config: &Config) -> Self {
        let set_endpoint = config.set_headers.iter().find(|(name, _)| *name == ENDPOINT);
        let endpoint = set_endpoint.map(|(_, value)| value).filter(|value| !value.is_empty());
        Self {
            session: config.session_header.clone(),
            endpoint: endpoint.unwrap_or(&config.endpoint).clone(),
            set: config.set_headers.iter().filter(is_settable).cloned().collect(),
            forward_session: config.forward_session_header,
        }
    }

    /// Of a connect callback: what the client sent, with the exceptions above.
    pub(crate) fn of_connect(
        &self,
        client: &HeaderMap,
        offered: &[String],
        address: &Address,
    ) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(client.keys_len() + 4);
        for (name, value) in client {
            if self.is_forwarded(name) {
                headers.append(name, value.clone());
            }
        }
        self.finish(&mut headers, address);
        if !offered.is_empty()
            && let Ok(offered) = HeaderValue::try_from(offered.join(", "))
        {
            headers.insert(SUBPROTOCOL, offered);
        }
        headers
    }

    /// Of all callbacks about sessions that go to this address: nothing of the client's request,
    /// and none of what each of them has of its own: the session's key and the fields `own`.
    pub(crate) fn of_sessions(&self, address: &Address, own: &[HeaderName]) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        self.finish(&mut headers, address);
        for name in own.iter().chain([&self.session]) {
            headers.remove(name);
        }
        headers
    }

    /// What a callback carries the session's key in.
    pub(crate) fn session(&self) -> &HeaderName {
        &self.session
    }

    /// Applies what the operator sets, then what is ours.
    fn finish(&self, headers: &mut HeaderMap, address: &Address) {
        if let Some(authorization) = address.authorization()
            && !headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &self.set {
            if value.is_empty() {
                headers.remove(name);
            } else {
                headers.insert(name, value.clone());
            }
        }
        headers.entry(USER_AGENT).or_insert(PRODUCT);
        headers.insert(HOST, address.host_header().clone());
        headers.insert(ENDPOINT, self.endpoint.clone());
        // A compressed body would reach the client as it is.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }

    fn is_forwarded(&self, name: &HeaderName) -> bool {
        if OF_ONE_HOP.contains(name) || *name == ACCEPT_ENCODING {
            return false;
        }
        // A backend may not tell `_` from `-`: CGI variables have but one spelling.
        let name = name.as_str().replace('_', "-");
        if name.starts_with("sec-websocket") || name.starts_with("webhook-") || name == "proxy" {
            return false;
        }
        let is_session = name == self.session.as_str().replace('_', "-");
        if is_session || name == "x-kuiperbelt-session" {
            return self.forward_session;
        }
        !OF_THE_PROTOCOL.contains(&name.as_str())
    }
}

/// An operator may remove what is ours, which is then written all the same, but not set it.
fn is_settable((name, value): &&(HeaderName, HeaderValue)) -> bool {
    let is_ours = OF_THE_PROTOCOL.contains(&name.as_str());
    !OF_ONE_HOP.contains(name) && (value.is_empty() || !is_ours)
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;
    use crate::outbound::Target;

    fn headers(set: &[(&'static str, &'static str)]) -> Headers {
        Headers {
            session: HeaderName::from_static("x-my-session"),
            endpoint: HeaderValue::from_static("here"),
            set: set
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect(),
            forward_session: false,
        }
    }

    fn address(url: &str) -> Address {
        match Target::parse(url) {
            Target::Good(address) => address,
            other => panic!("{other:?}"),
        }
    }

    fn client(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    /// D5, D15, KB-CON-2, KB-CON-3, KB-CON-4, KB-CON-5
    #[test]
    fn what_a_client_cannot_forge() {
        let headers = headers(&[]);
        for name in [
            "x-my-session",
            "x_my_session",
            "x-kuiperbelt-session",
            "x-kuiperbelt-endpoint",
            "x_kuiperbelt_endpoint",
            "x-kuiperbelt_close-code",
            "x-kuiperbelt-state",
            "x_kuiperbelt_state",
            "x-kuiperbelt-connection",
            "x-kuiperbelt-channel",
            "x-kuiperbelt-subscribe",
            "x_kuiperbelt-unsubscribe",
            "x-kuiperbelt-close",
            "x-kuiperbelt_close",
            "x-kuiperbelt-except",
            "x-kuiperbelt-hub",
            "x-kuiperbelt-subprotocol",
            "webhook-signature",
            "webhook_id",
            "sec-websocket-key",
            "proxy",
            "keep-alive",
            "te",
            "expect",
            "connection",
            "upgrade",
            "accept-encoding",
            "transfer-encoding",
            "content-length",
            "host",
            "trailer",
            "proxy-connection",
        ] {
            assert!(!headers.is_forwarded(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["cookie", "x-kuiperbelt-hogehoge", "origin", "x-forwarded-for", "webhooks"] {
            assert!(headers.is_forwarded(&HeaderName::from_static(name)), "{name}");
        }
    }

    /// KB-CON-10
    #[test]
    fn the_protocol_wins_over_what_the_operator_sets() {
        let headers = headers(&[
            ("x-my-session", ""),
            ("x-kuiperbelt-endpoint", ""),
            ("x-a", "set"),
            ("x-b", ""),
            ("user-agent", ""),
        ]);
        let client = client(&[("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("user-agent", "me")]);
        let made = headers.of_connect(&client, &[], &address("http://a/"));
        assert_eq!(made.get_all("x-a").into_iter().collect::<Vec<_>>(), ["set"]);
        assert!(!made.contains_key("x-b"));
        assert_eq!(made[USER_AGENT], PRODUCT);
        assert_eq!(made[ENDPOINT], "here");
    }

    /// KB-CON-10
    #[test]
    fn what_a_callback_has_of_its_own_is_set_by_nobody_else() {
        let set = [("x-my-session", "forged"), ("content-type", "text/evil"), ("x-a", "set")];
        let headers = headers(&set);
        let made = headers.of_sessions(&address("http://a/"), &[CONTENT_TYPE]);
        assert!(!made.contains_key("x-my-session"));
        assert!(!made.contains_key(CONTENT_TYPE));
        assert_eq!(made["x-a"], "set");
        assert_eq!(made[ENDPOINT], "here");
        let made = headers.of_sessions(&address("http://a/"), &[]);
        assert_eq!(made[CONTENT_TYPE], "text/evil");
    }

    /// README.md has a row for each header of ours that a callback carries.
    #[test]
    fn the_readme_lists_the_headers() {
        let readme = include_str!("../../../README.md").to_lowercase();
        let of_callbacks = readme.split("| header of a callback |").nth(1).unwrap();
        let of_callbacks = of_callbacks.split("\n\n").next().unwrap();
        let listed: Vec<&str> =
            of_callbacks.lines().skip(2).map(|row| row.split('`').nth(1).unwrap()).collect();
        let session = HeaderName::from_static("x-kuiperbelt-session");
        let ours = [session, ENDPOINT, SUBPROTOCOL, STATE, CLOSE_CODE, CLOSE_REASON];
        let names: Vec<&str> =
            ours.iter().map(HeaderName::as_str).chain(["content-type"]).collect();
        assert_eq!(listed, names);
    }

    #[test]
    fn credentials_of_the_url_yield_to_the_clients() {
        let address = address("http://user:secret@a/");
        let headers = headers(&[]);
        let own = headers.of_connect(&HeaderMap::new(), &[], &address);
        assert_eq!(own[AUTHORIZATION], "Basic dXNlcjpzZWNyZXQ=");
        let sent = client(&[("authorization", "Bearer x")]);
        assert_eq!(headers.of_connect(&sent, &[], &address)[AUTHORIZATION], "Bearer x");
    }

    #[test]
    fn reasons_are_percent_encoded() {
        assert_eq!(encoded("a %\nü"), "a%20%25%0A%C3%BC");
    }
}
