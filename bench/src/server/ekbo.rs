//! `ekbo` as people have it by default: callbacks and port set, the access log off.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::http::{self, Request};
use crate::load::websocket;
use crate::server::{Dial, Server, Site, Work};

pub(crate) struct Ekbo {
    program: PathBuf,
}

impl Ekbo {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl Server for Ekbo {
    fn name(&self) -> &'static str {
        "ekbo"
    }

    fn remedy(&self) -> &'static str {
        "cargo build --release -p ekbo"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("version"))
    }

    fn cannot(&self, _work: Work) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        let config = site.directory.join("config.yml");
        let Site { backend, ports: [port, ..], .. } = site;
        let receive = match site.work {
            Work::Receive => format!("  receive: http://{backend}/receive\n"),
            _ => String::new(),
        };
        let text = format!(
            "port: {port}\nsuppress_access_log: true\ncallback:\n  connect: \
             http://{backend}/connect\n{receive}"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(&self.program);
        command.arg("-config").arg(config);
        Ok(command)
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        websocket::dial(address(site), &format!("/connect?{key}"), "")
    }

    fn client_message(&self, payload: &[u8]) -> Vec<u8> {
        websocket::text(payload)
    }

    fn poster(&self, site: &Site) -> Dial {
        http::dial(address(site))
    }

    fn post_to_all(&self, site: &Site, keys: &[String], payload: &[u8]) -> Vec<u8> {
        http::post(address(site), "/send", &sessions(keys), payload)
    }

    fn post_to_one(&self, site: &Site, key: &str, payload: &[u8]) -> Vec<u8> {
        http::post(address(site), "/send", &session(key), payload)
    }

    fn backend<'a>(&self, request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
        backend(request, response)
    }
}

/// The application: admits everybody under the key that is the query string.
pub(super) fn backend<'a>(request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
    match request.target().split_once('?') {
        Some((_, key)) => {
            http::respond(response, &session(key), b"");
            None
        }
        None => {
            http::respond(response, "", b"");
            Some(request.body)
        }
    }
}

pub(super) fn address(site: &Site) -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, site.ports[0]).into()
}

pub(super) fn sessions(keys: &[String]) -> String {
    keys.iter().map(|key| session(key)).collect()
}

pub(super) fn session(key: &str) -> String {
    format!("X-Kuiperbelt-Session: {key}\r\n")
}
