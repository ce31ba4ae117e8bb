//! The bare server (`src/bare.rs`): the least that must be done for the same
//! work, said and heard exactly as with `ekbo`.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::http::Request;
use crate::server::ekbo::Ekbo;
use crate::server::{Dial, Server, Site};

pub(crate) struct Bare {
    program: PathBuf,
    /// Speaks for it: the bytes are the same.
    twin: Ekbo,
}

impl Bare {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { twin: Ekbo::new(program.clone()), program }
    }
}

impl Server for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn remedy(&self) -> &'static str {
        "cargo build --release -p bench"
    }

    fn version(&self) -> Result<String> {
        Ok("of this commit".to_owned())
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.arg(crate::bare::WORD).arg(site.ports[0].to_string()).arg(site.backend.to_string());
        Ok(command)
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        self.twin.client(site, key)
    }

    fn client_message(&self, payload: &[u8]) -> Vec<u8> {
        self.twin.client_message(payload)
    }

    fn poster(&self, site: &Site) -> Dial {
        self.twin.poster(site)
    }

    fn post_to_all(&self, site: &Site, keys: &[String], payload: &[u8]) -> Vec<u8> {
        self.twin.post_to_all(site, keys, payload)
    }

    fn post_to_one(&self, site: &Site, key: &str, payload: &[u8]) -> Vec<u8> {
        self.twin.post_to_one(site, key, payload)
    }

    fn backend<'a>(&self, request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
        self.twin.backend(request, response)
    }
}
