//! What the upstream is told of where a request comes from: `X-Forwarded-For`, `-Proto` and `-Host`.
//! A trusted proxy in front of us is believed, and what it says is extended; of anyone else's word
//! nothing is left. `Forwarded` (RFC 7239) is nobody's word: left as it came, it would contradict what
//! is extended. Who is trusted is decided elsewhere.

use std::io::Write as _;
use std::net::IpAddr;

use kuiperbelt::Fields;
use kuiperbelt::http::HeaderName;
use kuiperbelt::http::header::FORWARDED;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What we know ourselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth<'a> {
    /// Whether the peer's own word counts.
    pub(super) is_trusted: bool,
    /// `None` for one on a Unix socket.
    pub(super) peer: Option<IpAddr>,
    pub(super) is_secure: bool,
    pub(super) host: &'a [u8],
}

/// What becomes of the fields of one request.
#[derive(Debug)]
pub(super) struct Forwarded<'a> {
    truth: Truth<'a>,
    /// The field that the peer is added to.
    last_for: Option<usize>,
    says_proto: bool,
    says_host: bool,
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Kept,
    Dropped,
    /// The peer is added to its list.
    Extended(IpAddr),
}

impl<'a> Forwarded<'a> {
    pub(super) fn new(truth: Truth<'a>, fields: &Fields) -> Self {
        let is_trusted = truth.is_trusted;
        Self {
            truth,
            last_for: fields.places_of(&FOR).last().filter(|_| is_trusted),
            says_proto: is_trusted && fields.get(&PROTO).is_some(),
            says_host: is_trusted && fields.get(&HOST).is_some(),
        }
    }

    /// What becomes of the field of this name at a place.
    pub(super) fn treat(&self, at: usize, name: &[u8]) -> Treatment {
        if tells_of_the_client(name) && !(self.truth.is_trusted && is_vouched_for(name)) {
            return Treatment::Dropped;
        }
        match self.truth.peer {
            Some(peer) if self.last_for == Some(at) => Treatment::Extended(peer.to_canonical()),
            _ => Treatment::Kept,
        }
    }

    /// Appends what nobody has said that is believed.
    pub(super) fn push_missing(&self, out: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        if let Some(peer) = self.truth.peer
            && self.last_for.is_none()
        {
            let _ = write!(out, "X-Forwarded-For: {}\r\n", peer.to_canonical());
        }
        if !self.says_proto {
            let proto = if self.truth.is_secure { "https" } else { "http" };
            let _ = write!(out, "X-Forwarded-Proto: {proto}\r\n");
        }
        if !self.says_host {
            out.extend_from_slice(b"X-Forwarded-Host: ");
            out.extend_from_slice(self.truth.host);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Whether it is `Forwarded`, or `X-Forwarded-` and something. An underscore counts as a hyphen, as
/// it does for the many applications that get fields as variables.
pub(super) fn tells_of_the_client(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    let is = |name: &[u8], wanted: &[u8]| {
        let mut pairs = name.iter().zip(wanted);
        pairs.all(|(byte, wanted)| match byte {
            b'_' => *wanted == b'-',
            byte => byte.eq_ignore_ascii_case(wanted),
        })
    };
    name.eq_ignore_ascii_case(FORWARDED.as_str().as_bytes())
        || name.len() >= PREFIX.len() && is(name, PREFIX)
}

/// Whether a trusted proxy means what it says by this field that tells of the client: what it does not
/// know, such as another spelling, it may have passed on from anyone.
fn is_vouched_for(name: &[u8]) -> bool {
    !name.contains(&b'_') && !name.eq_ignore_ascii_case(FORWARDED.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use kuiperbelt::http::{HeaderMap, HeaderValue};

    use super::*;

    const PEER: Option<&str> = Some("192.0.2.7");

    /// What the upstream is told, of what the peer has said, in lower case.
    fn told(
        is_trusted: bool,
        peer: Option<&str>,
        is_secure: bool,
        said: &[(&'static str, &'static str)],
    ) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in said {
            map.append(*name, HeaderValue::from_static(value));
        }
        let fields = Fields::from(&map);
        let peer = peer.map(|peer| peer.parse().unwrap());
        let truth = Truth { is_trusted, peer, is_secure, host: b"our.example" };
        let forwarded = Forwarded::new(truth, &fields);
        let mut out = Vec::new();
        for (at, name) in fields.names().enumerate() {
            let value = String::from_utf8_lossy(fields.value(at));
            let name = String::from_utf8_lossy(name);
            match forwarded.treat(at, name.as_bytes()) {
                Treatment::Kept => write!(out, "{name}: {value}\r\n").unwrap(),
                Treatment::Dropped => {}
                Treatment::Extended(peer) => write!(out, "{name}: {value}, {peer}\r\n").unwrap(),
            }
        }
        forwarded.push_missing(&mut out);
        let text = String::from_utf8(out).unwrap().to_ascii_lowercase();
        text.trim_end().replace("x-forwarded-", "").replace("\r\n", "; ")
    }

    #[test]
    fn the_truth_where_nothing_was_said() {
        for is_trusted in [false, true] {
            let told = |peer, is_secure| told(is_trusted, peer, is_secure, &[]);
            assert_eq!(told(PEER, false), "for: 192.0.2.7; proto: http; host: our.example");
            assert_eq!(told(Some("::1"), true), "for: ::1; proto: https; host: our.example");
            assert_eq!(told(None, false), "proto: http; host: our.example");
            let mapped = told(Some("::ffff:192.0.2.7"), false);
            assert_eq!(mapped, "for: 192.0.2.7; proto: http; host: our.example");
        }
    }

    #[test]
    fn the_word_of_strangers_is_dropped() {
        let said = [
            ("x-forwarded-for", "1.1.1.1"),
            ("accept", "a"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "443"),
            ("x_forwarded_for", "2.2.2.2"),
            ("forwarded", "for=3.3.3.3"),
            ("x-forwarded-for", "4.4.4.4"),
            ("x-forward", "b"),
        ];
        let expected = "accept: a; x-forward: b; for: 192.0.2.7; proto: http; host: our.example";
        assert_eq!(told(false, PEER, false, &said), expected);
        let expected = "accept: a; x-forward: b; proto: http; host: our.example";
        assert_eq!(told(false, None, false, &said), expected);
    }

    #[test]
    fn the_word_of_a_trusted_proxy_is_extended() {
        let said = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "their.example"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=4.4.4.4"),
            ("x_forwarded_for", "4.4.4.4"),
            ("x-forwarded_proto", "http"),
            ("x_forwarded-port", "80"),
            ("x_other", "a"),
        ];
        let rest = "proto: https; host: their.example; port: 443; x_other: a";
        let expected = format!("for: 1.1.1.1; for: 2.2.2.2, 3.3.3.3, 192.0.2.7; {rest}");
        assert_eq!(told(true, PEER, false, &said), expected);
        let expected = format!("for: 1.1.1.1; for: 2.2.2.2, 3.3.3.3; {rest}");
        assert_eq!(told(true, None, false, &said), expected);
        let some = told(true, PEER, false, &[("x-forwarded-proto", "https")]);
        assert_eq!(some, "proto: https; for: 192.0.2.7; host: our.example");
    }
}
