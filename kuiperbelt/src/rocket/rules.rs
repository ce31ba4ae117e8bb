//! What is to happen upon an event, by the rules of the protocol alone: nothing is done here.

use super::access::{Access, Credentials};
use crate::codec::{Data, Event, Payload, Reply};

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Nothing: nobody knows the event.
    Ignore,
    /// Nothing but an answer.
    Answer(Reply),
    /// The client has this access from now on, and no other.
    Grant(Access),
    /// The client has given a wrong secret, and loses the access that it had.
    Deny,
    /// The client listens to the channel, if there can be one of this name.
    Subscribe(&'a str),
    /// The client listens to it no longer.
    Unsubscribe(&'a str),
    /// The channel's listeners get the data, if there is such a channel.
    Publish(&'a str, &'a Data),
    /// The client has no access any more.
    LogOut,
    /// The connection ends.
    Disconnect,
}

/// Decides upon an event of a client with this access.
pub(super) fn step<'a>(
    event: &'a Event,
    access: Option<Access>,
    credentials: &Credentials,
) -> Step<'a> {
    const INVALID_DATA: Step<'_> = Step::Answer(Reply::InvalidData);
    let data = match &event.payload {
        Payload::Flag(_) => None,
        Payload::Data(data) => Some(data),
    };
    let text = |name| data.and_then(|data| data.text(name));
    let has = |name| data.is_some_and(|data| data.get(name).is_some());
    match &*event.name {
        "auth" => match text("access").and_then(Access::named) {
            Some(asked) if has("secret") => match credentials.open(asked, text("secret")) {
                true => Step::Grant(asked),
                false => Step::Deny,
            },
            _ => INVALID_DATA,
        },
        "subscribe" if access < Some(Access::ReadOnly) => Step::Answer(Reply::AccessDenied),
        "subscribe" => text("channel").map_or(INVALID_DATA, Step::Subscribe),
        "unsubscribe" => text("channel").map_or(INVALID_DATA, Step::Unsubscribe),
        "publish" if access < Some(Access::ReadWrite) => Step::Answer(Reply::AccessDenied),
        "publish" => match (data, text("channel")) {
            (Some(data), Some(channel)) if has("event") => Step::Publish(channel, data),
            _ => INVALID_DATA,
        },
        "logout" => Step::LogOut,
        "disconnect" => Step::Disconnect,
        _ => Step::Ignore,
    }
}

#[cfg(test)]
mod tests;
