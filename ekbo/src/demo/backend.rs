//! The demonstration backend: a blocking HTTP server with a handful of threads, as an application
//! behind a prefork server is. Its paths are the gateway's callbacks; what they mean is `room.rs`.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::gateway::Gateway;
use super::percent;
use super::request::{Answer, MAX_BODY, Request};
use super::room::Room;

const THREADS: usize = 4;
/// The gateway is on this machine: whoever is slower than this is not coming.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A running backend. It answers until it is dropped; requests that are being answered then are
/// still completed.
pub(crate) struct Backend {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

impl Backend {
    /// Listens on a loopback port that the system chooses, and calls the gateway at `gateway`
    /// when there is something to tell.
    pub(crate) fn start(gateway: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let backend =
            Self { address: listener.local_addr()?, stopping: Arc::new(AtomicBool::new(false)) };
        let room = Arc::new(Room::new(Gateway::new(gateway)));
        // Each thread accepts for itself: what waits for a free one waits in the kernel's bounded
        // queue of the listener.
        for n in 1..=THREADS {
            let listener = listener.try_clone()?;
            let stopping = Arc::clone(&backend.stopping);
            let room = Arc::clone(&room);
            thread::Builder::new()
                .name(format!("demo-{n}"))
                .spawn(move || work(&listener, &stopping, &room))?;
        }
        Ok(backend)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for _ in 0..THREADS {
            // One connection ends one thread's wait; if it fails, the process is ending anyway.
            let _ = TcpStream::connect_timeout(&self.address, TIMEOUT);
        }
    }
}

fn work(listener: &TcpListener, stopping: &AtomicBool, room: &Room) {
    loop {
        let accepted = listener.accept();
        if stopping.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = serve(stream, room) {
                    tracing::debug!(%error, "demo: a connection ended early");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "demo: cannot accept a connection");
                // Out of descriptors, most likely: without a pause this would spin until some
                // are closed.
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
}

fn serve(mut stream: TcpStream, room: &Room) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let answer = match Request::read(&mut stream)? {
        Ok(request) => answer(&request, room),
        Err(refusal) => refusal,
    };
    answer.write(&mut stream)?;
    if answer.is_refusal() {
        // Closing with unread input resets the connection, and the refusal with it.
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut stream.take(MAX_BODY as u64), &mut io::sink())?;
    }
    Ok(())
}

fn answer(request: &Request, room: &Room) -> Answer {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/connect") => connect(request, room),
        ("POST", "/establish") => about_member(request, |name| {
            room.arrive(name);
            Answer::empty()
        }),
        ("POST", "/receive") => about_member(request, |name| receive(request, name, room)),
        ("POST", "/close") => about_member(request, |name| {
            room.leave(name);
            Answer::empty()
        }),
        (_, "/connect" | "/establish" | "/receive" | "/close") => {
            Answer::text(405, "GET for /connect, POST for the other callbacks")
        }
        _ => Answer::text(404, "there is nothing here: the chat page is at the gateway"),
    }
}

fn connect(request: &Request, room: &Room) -> Answer {
    let name = percent::query_value(&request.query, "name");
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Answer::text(403, "the name is not percent-encoded UTF-8");
    }
    match room.join(&name) {
        Ok((key, first_message)) => Answer::admit(key, first_message),
        Err(why) => Answer::text(403, &why),
    }
}

fn receive(request: &Request, name: &str, room: &Room) -> Answer {
    if request.field("Content-Type") != Some("text/plain") {
        return Answer::text(415, "this chat is about text");
    }
    let Ok(text) = str::from_utf8(&request.body) else {
        return Answer::text(400, "the message is not UTF-8");
    };
    room.say(name, text);
    Answer::empty()
}

/// A callback about a session: the session's key is a member's name.
fn about_member(request: &Request, then: impl FnOnce(&str) -> Answer) -> Answer {
    match request.field("X-Kuiperbelt-Session").and_then(percent::decode) {
        Some(name) => then(&name),
        None => Answer::text(400, "X-Kuiperbelt-Session is missing, or not a name of this chat"),
    }
}

#[cfg(test)]
mod tests;
