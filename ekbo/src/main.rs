//! `ekbo`: reads its arguments and its configuration, builds the server and runs it until a
//! signal.

mod access_log;
mod app;
mod backend_api;
mod callback;
mod config;
mod demo;
mod flags;
mod log;
mod nearest;
mod origin;
mod secret;
mod text;

use std::io::Write as _;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::app::App;
use crate::config::{Environment, Loaded, WarningKind};
use crate::flags::{Command, Invocation};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Invocation { command, flags } = match flags::parse(std::env::args_os().skip(1)) {
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

/// A worker thread for each processor that we may use; with a single one, this thread does it all.
fn runtime() -> std::io::Result<Runtime> {
    match available_parallelism() {
        Ok(NonZero::<usize>::MIN) => Builder::new_current_thread().enable_all().build(),
        _ => Runtime::new(),
    }
}

async fn run(command: Command, loaded: Loaded) -> Result<(), String> {
    // Before anything listens: whoever sees that it does may signal.
    let signals =
        Signals::new().map_err(|failure| format!("signals cannot be caught: {failure}"))?;
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

/// SIGTERM and SIGINT, caught from the moment this is made.
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let term = signal(SignalKind::terminate())?;
        Ok(Self { term, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> (i32, &'static str) {
        tokio::select! {
            _ = self.term.recv() => (signal_hook::consts::SIGTERM, "SIGTERM"),
            _ = self.interrupt.recv() => (signal_hook::consts::SIGINT, "SIGINT"),
        }
    }

    /// Returns at the first signal; from then on the second ends the process at once.
    async fn stop(mut self) {
        let (_, name) = self.next().await;
        info!("received {name}. shutting down...");
        tokio::spawn(async move {
            let (number, _) = self.next().await;
            // Only a signal that cannot be raised returns from here.
            let _ = signal_hook::low_level::emulate_default_handler(number);
        });
    }
}

/// Says what is wrong with a configuration that could be read.
fn check(loaded: &Loaded) -> ExitCode {
    for warning in &loaded.warnings {
        if warning.kind.fails_check() {
            error!("{warning}");
        } else {
            warn!("{warning}");
        }
    }
    if loaded.warnings.iter().any(|warning| warning.kind.fails_check()) {
        return ExitCode::FAILURE;
    }
    print(&format!("{} is valid\n", loaded.name()))
}

/// Writes to standard output; a reader that has gone away is no failure.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn print_error(text: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
