//! Which compressed forms of a message some sessions will ask for: one for each window size that
//! was agreed on. Made beforehand, so that nobody waits for it behind a lock.

use super::Session;
use crate::message::Message;

/// The window sizes that can be negotiated: 9 to 15 bits.
const SIZES: usize = 7;

/// A session for each window size, if there is one.
#[derive(Default)]
pub(crate) struct Windows([Option<Session>; SIZES]);

impl Windows {
    /// Takes note of a session.
    pub(crate) fn see(&mut self, session: &Session) {
        if let Some(deflate) = session.deflate() {
            let place = &mut self.0[usize::from(deflate.window_bits()) - 9];
            place.get_or_insert_with(|| session.clone());
        }
    }

    /// Compresses a message for all that were seen, which it then is already when it is published.
    pub(crate) fn compress(&self, message: &Message) {
        for session in self.0.iter().flatten() {
            drop(session.frame(message));
        }
    }
}
