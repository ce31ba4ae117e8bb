//! The program `ekbo`: reads its arguments and its configuration, builds the server and runs it
//! until a signal.

use std::ffi::OsString;
use std::process::ExitCode;

use tracing::{error, warn};

use crate::app::App;
use crate::config::{self, Environment, Loaded, WarningKind};
use crate::flags::{self, Command, Invocation};
use crate::log;
use crate::process::{Signals, print, print_error, runtime};

/// Runs `ekbo` with the arguments behind its name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Invocation { command, flags } = match flags::parse(arguments) {
        Ok(invocation) => invocation,
        Err(error) => {
            print_error(&error);
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Version => {
            return print(&format!("ekbo version: {}\n", env!("CARGO_PKG_VERSION")));
        }
        Command::Help => {
            print_error(&flags::usage());
            return ExitCode::SUCCESS;
        }
        Command::Serve | Command::Demo | Command::Check | Command::Config => {}
    }
    let _writer = log::start(flags.log_level);
    let loaded = match command {
        Command::Demo => config::of_demo(&flags),
        _ => config::load(&flags, &Environment::of_process()),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(failure) => {
            error!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    match command {
        Command::Check => return check(&loaded),
        Command::Config => return print(&loaded.to_yaml()),
        _ => {}
    }
    for warning in &loaded.warnings {
        // The demo listens on loopback and has a backend of its own.
        if command != Command::Demo
            || !matches!(warning.kind, WarningKind::OpenApi | WarningKind::NoConnect)
        {
            warn!("{warning}");
        }
    }
    let started = runtime().map_err(|failure| failure.to_string()).and_then(|runtime| {
        let ran = runtime.block_on(run(command, loaded));
        runtime.shutdown_background();
        ran
    });
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, loaded: Loaded) -> Result<(), String> {
    // Before anything listens: whoever sees that it does may signal.
    let signals = Signals::new()?;
    if command == Command::Demo {
        let (app, backend, welcome) = App::demo(loaded.config).map_err(|e| e.to_string())?;
        print(&welcome);
        app.run(signals.stop()).await;
        drop(backend);
    } else {
        let app = App::build(&loaded).map_err(|e| e.to_string())?;
        app.run(signals.stop()).await;
    }
    Ok(())
}

/// Says what is wrong with a configuration that could be read, and with the files it names.
fn check(loaded: &Loaded) -> ExitCode {
    for warning in &loaded.warnings {
        if warning.kind.fails_check() {
            error!("{warning}");
        } else {
            warn!("{warning}");
        }
    }
    let unstartable = App::check(loaded).err();
    if let Some(failure) = &unstartable {
        error!("{failure}");
    }
    if unstartable.is_some() || loaded.warnings.iter().any(|warning| warning.kind.fails_check()) {
        return ExitCode::FAILURE;
    }
    print(&format!("{} is valid\n", loaded.name()))
}
