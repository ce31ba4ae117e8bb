//! What a program is to the system, whatever it does: its threads, the signals that end it, and
//! what it prints.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// A worker thread for each processor that we may use; with a single one, this thread does it all.
pub(crate) fn runtime() -> io::Result<Runtime> {
    match available_parallelism() {
        Ok(NonZero::<usize>::MIN) => Builder::new_current_thread().enable_all().build(),
        _ => Runtime::new(),
    }
}

/// SIGTERM and SIGINT, caught from the moment this is made.
pub(crate) struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, String> {
        let caught =
            |kind| signal(kind).map_err(|failure| format!("signals cannot be caught: {failure}"));
        let term = caught(SignalKind::terminate())?;
        Ok(Self { term, interrupt: caught(SignalKind::interrupt())? })
    }

    /// Returns at the first signal; from then on the second ends the process at once.
    pub(crate) async fn stop(mut self) {
        let (_, name) = self.next().await;
        info!("received {name}. shutting down...");
        tokio::spawn(async move {
            let (number, _) = self.next().await;
            // Only a signal that cannot be raised returns from here.
            let _ = signal_hook::low_level::emulate_default_handler(number);
        });
    }

    async fn next(&mut self) -> (i32, &'static str) {
        tokio::select! {
            _ = self.term.recv() => (signal_hook::consts::SIGTERM, "SIGTERM"),
            _ = self.interrupt.recv() => (signal_hook::consts::SIGINT, "SIGINT"),
        }
    }
}

/// Writes to standard output; a reader that has gone away is no failure.
pub(crate) fn print(text: &str) -> ExitCode {
    let _ = io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Writes a line to standard error.
pub(crate) fn print_error(text: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
