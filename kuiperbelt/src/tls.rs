//! Who a server is over TLS: its certificates, its key, and what it agrees to. How TLS is spoken on
//! a connection is `stream/tls.rs`'s.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::{self, Ticketer};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    NoServerSessionStorage, ParsedCertificate, ServerConfig, UnbufferedServerConnection,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};

/// The only protocol behind TLS here.
const ALPN: &[u8] = b"http/1.1";

/// A certificate and its key, to serve by TLS 1.3 (RFC 8446) and 1.2 (RFC 5246) with. Clones are
/// cheap.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why a certificate and a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificates are to blame: what about them.
    #[error("{0}")]
    Certificate(String),
    /// The key is to blame: what about it.
    #[error("{0}")]
    Key(String),
    /// Either may be the wrong one.
    #[error(
        "the key does not belong to the first certificate: give the key of the server's own \
         certificate, which comes first in its chain"
    )]
    Mismatch,
    /// The machine is to blame.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl Tls {
    /// The certificate chain, the server's own first, and its private key (RSA, ECDSA or Ed25519;
    /// PKCS #8, PKCS #1 or SEC 1, not encrypted), both in PEM (RFC 7468). Of the key's, the first
    /// section that is one counts; whether a client will trust the certificates is not looked at.
    ///
    /// # Errors
    ///
    /// [`TlsError`], in one line.
    pub fn from_pem(cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        let provider = ring::default_provider();
        let chain = chain(cert_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::Key(
                "holds no private key: give one in PEM that is not encrypted".to_owned(),
            ),
            error => TlsError::Key(malformed(&error)),
        })?;
        let key = provider.key_provider.load_private_key(key).map_err(|_| {
            let problem = "holds a private key that cannot be used: give one of RSA (2048 bits or \
                           more), ECDSA (P-256 or P-384) or Ed25519";
            TlsError::Key(problem.to_owned())
        })?;
        let identity = CertifiedKey::new(chain, key);
        match identity.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(TlsError::Mismatch),
        }
        let setup = |error: Error| TlsError::Setup(error.to_string());
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Clients keep what it takes to resume a session, sealed; nothing of it is kept here.
        config.ticketer = Ticketer::new().map_err(setup)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self(Arc::new(config)))
    }

    /// The server's part in a new connection.
    pub(crate) fn connection(&self) -> Result<UnbufferedServerConnection, Error> {
        UnbufferedServerConnection::new(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Every certificate, at least one, each of which can be read.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::Certificate(malformed(&error)))?;
        if ParsedCertificate::try_from(&certificate).is_err() {
            let number = chain.len() + 1;
            let problem = format!("holds a certificate that cannot be read: number {number}");
            return Err(TlsError::Certificate(problem));
        }
        chain.push(certificate);
    }
    if chain.is_empty() {
        let problem = "holds no certificate: give the chain in PEM, the server's own first";
        return Err(TlsError::Certificate(problem.to_owned()));
    }
    Ok(chain)
}

/// What is wrong with PEM, without a word of what it holds.
fn malformed(error: &pem::Error) -> String {
    let problem = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line: it may be cut short",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "a section cannot be read",
    };
    format!("is not PEM: {problem}")
}

#[cfg(test)]
impl Tls {
    /// `localhost`, and the certificate that its clients are to trust.
    pub(crate) fn of_localhost() -> (Self, CertificateDer<'static>) {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (identity.cert.pem(), identity.signing_key.serialize_pem());
        let tls = Self::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
        (tls, identity.cert.der().clone())
    }

    /// With which no connection can begin.
    pub(crate) fn unusable() -> Self {
        let (Self(mut config), _) = Self::of_localhost();
        Arc::make_mut(&mut config).max_fragment_size = Some(1);
        Self(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key, in PEM.
    fn identity() -> (String, String) {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (identity.cert.pem(), identity.signing_key.serialize_pem())
    }

    fn refused(cert: &str, key: &str) -> TlsError {
        Tls::from_pem(cert.as_bytes(), key.as_bytes()).expect_err("it is taken")
    }

    #[test]
    fn a_certificate_and_its_key() {
        let (cert, key) = identity();
        let (other, _) = identity();
        // Only the first certificate has to do with the key; the order of other things is free.
        let tls = Tls::from_pem(format!("{cert}{other}").as_bytes(), key.as_bytes()).unwrap();
        let shown = format!("{tls:?}");
        assert_eq!(shown, "Tls { .. }");
        assert!(
            Tls::from_pem(format!("{key}{cert}").as_bytes(), format!("{cert}{key}").as_bytes())
                .is_ok()
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        let (cert, key) = identity();
        let (other, _) = identity();
        assert_eq!(refused(&other, &key), TlsError::Mismatch);
        assert_eq!(refused(&format!("{other}{cert}"), &key), TlsError::Mismatch);
        let in_certificate = [
            ("", "holds no certificate"),
            (&key, "holds no certificate"),
            (&cert[..cert.len() / 2], "no END line"),
            ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "not base64"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "number 1"),
        ];
        for (cert, problem) in in_certificate {
            let error = refused(cert, &key);
            assert!(matches!(error, TlsError::Certificate(_)), "{error:?}");
            assert!(error.to_string().contains(problem), "{error}");
        }
        let sealed = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let in_key = [
            ("", "holds no private key"),
            (&cert, "holds no private key"),
            (&sealed, "not encrypted"),
            (&key[..key.len() / 2], "no END line"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
        ];
        for (key, problem) in in_key {
            let error = refused(&cert, key);
            assert!(matches!(error, TlsError::Key(_)), "{error:?}");
            assert!(error.to_string().contains(problem), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
