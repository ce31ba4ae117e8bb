//! Which peers are meant: networks and addresses as they are written, and the word for whoever comes
//! over a Unix socket. What a peer that is met may do is decided elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// Peers that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// All addresses that begin with as many bits as the first one, whose others are 0.
    Ip(IpAddr, u32),
    /// Whoever comes over a Unix socket.
    Unix,
}

/// What is wrong with a text that is no network, and what to write; to be read behind the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct NoNetwork(String);

impl Network {
    /// Whether a peer is one of it; `None` comes over a Unix socket. An IPv4 address is one also
    /// where it is written as one of IPv6 (RFC 4291 section 2.5.5.2), as a socket does it that
    /// takes both.
    pub(crate) fn contains(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer.map(|peer| peer.to_canonical())) {
            (Self::Unix, None) => true,
            (Self::Ip(IpAddr::V4(address), length), Some(IpAddr::V4(peer))) => {
                (address.to_bits() ^ peer.to_bits()).leading_zeros() >= *length
            }
            (Self::Ip(IpAddr::V6(address), length), Some(IpAddr::V6(peer))) => {
                (address.to_bits() ^ peer.to_bits()).leading_zeros() >= *length
            }
            _ => false,
        }
    }

    /// Whether all addresses of a family are of it.
    pub(crate) fn is_everybody(&self) -> bool {
        matches!(self, Self::Ip(_, 0))
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let texts: Vec<&str> = text.split([',', ' ']).filter(|text| !text.is_empty()).collect();
        if texts.len() > 1 {
            return Err(NoNetwork(format!("is several texts in one; write a list: {texts:?}")));
        }
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            let problem = "is no network; write one as 10.0.0.0/8, an address as ::1, or unix";
            NoNetwork(problem.into())
        })?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = length.filter(is_number).and_then(|text| text.parse().ok());
        let number = number.filter(|number: &u32| *number <= longest);
        if let Some(mapped) = as_ipv4(address, number) {
            let problem = "never matches, as IPv4 is not compared as IPv6; write";
            return Err(NoNetwork(format!("{problem} {mapped}")));
        }
        let Some(text) = length else { return Ok(Self::Ip(address, longest)) };
        let length = number.ok_or_else(|| {
            NoNetwork(format!(
                "has no length from 0 to {longest} behind its /; write {address}/{longest}"
            ))
        })?;
        if text.starts_with('0') && text != "0" {
            let problem = format!("has a length that begins with 0; write {address}/{length}");
            return Err(NoNetwork(problem));
        }
        let begins = Self::Ip(first_of(address, length), length);
        if begins != Self::Ip(address, length) {
            let problem = format!(
                "has bits beyond its length; write {begins} for the network, or {address} for the \
                 address alone"
            );
            return Err(NoNetwork(problem));
        }
        Ok(begins)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address, length) => write!(formatter, "{address}/{length}"),
            Self::Unix => formatter.write_str("unix"),
        }
    }
}

/// What to write for an IPv4 address that is written as one of IPv6, or for a network of them.
fn as_ipv4(address: IpAddr, length: Option<u32>) -> Option<String> {
    let mapped = address.to_canonical();
    let length = length.and_then(|length| length.checked_sub(96)).filter(|length| *length < 32);
    (mapped != address).then(|| match length {
        Some(length) => Network::Ip(first_of(mapped, length), length).to_string(),
        None => mapped.to_string(),
    })
}

/// The address with 0 for all but so many bits.
fn first_of(address: IpAddr, length: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((address.to_bits() & kept).into())
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((address.to_bits() & kept).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, peer: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains((peer != "unix").then(|| peer.parse().unwrap()))
    }

    #[test]
    fn peers_of_a_network() {
        for (network, peers, others) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"][..], &["11.0.0.0", "9.255.255.255"][..]),
            (
                "192.168.4.0/22",
                &["192.168.4.0", "192.168.7.255"],
                &["192.168.3.255", "192.168.8.0"],
            ),
            ("127.0.0.1", &["127.0.0.1"], &["127.0.0.2", "::1", "unix"]),
            ("127.0.0.1/32", &["127.0.0.1"], &["127.0.0.0"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "unix"]),
            ("::1", &["::1"], &["::2", "127.0.0.1", "unix"]),
            ("fd00::/8", &["fd00::", "fdff:1::2"], &["fe00::", "fc00::"]),
            ("2001:db8:8000::/33", &["2001:db8:ffff::1"], &["2001:db8:7fff::1"]),
            ("::/0", &["::", "fe80::1"], &["1.2.3.4", "unix"]),
            ("unix", &["unix"], &["127.0.0.1", "::1", "::"]),
        ] {
            for peer in peers {
                assert!(contains(network, peer), "{network} {peer}");
            }
            for other in others {
                assert!(!contains(network, other), "{network} {other}");
            }
        }
    }

    /// As a listener on all interfaces sees IPv4 clients.
    #[test]
    fn an_ipv4_peer_is_one_however_it_is_written() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!contains("10.0.0.0/8", "::ffff:11.1.2.3"));
        assert!(!contains("10.0.0.0/8", "::10.1.2.3"));
        assert!(!contains("::/0", "::ffff:10.1.2.3"));
    }

    #[test]
    fn networks_are_shown_as_they_are_written() {
        for text in ["10.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0", "::1/128", "fd00::/8", "unix"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
    }

    #[test]
    fn a_fault_says_what_to_write() {
        let none = "is no network; write one as 10.0.0.0/8, an address as ::1, or unix";
        for (text, problem) in [
            ("", none),
            ("localhost", none),
            ("10.0.0", none),
            ("10.0.0.0.0/8", none),
            ("010.0.0.0/8", none),
            ("[::1]", none),
            ("Unix", none),
            ("/8", none),
            ("*", none),
            ("10.0.0.0/", "has no length from 0 to 32 behind its /; write 10.0.0.0/32"),
            ("10.0.0.0/33", "has no length from 0 to 32 behind its /; write 10.0.0.0/32"),
            ("10.0.0.0/+8", "has no length from 0 to 32 behind its /; write 10.0.0.0/32"),
            ("10.0.0.0/255.0.0.0", "has no length from 0 to 32 behind its /; write 10.0.0.0/32"),
            ("::1/129", "has no length from 0 to 128 behind its /; write ::1/128"),
            (
                "10.1.2.3/8",
                "has bits beyond its length; write 10.0.0.0/8 for the network, or 10.1.2.3 for the \
                 address alone",
            ),
            (
                "1.2.3.4/0",
                "has bits beyond its length; write 0.0.0.0/0 for the network, or 1.2.3.4 for the \
                 address alone",
            ),
            (
                "fd00::1/8",
                "has bits beyond its length; write fd00::/8 for the network, or fd00::1 for the \
                 address alone",
            ),
            ("10.0.0.0/08", "has a length that begins with 0; write 10.0.0.0/8"),
            ("0.0.0.0/00", "has a length that begins with 0; write 0.0.0.0/0"),
            (
                "10.0.0.0/8, 127.0.0.1",
                "is several texts in one; write a list: [\"10.0.0.0/8\", \"127.0.0.1\"]",
            ),
            ("::1,unix", "is several texts in one; write a list: [\"::1\", \"unix\"]"),
            ("::1 unix", "is several texts in one; write a list: [\"::1\", \"unix\"]"),
            (" 10.0.0.0/8", none),
            (",", none),
        ] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork(problem.into())), "{text}");
        }
    }

    /// What to write is what was meant, not a single address of it.
    #[test]
    fn ipv4_written_as_ipv6() {
        for (text, meant) in [
            ("::ffff:10.0.0.0", "10.0.0.0"),
            ("::ffff:10.0.0.0/128", "10.0.0.0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("::ffff:10.0.0.1/64", "10.0.0.1"),
            ("::ffff:10.0.0.1/129", "10.0.0.1"),
        ] {
            let problem = format!("never matches, as IPv4 is not compared as IPv6; write {meant}");
            assert_eq!(text.parse::<Network>(), Err(NoNetwork(problem)), "{text}");
            assert!(meant.parse::<Network>().is_ok(), "{meant}");
        }
    }

    #[test]
    fn everybody() {
        for (text, expected) in
            [("0.0.0.0/0", true), ("::/0", true), ("0.0.0.0/1", false), ("unix", false)]
        {
            assert_eq!(text.parse::<Network>().unwrap().is_everybody(), expected, "{text}");
        }
    }
}
