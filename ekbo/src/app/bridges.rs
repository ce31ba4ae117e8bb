//! The bridges of a configuration, each with its door.

use std::sync::Arc;

use http::header::{CONNECTION, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use kuiperbelt::{Doors, End, Hub, Lead, Options, Service, SlowConsumer, SocketDoor, answer};
use tracing::info;

use crate::bridge::{self, Bridge, Encoding, Manner, Routing};
use crate::config::{self, Config, PayloadEncoding};

/// Adds them, in the order of the configuration, before all doors that have a path alone. Where
/// nothing else takes what comes to a bridge's own path, it is told to upgrade.
pub(super) fn add(hub: &Arc<Hub>, config: &Config, doors: &mut Doors) {
    for bridge in &config.bridges {
        let handler = Bridge::new(hub, meant(bridge));
        let door = Arc::new(SocketDoor::new(hub, handler, options(config, bridge)));
        let names = bridge::subprotocols(&bridge.subprotocol);
        doors.add_subprotocols(names, bridge.path.clone(), door);
        if config.upstream.is_none()
            && let Some(path) = &bridge.path
        {
            // One that is taken already has a door that answers.
            let _ = doors.add(path, Lead::Http(upgrade_required()));
        }
    }
}

fn meant(bridge: &config::Bridge) -> bridge::Config {
    bridge::Config {
        subprotocol: bridge.subprotocol.clone(),
        encoding: match bridge.payload_encoding {
            PayloadEncoding::Cgi => Encoding::Cgi,
            PayloadEncoding::Raw => Encoding::Raw,
        },
        tokens: bridge.token.clone(),
        request_endpoint: bridge.request_endpoint.clone(),
        publish_endpoint: bridge.publish_endpoint.clone(),
        topics: bridge.topics.iter().map(|topic| topic.clone().into()).collect(),
        joins_parts: bridge.join_parts,
        manner: Manner {
            routing: match bridge.routing {
                config::Routing::Fanout => Routing::Fanout,
                config::Routing::Newest => Routing::Newest,
            },
            client_count_notices: bridge.client_count_notices,
            response_prefix: bridge.response_prefix,
            publish_prefix: bridge.publish_prefix,
        },
        max_message: bridge.max_message_size.unwrap_or(usize::MAX),
        backend_check_timeout: bridge.backend_check_timeout,
        unavailable: End {
            code: bridge.unavailable_code,
            reason: bridge.unavailable_reason.clone().into(),
            quiet: false,
        },
        request_timeout: bridge.request_timeout,
        allowed_commands: bridge.allowed_commands.clone(),
        on_last_client: bridge.on_last_client.clone(),
    }
}

/// Most is as the bridge says, and nothing is compressed, as it never was. What is not said is as
/// for all clients.
fn options(config: &Config, bridge: &config::Bridge) -> Options {
    let (origins, name) = (bridge.allowed_origins.clone(), bridge.subprotocol.clone());
    let welcomes = move |headers: &HeaderMap| {
        let is_welcome = origins.welcomes(headers);
        if !is_welcome {
            let origin =
                headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()));
            let origin = origin.as_deref();
            info!(bridge = name, origin, reason = "foreign origin", "bridge client denied");
        }
        is_welcome
    };
    Options {
        max_message: bridge.max_message_size.unwrap_or(usize::MAX),
        outbox_messages: bridge.queue_messages,
        outbox_bytes: bridge.queue_bytes,
        slow_consumer: SlowConsumer::DropOldest,
        ping_interval: bridge.ping_interval,
        pong_timeout: bridge.pong_timeout,
        write_timeout: config.write_timeout,
        origin: Box::new(welcomes),
        ..Options::default()
    }
}

/// For what comes to the path of a bridge and is none of its clients: a plain request can become
/// one (RFC 9110 section 15.5.22), a WebSocket of another subprotocol cannot.
fn upgrade_required() -> Service {
    Arc::new(|request| {
        if request.fields.get(&UPGRADE).is_some() {
            return answer::not_found().into();
        }
        let mut answer = answer::status(StatusCode::UPGRADE_REQUIRED);
        let fields = answer.headers_mut();
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        answer.into()
    })
}
