//! What goes wrong: the client sees a plain error, or that its answer is cut off, and the upstream
//! never a request that nobody has made.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SHORT: Duration = Duration::from_millis(50);

/// Status line and body of an answer.
async fn answer(client: &mut Peer) -> (String, String) {
    let head = client.head().await;
    let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    within(client.0.read_exact(&mut body)).await.unwrap();
    (head.lines().next().unwrap().to_owned(), String::from_utf8(body).unwrap())
}

async fn assert_answer(client: &mut Peer, status: &str, body: &str) {
    let (line, found) = answer(client).await;
    assert_eq!((line.as_str(), found.trim_end()), (format!("HTTP/1.1 {status}").as_str(), body));
}

#[tokio::test]
async fn an_upstream_that_is_not_there() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let scene = Scene::with(|config, _| {
        let Target::Good(address) = Target::parse(&url) else { panic!("{url}") };
        config.address = address;
    });
    let scene = scene.await;
    let mut client = scene.client_sending(GET).await;
    let (line, body) = answer(&mut client).await;
    assert_eq!(line, "HTTP/1.1 502 Bad Gateway");
    assert!(body.starts_with("upstream: cannot connect: Connection refused"), "{body}");
    assert_eq!(scene.log(1).await, [format!("GET / 502 {}", body.len())]);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer() {
    let scene = Scene::with(|_, patience| patience.response = SHORT).await;
    let mut client = scene.client_sending(GET).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    // An interim answer is none.
    upstream.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert_answer(&mut client, "504 Gateway Timeout", "upstream: no answer within 50ms").await;
    upstream.ended().await;
}

/// The time for an answer is not begun anew by what is none: neither by bytes of a head, one by one, nor
/// by interim answers.
#[tokio::test]
async fn an_upstream_that_only_seems_to_answer() {
    for drip in ["x", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let scene = Scene::with(|_, patience| patience.response = 4 * SHORT).await;
        let mut client = scene.client_sending(GET).await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        let dripping = async {
            if drip == "x" {
                upstream.send("HTTP/1.1 200 OK\r\nX: ").await;
            }
            let mut ticks = tokio::time::interval(SHORT);
            while upstream.0.write_all(drip.as_bytes()).await.is_ok() {
                ticks.tick().await;
            }
        };
        let reason = "upstream: no answer within 200ms";
        tokio::join!(dripping, assert_answer(&mut client, "504 Gateway Timeout", reason));
    }
}

/// The time for the answer begins when the upstream has all of the body that it has asked for.
#[tokio::test]
async fn an_upstream_that_asks_for_a_body_and_does_not_answer() {
    let scene = Scene::with(|_, patience| patience.response = SHORT).await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let mut client = scene.client_sending(head).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    // In vain: until the client has sent its body there is no answer to wait for.
    let early = timeout(3 * SHORT, upstream.0.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    client.send("hi").await;
    upstream.expect("hi").await;
    assert_answer(&mut client, "504 Gateway Timeout", "upstream: no answer within 50ms").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_read() {
    let scene = Scene::with(|_, patience| patience.response = SHORT).await;
    let mut client = scene.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n").await;
    let upstream = scene.accept().await;
    let (mut reader, mut writer) = client.0.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![0; 100_000];
        while writer.write_all(&piece).await.is_ok() {}
    });
    let mut status = [0; 12];
    within(reader.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 504");
    sending.abort();
    drop(upstream);
}

#[tokio::test]
async fn answers_that_are_none() {
    for (answer, reason) in [
        ("", "the connection ended before its answer did"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "the connection ended before its answer did"),
        ("nonsense\r\n\r\n", "malformed answer: malformed head: invalid HTTP version"),
        ("HTTP/2.0 200 OK\r\n\r\n", "malformed answer: malformed head: invalid HTTP version"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
            "malformed answer: malformed or contradictory Content-Length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "malformed answer: Content-Length beside Transfer-Encoding",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "malformed answer: a Transfer-Encoding other than chunked",
        ),
        (
            &format!("HTTP/1.1 200 OK\r\nConnection: {}\r\n\r\n", "x,".repeat(101)),
            "malformed answer: more than 100 options in Connection",
        ),
        // In one piece with a head that the client has not seen yet.
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfit\r\nnonsense\r\n",
            "malformed answer: malformed size of a chunk",
        ),
    ] {
        let scene = Scene::new().await;
        let mut client = scene.client_sending(GET).await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        upstream.send(answer).await;
        drop(upstream);
        let reason = format!("upstream: {reason}");
        assert_answer(&mut client, "502 Bad Gateway", &reason).await;
        scene.log(1).await;
    }
}

#[tokio::test]
async fn a_head_without_end() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(GET).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\n").await;
    while upstream
        .0
        .write_all(b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
        .await
        .is_ok()
    {}
    let reason = "upstream: malformed answer: the head is longer than 400 KiB";
    assert_answer(&mut client, "502 Bad Gateway", reason).await;
}

#[tokio::test]
async fn interim_answers_without_end() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(GET).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    while upstream.0.write_all(b"HTTP/1.1 102 Wait\r\n\r\n").await.is_ok() {}
    let reason = "upstream: malformed answer: more than 100 interim answers";
    assert_answer(&mut client, "502 Bad Gateway", reason).await;
}

/// The client sees that something is missing.
#[tokio::test]
async fn answers_that_break_off() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let until_end = "HTTP/1.1 200 OK\r\n\r\nhello";
    for (answer, breaks) in [
        (length, "end"),
        (chunked, "end"),
        (length, "reset"),
        (chunked, "reset"),
        (until_end, "reset"),
        (length, "silence"),
        (until_end, "silence"),
        (chunked, "nonsense"),
    ] {
        let scene = Scene::with(|_, patience| patience.body = SHORT).await;
        let mut client = scene.client_sending(GET).await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        upstream.send(answer).await;
        let head = client.head().await;
        let body = if head.contains("chunked") { "5\r\nhello\r\n" } else { "hello" };
        client.expect(body).await;
        match breaks {
            "end" => drop(upstream),
            "reset" => upstream.reset(),
            "nonsense" => {
                upstream.send("nonsense").await;
                upstream.ended().await;
            }
            _ => upstream.ended().await,
        }
        client.ended().await;
        assert_eq!(scene.log(1).await, ["GET / 200 5"], "{answer:?} {breaks}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come() {
    let scene = Scene::with(|_, patience| patience.body = SHORT).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
    let mut client = scene.client_sending(head).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.expect("hello").await;
    let reason = "the body of the request stood still for 50ms";
    assert_answer(&mut client, "408 Request Timeout", reason).await;
    upstream.ended().await;
    client.ended().await;
}

#[tokio::test]
async fn a_body_that_makes_no_sense() {
    let scene = Scene::new().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bad in ["x\r\n", "5\r\nhelloX", "0\r\nX\r\n\r\n"] {
        let mut client = scene.client_sending(&format!("{head}2\r\nhi\r\n")).await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        upstream.expect("2\r\nhi\r\n").await;
        client.send(bad).await;
        assert!(client.head().await.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{bad:?}");
        let rest = upstream.rest().await;
        assert!(!rest.contains("0\r\n"), "{bad:?}: {rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves() {
    let scene = Scene::new().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
    let client = scene.client_sending(head).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.expect("hello").await;
    drop(client);
    upstream.ended().await;
    let client = scene.client_sending(GET).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    client.reset();
    upstream.ended().await;
    assert_eq!(scene.log(2).await[1], "GET / 0 0");
}

/// It has ended its side, and waits.
#[tokio::test]
async fn a_client_that_has_said_everything() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(GET).await;
    client.0.shutdown().await.unwrap();
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    client.head().await;
    client.expect("ok").await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer() {
    let scene = Scene::with(|_, patience| patience.body = SHORT).await;
    let _client = scene.client_sending(GET).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let piece = vec![0; 100_000];
    while within(upstream.0.write_all(&piece)).await.is_ok() {}
}

/// Whoever is to blame for an answer that stands still is named: the client in nobody's log but that of
/// who looks for it.
#[tokio::test]
async fn who_is_to_blame() {
    for (size, level, says) in [
        (100_000_000, "DEBUG", "the client has taken nothing of its answer for 50ms"),
        (5, "WARN", "upstream: the answer stood still for 50ms"),
    ] {
        let (mut log, guard) = logging();
        let scene = Scene::with(|_, patience| patience.body = SHORT).await;
        let _client = scene.client_sending(GET).await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n").await;
        let _ = within(upstream.0.write_all(&vec![0; size])).await;
        upstream.ended().await;
        scene.log(1).await;
        drop((scene, guard));
        let mut lines = String::new();
        std::io::Read::read_to_string(&mut log, &mut lines).unwrap();
        let line = lines.lines().find(|line| line.contains("upstream request failed")).unwrap();
        assert!(line.contains(level) && line.contains(says), "{line}");
    }
}

#[tokio::test]
async fn an_answer_before_the_request_is_whole() {
    let scene = Scene::new().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
    let mut client = scene.client_sending(head).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nn").await;
    assert!(client.head().await.contains("\r\nConnection: close\r\n"));
    client.expect("n").await;
    // The upload goes on while the answer does.
    client.send("wor").await;
    upstream.expect("hellowor").await;
    upstream.send("o!").await;
    client.expect("o!").await;
    upstream.ended().await;
    client.ended().await;
}

#[tokio::test]
async fn an_answer_from_an_upstream_that_reads_no_more() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n").await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno").await;
    drop(upstream);
    let (mut reader, mut writer) = client.0.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![0; 100_000];
        while writer.write_all(&piece).await.is_ok() {}
    });
    let mut status = [0; 12];
    within(reader.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    sending.abort();
}

/// A kept connection that has ended is no reason to fail, if the request may be made twice.
#[tokio::test]
async fn requests_are_repeated_when_a_kept_connection_ends() {
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for (request, is_repeated) in [(GET, true), (put, true), (post, false)] {
        let scene = Scene::new().await;
        let mut client = scene.client_sending(GET).await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        client.expect("HTTP/1.1 204 No Content\r\n").await;
        client.head().await;
        client.send(request).await;
        upstream.head().await;
        drop(upstream);
        if is_repeated {
            let mut upstream = scene.accept().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 205 Again\r\nContent-Length: 0\r\n\r\n").await;
            client.expect("HTTP/1.1 205 Again\r\n").await;
        } else {
            client.expect("HTTP/1.1 502 Bad Gateway\r\n").await;
            scene.assert_untouched();
        }
    }
}

/// A second time would be a third for all one knows.
#[tokio::test]
async fn requests_are_not_repeated_on_a_new_connection() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(GET).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    drop(upstream);
    client.expect("HTTP/1.1 502 Bad Gateway\r\n").await;
    scene.assert_untouched();
}

/// What comes unasked is not the answer to the next request.
#[tokio::test]
async fn a_kept_connection_that_speaks_is_ended() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(GET).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;
    upstream.send("HTTP/1.1 200 Evil\r\nContent-Length: 0\r\n\r\n").await;
    client.send(GET).await;
    let mut next = scene.accept().await;
    next.head().await;
    next.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.expect("HTTP/1.1 204 No Content\r\n").await;
    upstream.ended().await;
}
