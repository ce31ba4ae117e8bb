//! Serving: a task for each connection that a listener accepts, which is in `exchange.rs`. It stops
//! when it is told to: nothing more is accepted, and it is over when the requests in flight are
//! answered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::door::Doors;
use crate::exchange::Reception;
use crate::listener::Listener;
use crate::stream::Stream;

/// How long to wait when a connection cannot be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves a listener until `stop` is cancelled and the requests in flight then are answered.
/// WebSockets go on: they are the hub's.
pub(crate) async fn serve(
    listener: Listener,
    doors: Arc<Doors>,
    head_timeout: Option<Duration>,
    stop: CancellationToken,
) {
    let reception = Arc::new(Reception { doors, head_timeout, stop });
    let connections = TaskTracker::new();
    while let Some((stream, peer)) = next(&listener, &reception.stop).await {
        let conversing = Arc::clone(&reception).converse(stream, peer, connections.token());
        // Boxed first: spawning moves a future several times.
        tokio::spawn(Box::pin(conversing));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, or `None` when it is time to stop.
async fn next(
    listener: &Listener,
    stop: &CancellationToken,
) -> Option<(Stream, Option<SocketAddr>)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                error!(error = %error, "cannot accept connections: raise the limit of open files, or free memory");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
