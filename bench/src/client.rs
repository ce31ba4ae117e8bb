//! A WebSocket client that costs little: it opens a connection and reads text messages. It never
//! sends one, and trusts the server to keep to the protocol, which other tests are about.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::Result;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

pub(crate) struct Client {
    // The capacity counts: there are thousands of these in a process.
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects as the session `key`. Each source address has its own range of ports, and so
    /// allows for some 28,000 connections.
    pub(crate) async fn open(server: SocketAddr, source: IpAddr, key: &str) -> Result<Self> {
        let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(source, 0))?;
        let mut stream = BufReader::with_capacity(256, socket.connect(server).await?);
        let request = format!(
            "GET /connect?key={key} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: a3VpcGVyYmVsdCBiZW5jaA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if !line.starts_with("HTTP/1.1 101 ") {
            return Err(format!("{key} was not admitted: {:?}", line.trim_end()).into());
        }
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Err(format!("the answer to {key} breaks off").into());
            }
        }
        Ok(Self { stream })
    }

    /// The next text message; an error when the connection has ended.
    pub(crate) async fn message(&mut self) -> Result<String> {
        loop {
            let first = self.stream.read_u8().await?;
            let length = match self.stream.read_u8().await? {
                126 => usize::from(self.stream.read_u16().await?),
                127 => usize::try_from(self.stream.read_u64().await?)?,
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await?;
            match first {
                TEXT => return Ok(String::from_utf8(payload)?),
                CLOSE => return Err("closed by the server".into()),
                _ => {}
            }
        }
    }
}
