//! Doors: what stands behind which path of a listener.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::answer::{self, Answer, Answering};
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

/// What a door leads to.
#[derive(Clone)]
pub enum Lead {
    /// WebSockets.
    Socket(Arc<SocketDoor>),
    /// Plain HTTP.
    Http(Service),
}

/// The doors of one listener.
///
/// A path is taken exactly, case-sensitive and percent-decoded; one that ends in `/` takes
/// everything below it, the longest such path first. A request path with `//`, `.` or `..` in it
/// is sent to its clean form by 301, and so is the path of a subtree without its slash.
#[derive(Clone)]
pub struct Doors {
    doors: Vec<(String, Lead)>,
    /// Paths of subtrees with one name below, which may be anything.
    with_names: Vec<String>,
    otherwise: Service,
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
        Self { doors: Vec::new(), with_names: Vec::new(), otherwise }
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

    /// Where a request to this target goes.
    pub(crate) fn way(&self, target: &Uri) -> Way<'_> {
        match self.find(target.path(), target.query()) {
            Found::Door(index) => match &self.doors[index].1 {
                Lead::Socket(door) => Way::Socket(door),
                Lead::Http(service) => Way::Http(service),
            },
            Found::Moved(location) => Way::Moved(answer::moved(&location)),
            Found::Nothing => Way::Http(&self.otherwise),
        }
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
            return moved(&clean);
        }
        let is = |door: &str, path: &[u8]| door.starts_with('/') && door.as_bytes() == path;
        if let Some(index) = self.doors.iter().position(|(door, _)| is(door, &path)) {
            return Found::Door(index);
        }
        let is_below = |door: &str| door.strip_suffix('/').is_some_and(|door| is(door, &path));
        if self.doors.iter().any(|(door, _)| is_below(door)) {
            return moved(&(String::from_utf8_lossy(&path) + "/"));
        }
        let subtrees = self.doors.iter().enumerate().filter(|(_, (door, _))| {
            door.starts_with('/') && door.ends_with('/') && path.starts_with(door.as_bytes())
        });
        match subtrees.max_by_key(|(_, (door, _))| door.len()) {
            Some((index, _)) => Found::Door(index),
            None => Found::Nothing,
        }
    }

    /// Whether a path, as it was written, is a name behind one of the doors for names.
    fn is_name(&self, raw: &str) -> bool {
        let mut names = self.with_names.iter().filter_map(|path| raw.strip_prefix(path.as_str()));
        names.any(|name| !matches!(name, "." | "..") && !name.contains('/'))
    }
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
