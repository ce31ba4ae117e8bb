//! Upstreams that fail: before their answer has begun the client is told what happened, after that it
//! sees the answer broken off, never a wrong one; and no connection is left behind.

use std::thread;
use std::time::Duration;

use super::super::harness::{
    Backend, Ekbo, EkboPlan, End, Http, PATIENCE, Response, Stopwatch, Unreachable, Upstream,
    eventually, free_port, let_pass,
};
use super::{DONE, answer_next, played, relay};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Nobody listens, on a port or a socket: 502 that says so, and the client can go on.
#[test]
fn nobody_is_there() {
    let missing = "unix:/nonexistent/upstream.sock".to_owned();
    let port = format!("http://127.0.0.1:{}", free_port());
    for (url, says) in [(port, "refused"), (missing, "No such file")] {
        let ekbo = Ekbo::in_front_of(&url).start();
        let files = ekbo.open_files();
        let mut client = ekbo.http();
        for request in [GET, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"] {
            let response = client.exchange(request);
            expect_failure(&response, 502, says);
        }
        drop(client);
        let mut client = ekbo.http();
        let head =
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
        expect_failure(&client.exchange(head), 502, says);
        drop(client);
        eventually("no connection is left", || ekbo.open_files() == files);
    }
}

/// The upstream comes back: the next request is served.
#[test]
fn an_upstream_that_comes_back() {
    let port = free_port();
    let ekbo = Ekbo::in_front_of(&format!("http://127.0.0.1:{port}")).start();
    let mut client = ekbo.http();
    assert_eq!(client.exchange(GET).status, 502);
    let _application = Backend::plan().start_on(port);
    assert_eq!(client.exchange(GET).status, 404);
}

/// A name that nobody has.
#[test]
fn a_host_that_does_not_exist() {
    let ekbo = Ekbo::in_front_of("http://nowhere.invalid:80").start();
    let response = ekbo.http().exchange(GET);
    expect_failure(&response, 502, "");
}

/// No descriptor is left for a connection to it: the client is told, its own is given back, and the log
/// is not filled. It is over when descriptors are there again.
#[test]
fn no_descriptor_is_left() {
    let (upstream, ekbo) = played();
    let mut clients: Vec<Http> = (0..10).map(|_| ekbo.http()).collect();
    for client in &mut clients {
        assert_eq!(client.exchange("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    }
    let since = Stopwatch::start();
    for mut client in clients {
        let files = ekbo.open_files();
        ekbo.exhaust_files();
        let response = client.exchange(GET);
        expect_failure(&response, 503, "Too many open files");
        assert_eq!(response.header("Connection"), Some("close"));
        assert_eq!(client.read_end(), End::Eof);
        drop(client);
        eventually("its descriptor is given back", || ekbo.open_files() < files);
    }
    let line = ekbo.wait_for_log("raise the limit of open files");
    assert_eq!(line.level, "warn");
    let lines = ekbo.log().into_iter().filter(|line| line.level == "warn").count();
    let seconds = usize::try_from(since.elapsed().as_secs()).unwrap();
    assert!(lines <= 1 + seconds, "{lines} lines in {seconds} s");
    ekbo.release_files();
    let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
}

/// Over TLS it is somebody else, or does not speak it: the client is told no more than that, the log
/// what exactly.
#[test]
fn a_certificate_that_nobody_trusts() {
    let upstream = Ekbo::alone().over_tls().start();
    let ekbo = Ekbo::in_front_of(&format!("https://localhost:{}", upstream.port())).start();
    let response = ekbo.http().exchange(GET);
    assert_eq!(response.status, 502);
    assert_eq!(response.text(), "upstream: the certificate is not trusted\n");
    let line = ekbo.wait_for_log("upstream request failed");
    assert!(
        line.fields["error"].as_str().unwrap().contains("invalid peer certificate"),
        "{line:?}"
    );

    let upstream = Ekbo::alone().start();
    let ekbo = Ekbo::in_front_of(&format!("https://localhost:{}", upstream.port())).start();
    let response = ekbo.http().exchange(GET);
    assert_eq!(response.status, 502);
    assert_eq!(response.text(), "upstream: cannot connect: TLS handshake failed\n");
}

/// Nobody answers the call: 504 after `connect_timeout`.
#[test]
fn nobody_answers_the_call() {
    let nobody = Unreachable::start();
    let ekbo = timed(&nobody.url(), "connect_timeout", "300ms").start();
    let since = Stopwatch::start();
    expect_failure(&ekbo.http().exchange(GET), 504, "connect");
    let waited = since.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < PATIENCE / 2, "{waited:?}");
}

/// The call is answered, the request is not: 504 after `response_timeout`, which names it. The upstream
/// sees the connection end; others are served meanwhile, and so is the client after that.
#[test]
fn nobody_answers_the_request() {
    let upstream = Upstream::start();
    let ekbo = timed(&upstream.url(), "response_timeout", "400ms").start();
    for begun in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let since = Stopwatch::start();
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write(begun);
        let (mut other, mut answering, _) = relay(&ekbo, &upstream, GET);
        answering.write(DONE);
        assert_eq!(other.read().status, 204);
        let response = client.read();
        expect_failure(&response, 504, "400ms");
        let waited = since.elapsed();
        assert!(waited >= Duration::from_millis(400) && waited < PATIENCE / 2, "{waited:?}");
        assert_eq!(inbound.rest().0, b"", "{begun}");
        client.write(GET);
        answer_next(&upstream);
        assert_eq!(client.read().status, 204);
    }
}

/// `response_timeout` is for the head: a body may take longer, and so may a client with its request.
#[test]
fn a_slow_body_is_no_fault() {
    let upstream = Upstream::start();
    let ekbo = timed(&upstream.url(), "response_timeout", "300ms").start();
    for expect in ["", "Expect: 100-continue\r\n"] {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n{expect}\r\n");
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, head);
        if !expect.is_empty() {
            inbound.write("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(client.read().status, 100);
        }
        client.write("fi");
        let_pass(Duration::from_millis(600));
        client.write("ve");
        inbound.expect("five");
        inbound.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nse");
        let_pass(Duration::from_millis(600));
        inbound.write("en");
        assert_eq!(client.read().text(), "seen");
    }
}

/// Nor is the time for a head begun anew by each byte of it, or by an answer that is not the last.
#[test]
fn a_head_that_drips() {
    let upstream = Upstream::start();
    let ekbo = timed(&upstream.url(), "response_timeout", "500ms").start();
    for (start, drip) in [("HTTP/1.1 200 OK\r\nX: ", "x"), ("", "HTTP/1.1 103 Early Hints\r\n\r\n")]
    {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write(start);
        let dripping = thread::spawn(move || {
            while inbound.try_write(drip).is_ok() {
                let_pass(Duration::from_millis(100));
            }
        });
        expect_failure(&client.read(), 504, "no answer within 500ms");
        dripping.join().unwrap();
    }
}

/// It goes away before the end of its head, by an orderly end or a reset: 502.
#[test]
fn it_dies_before_it_has_answered() {
    let (upstream, ekbo) = played();
    for resets in [false, true] {
        for begun in ["", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"] {
            let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
            inbound.write(begun);
            if resets {
                inbound.reset();
            } else {
                drop(inbound);
            }
            let response = client.read();
            expect_failure(&response, 502, "");
            client.write(GET);
            answer_next(&upstream);
            assert_eq!(client.read().status, 204, "{begun:?}");
        }
    }
}

/// It goes away in the middle of a body: the client can see that something is missing, and never has
/// what looks whole. So it is for a client of HTTP/1.0, which by an orderly end would be misled.
#[test]
fn it_dies_in_the_middle_of_its_answer() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    for (framing, part) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "9\r\nhello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Trailer: y\r\n"),
        ("Connection: close\r\n", "hello"),
    ] {
        for version in ["1.1", "1.0"] {
            for resets in [false, true] {
                // Up to the end is an answer by itself, unless that end is a reset.
                if framing.contains("close") && !resets {
                    continue;
                }
                let request = format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n");
                let (mut client, mut inbound, _) = relay(&ekbo, &upstream, request);
                inbound.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{part}"));
                let head = head_of_answer(&mut client);
                if resets {
                    // A reset may overtake what was sent before it.
                    inbound.reset();
                } else {
                    drop(inbound);
                }
                let (rest, end) = client.rest();
                let rest = String::from_utf8(rest).unwrap();
                let told =
                    format!("{framing:?} {part:?} {version} {resets}: {head:?} {rest:?} {end:?}");
                if head.iter().any(|line| line.starts_with("content-length:")) {
                    assert!(rest.len() < 10, "{told}");
                } else if head.iter().any(|line| line.starts_with("transfer-encoding:")) {
                    assert!(!rest.ends_with("0\r\n\r\n"), "{told}");
                } else {
                    assert_eq!(end, End::Reset, "{told}");
                }
            }
        }
    }
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// Chunks of an answer that are none end it: nobody guesses what was meant.
#[test]
fn it_garbles_its_answer() {
    let (upstream, ekbo) = played();
    for garbled in [
        "x\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\r\nHTTP/1.1 200 OK\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfit\r\n");
        head_of_answer(&mut client);
        assert_eq!([client.line(), client.line()], ["3", "fit"]);
        let _ = inbound.try_write(garbled);
        let (rest, _) = client.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{garbled:?}: {}", rest.escape_ascii());
        assert_eq!(inbound.rest().0, b"", "{garbled:?}");
    }
}

/// What is no answer of HTTP/1: 502, and nothing of it is shown.
#[test]
fn it_answers_nonsense() {
    let (upstream, ekbo) = played();
    for nonsense in [
        "nonsense\r\n\r\n",
        "\r\n\r\n\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "220 smtp.example ESMTP\r\n",
        "\x15\x03\x01\x00\x02\x02\x50",
        "<!doctype html><title>HTTP/0.9</title>",
        "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write(nonsense);
        inbound.finish_writing();
        let response = client.read();
        expect_failure(&response, 502, "");
        assert_eq!(inbound.rest().0, b"", "{nonsense:?}");
    }
}

/// An answer whose body could end in two places is none.
#[test]
fn it_frames_its_answer_twice() {
    let (upstream, ekbo) = played();
    for fields in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: x\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length:\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: identity\r\n",
        "Content-Length: 2\r\nContent-Length : 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding\t: chunked\r\n",
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        inbound.write(format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nhi\r\n0\r\n\r\n"));
        let response = client.read();
        assert_eq!(response.status, 502, "{fields:?}: {response:?}");
        expect_failure(&response, 502, "");
        inbound.rest();
    }
}

/// A head that goes on and on, in one field, in many, or in interim answers, is given up before
/// memory is.
#[test]
fn its_head_never_ends() {
    let (upstream, ekbo) = played();
    let before = ekbo.memory("VmHWM");
    for (start, more) in [
        ("HTTP/1.1 200 ", "x".repeat(64 << 10)),
        ("HTTP/1.1 200 OK\r\nX: ", "x".repeat(64 << 10)),
        ("HTTP/1.1 200 OK\r\n", "X: yyyyyyyy\r\n".repeat(5 << 10)),
        ("", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(2 << 10)),
    ] {
        let (mut client, mut inbound, _) = relay(&ekbo, &upstream, GET);
        let _ = inbound.try_write(start);
        let writer = thread::spawn(move || {
            // 64 MiB, unless the other side has had enough.
            (0..1024).any(|_| inbound.try_write(&more).is_err())
        });
        let response = client.read();
        expect_failure(&response, 502, "");
        assert!(writer.join().unwrap(), "all of it was taken");
    }
    let after = ekbo.memory("VmHWM");
    assert!(after < before + (16 << 20), "from {before} to {after} bytes");
}

/// An answer ahead of the request's end reaches a client in the middle of its body, in spite of an
/// upstream that has stopped reading, and one that has hung up.
#[test]
fn it_answers_early() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    for hangs_up in [false, true] {
        for framing in ["Content-Length: 50000000\r\n", "Transfer-Encoding: chunked\r\n"] {
            let (mut client, mut inbound, _) =
                relay(&ekbo, &upstream, format!("PUT / HTTP/1.1\r\nHost: x\r\n{framing}\r\n"));
            let mut upload = client.wire().another();
            let piece = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
            let uploading = thread::spawn(move || {
                // Goes on until it is told to stop.
                (0..480).any(|_| std::io::Write::write_all(&mut upload, piece.as_bytes()).is_err())
            });
            inbound.write("HTTP/1.1 413 Too Much\r\nContent-Length: 8\r\n\r\ntoo much");
            let kept = if hangs_up {
                drop(inbound);
                None
            } else {
                Some(inbound)
            };
            let response = client.read();
            assert_eq!((response.status, response.text()), (413, "too much"), "{framing}");
            drop(client);
            uploading.join().unwrap();
            if let Some(mut inbound) = kept {
                let (came, _) = inbound.rest();
                assert!(came.len() < 48_000_000 && !came.ends_with(b"0\r\n\r\n"));
            }
        }
    }
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// The faults above, many at once, leave nothing behind: no descriptor, and no memory to speak of.
#[test]
fn nothing_leaks() {
    let (upstream, ekbo) = played();
    let files = ekbo.open_files();
    for _ in 0..5 {
        let mut clients: Vec<Http> = (0..40).map(|_| ekbo.http()).collect();
        clients.iter_mut().for_each(|client| client.write(GET));
        for number in 0..clients.len() {
            let mut inbound = upstream.accept();
            inbound.head();
            match number % 5 {
                0 => inbound.reset(),
                1 => inbound.write("garbage\r\n\r\n"),
                2 => inbound.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
                3 => inbound.write("HTTP/1.1 200 OK\r\n\r\nhello"),
                _ => drop(inbound),
            }
        }
        for mut client in clients {
            client.finish_writing();
            client.rest();
        }
    }
    eventually("no connection is left", || ekbo.open_files() == files);
}

/// An `ekbo` with a time-out of its upstream set.
fn timed(url: &str, key: &str, value: &str) -> EkboPlan {
    Ekbo::alone().set("upstream.url", url).set(&format!("upstream.{key}"), value)
}

/// Checks an answer of our own that tells of a failure of the upstream; it `says` why.
#[track_caller]
fn expect_failure(response: &Response, status: u16, says: &str) {
    assert_eq!(response.status, status, "{response:?} {}", response.text());
    assert!(response.text().starts_with("upstream: "), "{:?}", response.text());
    assert!(response.text().contains(says), "{:?} does not say {says:?}", response.text());
    assert!(response.header("Content-Type").unwrap().starts_with("text/plain"), "{response:?}");
}

/// The lines of an answer's head, in lower case.
#[track_caller]
fn head_of_answer(client: &mut Http) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = client.line();
        if line.is_empty() {
            return lines;
        }
        lines.push(line.to_ascii_lowercase());
    }
}
