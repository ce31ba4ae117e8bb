//! The paths of doors: which of them no client can ask for. How a request finds its door is the
//! library's matter.

use percent_encoding::percent_decode_str;

/// Why a path never matches and what to write, to stand behind the path: a door is compared with
/// the decoded path of a request, without its query, once `//`, `.` and `..` are cleaned away.
/// `None`: it can be asked for. That a client could encode a `?`, a `#` or a `%` (once more) to meet
/// such a path does not count: nobody who writes one means that.
pub(crate) fn fault(path: &str) -> Option<String> {
    let without_query = path.split(['?', '#']).next().unwrap_or_default();
    let Ok(decoded) = percent_decode_str(without_query).decode_utf8() else {
        let reason = "it is not UTF-8 without its percent-encoding";
        return Some(format!("never matches, as {reason}; write letters and digits"));
    };
    let meant = clean(&decoded);
    let reason = if !path.starts_with('/') {
        "it does not begin with /"
    } else if without_query.len() < path.len() {
        "a path ends before ? and #"
    } else if *decoded != *path {
        "paths are compared without their percent-encoding"
    } else if meant != path {
        "paths are compared without //, /./ and /../"
    } else {
        return None;
    };
    Some(format!("never matches, as {reason}; write {meant:?}"))
}

/// The path with a `/` before it, and without empty, `.` and `..` segments.
fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_can_be_asked_for() {
        for path in ["/", "/a", "/a/", "/.a/b.", "/...", "/a b", "/grüße", "/100%", "/a:b"] {
            assert_eq!(fault(path), None, "{path}");
        }
    }

    #[test]
    fn paths_that_never_match() {
        for (path, reason, meant) in [
            ("chat", "it does not begin with /", "/chat"),
            ("?chat", "it does not begin with /", "/"),
            ("/a?b", "a path ends before ? and #", "/a"),
            ("/a/#b?c", "a path ends before ? and #", "/a/"),
            ("/%41%2fb", "paths are compared without their percent-encoding", "/A/b"),
            ("//a", "paths are compared without //, /./ and /../", "/a"),
            ("//", "paths are compared without //, /./ and /../", "/"),
            ("/a/../b/", "paths are compared without //, /./ and /../", "/b/"),
            ("/a/b/..", "paths are compared without //, /./ and /../", "/a"),
            ("/./a/.", "paths are compared without //, /./ and /../", "/a"),
        ] {
            let expected = format!("never matches, as {reason}; write {meant:?}");
            assert_eq!(fault(path), Some(expected), "{path}");
            assert_eq!(fault(meant), None, "{meant}");
        }
        assert!(fault("/%ff").unwrap().ends_with("; write letters and digits"));
    }
}
