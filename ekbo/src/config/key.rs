//! Every key of the configuration, once: name, kind, default, environment variable and meaning.
//!
//! The check for unknown keys, the defaults, the environment, `ekbo config` and the tests of
//! `config.example.yml` all walk `KEYS`.

use crate::nearest::edit_distance;

/// One configuration key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// With a dot per level: `callback.retry.base`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it would be written in the file; an empty text or null is "not set".
    pub(crate) default: &'static str,
    /// A second name of its environment variable, known from the original's container image.
    pub(crate) alias: Option<&'static str>,
    /// Whether the value is masked wherever it is shown.
    pub(crate) secret: bool,
    pub(crate) meaning: &'static str,
}

/// How the value of a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// A text that may be written empty, which is then not its default.
    AnyText,
    /// A text whose user information is masked wherever it is shown.
    Url,
    Duration,
    /// A fraction is cut off, as the original does it.
    Count,
    /// A count of at least 1, without fraction.
    Positive,
    Size,
    Switch,
    /// Header names and values.
    Headers,
    /// One text or a list of texts.
    Texts,
    /// A list of maps, each with these keys.
    Entries(&'static [Key]),
    /// A map with these keys, or the value of the first of them alone.
    Entry(&'static [Key]),
}

impl Key {
    const fn new(name: &'static str, kind: Kind, default: &'static str) -> Self {
        Self { name, kind, default, alias: None, secret: false, meaning: "" }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    const fn means(self, meaning: &'static str) -> Self {
        Self { meaning, ..self }
    }

    /// The environment variable that every key of `KEYS` has.
    pub(crate) fn variable(&self) -> String {
        format!("{PREFIX}{}", in_variable(self.name))
    }

    /// The environment variable of a key of the map that this key of `KEYS` wants.
    pub(crate) fn variable_below(&self, key: &Self) -> String {
        format!("{}_{}", self.variable(), in_variable(key.name))
    }
}

/// What the names of all environment variables of keys begin with.
pub(crate) const PREFIX: &str = "EKBO_";

/// In the order `ekbo config` prints them: keys of one section stand together.
pub(crate) const KEYS: &[Key] = &[
    Key::new("port", Kind::Text, "\"9180\"")
        .means("TCP port to listen on, on all interfaces; 0 lets the system choose"),
    Key::new("sock", Kind::Text, "\"\"")
        .alias("EKBO_UNIX_DOMAIN_SOCKET_FILENAME")
        .means("path of a unix socket to listen on; the TCP port is then not opened"),
    Key::new("tls.cert", Kind::Text, "\"\"").means(
        "path of a PEM file with the certificate chain of the public listener, which then speaks \
         TLS only; needs tls.key",
    ),
    Key::new("tls.key", Kind::Text, "\"\"")
        .means("path of a PEM file with the private key of tls.cert"),
    Key::new("api_listen", Kind::Text, "\"\"").means(
        "separate address for the backend API and stats, host:port or unix:/path; \
         they then answer 404 on the public listener",
    ),
    Key::new("api_token", Kind::Texts, "\"\"").secret().means(
        "token that the backend API and stats require as Authorization: Bearer; \
         a list allows rotation",
    ),
    Key::new("path.connect", Kind::Text, "\"/connect\"")
        .alias("EKBO_CONNECT_PATH")
        .means("path where clients open WebSockets; one that ends in / takes its whole subtree"),
    Key::new("path.close", Kind::Text, "\"/close\"")
        .alias("EKBO_CLOSE_PATH")
        .means("path where the backend closes sessions"),
    Key::new("path.stats", Kind::Text, "\"/stats\"")
        .alias("EKBO_STATS_PATH")
        .means("path of the counters"),
    Key::new("path.send", Kind::Text, "\"/send\"")
        .alias("EKBO_SEND_PATH")
        .means("path where the backend sends messages"),
    Key::new("path.publish", Kind::Text, "\"/publish\"")
        .means("path where the backend publishes to channels"),
    Key::new("path.broadcast", Kind::Text, "\"/broadcast\"")
        .means("path where the backend sends a message to every session"),
    Key::new("path.subscribe", Kind::Text, "\"/subscribe\"")
        .means("path where the backend makes sessions listen to channels"),
    Key::new("path.unsubscribe", Kind::Text, "\"/unsubscribe\"")
        .means("path where the backend makes sessions listen no longer"),
    Key::new("path.sessions", Kind::Text, "\"/sessions\"")
        .means("path of the list of sessions; with / and a key, of that session"),
    Key::new("path.channels", Kind::Text, "\"/channels\"").means("path of the list of channels"),
    Key::new("path.ping", Kind::Text, "\"/ping\"")
        .alias("EKBO_PING_PATH")
        .means("path of the health check"),
    Key::new("hubs", Kind::Entries(HUB_KEYS), "[]")
        .means("Rocket hubs on the public listener, a list of maps with keys of their own"),
    Key::new("bridges", Kind::Entries(BRIDGE_KEYS), "[]").means(
        "bridges to ZeroMQ on the public listener, a list of maps with keys of their own",
    ),
    Key::new("upstream", Kind::Entry(UPSTREAM_KEYS), "\"\"").means(
        "URL of an application that gets whatever no door of ours takes, or a map with keys of its \
         own; the backend API is then on api_listen alone, and without callback.connect there is \
         no gateway",
    ),
    Key::new("trusted_proxies", Kind::Texts, "\"\"").means(
        "networks (10.0.0.0/8) and addresses whose X-Forwarded-For, -Proto and -Host go on to the \
         upstream with what they lack, or unix for whoever comes over a unix socket; from anyone \
         else they are replaced by the truth; X-Real-IP and whatever else proxies have of their \
         own goes on as clients wrote it",
    ),
    Key::new("callback.connect", Kind::Url, "\"\"")
        .alias("EKBO_CONNECT_CALLBACK_URL")
        .means("URL asked whether a client may connect; without it every connect answers 500"),
    Key::new("callback.establish", Kind::Url, "\"\"")
        .alias("EKBO_ESTABLISH_CALLBACK_URL")
        .means("URL told that a session is open; empty turns the callback off"),
    Key::new("callback.receive", Kind::Url, "\"\"")
        .alias("EKBO_RECEIVE_CALLBACK_URL")
        .means("URL that gets the messages of clients; without it they are read and dropped"),
    Key::new("callback.close", Kind::Url, "\"\"")
        .alias("EKBO_CLOSE_CALLBACK_URL")
        .means("URL told that a session has ended; empty turns the callback off"),
    Key::new("callback.receive_reply", Kind::Switch, "false")
        .means("whether the body of an answer to the receive callback goes to the client"),
    Key::new("callback.timeout", Kind::Duration, "0").means(
        "longest wait for a callback's whole answer; 0 waits for ever, close callbacks then 30s",
    ),
    Key::new("callback.retry.base", Kind::Duration, "1s")
        .means("longest first wait before an unanswered close callback is repeated"),
    Key::new("callback.retry.max", Kind::Duration, "60s")
        .means("longest wait between two attempts of a close callback"),
    Key::new("callback.retry.age", Kind::Duration, "24h")
        .means("age at which an unanswered close callback is given up"),
    Key::new("session_header", Kind::Text, "X-Kuiperbelt-Session")
        .alias("EKBO_SESSION_HEADER_NAME")
        .means("name of the header that carries a session key"),
    Key::new("endpoint", Kind::Text, "\"\"").alias("EKBO_SELF_ENDPOINT_URL").means(
        "value of X-Kuiperbelt-Endpoint, where the backend reaches this node; \
         empty means the host name, with the port from 1024 upwards",
    ),
    Key::new("forward_session_header", Kind::Switch, "false")
        .means("whether a session header sent by a client reaches the connect callback"),
    Key::new("proxy_set_header", Kind::Headers, "{}")
        .means("headers set on every callback; an empty value removes the header"),
    Key::new("origin_policy", Kind::Text, "none").means(
        "which web pages may connect: none checks nothing, same_origin compares host and port, \
         same_hostname the host alone",
    ),
    Key::new("strict_broadcast", Kind::Switch, "false")
        .alias("EKBO_STRICT_BROADCAST_MODE_SWITCH")
        .means(
            "whether one unknown session makes a whole send, close, subscribe or unsubscribe call fail",
        ),
    Key::new("send_timeout", Kind::Duration, "0")
        .means("longest wait of one send or close call for full queues; 0 waits for ever"),
    Key::new("send_queue_size", Kind::Count, "null").means(
        "messages of send and close that wait per session; 0 hands over to the writer directly, \
         unset means outbox.messages and outbox.bytes",
    ),
    Key::new("outbox.messages", Kind::Positive, "1024").means(
        "messages that wait per session, at least 1; publish and broadcast follow it always, \
         send and close unless send_queue_size is set",
    ),
    Key::new("outbox.bytes", Kind::Size, "1MiB")
        .means("bytes that wait per session, at least 1; followed as outbox.messages is"),
    Key::new("slow_consumer", Kind::Text, "disconnect").means(
        "what publish and broadcast do where the outbox is full: disconnect the session (Close \
         1013), drop_oldest of what they left waiting, for send and close too, or drop_newest, also \
         while send or close wait for room",
    ),
    Key::new("channels.max", Kind::Positive, "100000")
        .means("most channels with listeners at one time, at least 1"),
    Key::new("channels.per_session", Kind::Positive, "1000")
        .means("most channels that one session listens to, at least 1"),
    Key::new("max_body_size", Kind::Size, "16MiB")
        .means("largest body of a backend API call, answered 413 beyond; 0 is unlimited"),
    Key::new("max_message_size", Kind::Size, "16MiB").means(
        "largest message of a client (Close 1009 beyond) and first message of the backend (502); \
         0 is unlimited",
    ),
    Key::new("compression", Kind::Switch, "false").means(
        "whether messages travel compressed (permessage-deflate) with clients that offer it, \
         which takes memory per thread and time per message, nothing per connection",
    ),
    Key::new("compression_min_size", Kind::Size, "256")
        .means("the smallest message that is sent compressed"),
    Key::new("invalid_text", Kind::Text, "reject").means(
        "what happens to text from the backend that is not UTF-8: reject it, send it as binary, \
         or raw as it is",
    ),
    Key::new("duplicate_session", Kind::Text, "keep").means(
        "what happens to the older connection of a session key used again: keep it open, \
         or replace (close) it",
    ),
    Key::new("close_frame", Kind::Switch, "true").means(
        "whether a session that the server ends gets a WebSocket close frame, or a bare TCP close",
    ),
    Key::new("close_callback_on_api_close", Kind::Switch, "false")
        .means("whether a session closed by the backend gets a close callback, as in v1.4.1"),
    Key::new("handshake_timeout", Kind::Duration, "30s")
        .means("longest wait for the TLS handshake and the head of a request; 0 waits for ever"),
    Key::new("idle_timeout", Kind::Duration, "0")
        .means("a session without any traffic for so long is ended; 0 keeps it"),
    Key::new("ping_interval", Kind::Duration, "0").means(
        "how often a client is pinged, which idle_timeout does not take for traffic; 0 is never",
    ),
    Key::new("pong_timeout", Kind::Duration, "0").means(
        "a session whose client sends nothing for so long, no pong either, is ended (Close 1001); \
         longer than ping_interval; 0 keeps it",
    ),
    Key::new("write_timeout", Kind::Duration, "30s")
        .means("a session whose socket takes no byte for so long is ended; 0 waits for ever"),
    Key::new("shutdown_timeout", Kind::Duration, "10s")
        .means("longest graceful stop: requests in flight, queues and close callbacks"),
    Key::new("suppress_access_log", Kind::Switch, "false")
        .means("whether the access log is left out"),
];

/// The keys of one entry of `hubs`.
pub(crate) const HUB_KEYS: &[Key] = &[
    Key::new("path", Kind::Text, "\"\"").means(
        "path where clients open WebSockets, required; one that ends in / takes its whole subtree",
    ),
    Key::new("codec", Kind::Text, "json").means("how messages are written: json or msgpack"),
    Key::new("secrets.read_only", Kind::Text, "\"\"")
        .secret()
        .means("secret for subscribing; empty means open to everyone"),
    Key::new("secrets.read_write", Kind::Text, "\"\"")
        .secret()
        .means("secret for subscribing and publishing; empty means open to everyone"),
    Key::new("allowed_origins", Kind::Texts, "\"*\"").means(
        "web pages that may connect, by their Origin header (https://HOST, https://HOST:PORT or \
         null), others are answered 403; * means any",
    ),
    Key::new("max_message_size", Kind::Size, "1MiB")
        .means("largest message of a client (Close 1009 beyond); 0 is unlimited"),
    Key::new("max_channels", Kind::Positive, "100000").means(
        "most channels of the hub, at least 1; one more takes the place of one without listeners",
    ),
    Key::new("max_subscriptions", Kind::Positive, "10000")
        .means("most channels that one connection subscribes to, at least 1"),
];

/// The keys of one entry of `bridges`.
pub(crate) const BRIDGE_KEYS: &[Key] = &[
    Key::new("subprotocol", Kind::Text, "rbkit").means(
        "subprotocol that clients offer, wherever they ask for it; with .raw behind it, for \
         payloads as they are in binary messages",
    ),
    Key::new("path", Kind::Text, "\"\"")
        .means("path of the handshakes that are taken; one that ends in / takes its whole subtree, empty is any"),
    Key::new("request_endpoint", Kind::AnyText, "tcp://127.0.0.1:5556").means(
        "where the backend's REP listens for commands, tcp://HOST:PORT or ipc:///PATH; empty \
         means there is none, and commands are answered with Close 1003",
    ),
    Key::new("publish_endpoint", Kind::AnyText, "tcp://127.0.0.1:5555")
        .means("where the backend's PUB listens for subscriptions; empty means there is none"),
    Key::new("topics", Kind::Texts, "\"\"")
        .means("what published messages begin with that are asked for; empty asks for all"),
    Key::new("join_parts", Kind::Switch, "false")
        .means("whether the parts of a published message travel as one payload, not one by one"),
    Key::new("response_prefix", Kind::AnyText, "\"0\"")
        .means("ASCII character ahead of responses and notices"),
    Key::new("publish_prefix", Kind::AnyText, "\"1\"")
        .means("ASCII character ahead of what is published"),
    Key::new("payload_encoding", Kind::Text, "cgi").means(
        "how payloads travel to clients that do not offer the .raw subprotocol: cgi (form-encoded \
         text) or raw (binary, as they are)",
    ),
    Key::new("routing", Kind::Text, "fanout").means(
        "who gets what is published and responses: fanout (everybody, and whoever asked), or \
         newest (the newest client both)",
    ),
    Key::new("client_count_notices", Kind::Switch, "true")
        .means("whether clients are told how many there are when another one comes"),
    Key::new("ping_interval", Kind::Duration, "15s")
        .means("how often a client is pinged; 0 is never"),
    Key::new("pong_timeout", Kind::Duration, "30s").means(
        "a client that sends nothing for so long, no pong either, is closed (Close 1001); longer \
         than ping_interval; 0 keeps it",
    ),
    Key::new("backend_check_timeout", Kind::Duration, "1s")
        .means("longest wait for the backend's endpoints when a client comes"),
    Key::new("unavailable_code", Kind::Count, "1000")
        .means("close code for a client that finds them down"),
    Key::new(
        "unavailable_reason",
        Kind::AnyText,
        "Closing websocket because Rbkit server is not running",
    )
    .means("reason of that close, at most 123 bytes"),
    Key::new("request_timeout", Kind::Duration, "30s").means(
        "longest wait for the response to a command, from when its turn has come; then whoever \
         asked is closed (Close 1011), as when the connection to the backend is lost",
    ),
    Key::new("allowed_commands", Kind::Texts, "\"\"")
        .means("commands that clients may send, others are closed (Close 1008); empty allows all"),
    Key::new("on_last_client", Kind::Text, "\"\"")
        .means("command sent when the last client has left; empty sends none"),
    Key::new("allowed_origins", Kind::Texts, "\"\"").means(
        "web pages that may connect, by their Origin header (https://HOST, https://HOST:PORT or \
         null), others are answered 403; * means any, empty those of our own host and port",
    ),
    Key::new("token", Kind::Texts, "\"\"").secret().means(
        "token that clients send as Authorization: Bearer or in the query as token, others are \
         answered 401; a list allows rotation; empty lets everybody in",
    ),
    Key::new("max_message_size", Kind::Size, "64MiB").means(
        "largest command of a client and response of the backend (Close 1009 beyond), and largest \
         message that is published (passed over beyond); 0 is unlimited",
    ),
    Key::new("client_queue.messages", Kind::Positive, "1000").means(
        "messages that wait per client, at least 1; beyond, the oldest of what was published is \
         dropped, responses never",
    ),
    Key::new("client_queue.bytes", Kind::Size, "64MiB")
        .means("bytes that wait per client, at least 1; followed in the same way"),
];

/// The keys of `upstream`.
pub(crate) const UPSTREAM_KEYS: &[Key] = &[
    Key::new("url", Kind::Url, "\"\"").means(
        "where the application listens, required: http://HOST:PORT, https://HOST or \
         unix:/PATH.sock, without a path, as requests go there unchanged; each request in flight \
         takes two file descriptors",
    ),
    Key::new("connect_timeout", Kind::Duration, "5s")
        .means("longest wait for a connection to it; then 504"),
    Key::new("response_timeout", Kind::Duration, "60s").means(
        "longest wait for the head of its answer; then 504; a body, in either direction, may \
         stand still for 60s, so that an event stream sends something now and then, such as \
         every 30s; a tunnel (a WebSocket of the application's own) has no time-out while both \
         sides are open, and ends with the server",
    ),
];

pub(crate) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// Every environment variable that sets a key.
pub(crate) fn variables() -> impl Iterator<Item = String> {
    KEYS.iter().flat_map(|key| {
        let below = match key.kind {
            Kind::Entry(keys) => keys,
            _ => &[],
        };
        let below = below.iter().map(|below| key.variable_below(below));
        [key.variable()].into_iter().chain(key.alias.map(str::to_owned)).chain(below)
    })
}

/// Whether keys live below this name, as below `callback.retry`.
pub(crate) fn is_section(keys: &[Key], name: &str) -> bool {
    let below = |key: &Key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    keys.iter().any(below)
}

/// The key somebody who wrote `name` most likely meant. A key of the right name in the wrong
/// section is near.
pub(crate) fn nearest(keys: &'static [Key], name: &str) -> &'static str {
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let distance =
        |known: &str| edit_distance(name, known).min(edit_distance(&last(name), &last(known)) + 1);
    let sections =
        keys.iter().filter_map(|key| key.name.rsplit_once('.').map(|(section, _)| section));
    let names = keys.iter().map(|key| key.name);
    names.chain(sections).min_by_key(|known| distance(known)).unwrap_or_default()
}

/// The name of a key as a part of that of a variable.
fn in_variable(name: &str) -> String {
    name.to_uppercase().replace('.', "_")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ALL: [&[Key]; 4] = [KEYS, HUB_KEYS, BRIDGE_KEYS, UPSTREAM_KEYS];

    #[test]
    fn names_and_variables_are_unique() {
        let mut seen = HashSet::new();
        for key in KEYS {
            assert!(seen.insert(key.name.to_owned()), "{}", key.name);
        }
        for variable in variables() {
            assert!(seen.insert(variable.clone()), "{variable}");
        }
        for keys in ALL {
            let names: HashSet<&str> = keys.iter().map(|key| key.name).collect();
            assert_eq!(names.len(), keys.len());
            for key in keys {
                assert!(!key.meaning.is_empty() && !key.meaning.contains("  "), "{}", key.name);
            }
        }
    }

    /// README.md has a row for every key, callback and call, and for nothing else.
    #[test]
    fn the_readme_lists_every_key() {
        let rows: Vec<&str> = include_str!("../../../README.md")
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let row_of = |key: &Key| {
            let default = match key.default.trim_matches('"') {
                "" | "null" => "—".to_owned(),
                default => format!("`{default}`"),
            };
            format!("| `{}` | {default} | {} |", key.name, key.meaning)
        };
        let table_of = |keys: &[Key]| {
            let table: Vec<String> = keys.iter().map(row_of).collect();
            let first = rows.iter().position(|row| *row == table[0]).unwrap();
            assert_eq!(rows[first..first + table.len()], table);
            first
        };
        let first = table_of(KEYS);
        table_of(HUB_KEYS);
        table_of(BRIDGE_KEYS);
        table_of(UPSTREAM_KEYS);

        let named = |prefix: &str| -> HashSet<String> {
            let start = format!("| `{prefix}.");
            let rows = rows[..first].iter().filter(|row| row.starts_with(&start));
            rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
        };
        let keys = |prefix: &str, except: &[&str]| -> HashSet<String> {
            let names = KEYS.iter().map(|key| key.name.to_owned());
            names
                .filter(|name| {
                    name.strip_prefix(prefix)
                        .and_then(|rest| rest.strip_prefix('.'))
                        .is_some_and(|rest| !rest.contains('.') && !except.contains(&rest))
                })
                .collect()
        };
        assert_eq!(named("callback"), keys("callback", &["receive_reply", "timeout"]));
        assert_eq!(named("path"), keys("path", &["connect"]));
    }

    /// The print of `ekbo config` opens each section once.
    #[test]
    fn keys_of_a_section_stand_together() {
        for keys in ALL {
            let mut closed = HashSet::new();
            let mut current = "";
            for key in keys {
                let section = key.name.rsplit_once('.').map_or("", |(section, _)| section);
                if section != current {
                    closed.insert(current.to_owned());
                    assert!(section.is_empty() || !closed.contains(section), "{}", key.name);
                    current = section;
                }
            }
        }
    }

    /// Surface, head: the variable's name follows from the key's.
    #[test]
    fn variables_follow_from_names() {
        assert_eq!(find(KEYS, "callback.timeout").unwrap().variable(), "EKBO_CALLBACK_TIMEOUT");
        assert_eq!(find(KEYS, "path.connect").unwrap().alias, Some("EKBO_CONNECT_PATH"));
        let all: Vec<String> = variables().collect();
        for name in ["EKBO_CALLBACK_TIMEOUT", "EKBO_CONNECT_PATH", "EKBO_UPSTREAM_CONNECT_TIMEOUT"]
        {
            assert!(all.iter().any(|variable| variable == name), "{name}");
        }
        assert!(find(KEYS, "callback").is_none());
    }

    /// D4: an unknown key is answered with the nearest one.
    #[test]
    fn the_nearest_key_is_found() {
        for (written, meant) in [
            ("prot", "port"),
            ("Port", "port"),
            ("callback.timout", "callback.timeout"),
            ("callback.recieve", "callback.receive"),
            ("path.sent", "path.send"),
            ("establish", "callback.establish"),
            ("ping", "path.ping"),
            ("callback.base", "callback.retry.base"),
            ("max_mesage_size", "max_message_size"),
            ("callbak", "callback"),
            ("paths", "path"),
        ] {
            assert_eq!(nearest(KEYS, written), meant, "{written}");
        }
    }

    #[test]
    fn sections_are_known() {
        let is_section = |name| is_section(KEYS, name);
        assert!(is_section("callback") && is_section("callback.retry") && is_section("outbox"));
        assert!(!is_section("call") && !is_section("port") && !is_section("callback.timeout"));
    }
}
