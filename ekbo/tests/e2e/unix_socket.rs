//! Listening on a unix socket: the life of its file, and that everything works over it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::harness::{Answer, Backend, Client, Directory, Ekbo, Frame, Listener, Signal};

/// KB-NET-1, KB-NET-2, A-24: the file is there while the server listens, and is removed
/// at a graceful stop.
#[test]
fn the_file_lives_as_long_as_the_server() {
    let mut ekbo = Ekbo::alone().on_unix_socket().start();
    let path = ekbo.directory.join("ekbo.sock");
    assert!(is_socket(&path));
    assert_eq!(ekbo.wait_for_log("listen start").fields["sock"], path.to_str().unwrap());
    ekbo.signal(Signal::Term);
    assert_eq!(ekbo.wait_exit().code(), Some(0));
    assert!(!path.exists());
}

/// KB-NET-1, A-24: clients and backend talk over it as over TCP.
#[test]
fn everything_works_over_it() {
    let backend = Backend::admitting("alice")
        .on("/connect", Answer::admit("alice").body("hello"))
        .on("/receive", Answer::ok())
        .start();
    let ekbo = Ekbo::with(&backend).on_unix_socket().start();
    let mut alice = Client::connect(&ekbo);
    alice.expect_text("hello");
    assert_eq!(ekbo.send(["alice"], "sent").text(), r#"{"result":"OK"}"#);
    alice.expect_text("sent");
    alice.send(&Frame::text("received"));
    assert_eq!(backend.wait_for_first("/receive").text(), "received");
    assert_eq!(ekbo.stats().connections, 1);
    assert_eq!(ekbo.get("/ping").status, 200);
    ekbo.close(["alice"], "bye");
    alice.expect_text("bye");
    alice.expect_close(1000, "");
}

/// KB-NET-1: the permissions follow the umask.
#[test]
fn the_permissions_follow_the_umask() {
    let ekbo = Ekbo::alone().on_unix_socket().start();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap().trim();
    let umask = u32::from_str_radix(umask, 8).unwrap();
    let mode = fs::metadata(ekbo.directory.join("ekbo.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o777 & !umask);
}

/// KB-NET-1, KB-NET-2: a file that is there already stops the start, and stays as it is.
#[test]
fn an_existing_file_is_fatal() {
    let directory = Directory::new();
    let path = directory.write("ekbo.sock", "precious");
    let stderr = Ekbo::alone().set("sock", path.to_str().unwrap()).fails_to_start(1);
    assert!(stderr.contains("listen sock error"), "{stderr}");
    assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
}

/// KB-NET-1: a socket that somebody serves stops the start, and is served on.
#[test]
fn a_served_socket_is_fatal() {
    let first = Ekbo::alone().on_unix_socket().start();
    let path = first.directory.join("ekbo.sock");
    let stderr = Ekbo::alone().set("sock", path.to_str().unwrap()).fails_to_start(1);
    assert!(stderr.contains("listen sock error"), "{stderr}");
    assert_eq!(first.get("/ping").status, 200);
}

/// KB-NET-1: a socket that nobody accepts on is replaced.
#[test]
fn an_abandoned_socket_is_replaced() {
    let plan = Ekbo::alone().on_unix_socket();
    drop(UnixListener::bind(plan.directory().join("ekbo.sock")).unwrap());
    let ekbo = plan.start();
    assert_eq!(ekbo.get("/ping").status, 200);
}

/// KB-NET-1: after a server that was killed, the next one takes its place.
#[test]
fn the_socket_of_a_killed_server_is_replaced() {
    let directory = Directory::new();
    let path = directory.join("ekbo.sock");
    let plan = || Ekbo::alone().set("sock", path.to_str().unwrap());
    drop(plan().start());
    assert!(is_socket(&path));
    assert_eq!(plan().start().get("/ping").status, 200);
}

/// KB-NET-2: a path that cannot be bound stops the start.
#[test]
fn an_impossible_path_is_fatal() {
    for path in ["/no/such/directory/ekbo.sock", &format!("/tmp/{}.sock", "x".repeat(200))] {
        let stderr = Ekbo::alone().set("sock", path).fails_to_start(1);
        assert!(stderr.contains("listen sock error"), "{stderr}");
        assert!(stderr.contains(path), "{stderr}");
    }
}

/// KB-CLI-5: a relative path is seen from the working directory.
#[test]
fn a_path_may_be_relative() {
    let ekbo = Ekbo::command_line(["-sock", "here.sock"]).start();
    assert_eq!(*ekbo.listener(), Listener::Socket(ekbo.directory.join("here.sock")));
    assert!(is_socket(&ekbo.directory.join("here.sock")));
    assert_eq!(ekbo.get("/ping").status, 200);
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}
