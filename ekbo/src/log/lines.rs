//! Lines on their way to a file or to standard error. They are written by a thread of their own:
//! whoever reads too slowly, or has no room, loses lines, is told how many, and never stops the
//! server.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
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

/// What becomes of a sink.
pub(crate) enum Turn {
    /// It takes no more lines. They are lost from now on.
    Failed(io::Error),
    /// It takes lines again, after as many were lost.
    Recovered(u64),
}

impl Writer {
    /// Starts a thread that writes to `sink`, and tells of each turn of it.
    pub(crate) fn start(
        sink: impl Write + Send + 'static,
        turned: impl FnMut(Turn) + Send + 'static,
    ) -> (Self, Lines) {
        let lines = Lines::default();
        let queue = lines.clone();
        let (tell, stopped) = sync_channel(1);
        std::thread::spawn(move || {
            queue.write_all(Sink { to: sink, turned, lost: 0, is_in_line: false });
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
    fn write_all<W: Write, T: FnMut(Turn)>(&self, mut sink: Sink<W, T>) {
        let mut lines = String::new();
        loop {
            let (lost, is_stopping) = self.take(&mut lines);
            if lost > 0 {
                let _ = writeln!(lines, "{lost} log lines were lost");
            }
            sink.put(&lines, |to, bytes| self.write(to, bytes));
            if is_stopping {
                return;
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
        }
    }

    /// Writes all of it, waiting for a reader that is slow on a pipe that does not block. Where it
    /// fails, `bytes` is what is left.
    fn write(&self, sink: &mut impl Write, bytes: &mut &[u8]) -> io::Result<()> {
        let mut last_tries = LAST_LINES.as_millis() / GATHERING.as_millis();
        while !bytes.is_empty() {
            match sink.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(size) => *bytes = &bytes[size..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && last_tries > 0 => {
                    let mut waiting = self.0.waiting.lock();
                    self.0.changed.wait_for(&mut waiting, GATHERING);
                    last_tries -= u128::from(waiting.is_stopping);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
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

/// Where lines are written, and how that went of late.
struct Sink<W, T> {
    to: W,
    turned: T,
    /// Lines since it failed; 0 while it takes them.
    lost: u64,
    /// Whether only the beginning of a line was written last.
    is_in_line: bool,
}

impl<W: Write, T: FnMut(Turn)> Sink<W, T> {
    /// Writes whole lines, behind a line that tells how many were lost before them.
    fn put(&mut self, lines: &str, write: impl Fn(&mut W, &mut &[u8]) -> io::Result<()>) {
        let text = if self.lost > 0 {
            let end = if self.is_in_line { "\n" } else { "" };
            Cow::Owned(format!("{end}{} log lines were lost\n{lines}", self.lost))
        } else {
            Cow::Borrowed(lines)
        };
        let note = text.len() - lines.len();
        let mut left = text.as_bytes();
        let written = write(&mut self.to, &mut left);
        let size = text.len() - left.len();
        if size > 0 {
            self.is_in_line = text.as_bytes()[size - 1] != b'\n';
        }
        let lost = left[left.len().saturating_sub(lines.len())..].iter();
        let lost = lost.filter(|&&byte| byte == b'\n').count() as u64;
        let before = std::mem::take(&mut self.lost);
        match written {
            Ok(()) if before > 0 => (self.turned)(Turn::Recovered(before)),
            Ok(()) => {}
            Err(error) => {
                // What was told of those before may itself have been lost.
                self.lost = if size < note { before + lost } else { lost };
                if before == 0 {
                    (self.turned)(Turn::Failed(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Takes as many bytes as it has room for.
    #[derive(Default)]
    struct Disk {
        room: usize,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let size = bytes.len().min(self.room);
            if size == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= size;
            self.text.extend_from_slice(&bytes[..size]);
            Ok(size)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is lost is told once where it begins and once where it ends, with its number; a line
    /// that was begun is ended.
    #[test]
    fn a_disk_without_room() {
        let turns = RefCell::new(Vec::new());
        let turned = |turn| {
            turns.borrow_mut().push(match turn {
                Turn::Failed(error) => format!("failed: {}", error.kind()),
                Turn::Recovered(lost) => format!("{lost} lost"),
            });
        };
        let to = Disk { room: 10, ..Disk::default() };
        let mut sink = Sink { to, turned, lost: 0, is_in_line: false };
        let lines = Lines::default();
        let write = |to: &mut Disk, bytes: &mut &[u8]| lines.write(to, bytes);
        sink.put("first\n", write);
        assert_eq!(*turns.borrow(), [""; 0]);
        for text in ["second\nthird\n", "fourth\n", "fifth\n"] {
            sink.put(text, write);
            assert_eq!(*turns.borrow(), ["failed: no storage space"], "{text}");
        }
        sink.to.room = 1_000;
        sink.put("sixth\n", write);
        sink.put("seventh\n", write);
        assert_eq!(*turns.borrow(), ["failed: no storage space", "4 lost"]);
        // Room for the number of those that were lost, but not for another line.
        sink.to.room = 0;
        sink.put("eighth\n", write);
        sink.to.room = "1 log lines were lost\n".len();
        sink.put("ninth\ntenth\n", write);
        sink.to.room = 1_000;
        sink.put("last\n", write);
        let written = "first\nseco\n4 log lines were lost\nsixth\nseventh\n\
                       1 log lines were lost\n2 log lines were lost\nlast\n";
        assert_eq!(str::from_utf8(&sink.to.text), Ok(written));
        assert_eq!(turns.borrow()[2..], ["failed: no storage space", "2 lost"]);
    }
}
