//! From the `Sec-WebSocket-Extensions` fields of a client (RFC 6455 section 9.1) to what the server
//! accepts of permessage-deflate (RFC 7692 section 7.1). Other extensions are passed over.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};

use super::Deflate;

const NAME: &[u8] = b"permessage-deflate";

/// The window sizes a client may name (RFC 7692 sections 7.1.2.1 and 7.1.2.2).
const WINDOWS: [&[u8]; 8] = [b"8", b"9", b"10", b"11", b"12", b"13", b"14", b"15"];

/// The largest window, meant when none is named.
const LARGEST: u8 = 15;

impl Deflate {
    /// The first acceptable offer of permessage-deflate, with the `Sec-WebSocket-Extensions` value
    /// that accepts it. `None`: answer without that header and do not compress.
    ///
    /// The answer always carries `server_no_context_takeover` (section 7.1.1.1, which a server may
    /// state unasked) and `client_no_context_takeover` (section 7.1.1.2, likewise), and
    /// `server_max_window_bits` exactly when the offer does (section 7.1.2.1). A
    /// `client_max_window_bits` is a hint that needs no answer (section 7.1.2.2): every window is
    /// inflated.
    ///
    /// An offer is declined, and the next one looked at, when section 7.1 forbids it: an unknown
    /// parameter, one that occurs twice, a value where none may be, none where one must be, or one
    /// that is not a number from 8 to 15 without leading zeros. `server_max_window_bits=8` is
    /// declined too, for zlib cannot make such a stream. A header that breaks the grammar of
    /// RFC 6455 section 9.1 offers nothing.
    pub fn negotiate(headers: &HeaderMap) -> Option<(Self, HeaderValue)> {
        let mut accepted = None;
        for field in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
            let mut list = Cursor { rest: field.as_bytes() };
            while list.skip_to_element() {
                let offer = list.extension()?;
                accepted = accepted.or_else(|| offer.acceptable());
            }
        }
        accepted.map(|offer| (offer.deflate(), offer.answer()))
    }
}

/// An offer that can be accepted: the server's window, if it is limited.
#[derive(Clone, Copy)]
struct Acceptable {
    server_window: Option<u8>,
}

impl Acceptable {
    fn deflate(self) -> Deflate {
        Deflate { window_bits: self.server_window.unwrap_or(LARGEST) }
    }

    fn answer(self) -> HeaderValue {
        let mut answer =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
        if let Some(bits) = self.server_window {
            // Writing to a string cannot fail.
            let _ = write!(answer, "; server_max_window_bits={bits}");
        }
        HeaderValue::try_from(answer).unwrap_or_else(|_| unreachable!("all of it is visible ASCII"))
    }
}

struct Extension<'a> {
    name: &'a [u8],
    parameters: Vec<Parameter<'a>>,
}

struct Parameter<'a> {
    name: &'a [u8],
    value: Option<Cow<'a, [u8]>>,
}

impl Extension<'_> {
    fn acceptable(&self) -> Option<Acceptable> {
        if self.name != NAME {
            return None;
        }
        let mut server_window = None;
        for (at, Parameter { name, value }) in self.parameters.iter().enumerate() {
            if self.parameters[..at].iter().any(|before| before.name == *name) {
                return None;
            }
            match (*name, value.as_deref()) {
                (b"server_no_context_takeover" | b"client_no_context_takeover", None)
                | (b"client_max_window_bits", None) => {}
                (b"client_max_window_bits", Some(value)) => {
                    window(value)?;
                }
                (b"server_max_window_bits", Some(value)) => {
                    server_window = Some(window(value).filter(|&bits| bits > 8)?);
                }
                _ => return None,
            }
        }
        Some(Acceptable { server_window })
    }
}

fn window(value: &[u8]) -> Option<u8> {
    (8..=LARGEST).zip(WINDOWS).find_map(|(bits, text)| (text == value).then_some(bits))
}

/// Reads the grammar of RFC 6455 section 9.1; `None` is a breach of it.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Moves to the next element of a list, over empty ones; false at the end.
    fn skip_to_element(&mut self) -> bool {
        while let [b' ' | b'\t' | b',', rest @ ..] = self.rest {
            self.rest = rest;
        }
        !self.rest.is_empty()
    }

    /// One element, up to the comma behind it or the end.
    fn extension(&mut self) -> Option<Extension<'a>> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.eat(b';') {
            let name = self.token()?;
            let value = if self.eat(b'=') { Some(self.value()?) } else { None };
            parameters.push(Parameter { name, value });
        }
        (self.rest.is_empty() || self.eat(b',')).then_some(Extension { name, parameters })
    }

    /// A token or a quoted string; what is quoted must be a token too.
    fn value(&mut self) -> Option<Cow<'a, [u8]>> {
        if !self.eat(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (&escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    text.push(escaped);
                }
                byte => text.push(byte),
            }
        }
        self.skip_space();
        (!text.is_empty() && text.iter().all(|&byte| is_token(byte))).then_some(Cow::Owned(text))
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let end = self.rest.iter().position(|&byte| !is_token(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.skip_space();
        (!token.is_empty()).then_some(token)
    }

    fn eat(&mut self, wanted: u8) -> bool {
        self.skip_space();
        match self.rest {
            [first, rest @ ..] if *first == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }
}

/// A character of a token (RFC 9110 section 5.6.2).
const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    /// The window and answer for the given fields.
    fn fields(fields: &[&str]) -> Option<(u8, String)> {
        let mut headers = HeaderMap::new();
        for field in fields {
            let value = HeaderValue::from_bytes(field.as_bytes()).unwrap();
            headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
        }
        let (deflate, answer) = Deflate::negotiate(&headers)?;
        Some((deflate.window_bits(), answer.to_str().unwrap().to_owned()))
    }

    #[track_caller]
    fn accepted(field: &str) {
        assert_eq!(fields(&[field]), Some((15, PLAIN.to_owned())), "{field}");
    }

    #[track_caller]
    fn accepted_with(field: &str, bits: u8) {
        let answer = format!("{PLAIN}; server_max_window_bits={bits}");
        assert_eq!(fields(&[field]), Some((bits, answer)), "{field}");
    }

    #[track_caller]
    fn declined(field: &str) {
        assert_eq!(fields(&[field]), None, "{field}");
        // The next offer gets its chance: what was declined was an offer, not the header.
        accepted(&format!("{field}, permessage-deflate"));
    }

    #[track_caller]
    fn malformed(field: &str) {
        assert_eq!(fields(&[field]), None, "{field}");
        assert_eq!(fields(&["permessage-deflate", field]), None, "{field}");
    }

    #[test]
    fn nothing_offered() {
        assert_eq!(fields(&[]), None);
        assert_eq!(fields(&[""]), None);
        assert_eq!(fields(&[" , ,"]), None);
        declined("x-webkit-deflate-frame");
        declined("permessage-bzip2; a; b=1; c=\"d\"");
        declined("Permessage-Deflate");
    }

    #[test]
    fn each_parameter() {
        accepted("permessage-deflate");
        accepted("permessage-deflate; server_no_context_takeover");
        accepted("permessage-deflate; client_no_context_takeover");
        accepted("permessage-deflate; client_max_window_bits");
        for bits in 8..=15 {
            accepted(&format!("permessage-deflate; client_max_window_bits={bits}"));
        }
        for bits in 9..=15 {
            accepted_with(&format!("permessage-deflate; server_max_window_bits={bits}"), bits);
        }
        accepted_with(
            "permessage-deflate; client_max_window_bits; server_max_window_bits=11; \
             client_no_context_takeover; server_no_context_takeover",
            11,
        );
    }

    #[test]
    fn windows_out_of_range() {
        declined("permessage-deflate; server_max_window_bits=8");
        for side in ["server", "client"] {
            for value in ["0", "7", "16", "09", "010", "15x", "x", "+9", "-9", "1_0", "256", "264"]
            {
                declined(&format!("permessage-deflate; {side}_max_window_bits={value}"));
            }
        }
        declined("permessage-deflate; server_max_window_bits=18446744073709551625");
    }

    #[test]
    fn values_missing_or_too_many() {
        declined("permessage-deflate; server_max_window_bits");
        declined("permessage-deflate; server_no_context_takeover=true");
        declined("permessage-deflate; client_no_context_takeover=\"1\"");
    }

    #[test]
    fn unknown_and_repeated_parameters() {
        declined("permessage-deflate; mux");
        declined("permessage-deflate; mux=4");
        declined("permessage-deflate; SERVER_MAX_WINDOW_BITS=10");
        declined("permessage-deflate; server_no_context_takeover; server_no_context_takeover");
        declined("permessage-deflate; client_no_context_takeover; client_no_context_takeover");
        declined("permessage-deflate; client_max_window_bits; client_max_window_bits=10");
        declined("permessage-deflate; server_max_window_bits=10; server_max_window_bits=10");
    }

    #[test]
    fn space_and_quotes() {
        accepted(" \tpermessage-deflate\t;  client_max_window_bits ,");
        accepted_with("permessage-deflate;server_max_window_bits=10", 10);
        accepted_with("permessage-deflate ; server_max_window_bits = \"10\" ", 10);
        accepted_with("permessage-deflate; server_max_window_bits=\"1\\0\"", 10);
        declined("permessage-deflate; server_max_window_bits=\"010\"");
        accepted("other; x=\"permessage-deflate\", permessage-deflate");
    }

    #[test]
    fn the_first_acceptable_offer_wins() {
        accepted_with(
            "permessage-deflate; server_max_window_bits=10, permessage-deflate; \
             server_max_window_bits=12",
            10,
        );
        accepted("permessage-deflate, permessage-deflate; server_max_window_bits=9");
        let spread = ["x", "permessage-deflate; server_max_window_bits=8", "permessage-deflate"];
        assert_eq!(fields(&spread), Some((15, PLAIN.to_owned())));
        let order = ["permessage-deflate; server_max_window_bits=9, y", "permessage-deflate"];
        assert_eq!(fields(&order).unwrap().0, 9);
    }

    #[test]
    fn a_malformed_header_offers_nothing() {
        malformed("permessage-deflate;");
        malformed("permessage-deflate;;client_max_window_bits");
        malformed("permessage-deflate; =10");
        malformed("permessage-deflate; server_max_window_bits=");
        malformed("permessage-deflate; server_max_window_bits=\"10");
        malformed("permessage-deflate; server_max_window_bits=\"10\\");
        malformed("permessage-deflate; server_max_window_bits=\"\"");
        malformed("permessage-deflate; server_max_window_bits=\"1 0\"");
        malformed("permessage-deflate; server_max_window_bits=\"10\"x");
        malformed("permessage-deflate server_no_context_takeover");
        malformed("permessage-deflate; a=b c");
        malformed("; permessage-deflate");
        malformed("permessage-deflate; x=ü");
        malformed("permessage-deflate, \"quoted\"");
        malformed("permessage/deflate");
    }
}
