//! Clients on kept connections, each of which asks the application through the proxy, and again as
//! soon as it was answered.

use crate::Result;
use crate::application;
use crate::load::http;
use crate::scenario::ask::ask;
use crate::scenario::{Outcome, Quota, Scenario};
use crate::server::Work;
use crate::trial::{Trial, keys};

/// What is asked, with the sizes of bodies in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Get { answer: usize },
    Post { body: usize, answer: usize },
}

pub(crate) struct Proxy {
    pub(crate) request: Request,
    pub(crate) connections: usize,
    pub(crate) requests: Quota,
}

impl Request {
    /// What a client writes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Get { answer } => http::page("GET", &application::target(answer), b""),
            Self::Post { body, answer } => {
                http::page("POST", &application::target(answer), &vec![b'x'; body])
            }
        }
    }

    fn title(self) -> String {
        match self {
            Self::Get { answer } => format!("answers of {answer} bytes"),
            Self::Post { body, .. } => format!("posts of {body} bytes"),
        }
    }
}

impl Scenario for Proxy {
    fn title(&self) -> String {
        format!("proxy, {} connections, {}", self.connections, self.request.title())
    }

    fn rows(&self) -> Vec<&'static str> {
        vec!["requests per CPU s", "requests per s", "answer p50, ms", "answer p99, ms"]
    }

    fn work(&self) -> Work {
        Work::Relay
    }

    fn connections(&self) -> usize {
        self.connections
    }

    fn measure(&self, trial: &mut Trial<'_>) -> Result<Outcome> {
        let clients = trial.clients(&keys(self.connections))?;
        let request = self.request.bytes();
        ask(trial, &clients, &request, self.requests.of_warm_up())?;
        let window = trial.begin()?;
        let latencies = ask(trial, &clients, &request, self.requests)?;
        let spent = trial.end(&window)?;
        Ok(Outcome::of_answers(latencies, spent))
    }
}
