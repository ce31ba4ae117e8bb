//! Who listens to one channel. Everybody keeps a place, so that whoever goes through them all can
//! pause, and misses nobody who stays and meets nobody twice, whoever else comes and goes meanwhile.

use parking_lot::{Mutex, MutexGuard};

use crate::message::Windows;
use crate::session::Session;

/// Listeners that are served before others may come or go: some microseconds.
const STRETCH: usize = 128;

/// The listeners of a channel.
#[derive(Default)]
pub(super) struct Listeners {
    /// The last is never vacant.
    places: Vec<Option<Session>>,
    /// Places that were vacant when they were left; those beyond the end are gone since.
    vacant: Vec<u32>,
    count: usize,
    /// What those have agreed on who get compressed messages.
    windows: Option<Box<Windows>>,
    /// Nobody may come any more: the channel is forgotten.
    is_closed: bool,
    /// Whether the channel is listed as empty; it may have listeners again.
    pub(super) is_listed: bool,
}

impl Listeners {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Gives the session a place, unless the channel is forgotten.
    pub(super) fn add(&mut self, session: Session) -> Option<u32> {
        if self.is_closed {
            return None;
        }
        let (deflate, min_size) = (session.deflate(), session.compression_min_size());
        let place = self.place(session)?;
        self.count += 1;
        if let Some(deflate) = deflate {
            self.windows.get_or_insert_default().add(deflate, min_size);
        }
        Some(place)
    }

    fn place(&mut self, session: Session) -> Option<u32> {
        while let Some(place) = self.vacant.pop() {
            if let Some(vacant) = self.places.get_mut(place as usize) {
                *vacant = Some(session);
                return Some(place);
            }
        }
        let place = u32::try_from(self.places.len()).ok()?;
        self.places.push(Some(session));
        Some(place)
    }

    /// Frees a place that was given.
    pub(super) fn remove(&mut self, place: u32) {
        let gone = self.places[place as usize].take();
        if let Some(deflate) = gone.and_then(|session| session.deflate())
            && let Some(windows) = &mut self.windows
        {
            windows.remove(deflate);
            self.windows.take_if(|windows| windows.is_empty());
        }
        self.count -= 1;
        if self.count == 0 {
            self.places = Vec::new();
            self.vacant = Vec::new();
            return;
        }
        self.vacant.push(place);
        while let Some(None) = self.places.last() {
            self.places.pop();
        }
    }

    /// Lets nobody in any more. `true` the first time.
    pub(super) fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.is_closed, true)
    }

    /// What those have agreed on who get compressed messages, if there are such.
    pub(super) fn windows(&self) -> Option<Box<Windows>> {
        self.windows.clone()
    }

    /// Calls `deliver` for everybody, and counts those for whom it returns true.
    pub(super) fn visit(
        listeners: &Mutex<Self>,
        mut deliver: impl FnMut(&Session) -> bool,
    ) -> usize {
        let mut listeners = listeners.lock();
        let mut reached = 0;
        let mut from = 0;
        while let Some(rest) = listeners.places.get(from..) {
            let stretch = rest.iter().take(STRETCH).flatten();
            reached += stretch.filter(|session| deliver(session)).count();
            from += STRETCH;
            MutexGuard::bump(&mut listeners);
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::session::{Lanes, Terms};

    fn session(key: usize) -> Session {
        let terms = Terms::unbounded(Arc::new(Lanes::new()));
        Session::new(key.to_string().as_bytes(), None, Arc::new(terms), None)
    }

    fn keys(listeners: &Mutex<Listeners>) -> Vec<String> {
        let mut keys = Vec::new();
        Listeners::visit(listeners, |session| {
            keys.push(String::from_utf8_lossy(session.key()).into_owned());
            true
        });
        keys
    }

    #[test]
    fn places_are_given_again_and_those_at_the_end_go() {
        let listeners = Mutex::new(Listeners::default());
        let places: Vec<u32> =
            (0..5).map(|key| listeners.lock().add(session(key)).unwrap()).collect();
        for gone in [1, 4, 3] {
            listeners.lock().remove(places[gone]);
        }
        assert_eq!(keys(&listeners), ["0", "2"]);
        assert_eq!(listeners.lock().places.len(), 3);
        for key in 5..8 {
            listeners.lock().add(session(key)).unwrap();
        }
        let mut all = keys(&listeners);
        all.sort();
        assert_eq!(all, ["0", "2", "5", "6", "7"]);
        assert_eq!(listeners.lock().places.len(), 5);
        assert_eq!(listeners.lock().len(), 5);
    }

    #[test]
    fn an_empty_one_holds_nothing_and_a_closed_one_lets_nobody_in() {
        let listeners = Mutex::new(Listeners::default());
        let place = listeners.lock().add(session(0)).unwrap();
        listeners.lock().remove(place);
        let mut listeners = listeners.lock();
        assert!(listeners.is_empty());
        assert_eq!(listeners.places.capacity() + listeners.vacant.capacity(), 0);
        assert!(listeners.close());
        assert!(!listeners.close());
        assert!(listeners.add(session(1)).is_none());
    }

    /// Whoever is there from beginning to end is met once, whoever else comes and goes.
    #[test]
    fn a_visit_with_others_coming_and_going() {
        let listeners = Arc::new(Mutex::new(Listeners::default()));
        for key in 0..STRETCH * 20 {
            listeners.lock().add(session(key)).unwrap();
        }
        let (transients, steady): (Vec<u32>, Vec<u32>) =
            (0..(STRETCH * 20) as u32).partition(|place| place % 2 == 0);
        let coming_and_going = {
            let listeners = Arc::clone(&listeners);
            std::thread::spawn(move || {
                for place in transients.into_iter().rev() {
                    listeners.lock().remove(place);
                    listeners.lock().add(session(1_000_000 + place as usize)).unwrap();
                }
            })
        };
        for _ in 0..20 {
            let mut met = vec![0; STRETCH * 20];
            for key in keys(&listeners) {
                if let Some(met) = met.get_mut(key.parse::<usize>().unwrap()) {
                    *met += 1;
                }
            }
            for place in &steady {
                assert_eq!(met[*place as usize], 1);
            }
            assert!(met.iter().all(|&met| met <= 1));
        }
        coming_and_going.join().unwrap();
    }
}
