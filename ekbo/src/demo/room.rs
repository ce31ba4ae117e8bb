//! The one chat room: who is in it, and what everybody is told. A member's session key is the
//! member's name, percent-encoded, so that a person can guess it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::gateway::Gateway;
use super::percent;

const MAX_NAME: usize = 32;
const MAX_MEMBERS: usize = 1000;

pub(super) struct Room {
    gateway: Gateway,
    /// Held while the members are told, so that all of them see everything in the same order.
    members: Mutex<Members>,
}

/// By name.
type Members = BTreeMap<String, Presence>;

#[derive(Clone, Copy, PartialEq)]
enum Presence {
    /// Admitted; the gateway has not said yet that the connection stands.
    Joining,
    Here,
}

impl Room {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway, members: Mutex::default() }
    }

    /// Reserves the name: the session's key and its first message, or a sentence that says why
    /// not.
    pub(super) fn join(&self, name: &str) -> Result<(String, String), String> {
        check(name)?;
        let mut members = self.lock();
        if members.contains_key(name) && self.reaches(name, &members) {
            return Err(format!("{name} is already here: choose another name"));
        }
        if members.len() >= MAX_MEMBERS {
            return Err("the room is full: try again later".to_owned());
        }
        members.insert(name.to_owned(), Presence::Joining);
        let key = percent::encode(name);
        let first = json!({"welcome": name, "session": key, "here": here(&members)});
        Ok((key, first.to_string()))
    }

    /// The connection stands: everybody, the newcomer included, is told.
    pub(super) fn arrive(&self, name: &str) {
        let mut members = self.lock();
        members.insert(name.to_owned(), Presence::Here);
        let notice = json!({"joined": name, "here": here(&members)});
        self.tell(&mut members, notice);
    }

    pub(super) fn say(&self, name: &str, text: &str) {
        self.tell(&mut self.lock(), json!({"from": name, "text": text}));
    }

    /// A connection of this name has ended. Somebody may have come back under it meanwhile, and
    /// then stays.
    pub(super) fn leave(&self, name: &str) {
        let mut members = self.lock();
        if !members.contains_key(name) || self.reaches(name, &members) {
            return;
        }
        if members.remove(name) == Some(Presence::Here) {
            let notice = json!({"left": name, "here": here(&members)});
            self.tell(&mut members, notice);
        }
    }

    /// Sends to everybody who is here. Whoever turns out to be gone is removed, of which the
    /// others are told in turn.
    fn tell(&self, members: &mut Members, message: Value) {
        let mut messages = VecDeque::from([message]);
        while let Some(message) = messages.pop_front() {
            let keys: Vec<_> = here(members).into_iter().map(percent::encode).collect();
            if keys.is_empty() {
                return;
            }
            let gone = self.gateway.send(&keys, &message).unwrap_or_else(|error| {
                tracing::warn!(%error, "demo: a message was not sent");
                Vec::new()
            });
            for name in gone.iter().filter_map(|key| percent::decode(key)) {
                if members.remove(&name).is_some() {
                    messages.push_back(json!({"left": name, "here": here(members)}));
                }
            }
        }
    }

    /// Whether the gateway has a session of this name. It is found out by sending the list of
    /// members, which the page shows anyway; in doubt there is one.
    fn reaches(&self, name: &str, members: &Members) -> bool {
        let key = percent::encode(name);
        let list = json!({"here": here(members)});
        self.gateway.send(&[key], &list).map_or(true, |gone| gone.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("a name is needed: connect with ?name=YOURS".to_owned());
    }
    if name.chars().count() > MAX_NAME {
        return Err(format!("the name is too long: at most {MAX_NAME} characters"));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(
            "a name neither begins nor ends with a blank, nor has control characters".to_owned()
        );
    }
    Ok(())
}

fn here(members: &Members) -> Vec<&str> {
    members
        .iter()
        .filter(|(_, presence)| **presence == Presence::Here)
        .map(|(name, _)| name.as_str())
        .collect()
}
