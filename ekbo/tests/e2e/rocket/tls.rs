//! Hubs over TLS. What TLS does with records and connections is tested on `ekbo` and in the
//! library.

use serde_json::{Value, json};

use super::super::harness::{Client, Http, Rocket, RocketPlan, Signal};
use super::{OK, SUBSCRIBE, broadcast, open_hub, publish, publisher, subscriber};

/// The file's members that name certificate and key, on a port of the system's choice.
fn members() -> Value {
    json!({
        "Port": 0,
        "TLSCertFile": "certificate.pem",
        "TLSKeyFile": "key.pem",
        "Hubs": [open_hub("/hub")],
    })
}

fn configured(text: &Value) -> RocketPlan {
    Rocket::configured(text.to_string()).over_tls()
}

/// RK-CFG-4: with both files, hubs are found over TLS, and only there, until the stop.
#[test]
fn hubs_over_tls() {
    let mut rocket = configured(&members()).start();
    let mut clients: Vec<Client> = (0..10).map(|_| subscriber(&rocket)).collect();
    let mut publisher = publisher(&rocket);
    let data = "#".repeat(900_000);
    for data in ["small", data.as_str(), "small again"] {
        publisher.says(publish(data)).hears(OK);
        let told = broadcast(data);
        for client in &mut clients {
            client.hears(&told);
        }
    }
    let mut plain = Http::tcp(rocket.address());
    plain.write("GET /hub HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(plain.into_incoming().rest().0.iter().all(|&byte| byte != b'H'), "plain HTTP");

    rocket.signal(Signal::Term);
    publisher.expect_farewell(1001, "going away");
    for client in &mut clients {
        client.expect_farewell(1001, "going away");
    }
    assert_eq!(rocket.wait_exit().code(), Some(0));
}

/// RK-CLI-2, R15: flags name the files as well, both or one of them.
#[test]
fn flags_name_the_files() {
    let mut without = members();
    without["TLSCertFile"] = json!("not-there.pem");
    let one = configured(&without).flag("-tls-cert=certificate.pem");
    let neither = json!({"Port": 0, "Hubs": [open_hub("/hub")]});
    let both = configured(&neither).flag("-tls-key=key.pem").flag("-tls-cert=certificate.pem");
    for plan in [one, both] {
        subscriber(&plan.start()).says(SUBSCRIBE).hears(OK);
    }
    let stderr = configured(&neither).flag("-tls-key=key.pem").fails_to_start(1);
    assert!(stderr.starts_with("TLS error: TLSKeyFile is given without TLSCertFile"), "{stderr}");
    let stderr = configured(&members()).flag("-tls-key=").fails_to_start(1);
    assert!(stderr.starts_with("TLS error: TLSCertFile is given without TLSKeyFile"), "{stderr}");
}

/// RK-CFG-4: files that are missing, or no certificate and its key, end the start with their names.
#[test]
fn files_that_do_not_fit() {
    let other = configured(&members());
    let other = std::fs::read(other.directory().join("key.pem")).unwrap();
    for (file, content, message) in [
        ("certificate.pem", None, "TLSCertFile certificate.pem: "),
        ("key.pem", None, "TLSKeyFile key.pem: "),
        ("certificate.pem", Some(&b"no certificate"[..]), "TLSCertFile certificate.pem: "),
        ("key.pem", Some(b""), "TLSKeyFile key.pem: "),
        ("key.pem", Some(&other), "TLSKeyFile key.pem: "),
    ] {
        let plan = configured(&members());
        match content {
            Some(content) => drop(plan.directory().write(file, content)),
            None => std::fs::remove_file(plan.directory().join(file)).unwrap(),
        }
        let stderr = plan.fails_to_start(1);
        assert!(stderr.contains(&format!("TLS error: {message}")), "{stderr}");
    }
}
