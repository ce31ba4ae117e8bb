//! The Rocket hubs of a configuration, each with its door.

use std::sync::Arc;

use kuiperbelt::codec::{Codec, Json, MessagePack};
use kuiperbelt::rocket::{Credentials, Rocket, Settings};
use kuiperbelt::{Hub, Options, SocketDoor};

use crate::config::{Config, RocketCodec, RocketHub};

/// A Rocket hub and where it is.
pub(super) struct HubDoor {
    pub(super) path: String,
    pub(super) door: Arc<SocketDoor>,
}

/// Builds them, in the order of the configuration.
pub(super) fn of(hub: &Arc<Hub>, config: &Config) -> Vec<HubDoor> {
    let built = |rocket: &RocketHub| match rocket.codec {
        RocketCodec::Json => build(hub, config, rocket, Json),
        RocketCodec::MessagePack => build(hub, config, rocket, MessagePack),
    };
    config.hubs.iter().map(built).collect()
}

fn build(hub: &Arc<Hub>, config: &Config, rocket: &RocketHub, codec: impl Codec) -> HubDoor {
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
    // What a hub does not say is said for all clients.
    let options = Options {
        origin: chat.options().origin,
        max_message: chat.options().max_message,
        send_queue: None,
        ..super::options(config)
    };
    let door = Arc::new(SocketDoor::new(hub, chat, options));
    HubDoor { path: rocket.path.clone(), door }
}
