//! What the backend has the gateway remember of a session, and which every later callback of the
//! session carries. A session that has no state keeps nothing.

use std::mem;

use http::HeaderValue;
use kuiperbelt::Session;
use parking_lot::Mutex;

use super::request::Field;

/// The longest state, in bytes.
pub(crate) const LONGEST_STATE: usize = 4096;

/// What a session keeps of its handler.
struct State(Mutex<HeaderValue>);

/// The state of a session; empty if it has none.
pub(crate) fn state(session: &Session) -> HeaderValue {
    let kept = session.kept::<State>().map(|state| state.0.lock().clone());
    kept.unwrap_or_else(none)
}

/// From now on this is its state. An empty one is none.
pub(crate) fn set_state(session: &Session, value: &HeaderValue) {
    if value.is_empty() && session.kept::<State>().is_none() {
        return;
    }
    let state = session.keep(|| State(Mutex::new(none())));
    drop(mem::replace(&mut *state.0.lock(), value.clone()));
}

/// The fields of a callback whose last is the state, without it where it is empty.
pub(crate) fn with_state<'a>(own: &'a [Field<'a>]) -> &'a [Field<'a>] {
    match own {
        [rest @ .., (_, b"")] => rest,
        all => all,
    }
}

fn none() -> HeaderValue {
    HeaderValue::from_static("")
}
