//! The task of one HTTP connection: a request, its answer, the next request; and the way out of it
//! to a WebSocket. What bytes mean is in `http1.rs`, what an answer says is the doors' business.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Method, StatusCode, Version};
use tokio::task::coop::consume_budget;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, error};

use crate::answer::{self, Answer, Answering};
use crate::answer_writer::AnswerWriter;
use crate::body::{PATIENCE, Progress, Remainder};
use crate::door::{Doors, Way};
use crate::handshake::Welcome;
use crate::http1::{BadHead, Decoder, Head, PartialHead, Reply, Wire, names_its_host};
use crate::request::Request;
use crate::stream::Stream;

mod lease;

use lease::{Lease, divide};

/// The most of an unwanted body, in bytes, for which its connection is kept.
const WORTH_SKIPPING: u64 = 256 * 1024;

/// How long a request whose head is on its way may take to complete it when the listener stops.
const LAST_HEADS: Duration = Duration::from_millis(500);

/// What the connections of a listener have in common.
#[derive(Debug)]
pub(crate) struct Reception {
    pub(crate) doors: Arc<Doors>,
    /// For a head: from its first byte, or from the beginning of the connection, to its last.
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) stop: CancellationToken,
}

/// How a connection goes on after a request.
enum Next {
    Request(Wire),
    WebSocket(Wire, Box<Welcome>),
    Nothing,
}

impl Reception {
    /// Answers what is asked on a connection, in turn, until one side has had enough, the listener
    /// stops, or the connection becomes a WebSocket. `served` is dropped then.
    pub(crate) async fn converse(
        self: Arc<Self>,
        stream: Stream,
        peer: Option<SocketAddr>,
        served: TaskTrackerToken,
    ) {
        match self.answer_all(Wire::new(stream), peer).await {
            Ok(None) => {}
            Ok(Some((wire, welcome))) => {
                drop(served);
                let (stream, early) = wire.into_parts();
                Box::pin(welcome.enter(stream, &early)).await;
            }
            Err(error) => debug!(error = %error, "request failed"),
        }
    }

    async fn answer_all(
        &self,
        mut wire: Wire,
        peer: Option<SocketAddr>,
    ) -> io::Result<Option<(Wire, Box<Welcome>)>> {
        let mut stopped = pin!(self.stop.cancelled());
        let mut is_first = true;
        loop {
            let head = match self.next_head(&mut wire, stopped.as_mut(), is_first).await {
                Ok(Some(Ok(head))) => head,
                Ok(Some(Err(bad))) => return Box::pin(refuse(wire, bad)).await.map(|()| None),
                Ok(None) => return Ok(None),
                Err(error) => {
                    // The client's TLS is broken, and it is being told so.
                    if error.kind() == io::ErrorKind::InvalidData {
                        Box::pin(linger(wire)).await;
                    }
                    return Err(error);
                }
            };
            is_first = false;
            wire = match self.answer(wire, head, peer).await? {
                Next::Request(wire) => wire,
                Next::WebSocket(wire, welcome) => return Ok(Some((wire, welcome))),
                Next::Nothing => return Ok(None),
            };
        }
    }

    /// The next head, or `None` when there is no more to come. No clock runs while a kept
    /// connection rests.
    async fn next_head(
        &self,
        wire: &mut Wire,
        mut stopped: Pin<&mut impl Future<Output = ()>>,
        is_first: bool,
    ) -> io::Result<Option<Result<Box<Head>, BadHead>>> {
        let mut partial = PartialHead::default();
        let mut is_last = false;
        let mut limit: Option<Pin<Box<Sleep>>> = None;
        loop {
            if wire.ahead.is_empty() {
                let filled = poll_fn(|context| {
                    if let Poll::Ready(filled) = wire.poll_fill(context) {
                        return Poll::Ready(filled.map(Some));
                    }
                    if !is_last && stopped.as_mut().poll(context).is_ready() {
                        if partial.is_empty() {
                            return Poll::Ready(Ok(None));
                        }
                        is_last = true;
                        limit = Some(Box::pin(sleep(LAST_HEADS)));
                    }
                    if limit.is_none() && (is_first || !partial.is_empty()) {
                        limit = self.head_timeout.map(|timeout| Box::pin(sleep(timeout)));
                    }
                    let Some(limit) = &mut limit else { return Poll::Pending };
                    ready!(limit.as_mut().poll(context));
                    let reason = "the head of the request took too long";
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
                });
                match filled.await? {
                    Some(true) => {}
                    Some(false) if !partial.is_empty() => {
                        let reason = "the client left in the head of its request";
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
                    }
                    Some(false) | None => return Ok(None),
                }
            } else {
                // A client that asks ahead is not to keep others waiting.
                consume_budget().await;
            }
            match partial.take_in(&std::mem::take(&mut wire.ahead)) {
                Ok(None) => {}
                Ok(Some((head, rest))) => {
                    wire.ahead = rest;
                    return Ok(Some(Ok(head)));
                }
                Err(bad) => return Ok(Some(Err(bad))),
            }
        }
    }

    /// Has a request answered, and sends the answer. What few requests need is boxed: it would lie
    /// in the task of every connection that rests.
    async fn answer(
        &self,
        wire: Wire,
        head: Box<Head>,
        peer: Option<SocketAddr>,
    ) -> io::Result<Next> {
        let (lease, reply, course) = self.begin(wire, head, peer);
        match course {
            Course::Answered(answer) => self.finish(lease, reply, answer).await,
            Course::Http(answering) => match lease.unless_hung_up(answering).await {
                Some(answer) => self.finish(lease, reply, answer).await,
                None => Ok(Next::Nothing),
            },
            Course::Socket(judging) => Box::pin(self.admit(lease, reply, judging)).await,
            Course::Relay(relaying) => Box::pin(self.relay(lease, reply, relaying)).await,
        }
    }

    /// Looks at a request, and has the one behind its door begin.
    fn begin(
        &self,
        wire: Wire,
        head: Box<Head>,
        peer: Option<SocketAddr>,
    ) -> (Lease, Reply, Course<'_>) {
        let reply = Reply::to(&head.method, head.version, head.is_kept);
        let is_secure = wire.stream().speaks_tls();
        let refusal = refusal(&head, self.doors.relay().is_some());
        let (body, mut lease) = divide(wire, &head);
        if let Some(answer) = refusal {
            return (lease, reply, Course::Answered(answer));
        }
        let Head { method, target, uri, version, fields, .. } = *head;
        let is_odd = uri.is_none();
        let uri = uri.unwrap_or_default();
        let request = Request { method, uri, target, version, fields, body, peer, is_secure };
        let way = match self.doors.relay() {
            Some(relay) if is_odd => Way::Relay(relay),
            _ => self.doors.way(&request),
        };
        let course = match way {
            Way::Http(service) => match service(request) {
                Answering::Now(answer) => Course::Answered(answer),
                Answering::Later(answering) => Course::Http(answering),
            },
            Way::Socket(door) => Course::Socket(Box::pin(door.open(request))),
            Way::Relay(relay) => {
                let shared;
                (lease, shared) = lease.share();
                let writer = AnswerWriter::new(shared, reply, self.stop.clone());
                Course::Relay(relay(request, writer))
            }
            Way::Moved(answer) => Course::Answered(answer),
        };
        (lease, reply, course)
    }

    /// Sends an answer, and sees to what is left of the request.
    async fn finish(&self, lease: Lease, mut reply: Reply, answer: Answer) -> io::Result<Next> {
        let Some((wire, remainder)) = lease.reclaim() else { return Ok(Next::Nothing) };
        let says_close = answer.headers().get(CONNECTION).is_some_and(is_close);
        reply.is_kept &= !says_close
            && match &remainder {
                Remainder::None => true,
                Remainder::Some(decoder) => decoder.at_least() <= WORTH_SKIPPING,
                Remainder::Unknown => false,
            };
        reply.is_kept &= !self.stop.is_cancelled();
        wire.send(reply, &answer).await?;
        match go_on(wire, remainder, reply.is_kept, says_close) {
            Ok(next) => Ok(next),
            Err(seen_to) => Ok(seen_to.await),
        }
    }

    /// Has a relay answer, and sees to what is left of the request.
    async fn relay(
        &self,
        lease: Lease,
        reply: Reply,
        relaying: Working<'_, ()>,
    ) -> io::Result<Next> {
        let is_over = lease.until_broken(relaying, self.stop.cancelled()).await;
        match lease.progress() {
            Progress::NotBegun if is_over => {
                error!(error = "a relay has given no answer", "request failed");
                let answer = answer::last(StatusCode::INTERNAL_SERVER_ERROR);
                self.finish(lease, reply, answer).await
            }
            Progress::Begun { ends_with_connection: true } => {
                if let Some((wire, _)) = lease.reclaim() {
                    wire.stream().abort();
                }
                Ok(Next::Nothing)
            }
            Progress::Complete { is_kept } => match lease.reclaim() {
                Some((wire, remainder)) => match go_on(wire, remainder, is_kept, !is_kept) {
                    Ok(next) => Ok(next),
                    Err(seen_to) => Ok(seen_to.await),
                },
                None => Ok(Next::Nothing),
            },
            Progress::NotBegun | Progress::Begun { .. } | Progress::Switched => Ok(Next::Nothing),
        }
    }

    /// Waits until it is decided whether a client is let in, and tells it, if it is still there.
    async fn admit(
        &self,
        lease: Lease,
        reply: Reply,
        judging: Working<'_, Result<Welcome, Answer>>,
    ) -> io::Result<Next> {
        let welcome = match lease.whether_hung_up(judging).await {
            (Ok(welcome), false) => welcome,
            (Ok(welcome), true) => {
                welcome.withdraw();
                return Ok(Next::Nothing);
            }
            (Err(answer), false) => return self.finish(lease, reply, answer).await,
            (Err(_), true) => return Ok(Next::Nothing),
        };
        if let Some((wire, Remainder::None)) = lease.reclaim()
            && tell(&wire, reply, &welcome).await
        {
            return Ok(Next::WebSocket(wire, Box::new(welcome)));
        }
        welcome.withdraw();
        Ok(Next::Nothing)
    }
}

/// What follows an answer, with what is left of its request: at once, or when that is seen to.
fn go_on(
    wire: Wire,
    remainder: Remainder,
    is_kept: bool,
    says_close: bool,
) -> Result<Next, Working<'static, Next>> {
    // Over TLS a client says in bytes even that it has nothing more to say.
    let may_say_more = !wire.ahead.is_empty() || says_close || wire.stream().speaks_tls();
    match remainder {
        Remainder::None if is_kept => Ok(Next::Request(wire)),
        Remainder::None if !may_say_more => Ok(Next::Nothing),
        Remainder::Some(decoder) if is_kept => Err(Box::pin(skip(wire, decoder))),
        // The client may be sending still.
        Remainder::None | Remainder::Some(_) | Remainder::Unknown => Err(Box::pin(async move {
            linger(wire).await;
            Next::Nothing
        })),
    }
}

/// Tells a client that it is let in. `false` if it does not take it: it holds up neither the end of
/// its session nor a stop.
async fn tell(wire: &Wire, reply: Reply, welcome: &Welcome) -> bool {
    let mut sending = pin!(wire.send(reply, welcome.answer()));
    poll_fn(|context| match sending.as_mut().poll(context) {
        Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
        Poll::Pending => welcome.poll_over(context).map(|()| false),
    })
    .await
}

type Working<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a request comes to its answer.
enum Course<'a> {
    Answered(Answer),
    Http(Working<'a, Answer>),
    Socket(Working<'a, Result<Welcome, Answer>>),
    Relay(Working<'a, ()>),
}

/// The answer to a request that cannot be trusted, whatever its path.
fn refusal(head: &Head, may_be_odd: bool) -> Option<Answer> {
    let is_usual = head.uri.as_ref().is_some_and(|uri| uri.path().starts_with('/'));
    let names_its_host = names_its_host(head.version, &head.fields);
    if !names_its_host || !(is_usual || may_be_odd) || head.method == Method::CONNECT {
        return Some(answer::last(StatusCode::BAD_REQUEST));
    }
    // RFC 9110 section 10.1.1: of HTTP/1.0 nothing is expected.
    let is_odd = head.version >= Version::HTTP_11
        && head.fields.get_all(&EXPECT).any(|expected| !is_continue(expected));
    is_odd.then(|| answer::last(StatusCode::EXPECTATION_FAILED))
}

/// Whether an `Expect` is the one that there is (RFC 9110 section 10.1.1).
fn is_continue(expected: &[u8]) -> bool {
    expected.eq_ignore_ascii_case(b"100-continue")
}

fn is_close(connection: &HeaderValue) -> bool {
    connection.as_bytes().eq_ignore_ascii_case(b"close")
}

/// Answers what is no request. Nothing on the wire can be understood after it.
async fn refuse(wire: Wire, bad: BadHead) -> io::Result<()> {
    debug!(error = %bad, "request failed");
    if let Some(status) = bad.status() {
        let mut answer = Answer::default();
        *answer.status_mut() = status;
        wire.send(Reply::last(), &answer).await?;
        linger(wire).await;
    }
    Ok(())
}

/// Passes over the rest of a body that nobody wants, to the next request behind it.
async fn skip(mut wire: Wire, mut decoder: Decoder) -> Next {
    let skipping = async {
        loop {
            while decoder.next(&mut wire.ahead).ok()?.is_some() {}
            if decoder.is_complete() {
                return Some(());
            }
            poll_fn(|context| wire.poll_fill(context)).await.ok().filter(|&has_read| has_read)?;
        }
    };
    if let Ok(Some(())) = timeout(PATIENCE, skipping).await {
        return Next::Request(wire);
    }
    linger(wire).await;
    Next::Nothing
}

/// Ends a connection on which more may be coming: closing it on unread bytes would make TCP reset
/// the answer away before the client has seen it.
async fn linger(mut wire: Wire) {
    if wire.stream().shutdown_write().is_ok() {
        let _ = timeout(PATIENCE, wire.discard()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::lease::LAST_WORDS;
    use super::*;
    use crate::http1::AnswerBody;

    /// A kept connection costs its client's patience, not our memory: what few requests need is
    /// boxed.
    #[tokio::test]
    async fn a_resting_connection_is_small() {
        let (stream, _peer) = tokio::net::UnixStream::pair().unwrap();
        let doors = Arc::new(Doors::closed());
        let stop = CancellationToken::new();
        let reception = Arc::new(Reception { doors, head_timeout: None, stop });
        let served = tokio_util::task::TaskTracker::new().token();
        let size = size_of_val(&reception.converse(stream.into(), None, served));
        assert!(size <= 2048, "{size}");
    }

    /// A client that has ended its side may have gone: it is served as long as it takes something.
    #[tokio::test(start_paused = true)]
    async fn clients_that_have_said_everything() {
        let relay: crate::door::Relay = Arc::new(|_, mut writer| {
            Box::pin(async move {
                writer.begin(StatusCode::OK, b"OK", [], AnswerBody::Unknown);
                for piece in [b"a", b"b", b"c"] {
                    writer.write(piece).unwrap();
                    writer.flush().await.unwrap();
                    sleep(LAST_WORDS - Duration::from_secs(1)).await;
                }
                std::future::pending().await
            })
        });
        let (stream, mut client) = tokio::net::UnixStream::pair().unwrap();
        let doors = Arc::new(Doors::relaying(relay));
        let stop = CancellationToken::new();
        let reception = Arc::new(Reception { doors, head_timeout: None, stop });
        let served = tokio_util::task::TaskTracker::new().token();
        tokio::spawn(reception.converse(stream.into(), None, served));
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let start = Instant::now();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert!(got.ends_with("\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n"), "{got}");
        let took = start.elapsed();
        assert!((LAST_WORDS * 2..LAST_WORDS * 5).contains(&took), "{took:?}");
    }
}
