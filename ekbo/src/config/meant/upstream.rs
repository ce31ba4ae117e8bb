//! What `upstream` and `trusted_proxies` mean: the application that gets what no door takes, and
//! whose word on where a request comes from is passed on to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::written::Settings;
use super::super::{ApiListen, ConfigError, Listen, Upstream, Warning, WarningKind};
use super::{Target, target, time};
use crate::network::Network;
use crate::outbound::target::Address;

/// One that is a listener of ours would be asked by itself again and again.
pub(super) fn upstream(
    settings: &Settings,
    listen: &Listen,
    api_listen: Option<&ApiListen>,
) -> Result<Option<Upstream>, ConfigError> {
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
    if let Some(key) = own_listener(&address, listen, api_listen) {
        let problem = format!("is this server itself, by its {key}");
        return fault(&problem, "write where the application listens");
    }
    Ok(Some(Upstream {
        address,
        connect_timeout: time(entry, "connect_timeout")?,
        response_timeout: time(entry, "response_timeout")?,
    }))
}

pub(super) fn trusted_proxies(
    settings: &Settings,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Network>, ConfigError> {
    let name = "trusted_proxies";
    let mut networks = Vec::new();
    for text in settings.texts(name) {
        let network: Network =
            text.parse().map_err(|fault| settings.fault(name, format!("{text:?} {fault}")))?;
        if network.is_everybody() {
            let problem = format!(
                "{text:?} is everybody, so that anyone may say where a request comes from; write \
                 the addresses of your proxies"
            );
            warnings.push(settings.warning(WarningKind::EveryoneTrusted, name, &problem));
        }
        networks.push(network);
    }
    if !networks.is_empty() && settings.entry("upstream").is_none() {
        let problem = "acts on X-Forwarded-For, -Proto and -Host of what goes to an upstream, and \
                       there is none; set upstream, or remove it";
        warnings.push(settings.warning(WarningKind::ProxiesUnused, name, problem));
    }
    Ok(networks)
}

/// The key that makes this server listen at the address. What only the names and interfaces of the
/// machine tell is not seen.
fn own_listener(
    address: &Address,
    listen: &Listen,
    api_listen: Option<&ApiListen>,
) -> Option<&'static str> {
    let uri = address.uri();
    if let Some(path) = target::unix_path_of(uri) {
        let is_public = matches!(listen, Listen::Unix(own) if *own == path);
        let is_api = matches!(api_listen, Some(ApiListen::Unix(own)) if *own == path);
        return is_public.then_some("sock").or(is_api.then_some("api_listen"));
    }
    let host = uri.host()?;
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    let is_public = matches!(listen, Listen::Tcp(own) if *own == port);
    if is_public && !loopback_of(host).is_empty() {
        return Some("port");
    }
    let Some(ApiListen::Tcp(api)) = api_listen else { return None };
    let (api_host, api_port) = api.rsplit_once(':')?;
    (api_port.parse() == Ok(port) && is_taken_by(api_host, host)).then_some("api_listen")
}

/// Whether a listener at this host takes connections to the other one, which both have one port.
fn is_taken_by(listener: &str, host: &str) -> bool {
    let listens = loopback_of(listener);
    let everywhere = ip(listener).is_some_and(|address| address.is_unspecified());
    listener.eq_ignore_ascii_case(host)
        || loopback_of(host).iter().any(|address| everywhere || listens.contains(address))
}

/// The loopback addresses among those a host stands for; connections to the unspecified address go
/// to one.
fn loopback_of(host: &str) -> Vec<IpAddr> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match ip(host) {
        None if host.eq_ignore_ascii_case("localhost") => vec![V4, V6],
        Some(address) if address.is_unspecified() => {
            vec![if address.is_ipv4() { V4 } else { V6 }]
        }
        Some(address) if address.is_loopback() => vec![address],
        _ => Vec::new(),
    }
}

/// The host of a URL, or of `HOST:PORT`, as an address.
fn ip(host: &str) -> Option<IpAddr> {
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    /// Requests would go round and round.
    #[test]
    fn an_upstream_is_not_this_server() {
        let write = "write where the application listens";
        for (listeners, url, key) in [
            ("", "http://127.0.0.1:9180", "port"),
            ("", "http://localhost:9180", "port"),
            ("", "https://LOCALHOST:9180", "port"),
            ("", "http://0.0.0.0:9180", "port"),
            ("", "http://[::1]:9180", "port"),
            ("", "http://[::]:9180", "port"),
            ("", "http://127.8.8.8:9180", "port"),
            ("", "http://[::ffff:127.0.0.1]:9180", "port"),
            ("port: 80", "http://localhost", "port"),
            ("port: 443", "https://localhost", "port"),
            ("sock: /run/a.sock", "unix:/run/a.sock", "sock"),
            ("api_listen: unix:/run/a.sock", "unix:/run/a.sock", "api_listen"),
            ("api_listen: \"127.0.0.1:3000\"", "http://localhost:3000", "api_listen"),
            ("api_listen: \"127.0.0.1:3000\"", "http://0.0.0.0:3000", "api_listen"),
            ("api_listen: \"localhost:3000\"", "http://[::1]:3000", "api_listen"),
            ("api_listen: \"0.0.0.0:3000\"", "http://127.0.0.1:3000", "api_listen"),
            ("api_listen: \"[::]:3000\"", "http://127.0.0.1:3000", "api_listen"),
            ("api_listen: \"10.0.0.1:3000\"", "http://10.0.0.1:3000", "api_listen"),
            ("api_listen: \"me.example:3000\"", "http://ME.example:3000", "api_listen"),
        ] {
            let shown =
                format!("upstream.url: {url:?} is this server itself, by its {key}; {write}");
            let expected = format!("config.yml:2: {shown}");
            assert_eq!(error(&format!("{listeners}\nupstream: {url:?}")), expected, "{listeners}");
        }
        for (listeners, url) in [
            ("", "http://127.0.0.1:9181"),
            ("", "http://10.0.0.1:9180"),
            ("", "http://application:9180"),
            ("", "http://localhost"),
            ("sock: /run/a.sock", "http://localhost:9180"),
            ("sock: /run/a.sock", "unix:/run/b.sock"),
            ("port: 0", "http://localhost:80"),
            ("api_listen: unix:/run/a.sock", "unix:/run/b.sock"),
            ("api_listen: \"10.0.0.1:3000\"", "http://127.0.0.1:3000"),
            ("api_listen: \"127.0.0.1:3000\"", "http://[::1]:3000"),
            ("api_listen: \"127.0.0.1:3000\"", "http://127.0.0.1:3001"),
            ("api_listen: \"0.0.0.0:3000\"", "http://application:3000"),
        ] {
            let config = config(&format!("{listeners}\nupstream: {url:?}"));
            assert!(config.upstream.is_some(), "{listeners} {url}");
        }
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

    #[test]
    fn trust_that_does_nothing_or_too_much() {
        let told = |text: &str| warnings(&format!("upstream: http://h\ntrusted_proxies: {text}"));
        for text in ["0.0.0.0/0", "::/0"] {
            let problem = format!(
                "config.yml:3: trusted_proxies: \"{text}\" is everybody, so that anyone may say \
                 where a request comes from; write the addresses of your proxies"
            );
            let network = format!("[10.0.0.0/8, \"{text}\"]");
            assert_eq!(told(&network), [(WarningKind::EveryoneTrusted, problem)]);
        }
        assert_eq!(told("[10.0.0.0/8, unix]"), []);
        let problem = "config.yml:2: trusted_proxies: acts on X-Forwarded-For, -Proto and -Host of \
                       what goes to an upstream, and there is none; set upstream, or remove it";
        let unused = warnings("trusted_proxies: unix");
        assert_eq!(unused, [(WarningKind::ProxiesUnused, problem.to_owned())]);
        assert_eq!(warnings("trusted_proxies: []"), []);
        let kinds = [WarningKind::EveryoneTrusted, WarningKind::ProxiesUnused];
        assert!(!kinds.into_iter().any(WarningKind::fails_check));
    }
}
