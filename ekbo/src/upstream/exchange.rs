//! One request and its answer on one socket of the upstream's. Both directions run side by side, in
//! the task of the client's connection; each is read only as fast as the other end takes it.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use kuiperbelt::AnswerWriter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::account::Account;
use super::download::{Download, Switch};
use super::failure::Failure;
use super::request_head::Asked;
use super::upload::{Source, Upload, Waiting};

/// How long the parts of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until there is the whole head of the answer, from when the upstream has the request, whatever
    /// comes before; and how long the upstream may take nothing of what there is of the request.
    pub(super) response: Duration,
    /// How long a body may stand still, in either direction.
    pub(super) body: Duration,
    /// How long an upstream may take to ask for a body whose client waits to be asked, or to answer
    /// without it. Then the client is asked all the same (RFC 9110 section 10.1.1).
    pub(super) invitation: Duration,
}

/// Read at once from the upstream.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Lends the buffer of this worker thread, in which nothing is kept. Not to be called inside itself.
pub(super) fn with_room<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with_borrow_mut(|place| read(place))
}

/// A request on its way out and its answer on its way in.
pub(super) struct Exchange<'a, S> {
    socket: S,
    upload: Upload<'a>,
    download: Download<'a>,
    writer: &'a mut AnswerWriter,
    account: &'a mut Account,
    patience: Patience,
    /// When something of the request went last, or, once it has begun, of the answer.
    moved: Instant,
    /// Whether the client has taken all that is queued for it.
    is_taken: bool,
}

/// How an exchange has ended well.
pub(super) enum Ended<S> {
    /// The answer is there, and what is left of it to be delivered. The socket, if another request
    /// may follow on it.
    Answered(Option<S>),
    /// The upstream changes the protocol.
    Switched(S, Box<Switch>),
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Exchange<'a, S> {
    /// Nothing is sent yet.
    pub(super) fn new(
        socket: S,
        head: Vec<u8>,
        source: &'a mut Source,
        asked: Asked<'a>,
        patience: Patience,
        (writer, account): (&'a mut AnswerWriter, &'a mut Account),
    ) -> Self {
        Self {
            socket,
            upload: Upload::new(head, source),
            download: Download::new(asked),
            writer,
            account,
            patience,
            moved: Instant::now(),
            is_taken: true,
        }
    }

    /// Sends the request and has the client get the answer, but for the last piece. Dropped early, or
    /// after an error, it ends the connection to the upstream.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        let mut sleep = pin!(sleep_until(self.moved));
        poll_fn(|context| self.poll(context, sleep.as_mut())).await
    }

    /// Whether the request may be sent again on another connection after a failure: this one ended
    /// before a byte of the answer, as those that were kept can, and either the upstream has got
    /// nothing of the request, or to get it twice is as to get it once.
    pub(super) fn may_be_repeated(&self, failure: &Failure, is_idempotent: bool) -> bool {
        failure.is_end_of_connection()
            && !self.download.is_begun()
            && self.upload.may_be_repeated()
            && (is_idempotent || self.upload.is_unsent())
    }

    /// After `run` has succeeded.
    pub(super) fn finish(self) -> Ended<S> {
        let is_reusable = self.download.may_be_followed() && self.upload.is_complete();
        match self.download.into_switch() {
            Some(switch) => Ended::Switched(self.socket, switch),
            None => Ended::Answered(is_reusable.then_some(self.socket)),
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            match self.step(context)? {
                Step::Over => return Poll::Ready(Ok(())),
                Step::Moved => self.moved = Instant::now(),
                Step::Told => {}
                Step::Waiting => {
                    ready!(self.poll_patience(context, sleep.as_mut()))?;
                    self.upload.invite();
                    self.moved = Instant::now();
                }
            }
        }
    }

    /// Does what can be done now, in both directions.
    fn step(&mut self, context: &mut Context<'_>) -> Result<Step, Failure> {
        if self.download.is_complete() {
            let is_early = !self.writer.has_begun() && !self.upload.is_complete();
            return if is_early { Err(Failure::EarlySwitch) } else { Ok(Step::Over) };
        }
        let mut has_moved = self.upload.advance(&mut self.socket, context)?;
        if self.upload.is_unsent()
            && let Some(error) = self.upload.take_failure()
        {
            // What may be there to be read answers no request of ours.
            return Err(Failure::Lost(error));
        }
        // Nothing is queued before the answer begins.
        if self.writer.has_begun() {
            let before = self.writer.unsent();
            let flushed = self.writer.poll_flush(context).map_err(Failure::Client)?;
            self.is_taken = flushed.is_ready();
            has_moved |= self.writer.unsent() < before;
        }
        let has_read = self.is_taken && self.poll_read(context)?.is_ready();
        Ok(match has_read {
            true if has_moved || self.writer.has_begun() => Step::Moved,
            true => Step::Told,
            false if has_moved => Step::Moved,
            false => Step::Waiting,
        })
    }

    /// Reads once, into the thread's buffer.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Failure> {
        let read = with_room(|place| {
            let mut place = ReadBuf::new(place);
            if Pin::new(&mut self.socket).poll_read(context, &mut place)?.is_pending() {
                return Ok(Poll::Pending);
            }
            match place.filled() {
                [] => self.download.end(self.writer)?,
                bytes => self.download.take_in(bytes, self.writer, self.account)?,
            }
            Ok(Poll::Ready(()))
        });
        if self.download.is_invited() && self.upload.invite() {
            self.moved = Instant::now();
        }
        match read {
            // What was written says more of why.
            Err(Failure::Ended) if !self.download.is_begun() => {
                Err(self.upload.take_failure().map_or(Failure::Ended, Failure::Lost))
            }
            read => read,
        }
    }

    /// Waits until something should have happened. `Ok` if it is time to ask the client for its body.
    fn poll_patience(
        &self,
        context: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
    ) -> Poll<Result<(), Failure>> {
        let patience = self.patience;
        let (limit, failure) = match self.upload.waiting() {
            _ if !self.is_taken => {
                (patience.body, Some(Failure::Untaken as fn(Duration) -> Failure))
            }
            _ if self.writer.has_begun() => (patience.body, Some(Failure::Stalled as _)),
            Waiting::Held => (patience.invitation, None),
            Waiting::ForClient => (patience.body, Some(Failure::StalledBody as _)),
            Waiting::ForUpstream => (patience.response, Some(Failure::NotTaken as _)),
            Waiting::Over => (patience.response, Some(Failure::NoAnswer as _)),
        };
        let deadline = self.moved + limit;
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.poll(context));
        Poll::Ready(failure.map_or(Ok(()), |failure| Err(failure(limit))))
    }
}

/// Sends the client the last piece of its answer.
pub(super) async fn deliver(writer: &mut AnswerWriter, patience: Duration) -> Result<(), Failure> {
    loop {
        let before = writer.unsent();
        let some = poll_fn(|context| match writer.poll_flush(context) {
            Poll::Pending if writer.unsent() < before => Poll::Ready(Ok(false)),
            flushed => flushed.map_ok(|()| true),
        });
        match timeout(patience, some).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => return Err(Failure::Client(error)),
            Err(_) => return Err(Failure::Untaken(patience)),
        }
    }
}

/// What has come of doing what can be done.
enum Step {
    Over,
    /// Something went, and more may go.
    Moved,
    /// The upstream has said something that is not an answer yet, and more may come.
    Told,
    Waiting,
}
