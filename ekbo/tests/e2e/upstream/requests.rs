//! Requests on their way to the application: what arrives is what the client wrote, but for what
//! concerns the connection alone.

use super::super::harness::{Answer, Backend, Ekbo, End, Upstream};
use super::{DONE, answer_next, played, relay};

/// Method, target and fields in their order and spelling, repeated ones too.
#[test]
fn a_request_arrives_as_it_was_written() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, head) = relay(
        &ekbo,
        &upstream,
        b"REPORT /one/two?three=four HTTP/1.1\r\nhOST: Example.COM:81\r\nx-lower: a\r\nCookie: a=1\r\n\
          X-Twice: one\r\nACCEPT: */*\r\nX-Twice: two\r\nx-twice:   \"three, four\"  \r\n\
          X-Empty:\r\nX-Latin: caf\xe9\r\nx.odd!#$%&'*+-^_`|~: ?\r\nUser-Agent: a  b\tc\r\n\
          Via: 1.0 somebody\r\nReferer: http://elsewhere/\r\nAuthorization: Basic YTpi\r\n\r\n",
    );
    assert_eq!(head.request_line, "REPORT /one/two?three=four HTTP/1.1");
    assert_eq!(
        head.fields_of_the_client(),
        [
            "hOST: Example.COM:81",
            "x-lower: a",
            "Cookie: a=1",
            "X-Twice: one",
            "ACCEPT: */*",
            "X-Twice: two",
            "x-twice: \"three, four\"",
            "X-Empty: ",
            "X-Latin: caf\u{e9}",
            "x.odd!#$%&'*+-^_`|~: ?",
            "User-Agent: a  b\tc",
            "Via: 1.0 somebody",
            "Referer: http://elsewhere/",
            "Authorization: Basic YTpi",
        ]
    );
    assert!(inbound.is_silent(), "a body of its own");
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
}

/// Nobody tidies a target up: not its slashes, its dots or its escapes, right or wrong.
#[test]
fn targets_arrive_byte_for_byte() {
    let (upstream, ekbo) = played();
    let printable: String = (0x21..=0x7e).map(char::from).collect();
    let long = format!("/{}", "long/".repeat(2000));
    for target in [
        "/",
        "//a/../b%2F?x=%zz&y",
        "/a<b",
        "/a//b/./c/../d/",
        "//",
        "//host/path",
        "/..",
        "/../../etc/passwd",
        "/%2e%2e/%2E%2E/%00%ff%FF",
        "/a;b=c;d?",
        "/??a=b?c&&&=",
        "/\"quoted\"|{braces}^`[brackets]\\back\\..\\slash",
        "/a#fragment",
        "/ping/..",
        "/ping/",
        "/PING",
        "/?",
        "/http://example.com/",
        &format!("/{printable}?{printable}"),
        &long,
    ] {
        let mut client = ekbo.http();
        client.write(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(answer_next(&upstream).target(), target);
        assert_eq!(client.read().status, 204, "{target}");
    }
}

#[test]
fn methods_are_the_application_s_affair() {
    let (upstream, ekbo) = played();
    for method in [
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PROPFIND",
        "get",
        "!#$%&'*+-.^_`|~9",
    ] {
        let mut client = ekbo.http();
        client.write(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(answer_next(&upstream).request_line, format!("{method} / HTTP/1.1"));
        assert_eq!(client.read().status, 204, "{method}");
    }
}

/// Hosts of every legal form are kept.
#[test]
fn the_host_is_kept() {
    let (upstream, ekbo) = played();
    for host in ["example.com", "EXAMPLE.com:8080", "[::1]:80", "127.0.0.1", "under_score.x", "x:"]
    {
        let mut client = ekbo.http();
        client.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer_next(&upstream).all("Host"), [host]);
        assert_eq!(client.read().status, 204, "{host}");
    }
}

/// RFC 9110 section 7.6.1: what is between client and `ekbo` alone goes no further.
#[test]
fn fields_of_the_connection_stay_behind() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, head) = relay(
        &ekbo,
        &upstream,
        "GET / HTTP/1.1\r\nHost: x\r\nX-First: 1\r\nConnection: keep-alive, X-Private\r\n\
         connection: x-other\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         X-PRIVATE: secret\r\nX-Other: too\r\nUpgrade: h2c\r\nX-Private-Not: stays\r\nX-Last: 2\r\n\r\n",
    );
    assert_eq!(
        head.fields_of_the_client(),
        ["Host: x", "X-First: 1", "X-Private-Not: stays", "X-Last: 2"]
    );
    inbound.write(DONE);
    let response = client.read();
    assert_eq!(response.status, 204);
    // The upstream's `Connection: close` is none of the client's business.
    client.write("GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer_next(&upstream).target(), "/again");
}

/// RFC 9112 section 2.2: what is lenient in the lines of a head is strict when it goes on.
#[test]
fn bare_line_feeds() {
    let (upstream, ekbo) = played();
    let mut client = ekbo.http();
    client.write("\r\nPOST / HTTP/1.1\nHost: x\r\nX-A: b\nContent-Length: 2\n\nhi");
    let mut inbound = upstream.accept();
    let head = inbound.head();
    assert_eq!(head.fields_of_the_client(), ["Host: x", "X-A: b", "Content-Length: 2"]);
    inbound.expect("hi");
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
}

/// RFC 9110 section 10.1.4: of `TE` only that trailers are welcome can be passed on.
#[test]
fn trailers_are_asked_for() {
    let (upstream, ekbo) = played();
    for (fields, passed_on) in [
        ("TE: trailers\r\nConnection: TE\r\n", &["trailers"][..]),
        ("TE: gzip, Trailers\r\nConnection: te\r\n", &["trailers"]),
        ("TE: gzip\r\nConnection: TE\r\n", &[]),
    ] {
        let mut client = ekbo.http();
        client.write(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let head = answer_next(&upstream);
        assert_eq!(head.all("TE"), passed_on, "{fields}");
        let named = head.all("Connection").iter().any(|value| value.eq_ignore_ascii_case("TE"));
        assert_eq!(named, !passed_on.is_empty(), "{fields}: {head:?}");
        assert_eq!(client.read().status, 204, "{fields}");
    }
}

/// Who names a field in `Connection` has it removed; not one that says what the request is, or where
/// it came from.
#[test]
fn nothing_that_matters_is_talked_away() {
    let (upstream, ekbo) = played();
    for named in
        ["Host", "content-length", "X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto"]
    {
        let mut client = ekbo.http();
        client.write(format!(
            "POST /{named} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, {named}\r\n\
             Content-Length: 2\r\n\r\nhi"
        ));
        let response = client.read();
        assert_eq!(response.status, 400, "{named}: {response:?}");
        client.read_end();
    }
    let mut client = ekbo.http();
    client.write("GET /marker HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer_next(&upstream).target(), "/marker");
}

/// RFC 9112 section 3.2.2: an absolute target becomes what it stands for.
#[test]
fn absolute_targets() {
    let (upstream, ekbo) = played();
    for (method, target, becomes) in [
        ("GET", "http://x/path?query", "/path?query"),
        ("GET", "HTTP://X/a//b%2f/../c", "/a//b%2f/../c"),
        ("GET", "http://x", "/"),
        ("GET", "http://x?query", "/?query"),
        ("GET", "http://x/?a=http://y/", "/?a=http://y/"),
        ("OPTIONS", "http://x", "*"),
        ("OPTIONS", "http://x/", "/"),
    ] {
        let mut client = ekbo.http();
        client.write(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let head = answer_next(&upstream);
        assert_eq!(head.request_line, format!("{method} {becomes} HTTP/1.1"), "{target}");
        assert_eq!(head.all("Host"), ["x"], "{target}");
        assert_eq!(client.read().status, 204, "{target}");
    }
}

/// `*` asks for what the server as a whole can do.
#[test]
fn options_of_the_whole_server() {
    let (upstream, ekbo) = played();
    let (mut client, mut inbound, head) =
        relay(&ekbo, &upstream, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(head.request_line, "OPTIONS * HTTP/1.1");
    inbound.write("HTTP/1.1 200 OK\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.read().header("Allow"), Some("GET, HEAD"));
}

/// A client of HTTP/1.0 has its answer as it can read it: without chunks, up to the end of the
/// connection. Upgrades are not for it.
#[test]
fn a_client_of_http_1_0() {
    let (upstream, ekbo) = played();
    for (host, arrives) in
        [("", upstream.authority()), ("Host: example.com\r\n", "example.com".into())]
    {
        let (mut client, mut inbound, head) = relay(
            &ekbo,
            &upstream,
            format!("GET / HTTP/1.0\r\n{host}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        );
        assert_eq!(head.request_line, "GET / HTTP/1.1");
        assert_eq!(head.all("Host"), [&*arrives]);
        assert_eq!(head.all("Upgrade"), [""; 0]);
        assert_eq!(head.all("Connection"), [""; 0]);
        inbound.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        inbound.write("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
        let response = client.read();
        assert!(!response.has_header("Transfer-Encoding"), "{response:?}");
        assert_eq!(response.text(), "hello world");
        assert_eq!(client.read_end(), End::Eof);
    }
}

/// Over a unix socket there is no authority to name, so a made-up one has to do.
#[test]
fn a_unix_socket() {
    let upstream = Upstream::start_unix();
    let ekbo = Ekbo::in_front_of(&upstream.url()).start();
    let (mut client, mut inbound, head) =
        relay(&ekbo, &upstream, "GET /path HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(head.request_line, "GET /path HTTP/1.1");
    assert_eq!(head.all("Host"), ["example.com"]);
    inbound.write(DONE);
    assert_eq!(client.read().status, 204);
    let (_client, _inbound, head) = relay(&ekbo, &upstream, "GET /path HTTP/1.0\r\n\r\n");
    assert_eq!(head.all("Host").len(), 1, "{head:?}");
}

/// KB-NET-5: a head of nearly 1 MiB goes on as it came, in one field or in many.
#[test]
fn a_large_head() {
    let (upstream, ekbo) = played();
    for fields in [
        format!("X-Long: {}\r\n", "x".repeat(1_000_000)),
        (0..15_000).map(|number| format!("X-{number}: {number}\r\n")).collect::<String>(),
    ] {
        let (mut client, mut inbound, head) =
            relay(&ekbo, &upstream, format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let came: String =
            head.fields_of_the_client().iter().map(|field| format!("{field}\r\n")).collect();
        assert!(came == format!("Host: x\r\n{fields}"), "{} bytes", came.len());
        inbound.write(DONE);
        assert_eq!(client.read().status, 204);
    }
}

/// An application behind TLS is asked if its certificate is good for its name, and not otherwise.
#[test]
fn an_upstream_over_tls() {
    let application = Backend::plan().on("/page", Answer::ok().body("hello")).start_tls();
    let trusting = |url: &str| {
        Ekbo::in_front_of(url).environment("SSL_CERT_FILE", application.certificate()).start()
    };
    let ekbo = trusting(&application.url(""));
    let mut client = ekbo.http();
    for _ in 0..3 {
        let page = client.exchange("GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert_eq!(page.text(), "hello");
    }
    let asked = &application.requests("/page")[2];
    assert_eq!(asked.header("Host"), Some("example.com"));
    assert_eq!(asked.header("X-Forwarded-Proto"), Some("http"));
    assert_eq!(application.connections(), 1);

    let elsewhere = application.url("").replace("localhost", "127.0.0.1");
    for ekbo in [trusting(&elsewhere), Ekbo::in_front_of(&application.url("")).start()] {
        assert_eq!(ekbo.get("/page").status, 502);
    }
    assert_eq!(application.requests("/page").len(), 3);
}

/// Requests asked ahead of each other's answers go there one after the other, bodies and all, and are
/// answered in order.
#[test]
fn requests_asked_ahead() {
    let (upstream, ekbo) = played();
    let all = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n\
               POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
               GET /ping HTTP/1.1\r\nHost: x\r\n\r\n\
               POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
               HEAD /4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for piece in [all.len(), 100, 7] {
        let mut client = ekbo.http();
        for piece in all.as_bytes().chunks(piece) {
            client.write(piece);
        }
        for number in 1..=4 {
            let mut inbound = upstream.accept();
            assert_eq!(inbound.head().target(), format!("/{number}"));
            match number {
                2 => inbound.expect("hello"),
                3 => assert_eq!(inbound.chunks().0, b"hello"),
                _ => {}
            }
            assert!(upstream.try_accept().is_none(), "the next before the answer to {number}");
            inbound
                .write(format!("HTTP/1.1 200 OK\r\nX-Number: {number}\r\nConnection: close\r\n"));
            inbound.write(if number == 4 { "\r\n" } else { "Content-Length: 2\r\n\r\nok" });
            let method = if number == 4 { "HEAD" } else { "GET" };
            let response = client.read_answer_to(method);
            assert_eq!(response.header("X-Number"), Some(&*number.to_string()));
            if number == 2 {
                assert_eq!(client.read().text(), r#"{"result":"OK"}"#);
            }
        }
        assert_eq!(client.read_end(), End::Eof);
    }
}

/// A client that ends its side behind its request has the answer whole, and its next one as well.
#[test]
fn a_client_that_has_said_everything() {
    let (upstream, ekbo) = played();
    let mut client = ekbo.http();
    client.write(
        "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
         GET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    client.finish_writing();
    for target in ["/1", "/2"] {
        let mut inbound = upstream.accept();
        assert_eq!(inbound.head().target(), target);
        if target == "/1" {
            inbound.expect("hello");
        }
        inbound.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nsl");
        inbound.write("ow!");
        assert_eq!(client.read().text(), "slow!", "{target}");
    }
    assert_eq!(client.read_end(), End::Eof);
}
