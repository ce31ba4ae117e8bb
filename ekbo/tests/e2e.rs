//! End-to-end tests: the real `ekbo` between a `Backend` and `Client`s, and the real `rocket`, all
//! on ports of the system's choice. The table of contents; what the tests share is in `e2e/harness.rs`.
//! The ids at the head of each test's comment are those of the specification.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test it serves")]

mod e2e {
    /// The actors: `Backend`, `Ekbo`, `Client`, and what they are made of.
    mod harness;

    /// The answers of the API, as the tests expect them.
    mod answers;
    /// Chromium, driven from a test.
    mod browser;
    /// How clients behave: they stop reading, answer a close, leave.
    mod manners;

    /// Actions in the answers of callbacks.
    mod actions;
    /// A listener of its own for the API, and its token.
    mod api_access;
    /// Bridges to ZeroMQ.
    #[cfg(feature = "zmq")]
    mod bridge;
    /// How the backend is reached: TLS, unix sockets, pooled connections.
    mod callback_client;
    /// `/subscribe`, `/unsubscribe` and `/channels`.
    mod channels_api;
    /// `/close`.
    mod close;
    /// What the close callback carries, and when it is made again.
    mod close_callback;
    /// Flags, commands, exit codes.
    mod command_line;
    /// permessage-deflate.
    mod compression;
    /// The configuration file and its values.
    mod configuration;
    /// What becomes of the connect callback's answer.
    mod connect;
    /// What becomes of the body of the connect callback's answer.
    mod connect_body;
    /// What the connect callback carries.
    mod connect_request;
    /// `ekbo demo`.
    mod demo;
    /// Who may know whom.
    mod layers;
    /// What README.md promises.
    mod readme;
    /// The table of requirements and their tests.
    mod requirements;

    /// Keys of the configuration from the environment.
    mod environment;
    /// The first message and the establish callback.
    mod establish;
    /// The edges of HTTP/1.1: limits, `Expect`, what is refused.
    mod http_edges;
    /// Rocket hubs beside the gateway.
    mod hubs;
    /// `Idempotency-Key`.
    mod idempotency;
    /// What is told in the log, and what never is.
    mod log;
    /// Frames that break the rules.
    mod protocol;
    /// `/publish` and `/broadcast`.
    mod publish;
    /// The queue of a session, and who waits for it.
    mod queue;
    /// Clients that others wrote.
    mod real_clients;
    /// Messages from clients.
    mod receive;
    /// The body of a receive callback's answer.
    mod receive_reply;
    /// The program `rocket`, and its protocol.
    mod rocket;
    /// Listener and paths.
    mod routing;
    /// `/send`.
    mod send;
    /// Every way a session ends, and what the backend hears of it.
    mod session_end;
    /// `/sessions` and `/sessions/KEY`.
    mod sessions_api;
    /// `slow_consumer`, in its three ways.
    mod slow_consumer;
    /// `/stats` and `/ping`.
    mod stats;
    /// The graceful stop.
    mod stop;
    /// Channels by the answers of callbacks.
    mod subscriptions;
    /// Templates in the configuration file.
    mod templates;
    /// The gateway over `wss://` and `https://`.
    mod tls;
    /// Listening on a unix socket.
    mod unix_socket;
    /// The WebSocket handshake and Origin.
    mod upgrade;
    /// The application behind `ekbo`.
    mod upstream;
}
