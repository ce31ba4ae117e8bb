//! A server under valgrind's callgrind, which counts the instructions that it executes. Only those
//! of its own code and libraries: what the kernel does for it is not seen.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Result;

const REMEDY: &str = "apt-get install valgrind";

/// The counter of one process.
pub(crate) struct Callgrind {
    /// What it writes goes to files with this name, a dot and a number from 1 upwards.
    file: PathBuf,
    /// How many it has written.
    dumps: usize,
}

impl Callgrind {
    /// Which one is installed; an error says how to install it.
    pub(crate) fn version() -> Result<String> {
        let output = run(Command::new("valgrind").arg("--version"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// One that writes into this directory.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { file: directory.join("callgrind"), dumps: 0 }
    }

    /// The same command, counted.
    pub(crate) fn around(&self, command: &Command) -> Command {
        let mut file = OsString::from("--callgrind-out-file=");
        file.push(&self.file);
        let mut counted = Command::new("valgrind");
        counted.arg("--tool=callgrind").arg(file).arg(command.get_program());
        counted.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => counted.env(name, value),
                None => counted.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            counted.current_dir(directory);
        }
        counted
    }

    /// How many instructions the process has executed since it was last asked, or started. It is
    /// woken if it has nothing to do, which takes it a thousand of them.
    pub(crate) fn take(&mut self, process: u32) -> Result<u64> {
        run(Command::new("vgdb").arg(format!("--pid={process}")).arg("dump"))?;
        self.dumps += 1;
        let mut file = self.file.clone().into_os_string();
        file.push(format!(".{}", self.dumps));
        let file = PathBuf::from(file);
        let dump = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        total(&String::from_utf8_lossy(&dump))
            .ok_or_else(|| format!("{} has no total", file.display()).into())
    }
}

/// The sum over all functions, near the end of a dump.
fn total(dump: &str) -> Option<u64> {
    dump.lines().rev().find_map(|line| line.strip_prefix("totals:"))?.trim().parse().ok()
}

fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_owned();
    let output =
        command.output().map_err(|error| format!("{}: {error}: {REMEDY}", name.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", name.display(), said.trim().replace('\n', "; ")).into());
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_command_is_run_as_it_would_be_alone() {
        let mut command = Command::new("/bin/server");
        command.args(["-config", "a file"]).env("SET", "1").env_remove("UNSET").current_dir("/srv");
        let counted = Callgrind::new(Path::new("/place")).around(&command);
        let arguments: Vec<_> = counted.get_args().collect();
        assert_eq!(
            arguments,
            [
                "--tool=callgrind",
                "--callgrind-out-file=/place/callgrind",
                "/bin/server",
                "-config",
                "a file"
            ]
        );
        assert!(counted.get_envs().eq(command.get_envs()));
        assert_eq!(counted.get_current_dir(), Some(Path::new("/srv")));
    }

    #[test]
    fn the_total_of_a_dump() {
        let dump = "events: Ir\nsummary: 12\n\nfn=(1) main\n3 12\n\ntotals: 1244635\n";
        assert_eq!(total(dump), Some(1_244_635));
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(total("totals: many\n"), None);
    }

    #[test]
    fn what_is_not_installed_or_fails_is_told() {
        let error = run(&mut Command::new("/nowhere/valgrind")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/valgrind: No such file"), "{error}");
        assert!(error.ends_with(": apt-get install valgrind"), "{error}");
        let error = run(Command::new("sh").args(["-c", "echo one >&2; echo two >&2; exit 1"]));
        assert_eq!(error.unwrap_err().to_string(), "sh: one; two");
    }
}
