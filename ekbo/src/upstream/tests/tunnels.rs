//! Upgrades, and what is carried behind them.

use super::*;

const ASKING: &str =
    "GET /t HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/2, more\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Go on\r\nX-Own: 1\r\nConnection: upgrade\r\nUpgrade: echo/2\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\n\
                        X-Own: 1\r\nUpgrade: echo/2\r\nConnection: Upgrade\r\n\r\n";

/// Both ends of a tunnel; the upstream has said `early` ahead of it.
async fn tunnel(scene: &Scene, early: &str) -> (Peer, Peer) {
    let mut client = scene.client_sending(ASKING).await;
    let mut upstream = scene.accept().await;
    let head = upstream.head().await;
    assert!(head.contains("\r\nUpgrade: echo/2, more\r\n"), "{head}");
    assert!(head.ends_with("\r\nConnection: upgrade\r\n\r\n"), "{head}");
    upstream.send(format!("{SWITCHING}{early}")).await;
    client.expect(SWITCHED).await;
    client.expect(early).await;
    (client, upstream)
}

#[tokio::test]
async fn bytes_go_both_ways_until_both_have_ended() {
    let scene = Scene::new().await;
    let (mut client, mut upstream) = tunnel(&scene, "early").await;
    client.send("one").await;
    upstream.expect("one").await;
    upstream.send("two").await;
    client.expect("two").await;
    client.0.shutdown().await.unwrap();
    upstream.ended().await;
    upstream.send("three").await;
    client.expect("three").await;
    drop(upstream);
    client.ended().await;
    assert_eq!(scene.log(1).await, ["GET /t 101 13"]);
}

#[tokio::test]
async fn the_upstream_may_end_first() {
    let scene = Scene::new().await;
    let (mut client, mut upstream) = tunnel(&scene, "").await;
    upstream.0.shutdown().await.unwrap();
    client.ended().await;
    client.send("last").await;
    upstream.expect("last").await;
    drop(client);
    upstream.ended().await;
}

#[tokio::test]
async fn much_goes_through_at_the_pace_of_the_slower() {
    let scene = Scene::new().await;
    let (client, upstream) = tunnel(&scene, "").await;
    let size = 8_000_000;
    for (from, to) in [(client, upstream)] {
        let ((mut client_in, mut client_out), (mut upstream_in, mut upstream_out)) =
            (from.0.into_split(), to.0.into_split());
        let all = async {
            let (up, down) = (vec![b'u'; size], vec![b'd'; size]);
            let (mut went_up, mut went_down) = (vec![0; size], vec![0; size]);
            let results = tokio::join!(
                client_out.write_all(&up),
                upstream_out.write_all(&down),
                upstream_in.read_exact(&mut went_up),
                client_in.read_exact(&mut went_down),
            );
            assert!(results.0.is_ok() && results.1.is_ok());
            assert!(results.2.is_ok() && results.3.is_ok());
            assert!(went_up == up && went_down == down);
        };
        within(all).await;
    }
}

#[tokio::test]
async fn a_side_that_has_ended_is_not_waited_for_for_ever() {
    let scene = Scene::with(|_, patience| patience.body = Duration::from_millis(50)).await;
    let (mut client, mut upstream) = tunnel(&scene, "").await;
    upstream.0.shutdown().await.unwrap();
    client.ended().await;
    upstream.ended().await;
    assert_eq!(scene.log(1).await, ["GET /t 101 0"]);
}

#[tokio::test]
async fn a_reset_ends_both() {
    let scene = Scene::new().await;
    let (client, mut upstream) = tunnel(&scene, "").await;
    client.reset();
    upstream.was_reset().await;
    let (mut client, upstream) = tunnel(&scene, "").await;
    upstream.reset();
    client.was_reset().await;
}

/// Who has been told of the other's end has had all there was, whatever becomes of the other.
#[tokio::test]
async fn what_has_ended_in_order_is_not_reset() {
    let scene = Scene::new().await;
    let (mut client, mut upstream) = tunnel(&scene, "").await;
    upstream.send("last").await;
    upstream.0.shutdown().await.unwrap();
    client.expect("last").await;
    assert_eq!(within(client.0.read(&mut [0])).await.unwrap(), 0);
    upstream.reset();
    client.send("more").await;
    scene.log(1).await;
    assert_eq!(client.0.take_error().unwrap().map(|error| error.kind()), None);
}

#[tokio::test]
async fn what_was_sent_ahead_is_carried() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(&format!("{ASKING}ahead")).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send(SWITCHING).await;
    client.expect(SWITCHED).await;
    upstream.expect("ahead").await;
}

#[tokio::test]
async fn another_answer_is_an_answer() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending(ASKING).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").await;
    assert_eq!(client.head().await, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n");
    client.expect("no").await;
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.head().await.starts_with("GET /2 "), "the connection is kept");
    let fields = "Upgrade: echo\r\nConnection: Upgrade\r\nContent-Length: 0\r\n";
    upstream.send(format!("HTTP/1.1 426 Ask\r\n{fields}\r\n")).await;
    assert_eq!(client.head().await, format!("HTTP/1.1 426 Ask\r\n{fields}\r\n"));
}

#[tokio::test]
async fn the_protocol_changes_only_when_it_is_asked_for_and_the_request_is_whole() {
    let scene = Scene::new().await;
    let mut client = scene.client_sending("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send(SWITCHING).await;
    assert!(client.head().await.starts_with("HTTP/1.1 502 "));
    upstream.ended().await;
    for protocol in ["", "Upgrade:\r\n", "Upgrade: telnet\r\n", "Upgrade: echo, h2c\r\n"] {
        let mut client = scene.client_sending(ASKING).await;
        let mut upstream = scene.accept().await;
        upstream.head().await;
        let fields = format!("Connection: upgrade\r\n{protocol}");
        upstream.send(format!("HTTP/1.1 101 Go on\r\n{fields}\r\nearly")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 502 "), "{protocol}");
        upstream.ended().await;
    }
    let asking = ASKING.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n");
    let mut client = scene.client_sending(&asking).await;
    let mut upstream = scene.accept().await;
    upstream.head().await;
    upstream.send(SWITCHING).await;
    assert!(client.head().await.starts_with("HTTP/1.1 502 "));
    upstream.ended().await;
}
