//! What a request is when it arrives at the upstream, and its answer when it arrives at the client.

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const TRUTH: &str =
    "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n";

/// The head in which a request arrives, without what we say of its client.
async fn arriving(request: &str) -> String {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(request).await;
    let mut upstream = scene.accept().await;
    let head = upstream.head().await;
    upstream.send(OK).await;
    client.expect("HTTP/1.1 200 OK\r\n").await;
    let is_ours = |line: &&str| line.starts_with("X-Forwarded-");
    head.split_inclusive("\r\n").filter(|line| !is_ours(line)).collect()
}

/// The answer that a client gets, without its date.
async fn answered(request: &str, answer: &str) -> (String, String) {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(request).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send(answer).await;
    drop(upstream);
    let head = client.head().await;
    client.0.shutdown().await.unwrap();
    (head, client.rest().await)
}

/// The answer to a request that does not get to the upstream.
async fn refused(request: &str) -> (String, String) {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(request).await;
    let head = client.head().await;
    let body = client.rest().await;
    scene.assert_untouched();
    (head.lines().next().unwrap().to_owned(), body)
}

#[tokio::test]
async fn a_request_is_what_it_was() {
    let scene = Scene::new().await;
    let lines = "x-b:1\r\nHOST: a\r\nX-A:  two  \r\nx-b: 3\r\nContent-Length: 005\r\nEmpty:\r\n";
    let mut client = scene
        .client_sending(&format!("PATCH //a/../b%2F?x=%zz&y#z HTTP/1.1\r\n{lines}\r\nhello"))
        .await;
    let mut upstream = scene.accept().await;
    let lines = "x-b: 1\r\nHOST: a\r\nX-A: two\r\nx-b: 3\r\nContent-Length: 005\r\nEmpty: \r\n";
    let head = format!("PATCH //a/../b%2F?x=%zz&y#z HTTP/1.1\r\n{lines}{TRUTH}\r\n");
    upstream.expect(&head).await;
    upstream.expect("hello").await;
    upstream
        .send("HTTP/1.1 299 Fine by me\r\nx-one: 1\r\nContent-Length: 2\r\nX-One: 2\r\n\r\nok")
        .await;
    let head = "HTTP/1.1 299 Fine by me\r\nx-one: 1\r\nX-One: 2\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(client.head().await, head);
    client.expect("ok").await;
    assert_eq!(scene.log(1).await, ["PATCH //a/../b%2F?x=%zz&y#z 299 2"]);
    assert!(format!("{:?}", scene.relay).contains("answers: [(299, 1)]"));
}

#[tokio::test]
async fn targets() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    for target in ["/", "/a<b>|{}^`\"\\", "/?", "*/x"] {
        if target.starts_with('/') {
            let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(arriving(&get(target)).await, line);
        } else {
            assert_eq!(refused(&get(target)).await.0, "HTTP/1.1 400 Bad Request", "{target}");
        }
    }
    for (target, arrives) in [
        ("http://a/b?c", "/b?c"),
        ("HTTP://A:80", "/"),
        ("http://a?b", "/?b"),
        ("https://a:443/", "/"),
    ] {
        let arriving = arriving(&get(target)).await;
        assert_eq!(arriving, get(arrives), "{target}");
    }
    for target in
        ["*", "a", "ftp://a/", "http://b/", "http://a:81/", "http://x@a/", "http:///", "/\u{e9}"]
    {
        assert_eq!(refused(&get(target)).await.0, "HTTP/1.1 400 Bad Request", "{target}");
    }
    // An old client may name its host in the target alone.
    let scene = Scene::new().await;
    let _client = scene.client_sending("GET http://b:81/c HTTP/1.0\r\n\r\n").await;
    let mut upstream = scene.accept().await;
    upstream.expect("GET /c HTTP/1.1\r\nHost: b:81\r\n").await;
    for host in ["", "x@b", "b:c", "b\\c", "b\"c", "b|c", "[::1", ":80", "b:99999"] {
        let (line, body) = refused(&format!("GET http://{host}/ HTTP/1.0\r\n\r\n")).await;
        assert!(line.ends_with(" 400 Bad Request"), "{host}: {line}");
        assert_eq!(body, "the target has a malformed host\n", "{host}");
    }
    for (target, arrives) in [("*", "*"), ("http://a", "*"), ("http://a/", "/")] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let expected = format!("OPTIONS {arrives} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(arriving(&request).await, expected, "{target}");
    }
}

#[tokio::test]
async fn fields_that_end_here() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Own, close\r\n\
                   Keep-Alive: 5\r\nProxy-Connection: b\r\nx-own: 1\r\nUpgrade: c\r\n\
                   TE: deflate\r\nProxy-Authorization: d\r\nTrailer: e\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: d\r\nTrailer: e\r\n\r\n";
    assert_eq!(arriving(request).await, expected);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: te\r\nTE: gzip, Trailers\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    assert_eq!(arriving(request).await, expected);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    assert_eq!(arriving(request).await, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for name in ["Host", "content-length", "X-Forwarded-For", "x_forwarded_proto", "Forwarded"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, {name}\r\n\r\n");
        let (line, body) = refused(&request).await;
        assert_eq!(line, "HTTP/1.1 400 Bad Request", "{name}");
        assert_eq!(body, "the Connection field names a field that is not the connection's\n");
    }
}

/// What is compared with every field, and what an answer is compared with, has an end.
#[tokio::test]
async fn lists_that_go_on_and_on() {
    let request = |options: usize, protocols: usize| {
        let (options, protocols) = ("a,".repeat(options - 1), "b,".repeat(protocols));
        let fields = format!("Connection: {options}upgrade\r\nUpgrade: {protocols}\r\n");
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    };
    assert!(arriving(&request(100, 100)).await.contains("\r\nUpgrade: b,b,"));
    for (options, protocols, says) in [
        (101, 1, "the Connection field has more than 100 options\n"),
        (2, 101, "the Upgrade field has more than 100 protocols\n"),
    ] {
        let (line, body) = refused(&request(options, protocols)).await;
        assert_eq!((&*line, &*body), ("HTTP/1.1 400 Bad Request", says));
    }
}

#[tokio::test]
async fn a_request_of_http_1_0() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending("GET /a HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").await;
    let mut upstream = scene.accept().await;
    let host = scene.upstream.local_addr().unwrap();
    assert!(upstream.head().await.starts_with(&format!("GET /a HTTP/1.1\r\nHost: {host}\r\nX-F")));
    upstream
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.head().await, "HTTP/1.0 200 OK\r\n\r\n");
    assert_eq!(client.rest().await, "ok");
}

#[tokio::test]
async fn whom_to_believe() {
    let scene = Scene::with(|config, _| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let scene = scene.await;
    let said = "X-Forwarded-For: 1.1.1.1\r\nX_Forwarded_For: 2.2.2.2\r\n\
                X-Forwarded-Proto: https\r\nForwarded: for=2.2.2.2\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{said}\r\n");
    let _client = scene.client_sending(&request).await;
    let head = scene.accept().await.head().await;
    assert_eq!(
        head,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 127.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n\r\n"
    );
    let scene = Scene::new().await;
    let _client = scene.client_sending(&request).await;
    let head = scene.accept().await.head().await;
    assert_eq!(head, format!("GET / HTTP/1.1\r\nHost: a\r\n{TRUTH}\r\n"));
}

#[tokio::test]
async fn bodies_in_chunks_stay_so() {
    let scene = Scene::new().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n";
    let mut client = scene.client_sending(head).await;
    let mut upstream = scene.accept().await;
    assert!(upstream.head().await.contains("\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"));
    client.send("5;x=y\r\nhello\r\n").await;
    upstream.expect("5\r\nhello\r\n").await;
    let large = "x".repeat(100_000);
    client.send(format!("{:x}\r\n{large}\r\n", large.len())).await;
    let mut read = 0;
    while read < large.len() {
        let line = {
            let mut line = String::new();
            while !line.ends_with("\r\n") {
                line.push(char::from(upstream.0.read_u8().await.unwrap()));
            }
            line
        };
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        upstream.expect(&format!("{}\r\n", "x".repeat(size))).await;
        read += size;
    }
    client.send("0\r\nX-Sum: 7\r\nContent-Length: 3\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n").await;
    upstream.expect("0\r\nX-Sum: 7\r\n\r\n").await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect("3\r\nabc\r\n").await;
    upstream.send("1\r\nd\r\n0\r\nX-Sum: 8\r\nSet-Cookie: no\r\n\r\n").await;
    client.expect("1\r\nd\r\n0\r\nX-Sum: 8\r\n\r\n").await;
    assert_eq!(scene.log(1).await, ["POST / 200 4"]);
}

#[tokio::test]
async fn answers_without_a_body() {
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, answer, expected) in [
        (
            head,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ),
        (get, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            get,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            get,
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
    ] {
        let found = answered(request, answer).await;
        assert_eq!(found, (expected.to_owned(), String::new()), "{answer:?}");
    }
}

#[tokio::test]
async fn answers_of_old_servers_end_with_the_connection() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (head, body) = answered(get, "HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello").await;
    assert_eq!(head, "HTTP/1.1 200 OK\r\nServer: old\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(body.replace("5\r\nhello\r\n", "hello"), "hello0\r\n\r\n");
}

#[tokio::test]
async fn a_stream_of_events_arrives_as_it_comes() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    for _ in 0..3 {
        upstream.send("8\r\ndata: 1\n\r\n").await;
        client.expect("8\r\ndata: 1\n\r\n").await;
    }
}

#[tokio::test]
async fn a_client_is_asked_for_its_body_when_the_upstream_asks() {
    let scene = Scene::new().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut client = scene.client_sending(head).await;
    let mut upstream = scene.accept().await;
    assert!(upstream.head().await.contains("\r\nExpect: 100-continue\r\n"));
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("hello").await;
    upstream.expect("hello").await;
    upstream.send(OK).await;
    client.expect("HTTP/1.1 200 OK\r\n").await;
}

#[tokio::test]
async fn a_client_that_is_not_asked_keeps_its_body() {
    let scene = Scene::new().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut client = scene.client_sending(head).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head, "HTTP/1.1 417 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    upstream.ended().await;
}

#[tokio::test]
async fn a_client_is_asked_for_its_body_when_the_upstream_says_nothing() {
    let scene = Scene::with(|_, patience| patience.invitation = Duration::from_millis(20)).await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut client = scene.client_sending(head).await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("hello").await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.expect("hello").await;
}

#[tokio::test]
async fn connections_are_kept() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    let mut upstream: Option<Peer> = None;
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
        let upstream = match &mut upstream {
            Some(upstream) => upstream,
            none => none.insert(scene.accept().await),
        };
        upstream.head().await;
        upstream.expect("hi").await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nho").await;
        client.head().await;
        client.expect("ho").await;
    }
    scene.assert_untouched();
}

#[tokio::test]
async fn connections_are_not_kept_against_the_upstreams_word() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 More\r\n\r\n",
        "HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 OK\r\nContent-Length: 4\r\n\r\n",
    ] {
        let scene = Scene::new().await;
        let mut client = scene.client_sending("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        upstream.send(answer).await;
        client.expect(&format!("HTTP/1.1 {} OK\r\n", &answer[9..12])).await;
        upstream.ended().await;
    }
}

#[tokio::test]
async fn a_large_body_goes_through() {
    let scene = Scene::new().await;
    let size = 5_000_000;
    let mut client = scene.client().await;
    let uploading = async {
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).await;
        client.send(vec![b'u'; size]).await;
        client.head().await;
        let mut body = vec![0; size];
        client.0.read_exact(&mut body).await.unwrap();
        assert!(body.iter().all(|byte| *byte == b'd'));
    };
    let serving = async {
        let mut upstream = scene.accept().await;
        upstream.head().await;
        let mut body = vec![0; size];
        upstream.0.read_exact(&mut body).await.unwrap();
        assert!(body.iter().all(|byte| *byte == b'u'));
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).await;
        upstream.send(vec![b'd'; size]).await;
    };
    within(async { tokio::join!(uploading, serving) }).await;
    assert_eq!(scene.log(1).await, [format!("PUT / 200 {size}")]);
}
