//! `ekbo` as people have it by default: callbacks and port set, the access log off.
//!
//! A post is a `/send` that names sessions (`ekbo`), or a `/publish` to a channel that the answer to
//! the connect callback makes them listen to (`ekbo-publish`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::load::http::{self, Request};
use crate::load::websocket;
use crate::server::{ALL, Dial, Server, Site, Work};

pub(crate) struct Ekbo {
    program: PathBuf,
    /// Whether posts go to channels.
    publishes: bool,
}

impl Ekbo {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, publishes: false }
    }

    pub(crate) fn publishing(program: PathBuf) -> Self {
        Self { program, publishes: true }
    }
}

impl Server for Ekbo {
    fn name(&self) -> &'static str {
        if self.publishes { "ekbo-publish" } else { "ekbo" }
    }

    fn remedy(&self) -> &'static str {
        "cargo build --release -p ekbo"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("version"))
    }

    fn cannot(&self, work: Work) -> Option<&'static str> {
        let is_same = self.publishes && work == Work::Receive;
        is_same.then_some("what a client says is not published: this is the same as that of ekbo")
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        let Site { backend, .. } = site;
        let receive = match site.work {
            Work::Receive => format!("  receive: http://{backend}/receive\n"),
            _ => String::new(),
        };
        let callbacks = format!("callback:\n  connect: http://{backend}/connect\n{receive}");
        command(&self.program, site, &callbacks)
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        let target = match self.publishes {
            true => format!("/connect?{key}&{}", site.channel(key)),
            false => format!("/connect?{key}"),
        };
        websocket::dial(address(site), &target, "")
    }

    fn client_message(&self, payload: &[u8]) -> Vec<u8> {
        websocket::text(payload)
    }

    fn poster(&self, site: &Site) -> Dial {
        http::dial(address(site))
    }

    fn post_to_all(&self, site: &Site, keys: &[String], payload: &[u8]) -> Vec<u8> {
        match self.publishes {
            true => publish(site, ALL, payload),
            false => http::post(address(site), "/send", &sessions(keys), payload),
        }
    }

    fn post_to_one(&self, site: &Site, key: &str, payload: &[u8]) -> Vec<u8> {
        match self.publishes {
            true => publish(site, key, payload),
            false => http::post(address(site), "/send", &session(key), payload),
        }
    }

    fn backend<'a>(&self, request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
        backend(request, response)
    }
}

/// The command that runs `ekbo` with these keys and those that it always has.
pub(super) fn command(program: &Path, site: &Site, keys: &str) -> Result<Command> {
    let config = site.directory.join("config.yml");
    let port = site.ports[0];
    std::fs::write(&config, format!("port: {port}\nsuppress_access_log: true\n{keys}"))?;
    let mut command = Command::new(program);
    command.arg("-config").arg(config);
    Ok(command)
}

/// The application: admits everybody under the key that is the query string, and has them listen
/// to the channel that follows an `&`.
fn backend<'a>(request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
    let Some((_, query)) = request.target().split_once('?') else {
        http::respond(response, "", b"");
        return Some(request.body);
    };
    let fields = match query.split_once('&') {
        Some((key, channel)) => format!("{}X-Kuiperbelt-Subscribe: {channel}\r\n", session(key)),
        None => session(query),
    };
    http::respond(response, &fields, b"");
    None
}

fn publish(site: &Site, channel: &str, payload: &[u8]) -> Vec<u8> {
    let field = format!("X-Kuiperbelt-Channel: {channel}\r\n");
    http::post(address(site), "/publish", &field, payload)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_has_those_listen_who_name_a_channel() {
        let ekbo = Ekbo::publishing(PathBuf::from("ekbo"));
        for (target, fields) in [
            ("/connect?alice", "X-Kuiperbelt-Session: alice\r\n"),
            (
                "/connect?alice&all",
                "X-Kuiperbelt-Session: alice\r\nX-Kuiperbelt-Subscribe: all\r\n",
            ),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n\r\n");
            let (request, _) = Request::read(head.as_bytes()).unwrap().unwrap();
            let (mut response, mut expected) = (Vec::new(), Vec::new());
            assert_eq!(ekbo.backend(&request, &mut response), None);
            http::respond(&mut expected, fields, b"");
            assert_eq!(response, expected, "{target}");
        }
    }
}
