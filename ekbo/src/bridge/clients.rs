//! Who is connected to a bridge, and who gets what is published: everybody, or the newest. Both
//! data and notices go by channels, so that a client that reads slowly delays nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kuiperbelt::{Channels, Hub, Limits, Session};
use parking_lot::Mutex;

use super::encoding::{Encoding, Scratch};

/// To whom answers and data go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    /// Data to everybody, an answer to who has asked.
    Fanout,
    /// Both to the newest client.
    Newest,
}

/// What is said to the clients of a bridge, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) routing: Routing,
    /// Whether everybody is told of everybody who comes later.
    pub(crate) client_count_notices: bool,
    /// ASCII, and so is the other.
    pub(crate) response_prefix: u8,
    pub(crate) publish_prefix: u8,
}

/// The clients of one bridge.
pub(super) struct Clients {
    manner: Manner,
    channels: Arc<Channels>,
    present: Mutex<Present>,
    /// How many get what is published, by encoding.
    listening: [AtomicUsize; Encoding::ALL.len()],
}

#[derive(Default)]
struct Present {
    latest: u64,
    /// In the order in which they have come.
    by_number: BTreeMap<u64, Client>,
}

struct Client {
    session: Session,
    encoding: Encoding,
    /// Whether it gets what is published.
    listens: bool,
}

/// What a client is when it has joined.
pub(super) struct Joined {
    /// The number of this client among all that ever came.
    pub(super) number: u64,
    /// How many are there now.
    pub(super) count: usize,
}

/// What a client listens to.
#[derive(Clone, Copy)]
enum Matter {
    Data,
    Notices,
}

impl Clients {
    pub(super) fn new(hub: &Hub, manner: Manner) -> Self {
        let limits = Limits { channels: 4, per_session: 2, keeps_empty: true };
        Self {
            manner,
            channels: hub.open_channels(limits),
            present: Mutex::default(),
            listening: Default::default(),
        }
    }

    /// Lets a client take part, of which those who are there already are told.
    pub(super) fn join(&self, session: &Session, encoding: Encoding) -> Joined {
        let mut present = self.present.lock();
        present.latest += 1;
        let joined = Joined { number: present.latest, count: present.by_number.len() + 1 };
        if self.manner.client_count_notices {
            let notice = format!("client_count:{}", joined.count);
            for encoding in Encoding::ALL {
                let notice = encoding.notice(self.manner.response_prefix, &notice);
                self.channels.publish(channel(Matter::Notices, encoding), &notice);
            }
            self.subscribe(session, Matter::Notices, encoding);
        }
        let mut newcomer = Client { session: session.clone(), encoding, listens: false };
        self.listen(&mut newcomer);
        if self.manner.routing == Routing::Newest
            && let Some(mut before) = present.by_number.last_entry()
        {
            self.stop_listening(before.get_mut());
        }
        present.by_number.insert(joined.number, newcomer);
        joined
    }

    /// Takes out a client whose session is over. Returns how many are left.
    pub(super) fn leave(&self, number: u64) -> usize {
        let mut present = self.present.lock();
        if let Some(mut gone) = present.by_number.remove(&number) {
            self.stop_listening(&mut gone);
        }
        if self.manner.routing == Routing::Newest
            && let Some(mut newest) = present.by_number.last_entry()
        {
            self.listen(newest.get_mut());
        }
        present.by_number.len()
    }

    /// Hands out a payload that the backend has published. Waits for nobody.
    pub(super) fn publish(&self, payload: &[u8], scratch: &mut Scratch) {
        for (encoding, listening) in Encoding::ALL.into_iter().zip(&self.listening) {
            if listening.load(Ordering::Relaxed) > 0 {
                let message = encoding.message(self.manner.publish_prefix, payload, scratch);
                self.channels.publish(channel(Matter::Data, encoding), &message);
            }
        }
    }

    /// Sends the answer to a command as soon as there is room for it. An asker that has left needs
    /// none.
    pub(super) async fn answer(&self, asker: &Session, encoding: Encoding, answer: &[u8]) {
        let prefix = self.manner.response_prefix;
        let send = async |session: &Session, encoding: Encoding| {
            let message = encoding.message(prefix, answer, &mut Scratch::default());
            session.send(&message, None).await
        };
        match self.manner.routing {
            Routing::Fanout => {
                let _ = send(asker, encoding).await;
            }
            // Who does not take it is over, and so another one is the newest: the asker at last.
            Routing::Newest => {
                while let Some((newest, encoding)) = self.newest()
                    && send(&newest, encoding).await.is_err()
                {}
            }
        }
    }

    fn newest(&self) -> Option<(Session, Encoding)> {
        let present = self.present.lock();
        let newest = present.by_number.values().rev().find(|client| !client.session.is_over())?;
        Some((newest.session.clone(), newest.encoding))
    }

    fn listen(&self, client: &mut Client) {
        if !std::mem::replace(&mut client.listens, true) {
            self.subscribe(&client.session, Matter::Data, client.encoding);
            self.listening[client.encoding as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stop_listening(&self, client: &mut Client) {
        if std::mem::replace(&mut client.listens, false) {
            self.channels.unsubscribe(&client.session, channel(Matter::Data, client.encoding));
            self.listening[client.encoding as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn subscribe(&self, session: &Session, matter: Matter, encoding: Encoding) {
        // Within the limits it fails only for who has left already.
        let _ = self.channels.subscribe(session, channel(matter, encoding));
    }
}

/// Where it is heard.
const fn channel(matter: Matter, encoding: Encoding) -> &'static str {
    match (matter, encoding) {
        (Matter::Data, Encoding::Cgi) => "data cgi",
        (Matter::Data, Encoding::Raw) => "data raw",
        (Matter::Notices, Encoding::Cgi) => "notices cgi",
        (Matter::Notices, Encoding::Raw) => "notices raw",
    }
}
