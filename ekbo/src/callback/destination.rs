//! Where the callbacks of one kind about sessions go, with what all of them carry.

use std::fmt;

use http::{HeaderName, Method};

use super::client::CallError;
use super::headers::Headers;
use super::request::Draft;
use crate::outbound::Target;

/// A configured URL, and the POST that goes there.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    target: Target,
    session: HeaderName,
    /// `None` where the URL cannot be called.
    draft: Option<Draft>,
}

impl Destination {
    /// `own` are the fields that each callback adds, as it does the session's key.
    pub(crate) fn new(target: &Target, headers: &Headers, own: &[HeaderName]) -> Self {
        let draft = match target {
            Target::Good(address) => {
                let headers = headers.of_sessions(address, own);
                Some(Draft::new(Method::POST, address.uri().clone(), headers))
            }
            Target::Unreachable(_) | Target::Unparsable(_) => None,
        };
        Self { target: target.clone(), session: headers.session().clone(), draft }
    }

    /// What the session's key is carried in.
    pub(crate) fn session(&self) -> &HeaderName {
        &self.session
    }

    /// What all requests have in common, if there can be any.
    pub(crate) fn draft(&self) -> Result<&Draft, CallError> {
        self.draft.as_ref().ok_or_else(|| CallError::Target(self.target.to_string()))
    }
}

/// What people may see of the URL.
impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(formatter)
    }
}
