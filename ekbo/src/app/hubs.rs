//! The Rocket hubs of a configuration, each with its door and the backend's way to it.

use std::sync::Arc;

use kuiperbelt::codec::{Codec, Json, MessagePack};
use kuiperbelt::rocket::{Credentials, Rocket, Settings};
use kuiperbelt::{Hub, Options, SocketDoor};

use crate::backend_api::PublishJson;
use crate::config::{Config, RocketCodec, RocketHub};

/// Where a hub is found, for clients and for the backend's `/publish`.
type Doors = Vec<(String, Arc<SocketDoor>)>;
type Publishers = Vec<(String, PublishJson)>;

/// Builds them, in the order of the configuration.
pub(super) fn of(hub: &Arc<Hub>, config: &Config) -> (Doors, Publishers) {
    let built = |rocket: &RocketHub| {
        let (door, publish) = match rocket.codec {
            RocketCodec::Json => build(hub, config, rocket, Json),
            RocketCodec::MessagePack => build(hub, config, rocket, MessagePack),
        };
        ((rocket.path.clone(), door), (rocket.path.clone(), publish))
    };
    config.hubs.iter().map(built).unzip()
}

fn build(
    hub: &Arc<Hub>,
    config: &Config,
    rocket: &RocketHub,
    codec: impl Codec,
) -> (Arc<SocketDoor>, PublishJson) {
    let settings = Settings {
        credentials: Credentials {
            read_only: rocket.read_only.reveal().to_owned(),
            read_write: rocket.read_write.reveal().to_owned(),
        },
        max_message: rocket.max_message_size.unwrap_or(usize::MAX),
        max_channels: rocket.max_channels,
        max_subscriptions: rocket.max_subscriptions,
        allowed_origins: rocket.allowed_origins.clone(),
    };
    let chat = Rocket::with_codec(hub, &rocket.path, settings, codec);
    // What a hub does not say is said for all clients. `send_queue_size` is about calls of the
    // backend, which makes none to a client of a hub.
    let options = chat.options_over(Options { send_queue: None, ..super::options(config) });
    let door = Arc::new(SocketDoor::new(hub, chat.clone(), options));
    (door, Box::new(move |channels, json| chat.publish_json_to_each(channels, json)))
}
