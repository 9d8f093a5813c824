//! Certificates and keys in PEM files.

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// What is wrong with a file of certificates or keys.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The text is not PEM.
    #[error("is not PEM: {0}")]
    NotPem(String),
    /// There is none in it.
    #[error("holds no certificate")]
    NoCertificate,
    /// One of them is no X.509 certificate.
    #[error("holds a certificate that cannot be read: {0}")]
    Unreadable(String),
    /// There is none in it.
    #[error("holds no private key")]
    NoKey,
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error("does not go with the certificate: {0}")]
    Mismatch(String),
}

/// The certificates of a PEM text; at least one.
///
/// # Errors
///
/// [`Fault`], if any of them cannot be read.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = read.map_err(|error| Fault::NotPem(error.to_string()))?;
    for certificate in &certificates {
        x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| Fault::Unreadable(error.to_string()))?;
    }
    if certificates.is_empty() { Err(Fault::NoCertificate) } else { Ok(certificates) }
}

/// The first private key of a PEM text.
///
/// # Errors
///
/// [`Fault`], if there is none.
pub fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Fault::NoKey)
}

/// Those who vouch for endpoints, by a PEM text.
///
/// # Errors
///
/// [`Fault`], if a certificate cannot vouch for anybody.
pub fn roots(text: &str) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(text)? {
        store.add(certificate).map_err(|error| Fault::Unreadable(error.to_string()))?;
    }
    Ok(store)
}

/// Whether a certificate and a key can be used together.
///
/// # Errors
///
/// What is wrong with the key; the certificates were read before.
pub fn belong_together(certificates: &str, key: &str) -> Result<(), Fault> {
    let (chain, key) = (self::certificates(certificates)?, private_key(key)?);
    let provider = aws_lc_rs::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider)
        .map(drop)
        .map_err(|error| Fault::Mismatch(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn good_files_are_good() {
        let (certificate, key) = made();
        assert_eq!(certificates(&certificate).unwrap().len(), 1);
        assert_eq!(certificates(&format!("{certificate}\n{certificate}")).unwrap().len(), 2);
        assert_eq!(belong_together(&certificate, &key), Ok(()));
        assert_eq!(roots(&certificate).unwrap().len(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let ((certificate, key), (_, other)) = (made(), made());
        assert_eq!(certificates(""), Err(Fault::NoCertificate));
        assert_eq!(certificates(&key), Err(Fault::NoCertificate));
        let half: String = certificate.chars().take(certificate.len() / 2).collect();
        assert!(matches!(certificates(&half), Err(Fault::NotPem(_) | Fault::NoCertificate)));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(certificates(nonsense), Err(Fault::Unreadable(_))));
        assert_eq!(belong_together(&certificate, &certificate), Err(Fault::NoKey));
        assert!(matches!(belong_together(&certificate, &other), Err(Fault::Mismatch(_))));
    }
}
