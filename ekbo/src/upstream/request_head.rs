//! The head of a request as it goes to the upstream: what the client wrote, in its order and
//! spelling, less what ends here. What cannot be sent without a doubt is refused before a byte of it
//! goes out.

use std::io::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use kuiperbelt::Fields;
use kuiperbelt::http::header::{CONNECTION, HOST, TE, UPGRADE};
use kuiperbelt::http::{Method, Version};
use kuiperbelt::http1::is_host;

use super::forwarded::{Forwarded, Treatment, Truth, tells_of_the_client};
use super::hop_by_hop::{Options, items};
use super::protocols::Protocols;

/// Why a request does not go to the upstream. It is answered 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("the target has a byte that no URL has")]
    TargetByte,
    #[error("the target is neither a path nor a URL with http:// or https://")]
    TargetForm,
    #[error("the target names another host than the Host field")]
    OtherHost,
    #[error("the target has a malformed host")]
    Host,
    #[error("the Connection field names a field that is not the connection's")]
    Connection,
    #[error("the Connection field has more than 100 options")]
    ManyOptions,
    #[error("the Upgrade field has more than 100 protocols")]
    ManyProtocols,
}

/// A request without its body, as the client wrote it.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) target: Bytes,
    pub(super) version: Version,
    pub(super) fields: Fields,
    /// Where it comes from; `None` for a Unix socket.
    pub(super) peer: Option<IpAddr>,
    pub(super) is_secure: bool,
}

/// What of a request matters for its answer.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    /// Whether the answer has no body, whatever it says.
    pub(super) is_head: bool,
    /// What the answer may change the protocol to.
    pub(super) protocols: Protocols<'a>,
}

impl RequestHead {
    /// Appends the head. `authority` is the upstream's, for a client that names no host; whether the
    /// client's own word of where the request comes from counts is said by `is_trusted`.
    pub(super) fn push(
        &self,
        authority: &[u8],
        is_trusted: bool,
        out: &mut Vec<u8>,
    ) -> Result<Asked<'_>, BadRequest> {
        let fields = &self.fields;
        let target = Target::of(self)?;
        let options = Options::of(fields.get_all(&CONNECTION));
        let options = options.map_err(|_| BadRequest::ManyOptions)?;
        if options.named().iter().any(|name| is_needed(name)) {
            return Err(BadRequest::Connection);
        }
        let host = fields.get(&HOST).or(target.authority).unwrap_or(authority);
        let truth = Truth { is_trusted, peer: self.peer, is_secure: self.is_secure, host };
        let forwarded = Forwarded::new(truth, fields);
        let is_old = self.version < Version::HTTP_11;
        let asks = options.upgrade && !is_old;
        let protocols =
            if asks { upgrade_to(fields.get_all(&UPGRADE))? } else { Protocols::none() };
        let upgrades = !protocols.is_empty();
        let wants_trailers = fields.get_all(&TE).flat_map(items).any(is_trailers);

        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.prefix);
        out.extend_from_slice(target.rest);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if fields.get(&HOST).is_none() {
            push_field(b"Host", host, out);
        }
        for (at, name) in fields.names().enumerate() {
            let value = fields.value(at);
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if options.ends(name) {
                if upgrades && is("upgrade") {
                    push_field(name, value, out);
                } else if is("transfer-encoding") {
                    // Any other has been refused.
                    push_field(name, b"chunked", out);
                }
            } else if is_old && is("expect") {
                // RFC 9110 section 10.1.1: of such a client it means nothing.
            } else {
                match forwarded.treat(at, name) {
                    Treatment::Kept => push_field(name, value, out),
                    Treatment::Dropped => {}
                    Treatment::Extended(peer) => {
                        out.extend_from_slice(name);
                        out.extend_from_slice(b": ");
                        out.extend_from_slice(value);
                        let separator = if value.is_empty() { "" } else { ", " };
                        // Writing to a vector does not fail.
                        let _ = write!(out, "{separator}{peer}\r\n");
                    }
                }
            }
        }
        forwarded.push_missing(out);
        if wants_trailers {
            out.extend_from_slice(b"TE: trailers\r\n");
        }
        match (upgrades, wants_trailers) {
            (true, true) => out.extend_from_slice(b"Connection: upgrade, TE\r\n"),
            (true, false) => out.extend_from_slice(b"Connection: upgrade\r\n"),
            (false, true) => out.extend_from_slice(b"Connection: TE\r\n"),
            (false, false) => {}
        }
        out.extend_from_slice(b"\r\n");
        Ok(Asked { is_head: self.method == Method::HEAD, protocols })
    }
}

/// Appends a field as it is.
pub(super) fn push_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A request target, as the upstream gets it (RFC 9112 section 3.2).
struct Target<'a> {
    /// What the client left out.
    prefix: &'static [u8],
    rest: &'a [u8],
    /// Of a target in absolute form.
    authority: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    fn of(request: &'a RequestHead) -> Result<Self, BadRequest> {
        let target = &request.target[..];
        if !target.iter().all(|byte| (0x21..=0x7e).contains(byte)) {
            return Err(BadRequest::TargetByte);
        }
        if target.starts_with(b"/") {
            return Ok(Self { prefix: b"", rest: target, authority: None });
        }
        let is_options = request.method == Method::OPTIONS;
        if target == b"*" && is_options {
            return Ok(Self { prefix: b"", rest: target, authority: None });
        }
        let (rest, port) = without_scheme(target).ok_or(BadRequest::TargetForm)?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
        if let Some(host) = request.fields.get(&HOST)
            && !without_port(authority, port).eq_ignore_ascii_case(without_port(host, port))
        {
            return Err(BadRequest::OtherHost);
        }
        if !is_host(authority) {
            return Err(BadRequest::Host);
        }
        let prefix: &[u8] = match rest {
            [] if is_options => b"*",
            [b'/', ..] => b"",
            _ => b"/",
        };
        Ok(Self { prefix, rest, authority: Some(authority) })
    }
}

/// What follows the scheme of a URL, and the port that goes without saying.
fn without_scheme(target: &[u8]) -> Option<(&[u8], &'static [u8])> {
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    after(b"http://")
        .map(|rest| (rest, &b":80"[..]))
        .or_else(|| Some((after(b"https://")?, &b":443"[..])))
}

fn without_port<'a>(authority: &'a [u8], port: &[u8]) -> &'a [u8] {
    let authority = authority.strip_suffix(port).unwrap_or(authority);
    authority.strip_suffix(b":").unwrap_or(authority)
}

/// Whether a field must reach the upstream, so that no `Connection` can take it away: the upstream
/// would hear of another request than we do, or of another client.
fn is_needed(name: &[u8]) -> bool {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    is("host") || is("content-length") || is("expect") || tells_of_the_client(name)
}

/// The protocols that an upgrade may be asked for to. None if HTTP is among them; the client is answered
/// as if it had not asked (RFC 9110 section 7.8).
fn upgrade_to<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Protocols<'a>, BadRequest> {
    let protocols = Protocols::of(values).map_err(|_| BadRequest::ManyProtocols)?;
    Ok(if protocols.include_http() { Protocols::none() } else { protocols })
}

/// Whether it is the member of `TE` that says that trailers are welcome.
fn is_trailers(item: &[u8]) -> bool {
    item.eq_ignore_ascii_case(b"trailers")
}
