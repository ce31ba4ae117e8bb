//! The backend of all measurements: it admits whoever connects, under the key that the client
//! names in its query string, and has no first message for anybody.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

/// Starts it on a port of the system's choice; it runs until the process ends.
pub(crate) async fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that breaks off concerns the gateway only, which then says so.
            tokio::spawn(async move { serve(stream).await.ok() });
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let key = key_in(&line).ok_or("a request for something else")?.to_owned();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        let answer =
            format!("HTTP/1.1 200 OK\r\nX-Kuiperbelt-Session: {key}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The key in `GET /connect?key=KEY HTTP/1.1`.
fn key_in(request_line: &str) -> Option<&str> {
    request_line.strip_prefix("GET /connect?key=")?.split(' ').next()
}
