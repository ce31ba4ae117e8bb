//! `nchan`: the module of nginx that makes it a server for WebSocket subscribers, with one worker
//! process for each core that it may use.
//!
//! Compared in everything. A post to all names one channel instead of every session; a client has
//! a channel of its own otherwise. Its backend is asked whether a client may connect
//! (`nchan_authorize_request`) only where that is measured, and told of a client's message before
//! it is published (`nchan_publisher_upstream_request`); the answer 204 ends the message there.
//! Message buffers are off: a message is written to who is there and forgotten, as `ekbo` does.
//! nginx makes its connection records at its start, so that idle clients do not count for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::load::http::{self, Request};
use crate::load::websocket;
use crate::server::{ALL, Dial, Server, Site, Work, nginx};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

pub(crate) struct Nchan {
    program: PathBuf,
}

impl Nchan {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl Server for Nchan {
    fn name(&self) -> &'static str {
        "nchan"
    }

    fn remedy(&self) -> &'static str {
        "apt-get install nginx-light libnginx-mod-nchan"
    }

    fn version(&self) -> Result<String> {
        if !Path::new(MODULE).exists() {
            return Err(format!("{MODULE} does not exist").into());
        }
        let nginx = super::said_by(Command::new(&self.program).arg("-v"))?;
        let nginx = nginx.rsplit(' ').next().unwrap_or_default();
        // The module itself does not say.
        let module = super::said_by(Command::new("dpkg-query").args([
            "-W",
            "-f",
            "${Version}",
            "libnginx-mod-nchan",
        ]))?;
        Ok(format!("nchan {module}, {nginx}"))
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        nginx::command(&self.program, site, &config_text(site))
    }

    fn client(&self, site: &Site, key: &str) -> Dial {
        let target = match site.work {
            Work::Connect => format!("/ask?{key}"),
            Work::Receive => format!("/speak?{key}"),
            _ => format!("/listen?{}", site.channel(key)),
        };
        websocket::dial(address(site), &target, "")
    }

    fn client_message(&self, payload: &[u8]) -> Vec<u8> {
        websocket::text(payload)
    }

    fn poster(&self, site: &Site) -> Dial {
        http::dial(address(site))
    }

    fn post_to_all(&self, site: &Site, _keys: &[String], payload: &[u8]) -> Vec<u8> {
        self.post_to_one(site, ALL, payload)
    }

    fn post_to_one(&self, site: &Site, key: &str, payload: &[u8]) -> Vec<u8> {
        http::post(address(site), &format!("/post?{key}"), "", payload)
    }

    fn backend<'a>(&self, request: &Request<'a>, response: &mut Vec<u8>) -> Option<&'a [u8]> {
        // The query is the client's own.
        if request.target().starts_with("/receive") {
            response.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
            Some(request.body)
        } else {
            http::respond(response, "", b"");
            None
        }
    }
}

fn address(site: &Site) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, site.ports[0]).into()
}

fn config_text(site: &Site) -> String {
    let Site { backend, workers, directory, .. } = site;
    let directory = directory.display();
    let connections = site.connections + 1000;
    let listen = address(site);
    let upstream = "proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Upgrade \"\";";
    format!(
        "daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr error;
load_module {MODULE};
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  nchan_shared_memory_size 256m;
  nchan_message_buffer_length 0;
  upstream backend {{
    server {backend};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} backlog=4096;
    location = /listen {{
      nchan_subscriber websocket;
      nchan_channel_id $args;
    }}
    location = /post {{
      nchan_publisher http;
      nchan_channel_id $args;
    }}
    location = /ask {{
      nchan_subscriber websocket;
      nchan_channel_id $args;
      nchan_authorize_request /connect;
    }}
    location = /connect {{
      internal;
      proxy_pass_request_body off;
      proxy_set_header Content-Length \"\";
      {upstream}
    }}
    location = /speak {{
      nchan_pubsub websocket;
      nchan_channel_id $args;
      nchan_publisher_upstream_request /receive;
    }}
    location = /receive {{
      internal;
      {upstream}
    }}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_at_the_backend_and_a_question_is_answered_yes() {
        let nchan = Nchan::new(PathBuf::from("nginx"));
        let mut response = Vec::new();
        let told = b"POST /receive?alice HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
        let (request, _) = Request::read(told).unwrap().unwrap();
        assert_eq!(nchan.backend(&request, &mut response), Some(&b"hi"[..]));
        assert!(response.starts_with(b"HTTP/1.1 204 "));

        response.clear();
        let (request, _) = Request::read(b"GET /connect?alice HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!(nchan.backend(&request, &mut response), None);
        assert!(response.starts_with(b"HTTP/1.1 200 "));
    }
}
