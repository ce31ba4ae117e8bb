//! The configuration of `rocket`: a JSON file and the flags that were given make one [`Config`].
//!
//! Members are matched as Go does it: ignoring case, the last of a name wins, `null` is as good as
//! none, and unknown ones mean nothing (a warning says so). What is written is in
//! `config/written.rs`; here is what is meant.

mod written;

use std::collections::HashSet;
use std::path::PathBuf;

use kuiperbelt::rocket::{Credentials, Settings};
use thiserror::Error;

use self::written::Written;
use super::flags::Flags;
use crate::origin;

/// Where the server listens when neither file nor flags say so.
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 9772;

/// What the server is to do.
#[derive(Debug)]
pub(super) struct Config {
    /// Empty: every address of this machine.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<TlsFiles>,
    /// The server's log; `None` is standard error.
    pub(super) log: Option<PathBuf>,
    pub(super) hubs: Vec<Hub>,
    /// What of the file is ignored, a sentence each.
    pub(super) warnings: Vec<String>,
}

/// Files in PEM.
#[derive(Debug, PartialEq)]
pub(super) struct TlsFiles {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// A hub: a path with its own log, secrets and limits.
#[derive(Debug)]
pub(super) struct Hub {
    /// One that `crate::path::fault` finds no fault with; no other hub has it.
    pub(super) path: String,
    /// `None` is standard error.
    pub(super) log: Option<PathBuf>,
    pub(super) settings: Settings,
}

/// Why a configuration cannot be served, in one line: what is wrong and what to do.
#[derive(Debug, Error)]
pub(super) enum ConfigError {
    #[error("Config reading error: {file}: {reason}")]
    Reading { file: String, reason: String },
    /// `place` is `FILE:LINE:COLUMN` where it is known, else the file.
    #[error("Config parsing error: {place}: {reason}")]
    Parsing { place: String, reason: String },
    #[error("Invalid handler type: {0}")]
    Codec(String),
    #[error(
        "TLS error: {present} is given without {absent}; TLSCertFile (-tls-cert) and TLSKeyFile \
         (-tls-key) go together, or leave both out"
    )]
    HalfTls { present: &'static str, absent: &'static str },
}

/// Reads the file. Flags that were given take the place of what it says (RK-CLI-2).
pub(super) fn load(file: &str, given: &Flags) -> Result<Config, ConfigError> {
    let text = std::fs::read(file).map_err(|error| ConfigError::Reading {
        file: file.to_owned(),
        reason: format!("{error}; name a JSON file that this user may read"),
    })?;
    Config::new(file, &text, given)
}

impl Config {
    fn new(file: &str, text: &[u8], given: &Flags) -> Result<Self, ConfigError> {
        let written = Written::parse(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let reason = error.to_string();
            let position = format!(" at line {line} column {column}");
            let reason = reason.strip_suffix(&position).unwrap_or(&reason).to_owned();
            let place = if line > 0 { format!("{file}:{line}:{column}") } else { file.to_owned() };
            ConfigError::Parsing { place, reason }
        })?;
        let mut warnings = written.unknown.warnings("");
        let mut hubs = Vec::with_capacity(written.hubs.len());
        let mut paths = HashSet::new();
        for (index, hub) in written.hubs.into_iter().enumerate() {
            warnings.extend(hub.unknown.warnings(&format!("Hubs[{index}].")));
            let hub = Hub::new(hub).map_err(|error| error.in_hub(file, index))?;
            if !paths.insert(hub.path.clone()) {
                let reason = format!("an earlier hub has the Path {:?}; choose another", hub.path);
                return Err(HubError::Wrong(reason).in_hub(file, index));
            }
            hubs.push(hub);
        }
        let given = given.clone();
        let place = if given.host.is_some() { "flag -host" } else { file };
        let host = given.host.or(written.host).unwrap_or_else(|| DEFAULT_HOST.to_owned());
        if let Some(name) = before_port(&host) {
            let reason =
                format!("Host {host:?} has a port, which goes into Port (-port); write {name:?}");
            return Err(ConfigError::Parsing { place: place.to_owned(), reason });
        }
        Ok(Self {
            host,
            port: given.port.or(written.port).unwrap_or(DEFAULT_PORT),
            tls: tls(given.tls_cert.or(written.tls_cert), given.tls_key.or(written.tls_key))?,
            log: path(given.log.or(written.log)),
            hubs,
            warnings,
        })
    }
}

impl Hub {
    fn new(written: written::Hub) -> Result<Self, HubError> {
        if let Some(codec) = written.codec
            && codec != "JSON"
        {
            return Err(HubError::Codec(codec));
        }
        let path = written.path.filter(|path| !path.is_empty()).ok_or_else(|| {
            HubError::Wrong("it needs a Path that begins with /, such as \"/chat\"".to_owned())
        })?;
        if let Some(fault) = crate::path::fault(&path) {
            return Err(HubError::Wrong(format!("Path {path:?} {fault}")));
        }
        let default = Settings::default();
        let max_message = match written.max_message_size {
            Some(0) => usize::MAX,
            size => size.unwrap_or(default.max_message),
        };
        let settings = Settings {
            credentials: Credentials {
                read_only: written.secrets.read_only.unwrap_or_default(),
                read_write: written.secrets.read_write.unwrap_or_default(),
            },
            max_message,
            max_channels: written.max_channels.unwrap_or(default.max_channels),
            max_subscriptions: written.max_subscriptions.unwrap_or(default.max_subscriptions),
            allowed_origins: written.allowed_origins.map(allowed_origins).transpose()?,
        };
        Ok(Self { path, log: self::path(written.log), settings })
    }
}

/// What is wrong with a hub, before it is known which.
enum HubError {
    Codec(String),
    Wrong(String),
}

impl HubError {
    fn in_hub(self, file: &str, index: usize) -> ConfigError {
        match self {
            Self::Codec(codec) => ConfigError::Codec(codec),
            Self::Wrong(reason) => ConfigError::Parsing {
                place: file.to_owned(),
                reason: format!("Hubs[{index}]: {reason}"),
            },
        }
    }
}

/// Each as a browser sends it, or `*`.
fn allowed_origins(written: Vec<String>) -> Result<Vec<String>, HubError> {
    if written.is_empty() {
        let reason = "AllowedOrigins is empty; leave it out to welcome any";
        return Err(HubError::Wrong(reason.to_owned()));
    }
    let meant = |text: String| {
        if text == "*" {
            return Ok(text);
        }
        let wrong = || HubError::Wrong(format!("AllowedOrigins: {text:?} {}", origin::REMEDY));
        origin::as_sent(&text).ok_or_else(wrong)
    };
    written.into_iter().map(meant).collect()
}

/// RK-CFG-4: both files, or neither.
fn tls(cert: Option<String>, key: Option<String>) -> Result<Option<TlsFiles>, ConfigError> {
    match (path(cert), path(key)) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(ConfigError::HalfTls { present: "TLSCertFile", absent: "TLSKeyFile" })
        }
        (None, Some(_)) => {
            Err(ConfigError::HalfTls { present: "TLSKeyFile", absent: "TLSCertFile" })
        }
    }
}

/// The host of `host:port`; an IPv6 address alone has no port.
fn before_port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = !name.contains(':') || name.ends_with(']');
    (is_port && is_host).then_some(name)
}

/// An empty path is none.
fn path(text: Option<String>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(given: &Flags, text: &str) -> Result<Config, ConfigError> {
        Config::new("rocket.json", text.as_bytes(), given)
    }

    fn config(text: &str) -> Config {
        with(&Flags::default(), text).unwrap()
    }

    #[track_caller]
    fn assert_fails(text: &str, message: &str) {
        let error = with(&Flags::default(), text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }

    fn hub(text: &str) -> Hub {
        config(&format!(r#"{{"Hubs":[{text}]}}"#)).hubs.remove(0)
    }

    fn secrets(hub: &Hub) -> [&str; 2] {
        let Credentials { read_only, read_write } = &hub.settings.credentials;
        [read_only, read_write]
    }

    fn limits(hub: &Hub) -> [usize; 3] {
        let settings = &hub.settings;
        [settings.max_message, settings.max_channels, settings.max_subscriptions]
    }

    /// RK-CFG-2, R14: what the file does not say is what the README promises.
    #[test]
    fn defaults() {
        let nulls = r#"{"Host":null,"Port":null,"TLSCertFile":null,"TLSKeyFile":null,"Log":null,"Hubs":null}"#;
        for text in ["{}", nulls] {
            let config = config(text);
            assert_eq!((config.host.as_str(), config.port), ("localhost", 9772));
            assert_eq!((config.tls, config.log, config.hubs.len()), (None, None, 0));
            assert_eq!(config.warnings, [""; 0]);
        }
        let hub = hub(r#"{"Path":"/a","Secrets":null,"AllowedOrigins":null,"MaxChannels":null}"#);
        assert_eq!((hub.path.as_str(), &hub.log), ("/a", &None));
        assert_eq!(secrets(&hub), ["", ""]);
        assert_eq!(limits(&hub), [1 << 20, 100_000, 10_000]);
        assert_eq!(hub.settings.allowed_origins, None);
    }

    /// RK-CFG-1: every member, whatever its case.
    #[test]
    fn every_member_is_read() {
        let text = r#"{"Host":"h","Port":1,"TLSCertFile":"c","TLSKeyFile":"k","Log":"l","Hubs":[
            {"Path":"/a","Codec":"JSON","Log":"m","Secrets":{"ReadOnly":"r","ReadWrite":"w"},
             "AllowedOrigins":["HTTP://a"],"MaxMessageSize":2,"MaxChannels":3,"MaxSubscriptions":4}]}"#;
        let names = ["Host", "Port", "TLSCertFile", "TLSKeyFile", "Log", "Hubs", "Path", "Codec"];
        let more = ["Secrets", "ReadOnly", "ReadWrite", "AllowedOrigins", "MaxMessageSize"];
        let names = names.into_iter().chain(more).chain(["MaxChannels", "MaxSubscriptions"]);
        for fold in [str::to_owned, str::to_ascii_lowercase, str::to_ascii_uppercase] {
            let quoted = |name: &str| format!("\"{name}\"");
            let folded = names.clone().fold(text.to_owned(), |text, name| {
                text.replace(&quoted(name), &quoted(&fold(name)))
            });
            let config = config(&folded);
            assert_eq!((config.host.as_str(), config.port), ("h", 1), "{folded}");
            assert_eq!(config.tls, Some(TlsFiles { cert: "c".into(), key: "k".into() }));
            assert_eq!((config.log, config.warnings.len()), (Some("l".into()), 0));
            let [hub] = &config.hubs[..] else { panic!("{folded}") };
            assert_eq!((hub.path.as_str(), &hub.log), ("/a", &Some("m".into())));
            assert_eq!(secrets(hub), ["r", "w"]);
            assert_eq!(limits(hub), [2, 3, 4]);
            assert_eq!(hub.settings.allowed_origins, Some(vec!["http://a".to_owned()]));
        }
    }

    /// RK-CFG-1: of a repeated member the last wins; secrets are put together, so that none gets
    /// lost.
    #[test]
    fn the_last_of_a_name_wins() {
        assert_eq!(config(r#"{"Host":"a","host":"b","HOST":null}"#).host, "b");
        assert!(config(r#"{"Hubs":[{"Path":"/a"}],"hubs":[]}"#).hubs.is_empty());
        let text = r#"{"Path":"/a","Secrets":{"ReadOnly":"r"},"secrets":{"ReadWrite":"w"}}"#;
        assert_eq!(secrets(&hub(text)), ["r", "w"]);
    }

    /// RK-CFG-1: unknown members are ignored, with a warning that names what may be meant.
    #[test]
    fn unknown_members_are_ignored() {
        let text = r#"{"Prot":1,"Hubs":[{"Path":"/a","Secret":{"a":1},"Secrets":{"readwrit":""}}],"Else":[]}"#;
        let end = "in the configuration is unknown and ignored";
        assert_eq!(
            config(text).warnings,
            [
                format!("Prot {end}; did you mean Port?"),
                format!("Else {end}"),
                format!("Hubs[0].Secret {end}; did you mean Secrets?"),
                format!("Hubs[0].Secrets.readwrit {end}; did you mean Secrets.ReadWrite?"),
            ]
        );
    }

    /// RK-CFG-1: what is no JSON or has the wrong type is told with its place, and without its
    /// value, which may be a secret.
    #[test]
    fn wrong_types_are_told_with_their_place() {
        for (text, message) in [
            ("", "1:0: EOF while parsing a value"),
            ("{\n \"Host\": \"a\",\n}", "3:1: trailing comma"),
            ("{} x", "1:4: trailing characters"),
            ("{\n\"Host\": 5}", "2:10: Host must be a string, not that number"),
            (
                r#"{"Port":"9772"}"#,
                "1:15: Port must be a whole number from 0 to 65535, not a string",
            ),
            (
                r#"{"Port":65536}"#,
                "1:14: Port must be a whole number from 0 to 65535, not that number",
            ),
            (
                r#"{"Port":1.0}"#,
                "1:12: Port must be a whole number from 0 to 65535, not that number",
            ),
            (r#"{"log":{}}"#, "1:10: Log must be a string, not an object"),
            ("{\"Hubs\":[{},\n{\"Path\":true}]}", "2:13: Path must be a string, not a boolean"),
            (r#"{"Hubs":[{"Secrets":"hidden"}]}"#, "1:29: Secrets must be an object, not a string"),
            (
                r#"{"Hubs":[{"Secrets":{"ReadOnly":12345}}]}"#,
                "1:39: ReadOnly must be a string, not that number",
            ),
            (r#"{"Hubs":{}}"#, "1:11: Hubs must be an array of objects, not an object"),
            (r#"{"Hubs":"hidden"}"#, "1:17: Hubs must be an array of objects, not a string"),
            (r#"{"Hubs":[{},5]}"#, "1:15: Hubs[1] must be an object, not that number"),
            (r#"{"Hubs":[-5]}"#, "1:13: Hubs[0] must be an object, not that number"),
            (r#"{"Hubs":[0.5]}"#, "1:14: Hubs[0] must be an object, not that number"),
            (r#"{"Hubs":[true]}"#, "1:15: Hubs[0] must be an object, not a boolean"),
            (r#"{"Hubs":[[{}]]}"#, "1:15: Hubs[0] must be an object, not an array"),
            (
                r#"{"Hubs":[{"AllowedOrigins":"http://a"}]}"#,
                "1:38: AllowedOrigins must be an array of strings, not a string",
            ),
            (
                r#"{"Hubs":[{"AllowedOrigins":["http://a",5]}]}"#,
                "1:42: AllowedOrigins[1] must be a string, not that number",
            ),
            (
                r#"{"Hubs":[{"MaxMessageSize":-1}]}"#,
                "1:30: MaxMessageSize must be a whole number of bytes, or 0 for any, not that number",
            ),
            (
                r#"{"Hubs":[{"MaxChannels":0}]}"#,
                "1:26: MaxChannels must be a whole number of at least 1, not that number",
            ),
        ] {
            assert_fails(text, &format!("Config parsing error: rocket.json:{message}"));
        }
        for (text, found) in [("[]", "an array"), ("\"hidden\"", "a string"), ("5", "that number")]
        {
            let message = format!("the configuration must be an object, not {found}");
            assert_fails(text, &format!("Config parsing error: rocket.json: {message}"));
        }
    }

    /// RK-CFG-1: some editors begin a file with a mark.
    #[test]
    fn a_byte_order_mark_means_nothing() {
        assert_eq!(config("\u{feff}{\"Host\":\"h\"}").host, "h");
        assert_fails(
            "\u{feff}",
            "Config parsing error: rocket.json:1:0: EOF while parsing a value",
        );
        assert!(with(&Flags::default(), "\u{feff}\u{feff}{}").is_err());
    }

    /// As in the configuration of the gateway.
    #[test]
    fn no_limit_of_messages() {
        assert_eq!(limits(&hub(r#"{"Path":"/a","MaxMessageSize":0}"#))[0], usize::MAX);
    }

    /// RK-CFG-1, RK-CLI-2: host and port are two members, and two flags.
    #[test]
    fn a_host_has_no_port() {
        for host in ["localhost", "127.0.0.1", "::1", "[::1]", "2001:db8::80", "", "fe80::1%2"] {
            assert_eq!(config(&format!(r#"{{"Host":"{host}"}}"#)).host, host);
        }
        for (host, name) in
            [("localhost:80", "localhost"), ("[::1]:80", "[::1]"), (":80", ""), ("a:", "a")]
        {
            let reason =
                format!("Host {host:?} has a port, which goes into Port (-port); write {name:?}");
            let text = format!(r#"{{"Host":"{host}"}}"#);
            assert_fails(&text, &format!("Config parsing error: rocket.json: {reason}"));
            let given = Flags { host: Some(host.into()), ..Flags::default() };
            let told = with(&given, "{}").unwrap_err().to_string();
            assert_eq!(told, format!("Config parsing error: flag -host: {reason}"));
            let given = Flags { host: Some("h".into()), ..Flags::default() };
            assert_eq!(with(&given, &text).unwrap().host, "h");
        }
    }

    /// RK-CFG-3: the codec is JSON, also when none is named.
    #[test]
    fn the_codec_is_json() {
        for codec in ["", "json", "MessagePack", "JSON "] {
            let text = format!(r#"{{"Hubs":[{{"Path":"/a","Codec":"{codec}"}}]}}"#);
            assert_fails(&text, &format!("Invalid handler type: {codec}"));
        }
        for codec in ["null", "\"JSON\""] {
            hub(&format!(r#"{{"Path":"/a","Codec":{codec}}}"#));
        }
    }

    /// RK-CFG-5: each hub has a path of its own.
    #[test]
    fn paths() {
        let missing = "Hubs[0]: it needs a Path that begins with /, such as \"/chat\"";
        for hub in ["{}", r#"{"Path":""}"#, "null"] {
            let text = format!(r#"{{"Hubs":[{hub}]}}"#);
            assert_fails(&text, &format!("Config parsing error: rocket.json: {missing}"));
        }
        for (path, reason, meant) in [
            ("chat", "it does not begin with /", "/chat"),
            ("/chat?a", "a path ends before ? and #", "/chat"),
            ("/a/../chat", "paths are compared without //, /./ and /../", "/chat"),
        ] {
            assert_fails(
                &format!(r#"{{"Hubs":[{{"Path":"{path}"}}]}}"#),
                &format!(
                    "Config parsing error: rocket.json: Hubs[0]: Path {path:?} never matches, as \
                     {reason}; write {meant:?}"
                ),
            );
        }
        assert_fails(
            r#"{"Hubs":[{"Path":"/a"},{"Path":"/b"},{"Path":"/a"}]}"#,
            "Config parsing error: rocket.json: \
             Hubs[2]: an earlier hub has the Path \"/a\"; choose another",
        );
    }

    /// RK-CFG-4, R15: one file of two is an error, wherever it is named; an empty name is none.
    #[test]
    fn tls_takes_both_files() {
        let end =
            "TLSCertFile (-tls-cert) and TLSKeyFile (-tls-key) go together, or leave both out";
        for text in [r#"{"TLSCertFile":"c"}"#, r#"{"TLSCertFile":"c","TLSKeyFile":""}"#] {
            assert_fails(
                text,
                &format!("TLS error: TLSCertFile is given without TLSKeyFile; {end}"),
            );
        }
        assert_fails(
            r#"{"TLSKeyFile":"k"}"#,
            &format!("TLS error: TLSKeyFile is given without TLSCertFile; {end}"),
        );
        let given = Flags { tls_key: Some("g".into()), ..Flags::default() };
        let tls = with(&given, r#"{"TLSCertFile":"c","TLSKeyFile":"k"}"#).unwrap().tls;
        assert_eq!(tls, Some(TlsFiles { cert: "c".into(), key: "g".into() }));
        let given = Flags { tls_key: Some(String::new()), ..given };
        assert!(with(&given, r#"{"TLSCertFile":"c","TLSKeyFile":"k"}"#).is_err());
    }

    /// RK-CLI-2: a flag that is given counts, also with its default; one that is not never does.
    #[test]
    fn flags_override_the_file() {
        let text = r#"{"Host":"h","Port":1,"Log":"l"}"#;
        let given = Flags {
            host: Some("localhost".into()),
            port: Some(9772),
            log: Some(String::new()),
            ..Flags::default()
        };
        let config = with(&given, text).unwrap();
        assert_eq!((config.host.as_str(), config.port, config.log), ("localhost", 9772, None));
        let config = with(&Flags::default(), text).unwrap();
        assert_eq!((config.host.as_str(), config.port, config.log), ("h", 1, Some("l".into())));
    }

    /// RK-TRN-2: what Origins are named, as browsers send them.
    #[test]
    fn origins_are_written_as_browsers_send_them() {
        let text = |list: &str| format!(r#"{{"Hubs":[{{"Path":"/a","AllowedOrigins":{list}}}]}}"#);
        let origins = |list: &str| config(&text(list)).hubs.remove(0).settings.allowed_origins;
        let expected = ["https://a", "null", "*"].map(str::to_owned).to_vec();
        assert_eq!(origins(r#"["HTTPS://A:443","null","*"]"#), Some(expected));
        assert_fails(
            &text(r#"["http://a/"]"#),
            "Config parsing error: rocket.json: Hubs[0]: AllowedOrigins: \"http://a/\" is no \
             origin; write https://HOST, https://HOST:PORT, null, or * for any",
        );
        assert_fails(
            &text("[]"),
            "Config parsing error: rocket.json: Hubs[0]: AllowedOrigins is empty; leave it out to \
             welcome any",
        );
    }

    /// RK-CFG-1: a file that cannot be read is told with its name.
    #[test]
    fn a_file_that_is_not_there() {
        let error = load("/no/such/file", &Flags::default()).unwrap_err().to_string();
        assert!(error.starts_with("Config reading error: /no/such/file: "), "{error}");
    }
}
