//! `ekbo-upstream`: `ekbo` as a proxy in front of the whole application, and nothing else: no
//! callbacks, the access log off.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::http;
use crate::server::ekbo::{address, command};
use crate::server::{Dial, Field, Server, Site};

pub(crate) struct EkboUpstream {
    pub(crate) program: PathBuf,
}

impl Server for EkboUpstream {
    fn name(&self) -> &'static str {
        "ekbo-upstream"
    }

    fn field(&self) -> Field {
        Field::Proxies
    }

    fn remedy(&self) -> &'static str {
        "cargo build --release -p ekbo"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("version"))
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        command(&self.program, site, &format!("upstream: http://{}\n", site.backend))
    }

    fn client(&self, site: &Site, _key: &str) -> Dial {
        http::dial(address(site))
    }
}
