//! Lines on their way to a file or to standard error. They are written by a thread of their own:
//! whoever reads too slowly loses lines, and never stops the server.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Lines that wait to be written, in bytes.
const QUEUED_BYTES: usize = 4 << 20;

/// What is kept for the next lines, in bytes.
const KEPT_BYTES: usize = 4096;

/// How long lines are gathered, to be written together.
const GATHERING: Duration = Duration::from_millis(10);

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where log lines go: a bounded queue to the writer's thread.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Told of the first line that waits, and of the stop.
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: String,
    lost: u64,
    is_stopping: bool,
}

/// The thread that writes log lines.
#[must_use = "dropping it waits for the last lines to be written"]
pub(crate) struct Writer {
    lines: Lines,
    stopped: Receiver<()>,
}

impl Writer {
    /// Starts a thread that writes to `sink`.
    pub(crate) fn start(sink: impl Write + Send + 'static) -> (Self, Lines) {
        let lines = Lines::default();
        let queue = lines.clone();
        let (tell, stopped) = sync_channel(1);
        std::thread::spawn(move || {
            queue.write_all(sink);
            let _ = tell.send(());
        });
        (Self { lines: lines.clone(), stopped }, lines)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lines.0.waiting.lock().is_stopping = true;
        self.lines.0.changed.notify_one();
        // Whoever reads the other end may have stopped doing so.
        let _ = self.stopped.recv_timeout(LAST_LINES);
    }
}

impl Lines {
    /// Takes a line, with its end, unless too many wait already.
    pub(crate) fn add(&self, line: &str) {
        let mut waiting = self.0.waiting.lock();
        if waiting.lines.len() + line.len() > QUEUED_BYTES {
            waiting.lost += 1;
            return;
        }
        let is_first = waiting.lines.is_empty();
        waiting.lines.push_str(line);
        drop(waiting);
        if is_first {
            self.0.changed.notify_one();
        }
    }

    /// Writes lines until the stop.
    fn write_all(&self, mut sink: impl Write) {
        let mut lines = String::new();
        loop {
            let (lost, is_stopping) = self.take(&mut lines);
            if lost > 0 {
                let _ = writeln!(lines, "{lost} log lines were lost");
            }
            self.write(&mut sink, lines.as_bytes());
            if is_stopping {
                return;
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
        }
    }

    /// Writes all of it, waiting for a reader that is slow on a pipe that does not block.
    fn write(&self, sink: &mut impl Write, mut bytes: &[u8]) {
        let mut last_tries = LAST_LINES.as_millis() / GATHERING.as_millis();
        while !bytes.is_empty() && last_tries > 0 {
            match sink.write(bytes) {
                Ok(size) if size > 0 => bytes = &bytes[size..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut waiting = self.0.waiting.lock();
                    self.0.changed.wait_for(&mut waiting, GATHERING);
                    last_tries -= u128::from(waiting.is_stopping);
                }
                // There is nowhere to say so.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Waits for lines and takes them, with the number of those that were lost, and whether they
    /// are the last.
    fn take(&self, lines: &mut String) -> (u64, bool) {
        let mut waiting = self.0.waiting.lock();
        while waiting.lines.is_empty() && !waiting.is_stopping {
            self.0.changed.wait(&mut waiting);
        }
        if !waiting.is_stopping {
            self.0.changed.wait_for(&mut waiting, GATHERING);
        }
        std::mem::swap(&mut waiting.lines, lines);
        (std::mem::take(&mut waiting.lost), waiting.is_stopping)
    }
}
