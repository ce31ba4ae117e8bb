//! What of a list is asked for. Names in a query are any bytes, percent-encoded. The way to the next
//! page is a cursor: it has no character that anybody encodes, once or twice.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use percent_encoding::percent_decode;

use super::answer::Refused;

/// The lengths of a page: if nothing is said, and at most.
const USUAL_LIMIT: usize = 100;
const MOST: usize = 1_000;

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// What is listed comes behind this name.
    pub(super) after: Option<Vec<u8>>,
    /// 1 to 1,000.
    pub(super) limit: usize,
    pub(super) channel: Option<Vec<u8>>,
}

impl Query {
    /// What the query of a request asks for; what it has beyond is ignored, and of what it has
    /// twice the second.
    pub(super) fn of(uri: &Uri) -> Result<Self, Refused> {
        let query = uri.query().unwrap_or_default().as_bytes();
        let value = |name: &[u8]| {
            let mut parameters = query.split(|&byte| byte == b'&').map(|parameter| {
                let end = parameter.iter().position(|&byte| byte == b'=');
                let end = end.unwrap_or(parameter.len());
                (decoded(&parameter[..end]), parameter.get(end + 1..).unwrap_or_default())
            });
            parameters.find(|(found, _)| found == name).map(|(_, value)| decoded(value))
        };
        let limit = match value(b"limit") {
            Some(limit) => number(&limit).filter(|limit| (1..=MOST).contains(limit)),
            None => Some(USUAL_LIMIT),
        };
        let limit = limit.ok_or(Refused::Limit)?;
        let after = match value(b"cursor") {
            Some(cursor) => Some(URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Refused::Cursor)?),
            None => value(b"after"),
        };
        Ok(Self { after, limit, channel: value(b"channel") })
    }
}

/// What leads to the names behind this one.
pub(super) fn cursor(name: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// As forms encode it: `+` is a space.
fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    Cow::from(percent_decode(&spaced)).into_owned()
}

fn number(text: &[u8]) -> Option<usize> {
    let digits = str::from_utf8(text).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, Refused> {
        Query::of(&format!("/sessions{text}").parse().unwrap())
    }

    #[test]
    fn what_is_asked_for() {
        let all = Query { after: None, limit: 100, channel: None };
        assert_eq!(query(""), Ok(Query { ..all }));
        assert_eq!(query("?&=&x=1&limit"), Err(Refused::Limit));
        let some = Query { after: Some(b"a b\xff+&=".to_vec()), limit: 7, channel: Some(vec![]) };
        assert_eq!(query("?after=a+b%ff%2B%26=&limit=7&channel="), Ok(some));
        let first = Query { limit: 1, ..query("").unwrap() };
        assert_eq!(query("?l%69mit=1&limit=2"), Ok(first));
    }

    #[test]
    fn a_cursor_leads_behind_its_name() {
        for name in [&b"alice"[..], b"", b"a%20\xff/+"] {
            let cursor = cursor(name);
            assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            let found = query(&format!("?after=x&cursor={cursor}")).unwrap();
            assert_eq!(found.after.as_deref(), Some(name));
        }
        for bad in ["a", "YQ==", "%FF", "Y Q"] {
            assert_eq!(query(&format!("?cursor={}", bad.replace(' ', "+"))), Err(Refused::Cursor));
        }
    }

    #[test]
    fn limits_are_numbers_from_1_to_1000() {
        for good in ["1", "1000", "0100"] {
            assert!(query(&format!("?limit={good}")).is_ok(), "{good}");
        }
        for bad in
            ["0", "1001", "-1", "+1", "%2B1", "1.5", "ten", "", "%ff", "99999999999999999999999"]
        {
            assert_eq!(query(&format!("?limit={bad}")), Err(Refused::Limit), "{bad}");
        }
    }
}
