//! `ekbo-bridge`: a bridge of `ekbo` between WebSockets and the application's ZeroMQ sockets, with
//! its defaults but the notices about how many clients there are, which are no messages here.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::load::websocket;
use crate::server::ekbo::{address, command};
use crate::server::{Dial, Encoding, Field, Server, Site, Work};

const SUBPROTOCOL: &str = "rbkit";

pub(crate) struct EkboBridge {
    pub(crate) program: PathBuf,
}

impl Server for EkboBridge {
    fn name(&self) -> &'static str {
        "ekbo-bridge"
    }

    fn field(&self) -> Field {
        Field::Bridges
    }

    fn remedy(&self) -> &'static str {
        "cargo build --release -p ekbo"
    }

    fn version(&self) -> Result<String> {
        super::said_by(Command::new(&self.program).arg("version"))
    }

    fn prepare(&self, site: &Site) -> Result<Command> {
        // One address for both: the application hears from the peer what it is.
        let endpoint = format!("tcp://{}", site.backend);
        let bridge = format!(
            "bridges:\n  - subprotocol: {SUBPROTOCOL}\n    request_endpoint: {endpoint}\n    \
             publish_endpoint: {endpoint}\n    client_count_notices: false\n"
        );
        command(&self.program, site, &bridge)
    }

    fn client(&self, site: &Site, _key: &str) -> Dial {
        let suffix = match site.work {
            Work::Bridge(Encoding::Raw) => ".raw",
            _ => "",
        };
        let field = format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}{suffix}\r\n");
        websocket::dial(address(site), "/", &field)
    }

    fn client_message(&self, payload: &[u8]) -> Vec<u8> {
        websocket::text(payload)
    }
}
