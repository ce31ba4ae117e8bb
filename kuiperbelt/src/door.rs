//! Doors: what stands behind which path of a listener.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderName, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::answer::{self, Answer, Answering};
use crate::answer_writer::AnswerWriter;
use crate::handshake::SocketDoor;
use crate::request::Request;

/// What may not stand in a path as it is (RFC 3986 section 3.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// An HTTP service behind a door.
pub type Service = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

/// A service that writes its answer piece by piece, or takes the connection over. Its future is
/// dropped when the connection breaks, and a [`Tunnel`](crate::Tunnel) in it when the server stops; a
/// client that has merely ended its side is still answered, as long as it gets something every 10 s.
pub type Relay =
    Arc<dyn Fn(Request, AnswerWriter) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What a door leads to.
#[derive(Clone)]
pub enum Lead {
    /// WebSockets.
    Socket(Arc<SocketDoor>),
    /// Plain HTTP.
    Http(Service),
    /// Anything.
    Relay(Relay),
}

/// The doors of one listener.
///
/// A path is taken exactly, case-sensitive and percent-decoded; one that ends in `/` takes
/// everything below it, the longest such path first. A request path with `//`, `.` or `..` in it
/// is sent to its clean form by 301, and so is the path of a subtree without its slash; where a relay
/// stands behind all other paths, only if the clean form has a door.
#[derive(Clone)]
pub struct Doors {
    doors: Vec<(String, Lead)>,
    /// Paths of subtrees with one name below, which may be anything.
    with_names: Vec<String>,
    /// Doors that are chosen by a subprotocol, before any path is looked at.
    subprotocols: Vec<SubprotocolDoor>,
    otherwise: Lead,
}

#[derive(Clone)]
struct SubprotocolDoor {
    names: Vec<String>,
    path: Option<String>,
    door: Arc<SocketDoor>,
}

/// Two doors cannot have one path.
#[derive(Debug, thiserror::Error)]
#[error("two doors have the path {0}")]
pub struct SamePath(pub String);

impl From<SamePath> for io::Error {
    fn from(error: SamePath) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Where a request goes.
pub(crate) enum Way<'a> {
    Socket(&'a SocketDoor),
    Http(&'a Service),
    Relay(&'a Relay),
    /// To another path, which the answer names.
    Moved(Answer),
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Door(usize),
    Moved(String),
    Nothing,
}

impl Doors {
    /// No doors: every request goes to `otherwise`.
    pub fn new(otherwise: Service) -> Self {
        Self::before(Lead::Http(otherwise))
    }

    /// No doors: every request goes to `relay`, its target being what it may: any of RFC 9112 section
    /// 3.2 but the authority form, and any that is none of them but has no blank in it.
    pub fn relaying(relay: Relay) -> Self {
        Self::before(Lead::Relay(relay))
    }

    /// No doors: every request is answered 404.
    pub fn closed() -> Self {
        Self::new(Arc::new(|_| answer::not_found().into()))
    }

    /// Adds a door. A path that does not begin with `/`, or has a query, `//`, `.` or `..` in it, is
    /// one that nobody can ask for.
    ///
    /// # Errors
    ///
    /// The path has a door already.
    pub fn add(&mut self, path: &str, lead: Lead) -> Result<(), SamePath> {
        if self.doors.iter().any(|(other, _)| other == path) {
            return Err(SamePath(path.to_owned()));
        }
        self.doors.push((path.to_owned(), lead));
        Ok(())
    }

    /// Adds a door for a path that ends in `/`, behind which is one name of any bytes: it may have
    /// slashes and dots in it where they are percent-encoded, and nothing of it is cleaned away.
    ///
    /// # Errors
    ///
    /// The path has a door already.
    pub fn add_names(&mut self, path: &str, lead: Lead) -> Result<(), SamePath> {
        self.add(path, lead)?;
        self.with_names.push(path.to_owned());
        Ok(())
    }

    /// Adds a door for the WebSocket handshakes that offer one of the subprotocols, on any path or on
    /// this one. It goes before all doors that have a path alone, and of several the first.
    pub fn add_subprotocols(
        &mut self,
        names: Vec<String>,
        path: Option<String>,
        door: Arc<SocketDoor>,
    ) {
        self.subprotocols.push(SubprotocolDoor { names, path, door });
    }

    /// What stands behind all other paths, if it takes whatever comes.
    pub(crate) const fn relay(&self) -> Option<&Relay> {
        match &self.otherwise {
            Lead::Relay(relay) => Some(relay),
            Lead::Http(_) | Lead::Socket(_) => None,
        }
    }

    /// Where a request goes.
    pub(crate) fn way(&self, request: &Request) -> Way<'_> {
        if let Some(door) = self.subprotocols.iter().find(|door| door.takes(request)) {
            return Way::Socket(&door.door);
        }
        let lead = match self.find(request.uri.path(), request.uri.query()) {
            Found::Door(index) => &self.doors[index].1,
            Found::Moved(location) => return Way::Moved(answer::moved(&location)),
            Found::Nothing => &self.otherwise,
        };
        match lead {
            Lead::Socket(door) => Way::Socket(door),
            Lead::Http(service) => Way::Http(service),
            Lead::Relay(relay) => Way::Relay(relay),
        }
    }

    const fn before(otherwise: Lead) -> Self {
        Self { doors: Vec::new(), with_names: Vec::new(), subprotocols: Vec::new(), otherwise }
    }

    fn find(&self, raw: &str, query: Option<&str>) -> Found {
        let path: Cow<[u8]> = percent_decode_str(raw).into();
        let moved = |path: &str| {
            let mut location = utf8_percent_encode(path, ENCODED).to_string();
            if let Some(query) = query {
                location.push('?');
                location.push_str(query);
            }
            Found::Moved(location)
        };
        let is_suspicious = path.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
        if is_suspicious
            && !self.is_name(raw)
            && let Some(clean) = clean(&path)
        {
            let is_ours = self.relay().is_none()
                || self.lacks_slash(clean.as_bytes())
                || self.door(clean.as_bytes()).is_some();
            return if is_ours { moved(&clean) } else { Found::Nothing };
        }
        match self.door(&path) {
            Some(index) if self.doors[index].0.as_bytes() == &*path => Found::Door(index),
            _ if self.lacks_slash(&path) => moved(&(String::from_utf8_lossy(&path) + "/")),
            Some(index) => Found::Door(index),
            None => Found::Nothing,
        }
    }

    /// The door that takes a path, which is decoded and clean.
    fn door(&self, path: &[u8]) -> Option<usize> {
        if let Some(index) = self.doors.iter().position(|(door, _)| is(door, path)) {
            return Some(index);
        }
        let all = self.doors.iter().enumerate();
        let subtrees = all.filter(|(_, (door, _))| is_above(door, path));
        subtrees.max_by_key(|(_, (door, _))| door.len()).map(|(index, _)| index)
    }

    /// Whether a path is that of a subtree but for its slash.
    fn lacks_slash(&self, path: &[u8]) -> bool {
        let is_meant = |door: &str| door.strip_suffix('/').is_some_and(|door| is(door, path));
        self.doors.iter().any(|(door, _)| is_meant(door))
    }

    /// Whether a path, as it was written, is a name behind one of the doors for names.
    fn is_name(&self, raw: &str) -> bool {
        let mut names = self.with_names.iter().filter_map(|path| raw.strip_prefix(path.as_str()));
        names.any(|name| !matches!(name, "." | "..") && !name.contains('/'))
    }
}

impl SubprotocolDoor {
    /// Whether a request is a handshake that offers one of the names, where they are looked for.
    fn takes(&self, request: &Request) -> bool {
        let has = |name: &HeaderName, wanted: &[&str], compare: fn(&[u8], &[u8]) -> bool| {
            let mut values = request.fields.get_all(name);
            values.any(|value| {
                let mut items = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                items.any(|item| wanted.iter().any(|wanted| compare(item, wanted.as_bytes())))
            })
        };
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        request.method == Method::GET
            && has(&UPGRADE, &["websocket"], <[u8]>::eq_ignore_ascii_case)
            && has(&CONNECTION, &["upgrade"], <[u8]>::eq_ignore_ascii_case)
            && has(&SEC_WEBSOCKET_PROTOCOL, &names, |one, other| one == other)
            && self.path.as_ref().is_none_or(|door| {
                let path: Cow<[u8]> = percent_decode_str(request.uri.path()).into();
                is(door, &path) || is_above(door, &path)
            })
    }
}

/// Whether a door has this path.
fn is(door: &str, path: &[u8]) -> bool {
    door.starts_with('/') && door.as_bytes() == path
}

/// Whether a path is in the subtree of a door.
fn is_above(door: &str, path: &[u8]) -> bool {
    door.starts_with('/') && door.ends_with('/') && path.starts_with(door.as_bytes())
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.doors.iter().map(|(path, _)| path)).finish()
    }
}

/// The path without empty, `.` and `..` segments, if it has any.
fn clean(path: &[u8]) -> Option<String> {
    let mut segments = Vec::new();
    let mut is_clean = true;
    let mut pieces = path.strip_prefix(b"/")?.split(|&byte| byte == b'/').peekable();
    let mut ends_in_slash = true;
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        match piece {
            b"" if is_last => ends_in_slash = true,
            b"" | b"." => {
                is_clean = false;
                ends_in_slash = !is_last || piece.is_empty();
            }
            b".." => {
                is_clean = false;
                segments.pop();
                ends_in_slash = !is_last;
            }
            piece => {
                segments.push(piece);
                ends_in_slash = !is_last;
            }
        }
    }
    if is_clean {
        return None;
    }
    let mut cleaned = Vec::new();
    for segment in &segments {
        cleaned.push(b'/');
        cleaned.extend_from_slice(segment);
    }
    if ends_in_slash || segments.is_empty() {
        cleaned.push(b'/');
    }
    Some(String::from_utf8_lossy(&cleaned).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(paths: &[&str]) -> Doors {
        let mut doors = Doors::closed();
        for path in paths {
            let service: Service = Arc::new(|_| answer::not_found().into());
            doors.add(path, Lead::Http(service)).unwrap();
        }
        doors
    }

    #[test]
    fn exact_paths_before_the_longest_subtree() {
        let doors = doors(&["/", "/a/", "/a/b/", "/a/b/c"]);
        for (path, door) in [("/x", 0), ("/a/x", 1), ("/a/b/", 2), ("/a/b/x/y", 2), ("/a/b/c", 3)] {
            assert_eq!(doors.find(path, None), Found::Door(door), "{path}");
        }
    }

    #[test]
    fn paths_are_compared_decoded_and_with_their_case() {
        let doors = doors(&["/send", "close"]);
        assert_eq!(doors.find("/s%65nd", None), Found::Door(0));
        assert_eq!(doors.find("/Send", None), Found::Nothing);
        assert_eq!(doors.find("close", None), Found::Nothing);
        assert_eq!(doors.find("/send/x", None), Found::Nothing);
    }

    #[test]
    fn unclean_paths_and_subtrees_without_slash_are_moved_with_their_query() {
        let doors = doors(&["/socket.io/", "/send"]);
        for (path, location) in [
            ("/socket.io", "/socket.io/?a=b"),
            ("//send", "/send?a=b"),
            ("/x/../send", "/send?a=b"),
            ("/x/./send/", "/x/send/?a=b"),
            ("/..", "/?a=b"),
            ("/x//", "/x/?a=b"),
            ("/%2e%2e/s%20d//", "/s%20d/?a=b"),
        ] {
            let found = doors.find(path, Some("a=b"));
            assert_eq!(found, Found::Moved(location.to_owned()), "{path}");
        }
    }

    #[test]
    fn names_of_any_bytes() {
        let mut doors = doors(&["/names"]);
        let lead = Lead::Http(Arc::new(|_| answer::not_found().into()));
        doors.add_names("/names/", lead).unwrap();
        for name in
            ["a", ".a", "a%2Fb", "a%2f%2Fb", "%2e%2E", "%2e", "%2F", "%ff%00", "a%2F..%2Fb", ""]
        {
            assert_eq!(doors.find(&format!("/names/{name}"), None), Found::Door(1), "{name}");
        }
        for (path, location) in [
            ("/names/..", "/"),
            ("/names/.", "/names"),
            ("/names/../send", "/send"),
            ("/names//a", "/names/a"),
            ("//names/a", "/names/a"),
            ("/other/a%2F%2Fb", "/other/a/b"),
        ] {
            assert_eq!(doors.find(path, None), Found::Moved(location.to_owned()), "{path}");
        }
    }

    #[test]
    fn one_path_one_door() {
        let service: Service = Arc::new(|_| answer::not_found().into());
        assert!(doors(&["/a"]).add("/a", Lead::Http(service)).is_err());
    }
}
