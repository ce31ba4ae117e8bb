//! Measurements of a running `ekbo`. Each scenario is a file of its own; around it stand the
//! gateway under measurement (`gateway.rs`), a backend that admits everybody (`backend.rs`) and
//! the processes that hold the clients (`crowd.rs`, `client.rs`). README.md says how it measures.

use std::process::ExitCode;

mod backend;
mod client;
mod crowd;
mod gateway;
mod idle;

/// A measurement that could not be made; the message says why.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

const USAGE: &str = "\
usage: bench SCENARIO [OPTION...]
  idle [--connections N] [--server PATH]   memory of the server per idle connection
       N is 10000, PATH the release build of ekbo beside this program, unless given";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["idle", options @ ..] => idle::run(options).await,
        // Not for people: the processes that `crowd.rs` starts.
        [crowd::HOLD, options @ ..] => crowd::hold(options).await,
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
