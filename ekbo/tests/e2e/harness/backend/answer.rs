//! What the backend answers: well-formed by default, byte by byte and held back where a test
//! wants it so.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use super::super::clock::{PATIENCE, eventually};
use super::Request;

/// An answer. Without [`Answer::raw`] it has a correct head, with the length of what follows.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// `None`: the steps are all there is.
    head: Option<Head>,
    /// What holds back the first byte.
    first: Option<Gate>,
    steps: Vec<Step>,
    hangs_up: bool,
}

#[derive(Clone, Debug)]
struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Wait(Gate),
}

/// What becomes of the connection after an answer.
pub(super) enum Ending {
    Stay,
    HangUp,
}

/// Holds an answer back until the test opens it. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    /// How many have come to it so far, open or not.
    reached: usize,
}

impl Answer {
    /// 200 with an empty body.
    pub(crate) fn ok() -> Self {
        Self::status(200)
    }

    /// 200 with the session header, under its default name.
    pub(crate) fn admit(key: &str) -> Self {
        Self::ok().header("X-Kuiperbelt-Session", key)
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            head: Some(Head { status, fields: Vec::new() }),
            first: None,
            steps: Vec::new(),
            hangs_up: false,
        }
    }

    /// These bytes, and then the end of the connection.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            head: None,
            first: None,
            steps: vec![Step::Write(bytes.as_ref().to_owned())],
            hangs_up: true,
        }
    }

    /// No answer: the connection is ended.
    pub(crate) fn hang_up() -> Self {
        Self::raw("")
    }

    /// A field of the head. `Content-Length` and `Transfer-Encoding` replace the correct one.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let head = self.head.as_mut().expect("a raw answer is written as it is");
        head.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The body, or more of it.
    pub(crate) fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Write(bytes.as_ref().to_owned()));
        self
    }

    /// Not even the head goes out before `gate` is open.
    pub(crate) fn held_by(mut self, gate: &Gate) -> Self {
        self.first = Some(gate.clone());
        self
    }

    /// What has been said so far goes out at once, what follows when `gate` is open.
    pub(crate) fn then_wait_for(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// Does not end the connection after a raw answer.
    pub(crate) fn then_stay(mut self) -> Self {
        self.hangs_up = false;
        self
    }

    /// Ends the connection after the answer, without having announced it.
    pub(crate) fn then_hang_up(mut self) -> Self {
        self.hangs_up = true;
        self
    }

    /// Writes the answer to `request`; gives up when `stopped` opens.
    pub(super) fn write(
        &self,
        request: &Request,
        stopped: &Gate,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Ending {
        if let Some(gate) = &self.first
            && !gate.pass_unless(stopped)
        {
            return Ending::HangUp;
        }
        if let Some(head) = &self.head
            && write(&head.to_bytes(self.length())).is_err()
        {
            return Ending::HangUp;
        }
        if request.method != "HEAD" {
            for step in &self.steps {
                let done = match step {
                    Step::Write(bytes) => write(bytes).is_ok(),
                    Step::Wait(gate) => gate.pass_unless(stopped),
                };
                if !done {
                    return Ending::HangUp;
                }
            }
        }
        if self.hangs_up { Ending::HangUp } else { Ending::Stay }
    }

    fn length(&self) -> usize {
        let written = self.steps.iter().map(|step| match step {
            Step::Write(bytes) => bytes.len(),
            Step::Wait(_) => 0,
        });
        written.sum()
    }
}

impl Head {
    fn to_bytes(&self, length: usize) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        let framed = self.fields.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("Content-Length")
                || name.eq_ignore_ascii_case("Transfer-Encoding")
        });
        if !framed && !matches!(self.status, 204 | 304) {
            text += &format!("Content-Length: {length}\r\n");
        }
        text += "\r\n";
        text.into_bytes()
    }
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lets everyone through who waits, and everyone who comes.
    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.0.lock().unwrap().open
    }

    /// Waits until `count` answers have come to the gate.
    #[track_caller]
    pub(crate) fn wait_until_reached_by(&self, count: usize) {
        eventually(&format!("{count} answers at a gate"), || {
            self.0.0.lock().unwrap().reached >= count
        });
    }

    /// Waits for the gate to open; false if `stopped` opened first.
    fn pass_unless(&self, stopped: &Self) -> bool {
        let (state, opened) = &*self.0;
        let mut state = state.lock().unwrap();
        state.reached += 1;
        while !state.open {
            if stopped.is_open() {
                return false;
            }
            // In steps, as nobody signals this gate when `stopped` opens.
            state = opened.wait_timeout(state, PATIENCE / 100).unwrap().0;
        }
        true
    }
}
