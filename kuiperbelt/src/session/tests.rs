//! What an outbox accepts, lets wait and refuses; no socket, and a clock that stands still.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::task::noop_waker;
use kuiperbelt_websocket::CloseCode;

use super::*;

/// A session as its connection sees it.
struct Connected {
    session: Session,
    writing: VecDeque<Bytes>,
}

impl Connected {
    fn with(capacity: Capacity) -> Self {
        let connected = Self::establishing(capacity, 1000);
        connected.session.establish();
        connected
    }

    fn establishing(capacity: Capacity, before_established: usize) -> Self {
        let limits = Limits { capacity, before_established };
        let session = Session::new(b"alice", None, limits);
        Self { session, writing: VecDeque::new() }
    }

    /// Takes what is queued, as a task that wakes up does.
    fn take(&mut self) -> Option<Ending> {
        let waker = noop_waker();
        let writing = &mut self.writing;
        self.session.take(&Context::from_waker(&waker), false, |frame| writing.push_back(frame))
    }

    /// Writes one message.
    fn write(&mut self) -> Bytes {
        self.take();
        let frame = self.writing.pop_front().unwrap();
        let next = self.writing.front().map(Bytes::len);
        self.session.written(Written { messages: 1, bytes: frame.len(), next });
        frame
    }

    /// The answer, if it is there at once.
    fn send(&self, text: &str) -> Option<Result<(), SendError>> {
        self.session.send(&Message::text(text), None).now_or_never()
    }
}

fn frame(text: &str) -> Bytes {
    Message::text(text).frame().clone()
}

const ACCEPTED: Option<Result<(), SendError>> = Some(Ok(()));
const CLOSED: Option<Result<(), SendError>> = Some(Err(SendError::Closed));

#[tokio::test]
async fn a_queue_of_messages_takes_so_many_behind_the_one_being_written() {
    for size in [0, 1, 10] {
        let mut connected = Connected::with(Capacity::Messages(size));
        for _ in 0..=size {
            assert_eq!(connected.send("x"), ACCEPTED);
        }
        assert_eq!(connected.send("x"), None, "size {size}");
        connected.take();
        assert_eq!(connected.send("x"), None, "taken is not written, size {size}");
        connected.write();
        assert_eq!(connected.send("x"), ACCEPTED, "size {size}");
    }
}

#[tokio::test]
async fn a_bounded_queue_counts_messages_and_bytes_and_takes_anything_when_empty() {
    let large = "x".repeat(1000);
    let mut connected = Connected::with(Capacity::Bounded { messages: 3, bytes: 100 });
    assert_eq!(connected.send(&large), ACCEPTED, "being written");
    assert_eq!(connected.send(&large), ACCEPTED, "none waits");
    assert_eq!(connected.send("x"), None, "too many bytes");
    connected.write();
    for _ in 0..3 {
        assert_eq!(connected.send("x"), ACCEPTED);
    }
    assert_eq!(connected.send("x"), None, "too many messages");
}

#[tokio::test]
async fn who_waits_is_let_in_in_order_and_before_later_senders() {
    let mut connected = Connected::with(Capacity::Messages(0));
    assert_eq!(connected.send("first"), ACCEPTED);
    let session = connected.session.clone();
    let (second, third) = (Message::text("second"), Message::text("third"));
    let mut second = Box::pin(session.send(&second, None));
    let mut third = Box::pin(session.send(&third, None));
    assert!((&mut second).now_or_never().is_none());
    assert!((&mut third).now_or_never().is_none());
    assert_eq!(connected.write(), frame("first"));
    assert_eq!(second.now_or_never(), ACCEPTED);
    assert_eq!(connected.send("fourth"), None, "the line is not jumped");
    assert_eq!(connected.write(), frame("second"));
    assert_eq!(third.now_or_never(), ACCEPTED);
    assert_eq!(connected.write(), frame("third"));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_time_is_over_is_never_sent() {
    let mut connected = Connected::with(Capacity::Messages(0));
    assert_eq!(connected.send("first"), ACCEPTED);
    let deadline = Some(Instant::now() + Duration::from_secs(1));
    let late = connected.session.send(&Message::text("late"), deadline).await;
    assert_eq!(late, Err(SendError::TimedOut));
    connected.write();
    assert!(connected.take().is_none());
    assert!(connected.writing.is_empty());
}

#[tokio::test]
async fn a_sender_that_leaves_the_line_takes_its_message_along() {
    let mut connected = Connected::with(Capacity::Messages(0));
    assert_eq!(connected.send("first"), ACCEPTED);
    let session = connected.session.clone();
    let message = Message::text("withdrawn");
    let mut waiting = Box::pin(session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    drop(waiting);
    connected.write();
    assert_eq!(connected.send("next"), ACCEPTED);
    assert_eq!(connected.write(), frame("next"));
}

#[tokio::test]
async fn a_large_message_that_leaves_the_line_was_all_that_was_in_the_way() {
    let mut connected = Connected::with(Capacity::Bounded { messages: 10, bytes: 100 });
    assert_eq!(connected.send("being written"), ACCEPTED);
    connected.take();
    assert_eq!(connected.send(&"x".repeat(50)), ACCEPTED);
    let session = connected.session.clone();
    let (large, small) = (Message::text(&"x".repeat(90)), Message::text("small"));
    let mut large = Box::pin(session.send(&large, None));
    assert!((&mut large).now_or_never().is_none());
    let mut others: Vec<_> = (0..3).map(|_| Box::pin(session.send(&small, None))).collect();
    for other in &mut others {
        assert!(other.now_or_never().is_none(), "the line is not jumped");
    }
    drop(large);
    for other in others {
        assert_eq!(other.now_or_never(), ACCEPTED);
    }
    assert_eq!(connected.send("and more"), ACCEPTED);
}

/// KB-CLS-2
#[tokio::test]
async fn nothing_is_accepted_after_the_last_word() {
    let mut connected = Connected::with(Capacity::Messages(1));
    assert_eq!(connected.send("before"), ACCEPTED);
    let last = Message::text("last");
    let end = End::new(CloseCode::NORMAL, "").quietly(true);
    let session = connected.session.clone();
    assert_eq!(session.close(Some(&last), end.clone(), None).now_or_never(), ACCEPTED);
    assert_eq!(connected.send("after"), CLOSED);
    assert_eq!(session.close(Some(&last), End::abnormal(""), None).now_or_never(), CLOSED);
    session.end(End::abnormal(""));
    let ending = connected.take().unwrap();
    assert_eq!(ending.end, end);
    assert_eq!(connected.writing, [frame("before"), frame("last")]);
    assert_eq!(connected.session.conclude(End::abnormal("reset")), end, "the first end stays");
}

#[tokio::test]
async fn who_waits_is_refused_when_the_session_ends() {
    let connected = Connected::with(Capacity::Messages(0));
    assert_eq!(connected.send("first"), ACCEPTED);
    let message = Message::text("waiting");
    let mut waiting = Box::pin(connected.session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    connected.session.end(End::abnormal(""));
    assert_eq!(waiting.await, Err(SendError::Closed));
}

/// D1, D13
#[tokio::test]
async fn before_a_session_is_established_only_bytes_count() {
    let connected = Connected::establishing(Capacity::Messages(0), 100);
    assert_eq!(connected.send(&"x".repeat(500)), ACCEPTED, "an empty queue takes anything");
    assert_eq!(connected.send("x"), None, "and then it is full");

    let mut connected = Connected::establishing(Capacity::Messages(0), 100);
    let most = 100 / frame("x").len();
    for _ in 0..most {
        assert_eq!(connected.send("x"), ACCEPTED);
    }
    let session = connected.session.clone();
    let message = Message::text("waiting");
    let mut waiting = Box::pin(session.send(&message, None));
    assert!((&mut waiting).now_or_never().is_none());
    session.establish();
    assert!((&mut waiting).now_or_never().is_none(), "the queue is still full");
    for _ in 0..most {
        connected.write();
    }
    assert_eq!(waiting.now_or_never(), ACCEPTED);
}
