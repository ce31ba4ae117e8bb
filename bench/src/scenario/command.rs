//! Clients of a bridge who send commands, each the next one as soon as the last was answered. The
//! backend answers at once; a bridge asks it one at a time.

use crate::Result;
use crate::scenario::ask::ask;
use crate::scenario::bridge::joined;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::{Encoding, Work};
use crate::trial::Trial;

/// One that a profiler knows.
const COMMAND: &[u8] = b"objectspace_snapshot";

pub(crate) struct Command {
    pub(crate) clients: usize,
    pub(crate) commands: Quota,
}

impl Scenario for Command {
    fn title(&self) -> String {
        match self.clients {
            1 => "bridge, commands of 1 client".to_owned(),
            many => format!("bridge, commands of {many} clients"),
        }
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["commands per CPU s", "commands per s", "answer p50, ms", "answer p99, ms"]
    }

    fn work(&self) -> Work {
        Work::Bridge(Encoding::Cgi)
    }

    fn connections(&self) -> usize {
        self.clients
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let clients = joined(trial, self.clients)?;
        let command = trial.server().client_message(COMMAND);
        ask(trial, &clients, &command, self.commands.of_warm_up())?;
        let window = trial.begin()?;
        let latencies = ask(trial, &clients, &command, self.commands)?;
        let spent = trial.end(&window)?;
        Ok(Outcome::of_answers(latencies, spent))
    }
}
