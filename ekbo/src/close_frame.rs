//! A close code and a reason, as headers carry them.

use std::str::FromStr as _;

use kuiperbelt::{CloseCode, CloseFrame, InvalidClose};
use percent_encoding::percent_decode;

/// Reads a code in decimal digits, one that may travel, and a reason that is percent-encoded where a
/// header needs it.
pub(crate) fn close_frame(code: &[u8], reason: &[u8]) -> Result<CloseFrame, InvalidClose> {
    let code = str::from_utf8(code)
        .ok()
        .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|code| u16::from_str(code).ok())
        .and_then(CloseCode::from_wire)
        .ok_or(InvalidClose::Code)?;
    let reason = percent_decode(reason).decode_utf8().map_err(|_| InvalidClose::Reason)?;
    CloseFrame::new(code, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons() {
        let read = |code: &str, reason: &str| {
            let frame = close_frame(code.as_bytes(), reason.as_bytes())?;
            Ok((frame.code().number(), frame.reason().to_owned()))
        };
        assert_eq!(read("4999", "gr%C3%BC%C3%9Fe 100%"), Ok((4999, "grüße 100%".to_owned())));
        for wrong in ["", "bye", "1004", "1005", "1006", "1015", "999", "2999", "5000", "+4000"] {
            assert_eq!(read(wrong, ""), Err(InvalidClose::Code), "{wrong}");
        }
        assert_eq!(read("70000", ""), Err(InvalidClose::Code));
        assert_eq!(read("4000", "%ff"), Err(InvalidClose::Reason));
        assert!(read("4000", &"x".repeat(123)).is_ok());
        assert_eq!(read("4000", &"x".repeat(124)), Err(InvalidClose::Reason));
    }
}
