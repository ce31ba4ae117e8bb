//! `nginx` as a proxy in front of the application, with one worker process for each core that it
//! may use: HTTP/1.1 and kept connections to the application, `Host` as it came and the three
//! `X-Forwarded` fields as `ekbo` sets them, the access log off. The rest is as nginx has it by
//! default: it buffers answers, and what does not fit into 36 KiB goes to a file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::load::http;
use crate::server::{Dial, Field, Server, Site};

pub(crate) struct Nginx {
    pub(crate) program: PathBuf,
}

impl Server for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn field(&self) -> Field {
        Field::Proxies
    }

    fn remedy(&self) -> &'static str {
        "apt-get install nginx-light"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("-v"))
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        command(&self.program, site, &config_text(site))
    }

    fn client(&self, site: &Site, _key: &str) -> Dial {
        http::dial(address(site))
    }
}

/// An nginx with this configuration, and all its files in the directory of the site.
pub(super) fn command(program: &Path, site: &Site, config_text: &str) -> Result<Command> {
    let directory = &site.directory;
    let config = directory.join("nginx.conf");
    std::fs::write(&config, config_text)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(directory).arg("-c").arg(config).args(["-e", "stderr"]);
    Ok(command)
}

fn address(site: &Site) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, site.ports[0]).into()
}

fn config_text(site: &Site) -> String {
    let Site { backend, workers, directory, .. } = site;
    let directory = directory.display();
    // Each client has another connection behind it.
    let connections = 2 * site.connections + 1000;
    let kept = site.connections;
    let listen = address(site);
    format!(
        "daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr error;
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
  upstream application {{
    server {backend};
    keepalive {kept};
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} backlog=4096;
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
"
    )
}
