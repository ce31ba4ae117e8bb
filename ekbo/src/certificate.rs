//! The certificate and the key of the public listener, from the files that the configuration
//! names.

use std::io::ErrorKind;
use std::path::Path;

use kuiperbelt::{Tls, TlsError};

/// Which file is to blame, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFile {
    /// The key of the configuration that names it.
    pub(crate) key: &'static str,
    /// One line, with what to do.
    pub(crate) reason: String,
}

/// Reads both files.
pub(crate) fn load(cert: &Path, key: &Path) -> Result<Tls, BadFile> {
    let chain = read("tls.cert", cert)?;
    let secret = read("tls.key", key)?;
    Tls::from_pem(&chain, &secret).map_err(|error| {
        let key = match error {
            TlsError::Certificate(_) => "tls.cert",
            TlsError::Key(_) | TlsError::Mismatch | TlsError::Setup(_) => "tls.key",
        };
        BadFile { key, reason: error.to_string() }
    })
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, BadFile> {
    std::fs::read(path).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                "write the path of a PEM file that is there"
            }
            ErrorKind::PermissionDenied => "let the user of this server read it",
            _ => "write the path of a PEM file that can be read",
        };
        BadFile { key, reason: format!("{error}: {remedy}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read() {
        let missing = Path::new("/nowhere/certificate.pem");
        let bad = load(missing, missing).unwrap_err();
        assert_eq!(bad.key, "tls.cert");
        assert!(bad.reason.contains("that is there"), "{bad:?}");
        let bad = load(Path::new("/"), missing).unwrap_err();
        assert!(bad.reason.contains("that can be read"), "{bad:?}");
        let bad = load(Path::new("/dev/null"), missing).unwrap_err();
        assert_eq!(bad.key, "tls.key");
        let bad = load(Path::new("/dev/null"), Path::new("/dev/null")).unwrap_err();
        assert_eq!(bad.key, "tls.cert");
        assert!(bad.reason.contains("holds no certificate"), "{bad:?}");
    }
}
