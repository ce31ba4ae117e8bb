//! The first 64 bytes either way (RFC 23, "Version Negotiation"): who speaks ZMTP, which version
//! of it, and how it is secured.

use super::protocol_error::ProtocolError;

/// The length of a greeting.
pub(super) const LENGTH: usize = 64;

/// What this side says: ZMTP 3.1, NULL.
pub(super) const OURS: [u8; LENGTH] = {
    let mut bytes = [0; LENGTH];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[MAJOR] = 3;
    bytes[MINOR] = 1;
    let mut at = 0;
    while at < NULL.len() {
        bytes[MECHANISM + at] = NULL[at];
        at += 1;
    }
    bytes
};

const MAJOR: usize = 10;
const MINOR: usize = 11;
const MECHANISM: usize = 12;
const MECHANISM_END: usize = 32;
const NULL: &[u8] = b"NULL";

/// What the peer says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Whether the peer knows RFC 37: subscriptions as commands, and heartbeats.
    pub(super) is_3_1: bool,
}

/// Reads a greeting at the front of `bytes`. `None`: more are needed. A fault is found with the
/// first byte that shows it, as a peer that speaks something else may wait for an answer.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Greeting>, ProtocolError> {
    // ZMTP 1 begins with the length of an identity; where that is written long, it is not in
    // front of an odd byte.
    if bytes.first().is_some_and(|&byte| byte != 0xff) {
        return Err(ProtocolError::Signature);
    }
    if bytes.get(9).is_some_and(|&byte| byte != 0x7f) {
        return Err(ProtocolError::Signature);
    }
    match bytes.get(MAJOR) {
        // The revision that ZeroMQ 3 wrote here is that of ZMTP 2.0.
        Some(0..=2) => return Err(ProtocolError::Version(2)),
        Some(_) => {}
        None => return Ok(None),
    }
    let Some(whole) = bytes.get(..LENGTH) else {
        return Ok(None);
    };
    let mechanism = whole[MECHANISM..MECHANISM_END].split(|&byte| byte == 0).next();
    let mechanism = mechanism.unwrap_or_default();
    if mechanism != NULL {
        return Err(ProtocolError::Mechanism(mechanism.escape_ascii().to_string()));
    }
    Ok(Some(Greeting { is_3_1: (whole[MAJOR], whole[MINOR]) >= (3, 1) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_decides() {
        assert_eq!(parse(&OURS), Ok(Some(Greeting { is_3_1: true })));
        let mut older = OURS;
        older[MINOR] = 0;
        assert_eq!(parse(&older), Ok(Some(Greeting { is_3_1: false })));
        let mut newer = older;
        newer[MAJOR] = 4;
        assert_eq!(parse(&newer), Ok(Some(Greeting { is_3_1: true })));
    }

    #[test]
    fn a_part_is_no_fault() {
        for length in 0..LENGTH {
            assert_eq!(parse(&OURS[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn other_protocols_are_told_apart_at_once() {
        assert_eq!(parse(b"H"), Err(ProtocolError::Signature));
        assert_eq!(parse(b"\x01\x00"), Err(ProtocolError::Signature));
        assert_eq!(parse(&[0xff; 10]), Err(ProtocolError::Signature));
        assert_eq!(parse(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01"), Err(ProtocolError::Version(2)));
    }

    #[test]
    fn only_null_is_spoken() {
        for (name, shown) in [("CURVE", "CURVE"), ("PLAIN", "PLAIN"), ("", ""), ("\n", "\\n")] {
            let mut theirs = OURS;
            theirs[MECHANISM..MECHANISM_END].fill(0);
            theirs[MECHANISM..][..name.len()].copy_from_slice(name.as_bytes());
            assert_eq!(parse(&theirs), Err(ProtocolError::Mechanism(shown.into())));
        }
    }
}
