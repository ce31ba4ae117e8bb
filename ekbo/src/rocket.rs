//! The program `rocket`: Rocket hubs as a JSON file describes them, and nothing else. Reads its
//! arguments and the file, and serves until a signal.

mod config;
mod flags;
mod log;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use kuiperbelt::rocket::Rocket;
use kuiperbelt::{Listener, Server, Tls};
use tracing::{error, info, warn};

use self::config::{Config, TlsFiles};
use self::flags::Invocation;
use crate::certificate;
use crate::process::{Signals, print, print_error, runtime};

/// What the original printed, and what this is.
const VERSION: &str =
    concat!("Rocket Server v.0.2.0 (kuiperbelt ", env!("CARGO_PKG_VERSION"), ")\n");

/// The longest that a stop takes; it leaves time for the last log lines within 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs `rocket` with the arguments behind its name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (file, given) = match flags::parse(arguments) {
        Ok(Invocation::Serve { config, given }) => (config, given),
        Ok(Invocation::Version) => return print(VERSION),
        Ok(Invocation::Help) => {
            print_error(&flags::usage());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            print_error(&error);
            return ExitCode::from(2);
        }
    };
    let config = match config::load(&file, &given) {
        Ok(config) => config,
        Err(error) => {
            print_error(&error);
            return ExitCode::FAILURE;
        }
    };
    let _writers = match log::start(&config) {
        Ok(writers) => writers,
        Err(error) => {
            print_error(&error);
            return ExitCode::FAILURE;
        }
    };
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let served = runtime().map_err(|error| error.to_string()).and_then(|runtime| {
        let served = runtime.block_on(serve(&config));
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            if config.log.is_some() {
                // Whoever started it looks here.
                print_error(&failure);
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Config) -> Result<(), String> {
    // Before anything listens: whoever sees that it does may signal.
    let signals = Signals::new()?;
    let mut server = Server::new();
    server.stop_timeout(STOP_TIMEOUT);
    for hub in &config.hubs {
        let rocket = Rocket::new(server.hub(), &hub.path, hub.settings.clone());
        let options = rocket.options();
        let added = server.door_with(&hub.path, rocket, options);
        added.map_err(|same| same.to_string())?;
        info!("Registered handler: {}", hub.path);
    }
    let tls = config.tls.as_ref().map(tls).transpose()?;
    for address in bind(&mut server, config, tls).await.map_err(|error| {
        let Config { host, port, .. } = config;
        format!("listen error: {host}:{port}: {error}; choose another -host or -port")
    })? {
        info!("About to listen on {address}");
    }
    server.run(signals.stop()).await;
    Ok(())
}

fn tls(files: &TlsFiles) -> Result<Tls, String> {
    certificate::load(&files.cert, &files.key).map_err(|bad| {
        let (member, path) = match bad.key {
            "tls.cert" => ("TLSCertFile", &files.cert),
            _ => ("TLSKeyFile", &files.key),
        };
        format!("TLS error: {member} {}: {}", path.display(), bad.reason)
    })
}

/// Binds every address of the host, and returns them; without a host, every one of this machine.
async fn bind(
    server: &mut Server,
    config: &Config,
    tls: Option<Tls>,
) -> io::Result<Vec<SocketAddr>> {
    let port = config.port;
    // An IPv6 address may stand in brackets, as in a URL.
    match (config.host.trim_start_matches('[').trim_end_matches(']'), tls) {
        ("", tls) => {
            let listener = Listener::everywhere(port)?;
            let address = listener.address();
            let listener = match tls {
                Some(tls) => listener.with_tls(tls),
                None => listener,
            };
            server.listener(listener, None);
            Ok(address.into_iter().collect())
        }
        (host, None) => server.bind((host, port)).await,
        (host, Some(tls)) => server.bind_tls((host, port), tls).await,
    }
}
