//! What `upstream` and `trusted_proxies` mean: the application that gets what no door takes, and
//! whose word on where a request comes from is passed on to it.

use super::super::written::Settings;
use super::super::{ConfigError, Upstream};
use super::{Target, target, time};
use crate::network::Network;

pub(super) fn upstream(settings: &Settings) -> Result<Option<Upstream>, ConfigError> {
    let Some(entry) = settings.entry("upstream") else { return Ok(None) };
    let Some(text) = entry.text("url") else {
        let problem = "is missing; write http://HOST:PORT or unix:/PATH.sock";
        return Err(entry.fault("url", problem));
    };
    let fault = |problem: &str, remedy: &str| {
        let shown = target::masked(text);
        Err(entry.fault("url", format!("{shown:?} {problem}; {remedy}")))
    };
    let address = match Target::parse(text) {
        Target::Good(address) => address,
        Target::Unparsable(reason) | Target::Unreachable(reason) => {
            // The remedy that it has is for URLs with a path.
            let problem = reason.split("; ").next().unwrap_or_default();
            return fault(problem, "write http://HOST:PORT, https://HOST or unix:/PATH.sock");
        }
    };
    let uri = address.uri();
    if uri.path() != "/" || uri.query().is_some() {
        let problem = "has a path or query, but paths go to the application as they come";
        return fault(problem, "write what is before it");
    }
    if address.authorization().is_some() {
        let problem = "has user information, but fields go to the application as they come";
        return fault(problem, "write what is behind the @");
    }
    Ok(Some(Upstream {
        address,
        connect_timeout: time(entry, "connect_timeout")?,
        response_timeout: time(entry, "response_timeout")?,
    }))
}

pub(super) fn trusted_proxies(settings: &Settings) -> Result<Vec<Network>, ConfigError> {
    let name = "trusted_proxies";
    let network = |text: &String| {
        text.parse().map_err(|fault| settings.fault(name, format!("{text:?} {fault}")))
    };
    settings.texts(name).iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::WarningKind;
    use super::super::tests::{config, error, warnings};
    use super::*;

    fn only(text: &str) -> Upstream {
        config(&format!("upstream: {text}")).upstream.unwrap()
    }

    /// Surface, section 5: a URL, or a map with it.
    #[test]
    fn an_upstream_is_a_url_or_a_map() {
        let seconds = Duration::from_secs;
        for text in ["http://127.0.0.1:3000", "{url: \"http://127.0.0.1:3000/\"}"] {
            let upstream = only(text);
            assert_eq!(upstream.address.host_header(), "127.0.0.1:3000", "{text}");
            assert_eq!(upstream.connect_timeout, seconds(5));
            assert_eq!(upstream.response_timeout, seconds(60));
        }
        let upstream =
            only("\n  url: https://app.example\n  connect_timeout: 1s\n  response_timeout: 2s\n");
        assert_eq!(upstream.address.uri().scheme_str(), Some("https"));
        assert_eq!((upstream.connect_timeout, upstream.response_timeout), (seconds(1), seconds(2)));
        let unix = only("unix:/run/app.sock").address;
        assert_eq!(target::unix_path_of(unix.uri()).unwrap().to_str(), Some("/run/app.sock"));
        for none in ["", "~", "\"\""] {
            assert_eq!(config(&format!("upstream: {none}")).upstream, None, "{none:?}");
        }
    }

    #[test]
    fn mistakes() {
        let write = "; write http://HOST:PORT, https://HOST or unix:/PATH.sock";
        for (text, key, problem) in [
            (
                "{connect_timeout: 1s}",
                ".url",
                "is missing; write http://HOST:PORT or unix:/PATH.sock",
            ),
            ("{url: ''}", ".url", "is missing; write http://HOST:PORT or unix:/PATH.sock"),
            ("[http://h]", "", "expected a URL or a map, found a list"),
            ("word", ".url", &format!("\"word\" is no URL{write}")),
            ("127.0.0.1:3000", ".url", &format!("\"127.0.0.1:3000\" is no URL{write}")),
            ("ftp://h", ".url", &format!("\"ftp://h\" has the scheme \"ftp\"{write}")),
            (
                "\"http://:0\"",
                ".url",
                &format!("\"http://:0\" has a port outside 1 to 65535{write}"),
            ),
            (
                "http://h/app",
                ".url",
                "\"http://h/app\" has a path or query, but paths go to the application as they \
                 come; write what is before it",
            ),
            (
                "\"http://h?a=b\"",
                ".url",
                "\"http://h?a=b\" has a path or query, but paths go to the application as they \
                 come; write what is before it",
            ),
            (
                "\"unix:/run/app.sock:/app\"",
                ".url",
                "\"unix:/run/app.sock:/app\" has a path or query, but paths go to the application \
                 as they come; write what is before it",
            ),
            (
                "http://me:secret@h",
                ".url",
                "\"http://****@h\" has user information, but fields go to the application as they \
                 come; write what is behind the @",
            ),
            (
                "{url: http://h, response_timeout: 0}",
                ".response_timeout",
                "0 would leave no time; write for example 60s",
            ),
            (
                "{url: http://h, connect_timeout: 5}",
                ".connect_timeout",
                "\"5\" has no unit; write 5s",
            ),
        ] {
            let expected = format!("config.yml:1: upstream{key}: {problem}");
            assert_eq!(error(&format!("upstream: {text}")), expected);
        }
        let unknown = warnings("upstream: {url: http://h, timeout: 1s}");
        assert_eq!(unknown[0].0, WarningKind::UnknownKey);
        assert!(unknown[0].1.contains("\"upstream.timeout\"; did you mean upstream."));
    }

    /// With an upstream the backend API is on `api_listen` alone, and a gateway without it lacks it.
    #[test]
    fn a_gateway_beside_an_upstream_wants_api_listen() {
        let kinds = |text: &str| -> Vec<WarningKind> {
            let found = warnings(&format!("upstream: http://h\n{text}"));
            found.into_iter().map(|(kind, _)| kind).collect()
        };
        assert_eq!(kinds(""), []);
        assert_eq!(kinds("callback: {connect: http://h/c}"), [WarningKind::NoApi]);
        assert_eq!(kinds("callback: {connect: http://h/c}\napi_listen: localhost:1"), []);
        assert!(!WarningKind::NoApi.fails_check());
    }

    #[test]
    fn proxies() {
        let trusted = |text: &str| config(&format!("trusted_proxies: {text}")).trusted_proxies;
        assert_eq!(trusted("~"), []);
        let shown =
            |text: &str| -> Vec<String> { trusted(text).iter().map(ToString::to_string).collect() };
        assert_eq!(shown("10.0.0.0/8"), ["10.0.0.0/8"]);
        assert_eq!(shown("[10.0.0.0/8, \"::1\", unix]"), ["10.0.0.0/8", "::1/128", "unix"]);
        assert_eq!(
            error("trusted_proxies: [unix, 10.1.0.0/8]"),
            "config.yml:1: trusted_proxies: \"10.1.0.0/8\" has bits beyond its length; write \
             10.0.0.0/8 for the network, or 10.1.0.0 for the address alone"
        );
    }
}
