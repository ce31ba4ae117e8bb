//! What `hubs` means: Rocket hubs, each on a path that no other door has.

use super::super::written::Settings;
use super::super::{ConfigError, RocketCodec, RocketHub, Warning, WarningKind};
use super::{PATHS, choice, limit, number, origins, takes};
use crate::path;
use crate::secret::{MASK, Secret};

/// Warns about each that lets everybody publish.
pub(super) fn hubs(
    settings: &Settings,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<RocketHub>, ConfigError> {
    let entries = settings.entries("hubs");
    let hub = |(index, entry)| {
        let hub = hub(entry)?;
        let of_server = PATHS.into_iter().find(|name| takes(settings, name, &hub.path));
        let is_same = |other: &&Settings| other.text("path") == Some(&hub.path);
        let of_hub = entries[..index].iter().find(is_same).map(|other| other.full_name("path"));
        match of_server.map(str::to_owned).or(of_hub) {
            Some(other) => {
                let problem = format!("{:?} is {other} as well; give each its own", hub.path);
                Err(entry.fault("path", problem))
            }
            None => Ok(hub),
        }
    };
    let hubs = entries.iter().enumerate().map(hub).collect::<Result<_, _>>()?;
    let name = "secrets.read_write";
    for entry in entries.iter().filter(|entry| entry.text(name).is_none()) {
        let problem = "is empty, so the hub is open for publishing to everyone; write a secret";
        warnings.push(entry.warning(WarningKind::OpenHub, name, problem));
    }
    Ok(hubs)
}

fn hub(entry: &Settings) -> Result<RocketHub, ConfigError> {
    Ok(RocketHub {
        path: path(entry)?,
        codec: choice(
            entry,
            "codec",
            [("json", RocketCodec::Json), ("msgpack", RocketCodec::MessagePack)],
        )?,
        read_only: secret(entry, "secrets.read_only")?,
        read_write: secret(entry, "secrets.read_write")?,
        allowed_origins: origins(entry)?,
        max_message_size: limit(entry, "max_message_size")?,
        max_channels: number(entry, "max_channels")?,
        max_subscriptions: number(entry, "max_subscriptions")?,
    })
}

fn path(entry: &Settings) -> Result<String, ConfigError> {
    let Some(path) = entry.text("path") else {
        return Err(entry.fault("path", "is missing; write where clients find the hub: /PATH"));
    };
    match path::fault(path) {
        Some(fault) => Err(entry.fault("path", format!("{path:?} {fault}"))),
        None => Ok(path.into()),
    }
}

/// Empty where the hub is open.
fn secret(entry: &Settings, name: &'static str) -> Result<Secret, ConfigError> {
    match entry.text(name).unwrap_or_default() {
        MASK => {
            let problem =
                "\"****\" is what `ekbo config` shows of a secret; write the secret itself";
            Err(entry.fault(name, problem))
        }
        text => Ok(Secret::new(text)),
    }
}

#[cfg(test)]
mod tests;
