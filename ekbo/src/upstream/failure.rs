//! Why a request to the upstream has no answer, or not all of one, and what its client is told.

use std::io;
use std::time::Duration;

use kuiperbelt::http::header::CONNECTION;
use kuiperbelt::http::{HeaderValue, StatusCode};
use kuiperbelt::http1::InvalidChunk;
use kuiperbelt::{Answer, BodyError, answer};

use super::answer_head::BadHead;
use super::request_head::BadRequest;
use crate::outbound::{LongHead, is_end_of_connection, is_out_of_descriptors};

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
    #[error("the client has taken nothing of its answer for {0:?}")]
    Untaken(Duration),
    /// It is over when connections of anybody have ended.
    #[error("upstream: cannot connect now: {0}")]
    Descriptors(io::Error),
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
    /// Why there is no connection to the upstream.
    pub(super) fn of_connecting(error: io::Error) -> Self {
        if is_out_of_descriptors(&error) { Self::Descriptors(error) } else { Self::Connect(error) }
    }

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
        matches!(
            self,
            Self::Request(_)
                | Self::Body(_)
                | Self::StalledBody(_)
                | Self::Client(_)
                | Self::Untaken(_)
        )
    }

    /// What a client is answered that has nothing of another answer. `None` if it is not there.
    pub(super) fn answer(&self) -> Option<Answer> {
        let status = match self {
            Self::Client(_) | Self::Untaken(_) | Self::Body(BodyError::Io(_)) => return None,
            Self::Request(_) | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::StalledBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Descriptors(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout(_) | Self::NotTaken(_) | Self::NoAnswer(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            _ => StatusCode::BAD_GATEWAY,
        };
        let told = self.told().map_or_else(|| self.to_string(), str::to_owned);
        let mut answer = answer::plain(status, told + "\n");
        // What a client that has failed sends next cannot be trusted to be a request; and where there
        // are too many connections, that of the client is one of them.
        if self.is_clients() || matches!(self, Self::Descriptors(_)) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Some(answer)
    }

    /// What clients are told where the reason concerns nobody but us and the upstream.
    fn told(&self) -> Option<&'static str> {
        let Self::Connect(error) = self else { return None };
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(_) => {
                Some("upstream: the certificate is not trusted")
            }
            _ => Some("upstream: cannot connect: TLS handshake failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use kuiperbelt::http::header::CONNECTION;

    use super::*;

    fn connecting(error: io::Error) -> (u16, String, bool) {
        let answer = Failure::of_connecting(error).answer().unwrap();
        let body = String::from_utf8(answer.body().to_vec()).unwrap();
        (answer.status().as_u16(), body, answer.headers().contains_key(CONNECTION))
    }

    #[test]
    fn what_clients_are_told_of_tls() {
        let of =
            |error: rustls::Error| connecting(io::Error::new(io::ErrorKind::InvalidData, error));
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let (_, body, _) = of(untrusted.clone());
        assert_eq!(body, "upstream: the certificate is not trusted\n");
        let (_, body, _) = of(rustls::Error::HandshakeNotComplete);
        assert_eq!(body, "upstream: cannot connect: TLS handshake failed\n");
        let logged = Failure::of_connecting(io::Error::other(untrusted)).to_string();
        assert!(logged.contains("UnknownIssuer"), "{logged}");
    }

    #[test]
    fn connections_are_given_back_for_want_of_descriptors() {
        for (code, status, closes) in [(23, 503, true), (24, 503, true), (111, 502, false)] {
            let (found, body, is_closed) = connecting(io::Error::from_raw_os_error(code));
            assert_eq!((found, is_closed), (status, closes), "{body}");
        }
    }
}
