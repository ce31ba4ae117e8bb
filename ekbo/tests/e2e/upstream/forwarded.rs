//! What the application is told of where a request came from, and whose word for it is taken.

use super::super::harness::{Ekbo, EkboPlan, Head, Upstream};
use super::answer_next;

/// What somebody claims who has come over two other proxies, by every name there is for it.
const CLAIMS: &str = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: shop.example\r\nx-forwarded-for: 10.1.2.3\r\n";

/// The claims of an attacker that go beyond the three fields.
const MORE_CLAIMS: &str = "Forwarded: for=192.0.2.1;host=evil;proto=https\r\nX-Forwarded-Port: 443\r\n\
                           X-FORWARDED-SERVER: evil\r\nX-Forwarded-Prefix: /evil\r\n\
                           X-Forwarded: for=evil\r\n";

/// A peer that nobody trusts is told of as it is, whatever it says.
#[test]
fn claims_of_a_stranger() {
    for trusted in ["[]", "[10.0.0.0/8, 127.0.0.2, \"::1/128\", unix]"] {
        let upstream = Upstream::start();
        let ekbo = Ekbo::in_front_of(&upstream.url()).set("trusted_proxies", trusted).start();
        let head = told(&ekbo, &upstream, &format!("{CLAIMS}{MORE_CLAIMS}"));
        assert_eq!(head.all("X-Forwarded-For"), ["127.0.0.1"]);
        assert_eq!(head.all("X-Forwarded-Proto"), ["http"]);
        assert_eq!(head.all("X-Forwarded-Host"), ["app.example:81"]);
        for name in ["Forwarded", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix"] {
            assert_eq!(head.all(name), [""; 0], "{name}");
        }
        let others = told(&ekbo, &upstream, "").fields;
        assert_eq!(others.iter().filter(|field| field.starts_with("X-Forwarded-")).count(), 3);
    }
}

/// The same names spelled so that an application may take them for the others: CGI, WSGI and Rack turn
/// `-` into `_`.
#[test]
fn claims_in_disguise() {
    let upstream = Upstream::start();
    let ekbo = Ekbo::in_front_of(&upstream.url()).start();
    let head = told(
        &ekbo,
        &upstream,
        "X_Forwarded_For: 203.0.113.7\r\nX-Forwarded_Proto: https\r\nx_forwarded-host: evil\r\n",
    );
    assert!(
        head.fields.iter().all(|field| !field.contains('_') && !field.contains("evil")),
        "{head:?}"
    );
}

/// No proxy means what it says by those, whom it may have from anyone.
#[test]
fn claims_in_disguise_by_way_of_a_trusted_proxy() {
    let upstream = Upstream::start();
    let ekbo = Ekbo::in_front_of(&upstream.url()).set("trusted_proxies", "[127.0.0.1]").start();
    let head = told(
        &ekbo,
        &upstream,
        "X-Forwarded-For: 203.0.113.7\r\nX_Forwarded_For: evil\r\nX-Forwarded_Proto: evil\r\n\
         X-Forwarded-Port: 81\r\nForwarded: for=evil\r\n",
    );
    assert!(head.fields.iter().all(|field| !field.contains("evil")), "{head:?}");
    assert_eq!(way(&head), "203.0.113.7, 127.0.0.1");
    assert_eq!(head.all("X-Forwarded-Port"), ["81"]);
}

/// A proxy that is trusted is believed, and itself added to the way the request took.
#[test]
fn claims_of_a_trusted_proxy() {
    for trusted in ["[127.0.0.0/8]", "[192.0.2.0/24, 127.0.0.1]"] {
        let upstream = Upstream::start();
        let ekbo = Ekbo::in_front_of(&upstream.url()).set("trusted_proxies", trusted).start();
        let head = told(&ekbo, &upstream, CLAIMS);
        assert_eq!(way(&head), "203.0.113.7, 10.1.2.3, 127.0.0.1");
        assert_eq!(head.all("X-Forwarded-Proto"), ["https"]);
        assert_eq!(head.all("X-Forwarded-Host"), ["shop.example"]);
        assert_eq!(head.all("Host"), ["app.example:81"]);

        let head = told(&ekbo, &upstream, "");
        assert_eq!(way(&head), "127.0.0.1");
        assert_eq!(head.all("X-Forwarded-Proto"), ["http"]);
        assert_eq!(head.all("X-Forwarded-Host"), ["app.example:81"]);
    }
}

#[test]
fn https_is_told() {
    let upstream = Upstream::start();
    let ekbo = Ekbo::in_front_of(&upstream.url()).over_tls().start();
    let head = told(&ekbo, &upstream, CLAIMS);
    assert_eq!(head.all("X-Forwarded-Proto"), ["https"]);
    assert_eq!(head.all("X-Forwarded-Host"), ["app.example:81"]);
}

/// Whoever comes over a unix socket has no address, and is trusted only by the word `unix`.
#[test]
fn peers_without_an_address() {
    let upstream = Upstream::start();
    let plan = || -> EkboPlan { Ekbo::in_front_of(&upstream.url()).on_unix_socket() };
    let ekbo = plan().start();
    let head = told(&ekbo, &upstream, CLAIMS);
    assert_eq!(head.all("X-Forwarded-For"), [""; 0]);
    assert_eq!(head.all("X-Forwarded-Proto"), ["http"]);
    assert_eq!(head.all("X-Forwarded-Host"), ["app.example:81"]);

    let ekbo = plan().set("trusted_proxies", "[unix]").start();
    let head = told(&ekbo, &upstream, CLAIMS);
    assert_eq!(way(&head), "203.0.113.7, 10.1.2.3");
    assert_eq!(head.all("X-Forwarded-Proto"), ["https"]);
    assert_eq!(head.all("X-Forwarded-Host"), ["shop.example"]);
}

/// What the upstream is told when a client says `fields`.
#[track_caller]
fn told(ekbo: &Ekbo, upstream: &Upstream, fields: &str) -> Head {
    let mut client = ekbo.http();
    client.write(format!("GET / HTTP/1.1\r\nHost: app.example:81\r\n{fields}\r\n"));
    let head = answer_next(upstream);
    assert_eq!(client.read().status, 204);
    head
}

/// All addresses of `X-Forwarded-For`, in however many fields they are.
fn way(head: &Head) -> String {
    head.all("X-Forwarded-For").join(", ")
}
