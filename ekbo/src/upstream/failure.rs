//! Why a request to the upstream has no answer, or not all of one, and what its client is told.

use std::io;
use std::time::Duration;

use kuiperbelt::http::header::CONNECTION;
use kuiperbelt::http::{HeaderValue, StatusCode};
use kuiperbelt::http1::InvalidChunk;
use kuiperbelt::{Answer, BodyError, answer};

use super::answer_head::BadHead;
use super::request_head::BadRequest;
use crate::outbound::{LongHead, is_end_of_connection};

/// What has gone wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Request(#[from] BadRequest),
    /// The body that the client sends.
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("the body of the request stood still for {0:?}")]
    StalledBody(Duration),
    /// The client's side of the answer.
    #[error("the client has gone: {0}")]
    Client(io::Error),
    #[error("upstream: cannot connect: {0}")]
    Connect(io::Error),
    #[error("upstream: no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("upstream: the connection was lost: {0}")]
    Lost(#[from] io::Error),
    #[error("upstream: the connection ended before its answer did")]
    Ended,
    #[error("upstream: the request was not taken within {0:?}")]
    NotTaken(Duration),
    #[error("upstream: no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("upstream: the answer stood still for {0:?}")]
    Stalled(Duration),
    #[error("upstream: malformed answer: {0}")]
    Head(#[from] BadHead),
    #[error("upstream: malformed answer: {0}")]
    LongHead(#[from] LongHead),
    #[error("upstream: malformed answer: more than 100 interim answers")]
    Interim,
    #[error("upstream: malformed answer: {0}")]
    Chunk(InvalidChunk),
    #[error("upstream: malformed answer: a change of protocol before the end of the request")]
    EarlySwitch,
}

impl Failure {
    /// Whether the connection ended, and nothing worse.
    pub(super) fn is_end_of_connection(&self) -> bool {
        match self {
            Self::Ended => true,
            Self::Lost(error) => is_end_of_connection(error),
            _ => false,
        }
    }

    /// Whether the client is to blame, and not the upstream.
    pub(super) fn is_clients(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Body(_) | Self::StalledBody(_) | Self::Client(_))
    }

    /// What a client is answered that has nothing of another answer. `None` if it is not there.
    pub(super) fn answer(&self) -> Option<Answer> {
        let status = match self {
            Self::Client(_) | Self::Body(BodyError::Io(_)) => return None,
            Self::Request(_) | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::StalledBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::ConnectTimeout(_) | Self::NotTaken(_) | Self::NoAnswer(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            _ => StatusCode::BAD_GATEWAY,
        };
        let mut answer = answer::plain(status, format!("{self}\n"));
        if self.is_clients() {
            // What it sends next cannot be trusted to be a request.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Some(answer)
    }
}
