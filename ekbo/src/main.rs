//! `ekbo`: WebSockets for any backend that answers HTTP/1.1.

use std::process::ExitCode;

fn main() -> ExitCode {
    ekbo::gateway::main(std::env::args_os().skip(1))
}
