//! `rocket`: publish and subscribe over WebSockets.

use std::process::ExitCode;

fn main() -> ExitCode {
    ekbo::rocket::main(std::env::args_os().skip(1))
}
