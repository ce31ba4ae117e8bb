//! Whether somebody listens where the backend should.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::zmtp::State;

/// Checks that one endpoint accepts a connection in time. Of a socket that is connected already
/// that is known.
///
/// # Errors
///
/// Why it does not, in one line that names it.
pub(super) async fn check(
    endpoint: Option<&Endpoint>,
    socket: Option<watch::Receiver<State>>,
    within: Duration,
) -> Result<(), String> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    if socket.is_some_and(|state| *state.borrow() >= State::Connected) {
        return Ok(());
    }
    match timeout(within, connect(endpoint)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{endpoint}: {error}")),
        Err(_) => Err(format!("{endpoint}: not reached in time")),
    }
}

async fn connect(endpoint: &Endpoint) -> io::Result<()> {
    match endpoint {
        Endpoint::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(drop),
        Endpoint::Ipc(path) => UnixStream::connect(path).await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn an_endpoint_is_reached_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: Endpoint =
            format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        assert_eq!(check(Some(&endpoint), None, PATIENCE).await, Ok(()));
        assert_eq!(check(None, None, PATIENCE).await, Ok(()));
        drop(listener);
        let reason = check(Some(&endpoint), None, PATIENCE).await.unwrap_err();
        assert!(reason.starts_with(&format!("{endpoint}: ")), "{reason}");
        let nowhere = Endpoint::Ipc("/nonexistent/socket".into());
        let reason = check(Some(&nowhere), None, PATIENCE).await.unwrap_err();
        assert!(reason.starts_with("ipc:///nonexistent/socket: "), "{reason}");
    }

    /// RB-BRG-6: a connection that is there is not tried again.
    #[tokio::test]
    async fn a_connected_socket_says_enough() {
        let nowhere = Endpoint::Ipc("/nonexistent/socket".into());
        let (set, state) = watch::channel(State::Connected);
        assert_eq!(check(Some(&nowhere), Some(state.clone()), PATIENCE).await, Ok(()));
        set.send_replace(State::Down);
        assert!(check(Some(&nowhere), Some(state), PATIENCE).await.is_err());
    }
}
