//! `Idempotency-Key`: a call that is repeated, because its answer was lost, is answered as the
//! first time and does nothing again.
//!
//! What is remembered begins with the body: whatever is refused before it has come is forgotten. A
//! call whose caller hangs up later than that goes on, for the one who will repeat it.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};
use kuiperbelt::{Answer, Answering, Body, Fields};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::{self, Refused};
use super::publish::{EXCEPT, HUB};
use super::{BackendApi, CHANNEL};

pub(super) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in bytes.
const LONGEST_KEY: usize = 255;

/// How many calls are remembered of a path, and for how long after their answer.
const MOST_CALLS: usize = 10_000;
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The most that their answers may have, in bytes; the latest is kept whatever it has.
const MOST_BYTES: usize = 16 << 20;

impl BackendApi {
    /// Has `run` answer, with the whole body; but not if it has answered the same call before.
    /// It must not be cut short: what it answers later is waited for by a task of its own.
    pub(super) fn once(
        self: &Arc<Self>,
        memory: &Arc<Memory>,
        fields: Fields,
        body: Body,
        run: impl FnOnce(&Arc<Self>, Fields, &Bytes) -> Answering + Send + 'static,
    ) -> Answering {
        let key: Arc<[u8]> = match key(&fields) {
            Ok(Some(key)) => key.into(),
            Ok(None) => return self.with_body(body, true, |api, body| run(api, fields, body)),
            Err(refused) => return refused.into(),
        };
        let memory = Arc::clone(memory);
        self.with_body(body, true, move |api, body| {
            let about = [&api.config.session_header, &CHANNEL, &EXCEPT, &HUB, &CONTENT_TYPE];
            let call = memory.fingerprint(&fields, about, body);
            match memory.recall(key, call, Instant::now()) {
                Recalled::Nothing(turn) => match run(api, fields, body) {
                    Answering::Now(answer) => {
                        turn.finish(&answer, Instant::now());
                        answer.into()
                    }
                    Answering::Later(answer) => {
                        let repeat = turn.repeat();
                        tokio::spawn(async move {
                            let answer = answer.await;
                            turn.finish(&answer, Instant::now());
                        });
                        repeat.into()
                    }
                },
                Recalled::Same(repeat) => repeat.into(),
                Recalled::Another => Refused::KeyUsed.into(),
                Recalled::TooMuch => Refused::TooManyKeys.into(),
            }
        })
    }
}

/// The key of a call, if it has one.
fn key(fields: &Fields) -> Result<Option<&[u8]>, Refused> {
    let mut keys = fields.get_all(&IDEMPOTENCY_KEY);
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Refused::Key),
    }
}

/// The calls of one path that are under way, or were answered a short while ago.
#[derive(Debug, Default)]
pub(super) struct Memory {
    hasher: RandomState,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    by_key: HashMap<Arc<[u8]>, Call>,
    /// In the order of their answers.
    answered: VecDeque<Answered>,
    /// Of all answers.
    bytes: usize,
}

#[derive(Debug)]
struct Call {
    fingerprint: u64,
    repeat: Repeat,
}

#[derive(Debug)]
struct Answered {
    key: Arc<[u8]>,
    at: Instant,
    bytes: usize,
}

/// What a key means.
#[derive(Debug)]
enum Recalled {
    /// Nothing: it is this caller's turn.
    Nothing(Turn),
    Same(Repeat),
    /// A call with another body, or for others.
    Another,
    /// Nothing, and everything that is remembered is under way.
    TooMuch,
}

/// A call under way. Unless it is finished its key is forgotten.
#[derive(Debug)]
struct Turn {
    memory: Arc<Memory>,
    key: Arc<[u8]>,
    answer: watch::Sender<Option<Kept>>,
}

/// The answer of another call, there or to come.
#[derive(Debug, Clone)]
struct Repeat(watch::Receiver<Option<Kept>>);

/// What is kept of an answer.
#[derive(Debug, Clone)]
struct Kept {
    status: StatusCode,
    body: Bytes,
}

impl Memory {
    /// A number that is the same for a call with the same body and the same fields of these names.
    fn fingerprint(&self, fields: &Fields, names: [&HeaderName; 5], body: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for name in names {
            fields.get_all(name).collect::<Vec<_>>().hash(&mut hasher);
        }
        body.hash(&mut hasher);
        std::hash::Hasher::finish(&hasher)
    }

    fn recall(self: &Arc<Self>, key: Arc<[u8]>, fingerprint: u64, now: Instant) -> Recalled {
        let mut calls = self.calls.lock();
        calls.forget_what_is_old(now);
        if let Some(call) = calls.by_key.get(&key) {
            let is_same = call.fingerprint == fingerprint;
            return if is_same { Recalled::Same(call.repeat.clone()) } else { Recalled::Another };
        }
        if calls.by_key.len() >= MOST_CALLS && !calls.forget_oldest() {
            return Recalled::TooMuch;
        }
        let (answer, repeat) = watch::channel(None);
        calls.by_key.insert(Arc::clone(&key), Call { fingerprint, repeat: Repeat(repeat) });
        Recalled::Nothing(Turn { memory: Arc::clone(self), key, answer })
    }
}

impl Calls {
    fn forget_what_is_old(&mut self, now: Instant) {
        let is_old = |oldest: &Answered| now.duration_since(oldest.at) >= KEPT_FOR;
        while self.answered.front().is_some_and(is_old) {
            self.forget_oldest();
        }
    }

    /// `false` if there is none that is answered.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.answered.pop_front() else { return false };
        self.by_key.remove(&oldest.key);
        self.bytes -= oldest.bytes;
        true
    }
}

impl Turn {
    fn repeat(&self) -> Repeat {
        Repeat(self.answer.subscribe())
    }

    fn finish(self, answer: &Answer, now: Instant) {
        let kept = Kept { status: answer.status(), body: answer.body().clone() };
        let bytes = kept.body.len();
        let mut calls = self.memory.calls.lock();
        self.answer.send_replace(Some(kept));
        calls.bytes += bytes;
        let key = Arc::clone(&self.key);
        calls.answered.push_back(Answered { key, at: now, bytes });
        while calls.bytes > MOST_BYTES && calls.answered.len() > 1 {
            calls.forget_oldest();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.answer.borrow().is_none() {
            self.memory.calls.lock().by_key.remove(&self.key);
        }
    }
}

impl From<Repeat> for Answering {
    fn from(Repeat(mut kept): Repeat) -> Self {
        if let Some(kept) = &*kept.borrow() {
            return Answer::from(kept).into();
        }
        Self::later(async move {
            match kept.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(kept)) => kept.into(),
                // It will never be answered.
                Ok(None) | Err(_) => Refused::Unreadable.into(),
            }
        })
    }
}

impl From<&Kept> for Answer {
    fn from(kept: &Kept) -> Self {
        answer::json(kept.status, kept.body.clone())
    }
}

#[cfg(test)]
mod tests;
