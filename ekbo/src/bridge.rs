//! A room: WebSocket clients of one subprotocol in front of a ZeroMQ backend, whose REQ/REP pair
//! takes their commands and whose PUB socket everybody listens to. What is said goes through as it
//! is: nothing here knows what a command or a payload means.
//!
//! `access` lets clients in, `reach` looks whether the backend is there, `commands` and `feed` are
//! the two sockets, `clients` is who hears what, in the forms that `encoding` knows.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use kuiperbelt::{Admission, CloseCode, End, Handler, Hub, Received, Refusal, Session};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::field::display;
use tracing::{info, warn};

mod access;
mod clients;
mod commands;
mod encoding;
mod feed;
mod reach;
#[cfg(test)]
mod tests;

use self::access::Access;
use self::clients::Clients;
pub(crate) use self::clients::{Manner, Routing};
use self::commands::Commands;
pub(crate) use self::encoding::Encoding;
use self::feed::Feed;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use crate::zmtp::{RequestError, State};

/// What a command that says nothing is answered: such a one never reaches the backend, which would
/// not answer it at all.
const OK: &[u8] = b"ok";

/// What a bridge does, beyond what its door does with connections.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) subprotocol: String,
    /// What the clients of `subprotocol` get; those of its raw variant always get that.
    pub(crate) encoding: Encoding,
    /// Any of them opens the bridge; without any it is open.
    pub(crate) tokens: Vec<Secret>,
    /// `None`: commands end in close code 1003.
    pub(crate) request_endpoint: Option<Endpoint>,
    /// `None`: there is no data.
    pub(crate) publish_endpoint: Option<Endpoint>,
    pub(crate) topics: Vec<Bytes>,
    pub(crate) joins_parts: bool,
    pub(crate) manner: Manner,
    /// The largest message of the backend, in bytes.
    pub(crate) max_message: usize,
    pub(crate) backend_check_timeout: Duration,
    /// What a client is told while the backend is not reached.
    pub(crate) unavailable: End,
    pub(crate) request_timeout: Duration,
    /// Empty: all.
    pub(crate) allowed_commands: Vec<String>,
    /// What the backend is told when nobody is left.
    pub(crate) on_last_client: Option<String>,
}

/// The subprotocols that lead to a bridge of this name.
pub(crate) fn subprotocols(name: &str) -> Vec<String> {
    access::names(name).into()
}

/// One bridge, the handler behind its door.
pub(crate) struct Bridge {
    config: Config,
    access: Access,
    clients: Arc<Clients>,
    sockets: Mutex<Sockets>,
}

/// The connections to the backend, while somebody needs them.
#[derive(Default)]
struct Sockets {
    commands: Option<Arc<Commands>>,
    /// The same as long as anybody waits for the answer to a command, though all clients have left:
    /// there is one command outstanding, whoever comes and goes.
    commands_in_use: Weak<Commands>,
    feed: Option<Feed>,
}

/// What is kept of a session.
struct Visitor {
    encoding: Encoding,
    peer: Option<SocketAddr>,
    /// Since it has joined.
    number: OnceLock<u64>,
    commands: AtomicU64,
}

/// What is done with a command.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is answered here.
    Answer,
    /// The client is not listened to any more.
    End(End),
    Forward,
}

impl Bridge {
    /// A bridge for sessions of `hub`.
    pub(crate) fn new(hub: &Hub, config: Config) -> Self {
        let access = Access::new(&config.subprotocol, config.encoding, config.tokens.clone());
        let clients = Arc::new(Clients::new(hub, config.manner));
        Self { config, access, clients, sockets: Mutex::default() }
    }

    /// # Errors
    ///
    /// Why the backend is not reached.
    async fn check_backend(&self) -> Result<(), String> {
        let (commands, feed) = {
            let sockets = self.sockets.lock();
            let commands = sockets.commands.as_ref().map(|commands| commands.state());
            (commands, sockets.feed.as_ref().map(Feed::state))
        };
        let Config { request_endpoint, publish_endpoint, backend_check_timeout, .. } = &self.config;
        let within = *backend_check_timeout;
        let request = reach::check(request_endpoint.as_ref(), commands, within);
        let publish = reach::check(publish_endpoint.as_ref(), feed, within);
        tokio::try_join!(request, publish).map(drop)
    }

    /// Lets a client take part. Returns the state of the subscription, if there is one.
    fn join(&self, session: &Session, visitor: &Visitor) -> Option<watch::Receiver<State>> {
        let mut sockets = self.sockets.lock();
        let joined = self.clients.join(session, visitor.encoding);
        let _ = visitor.number.set(joined.number);
        info!(
            bridge = self.config.subprotocol,
            client = joined.number,
            peer = visitor.peer.map(display),
            clients = joined.count,
            "bridge client joined"
        );
        self.open(&mut sockets);
        sockets.feed.as_ref().map(Feed::state)
    }

    /// Opens what is not open.
    fn open(&self, sockets: &mut Sockets) {
        let Config { request_endpoint, publish_endpoint, max_message, .. } = &self.config;
        if let Some(endpoint) = request_endpoint
            && sockets.commands.is_none()
        {
            let commands = sockets.commands_in_use.upgrade().unwrap_or_else(|| {
                let commands = Commands::open(endpoint, *max_message, self.config.request_timeout);
                self.tell_of(endpoint, commands.state());
                commands
            });
            sockets.commands_in_use = Arc::downgrade(&commands);
            sockets.commands = Some(commands);
        }
        if let Some(endpoint) = publish_endpoint
            && sockets.feed.is_none()
        {
            let topics = self.config.topics.clone();
            let clients = Arc::clone(&self.clients);
            let feed = Feed::open(endpoint, topics, *max_message, self.config.joins_parts, clients);
            self.tell_of(endpoint, feed.state());
            sockets.feed = Some(feed);
        }
    }

    /// Takes out a client, and closes the sockets when nobody is left. Returns how many are, and
    /// the way of a last command.
    fn leave(&self, number: u64) -> (usize, Option<Arc<Commands>>) {
        let mut sockets = self.sockets.lock();
        let left = self.clients.leave(number);
        if left > 0 {
            return (left, None);
        }
        sockets.feed = None;
        let commands = sockets.commands.take();
        if self.config.on_last_client.is_some() {
            // Or that command would wait for the answer to one of nobody.
            commands.iter().for_each(|commands| commands.give_up());
        }
        (left, commands)
    }

    /// Logs when a socket comes to be connected, and when it is no more, until it is closed.
    fn tell_of(&self, endpoint: &Endpoint, mut state: watch::Receiver<State>) {
        let (bridge, endpoint) = (self.config.subprotocol.clone(), endpoint.clone());
        tokio::spawn(async move {
            while state.wait_for(|state| *state == State::Ready).await.is_ok() {
                info!(bridge, %endpoint, "bridge backend is up");
                if state.wait_for(|state| *state != State::Ready).await.is_err() {
                    return;
                }
                warn!(bridge, %endpoint, "bridge backend is down");
            }
        });
    }

    /// What a client's command comes to: what follows a first zero byte is not looked at.
    fn step(&self, command: &[u8]) -> Step {
        let end = command.iter().position(|&byte| byte == 0).unwrap_or(command.len());
        let word = &command[..end];
        let allowed = &self.config.allowed_commands;
        if word.is_empty() {
            Step::Answer
        } else if !allowed.is_empty() && !allowed.iter().any(|known| known.as_bytes() == word) {
            Step::End(End::new(CloseCode::POLICY, "command is not allowed"))
        } else if self.config.request_endpoint.is_none() {
            Step::End(End::new(CloseCode::UNSUPPORTED, "commands are not taken here"))
        } else {
            Step::Forward
        }
    }

    async fn ask(&self, command: Bytes) -> Result<Bytes, RequestError> {
        let commands = self.sockets.lock().commands.clone();
        commands.ok_or(RequestError::Lost)?.ask(command).await
    }
}

impl Handler for Bridge {
    async fn connect(&self, request: Parts) -> Result<Admission, Refusal> {
        let peer = request.extensions.get().copied();
        let (subprotocol, encoding) = self.access.judge(&request).inspect_err(|denied| {
            let peer = peer.map(display::<SocketAddr>);
            info!(bridge = self.config.subprotocol, peer, reason = %denied, "bridge client denied");
        })?;
        let visitor = move || Visitor {
            encoding,
            peer,
            number: OnceLock::new(),
            commands: AtomicU64::new(0),
        };
        Ok(Admission {
            subprotocol: Some(subprotocol),
            then: Some(Box::new(move |session| {
                session.keep(visitor);
            })),
            ..Admission::default()
        })
    }

    async fn establish(&self, session: &Session) -> bool {
        let Some(visitor) = session.kept::<Visitor>() else { return false };
        let deadline = Instant::now() + self.config.backend_check_timeout;
        if let Err(reason) = self.check_backend().await {
            warn!(bridge = self.config.subprotocol, reason, "bridge backend is not reached");
            session.end(self.config.unavailable.clone());
            return true;
        }
        // A client that subscribes before it asks misses nothing of what it has asked for.
        if let Some(mut subscription) = self.join(session, visitor) {
            let is_ready = subscription.wait_for(|state| *state == State::Ready);
            let _ = timeout_at(deadline, is_ready).await;
        }
        true
    }

    async fn receive(&self, session: &Session, message: Received) {
        let Some(visitor) = session.kept::<Visitor>() else { return };
        if session.is_over() {
            return;
        }
        visitor.commands.fetch_add(1, Ordering::Relaxed);
        let answer = match self.step(&message.payload) {
            Step::Answer => Ok(Bytes::from_static(OK)),
            Step::End(end) => return session.end(end),
            Step::Forward => match unless_over(session, self.ask(message.payload)).await {
                Some(answer) => answer,
                None => return,
            },
        };
        match answer {
            Ok(answer) => {
                let answer = self.clients.answer(session, visitor.encoding, &answer);
                unless_over(session, answer).await;
            }
            Err(error) => session.end(end_after(error)),
        }
    }

    async fn close(&self, session: &Session, _end: End) {
        let Some(visitor) = session.kept::<Visitor>() else { return };
        let Some(number) = visitor.number.get() else { return };
        let (left, last) = self.leave(*number);
        info!(
            bridge = self.config.subprotocol,
            client = number,
            commands = visitor.commands.load(Ordering::Relaxed),
            dropped = session.traffic().dropped,
            clients = left,
            "bridge client left"
        );
        if let (Some(commands), Some(command)) = (last, &self.config.on_last_client) {
            // A stop waits for this, and so not for longer than a client waits that comes.
            let within = self.config.backend_check_timeout;
            let told = commands.tell(Bytes::from(command.clone()), within).await;
            if let Err(error) = told {
                let bridge = &self.config.subprotocol;
                warn!(bridge, %error, "on_last_client was not answered");
            }
        }
    }
}

/// How a client ends whose command could not be answered.
fn end_after(error: RequestError) -> End {
    match error {
        RequestError::TimedOut => {
            End::new(CloseCode::INTERNAL_ERROR, "the backend did not answer in time")
        }
        RequestError::Lost => {
            End::new(CloseCode::INTERNAL_ERROR, "the connection to the backend was lost")
        }
        RequestError::TooLarge(excess) => End {
            code: CloseCode::TOO_LARGE,
            reason: format!("the answer of the backend has {excess}").into(),
            quiet: false,
        },
    }
}

/// Goes on until the session is over, by which its `receive` is polled again.
async fn unless_over<T>(session: &Session, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if session.is_over() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}
