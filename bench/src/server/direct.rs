//! `direct`: no proxy, but the application itself (`src/application.rs`) where the others have
//! theirs. What it uses is its own work; what a proxy uses is in addition to that.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::application;
use crate::load::http;
use crate::server::{Dial, Field, Server, Site};

pub(crate) struct Direct {
    pub(crate) program: PathBuf,
}

impl Server for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn field(&self) -> Field {
        Field::Proxies
    }

    fn remedy(&self) -> &'static str {
        "cargo build --release -p bench"
    }

    fn version(&self) -> Result<String> {
        Ok("of this commit".to_owned())
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        Ok(application::command(&self.program, address(site)))
    }

    fn client(&self, site: &Site, _key: &str) -> Dial {
        http::dial(address(site))
    }
}

fn address(site: &Site) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, site.ports[0]).into()
}
