//! What the standard library does not offer of the operating system.

#![allow(unsafe_code, reason = "system calls without a safe interface in std")]

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{io, mem, process, ptr};

/// The signals that `ekbo` is told to end by, and those that make it stand still and go on.
#[derive(Clone, Copy)]
pub(crate) enum Signal {
    Term = libc::SIGTERM as isize,
    Interrupt = libc::SIGINT as isize,
    Stop = libc::SIGSTOP as isize,
    Continue = libc::SIGCONT as isize,
}

/// Sends `signal` to a process that has not been waited for yet.
pub(crate) fn send_signal(process: u32, signal: Signal) {
    let process = libc::pid_t::try_from(process).unwrap();
    // SAFETY: `kill` touches no memory of ours.
    let outcome = unsafe { libc::kill(process, signal as libc::c_int) };
    assert_eq!(outcome, 0, "kill: {}", io::Error::last_os_error());
}

/// Ends everybody in the group that a process leads, if anybody is left.
pub(crate) fn kill_group(process: u32) {
    let group = libc::pid_t::try_from(process).unwrap();
    // SAFETY: `kill` touches no memory of ours.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// Lets a process open files only below this number, as far as it may be raised; what is open stays so.
pub(crate) fn limit_open_files(process: u32, limit: u64) {
    let process = libc::pid_t::try_from(process).unwrap();
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to `limits`, which lives through the call.
    let outcome =
        unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, ptr::null(), &raw mut limits) };
    assert_eq!(outcome, 0, "prlimit: {}", io::Error::last_os_error());
    limits.rlim_cur = limit.min(limits.rlim_max);
    // SAFETY: as above.
    let outcome =
        unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, &raw const limits, ptr::null_mut()) };
    assert_eq!(outcome, 0, "prlimit: {}", io::Error::last_os_error());
}

/// Lets only a single connection wait to be accepted.
pub(crate) fn shorten_queue(listener: &TcpListener) {
    // SAFETY: `listen` touches no memory of ours.
    let outcome = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(outcome, 0, "listen: {}", io::Error::last_os_error());
}

/// Makes closing the socket send a TCP reset instead of the orderly end.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    set_option(stream, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 });
}

/// Lets the system hold only a little of what comes and is not read.
pub(crate) fn hold_little(stream: &TcpStream) {
    set_option(stream, libc::SO_RCVBUF, &(16 << 10));
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

fn set_option<T>(stream: &TcpStream, name: libc::c_int, value: &T) {
    let size = libc::socklen_t::try_from(mem::size_of::<T>()).unwrap();
    // SAFETY: the pointer is to `value`, which lives through the call and has `size` bytes.
    let outcome = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            ptr::from_ref(value).cast(),
            size,
        )
    };
    assert_eq!(outcome, 0, "setsockopt: {}", io::Error::last_os_error());
}
