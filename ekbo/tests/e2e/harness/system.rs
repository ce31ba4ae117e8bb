//! What the standard library does not offer of the operating system.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::signal::{self, kill, killpg};
use nix::unistd::Pid;
use socket2::SockRef;

/// The signals that `ekbo` is told to end by, and those that make it stand still and go on.
#[derive(Clone, Copy)]
pub(crate) enum Signal {
    Term = signal::SIGTERM as isize,
    Interrupt = signal::SIGINT as isize,
    Stop = signal::SIGSTOP as isize,
    Continue = signal::SIGCONT as isize,
}

/// Sends `signal` to a process that has not been waited for yet.
pub(crate) fn send_signal(process: u32, signal: Signal) {
    let signal = match signal {
        Signal::Term => signal::SIGTERM,
        Signal::Interrupt => signal::SIGINT,
        Signal::Stop => signal::SIGSTOP,
        Signal::Continue => signal::SIGCONT,
    };
    kill(pid(process), signal).unwrap();
}

/// Ends everybody in the group that a process leads, if anybody is left.
pub(crate) fn kill_group(process: u32) {
    let _ = killpg(pid(process), signal::SIGKILL);
}

/// Lets a process open files only below this number, or, with `None`, as many as it may at all; what
/// is open stays so.
pub(crate) fn limit_open_files(process: u32, limit: Option<u64>) {
    let limit = limit.map_or_else(|| most_open_files(process), |limit| limit.to_string());
    let limits = format!("--nofile={limit}:");
    let set = Command::new("prlimit").args(["--pid", &process.to_string(), &limits]).status();
    assert!(set.expect("prlimit, of Debian's util-linux").success(), "prlimit {limits}");
}

/// Lets only a single connection wait to be accepted.
pub(crate) fn shorten_queue(listener: &TcpListener) {
    SockRef::from(listener).listen(0).unwrap();
}

/// Makes closing the socket send a TCP reset instead of the orderly end.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Lets the system hold only a little of what comes and is not read.
pub(crate) fn hold_little(stream: &TcpStream) {
    SockRef::from(stream).set_recv_buffer_size(16 << 10).unwrap();
}

/// A port that was free a moment ago. It is none that the system gives to whoever asks for any,
/// and other tests start their search elsewhere.
pub(crate) fn free_port() -> u16 {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    let process = u16::try_from(process::id() % 1_000).unwrap();
    let mut ports = (10_000 + process * 20 + asked % 20)..30_100;
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}

/// The hard limit, which may be `unlimited`.
fn most_open_files(process: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let of_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    of_files.split_whitespace().nth(1).unwrap().to_owned()
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().unwrap())
}
