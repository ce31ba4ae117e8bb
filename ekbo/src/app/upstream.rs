//! The application behind, as the configuration has it: what stands behind all doors.

use kuiperbelt::Relay;

use crate::access_log::log_relayed;
use crate::config::{self, Config};
use crate::upstream::{self, Log, Upstream};

/// The way there, with its requests logged if `log` says so.
pub(super) fn relay(config: &Config, upstream: &config::Upstream, log: bool) -> Relay {
    let config = upstream::Config {
        address: upstream.address.clone(),
        connect_timeout: upstream.connect_timeout,
        response_timeout: upstream.response_timeout,
        trusted_proxies: config.trusted_proxies.clone(),
    };
    let log = log.then(|| -> Log {
        Box::new(|outcome| {
            log_relayed(&outcome.method, &outcome.target, outcome.status, outcome.size);
        })
    });
    Upstream::new(config, log).relay()
}
