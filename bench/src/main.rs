//! Benchmarks of `ekbo` beside other servers, in one table. README.md says what is measured and how
//! to read it. `arguments.rs` is what can be asked for, `scenario/` what is done, `server/` to
//! whom, `load.rs` by whom; `report.rs` collects and `table.rs` writes. `instructions.rs` counts
//! instead of measuring time.

use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::arguments::Arguments;

mod application;
mod arguments;
mod bare;
mod callgrind;
mod cpu;
mod instructions;
mod latency;
mod load;
mod process;
mod random;
mod report;
mod scenario;
mod server;
mod stop;
mod table;
mod trial;

/// What could not be done, in one line that says why.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(words: &[String]) -> Result<ExitCode> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    match words {
        // Not for people: `server/bare.rs` starts it.
        [word, port, backend] if word == bare::WORD => {
            bare::serve(port.parse()?, backend.parse()?)?;
            Ok(ExitCode::SUCCESS)
        }
        // Nor this: `trial.rs` does.
        [word, address] if word == application::WORD => {
            application::serve(address.parse()?)?;
            Ok(ExitCode::SUCCESS)
        }
        [word] if word == "--help" || word == "-h" => {
            print!("{}", arguments::USAGE);
            Ok(ExitCode::SUCCESS)
        }
        [word, option] if word == instructions::WORD && (option == "--help" || option == "-h") => {
            print!("{}", instructions::USAGE);
            Ok(ExitCode::SUCCESS)
        }
        [word, words @ ..] if word == instructions::WORD => {
            instructions::run(words)?;
            Ok(ExitCode::SUCCESS)
        }
        words => {
            let report = report::make(&Arguments::parse(words)?)?;
            print!("{report}");
            Ok(if report.complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
