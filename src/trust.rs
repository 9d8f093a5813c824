//! Certificates and keys in PEM files, and TLS towards endpoints made of them.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::model::link::{Link, Pem, Protocol};

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

/// Makes TLS clients for control's own requests: probes and checks.
///
/// # Errors
///
/// Why there can be none: the system trusts nobody, or a file that was good is not.
pub fn client(link: &Link) -> Result<Arc<ClientConfig>, String> {
    let tls = link.tls.as_ref();
    let text = |pem: Option<&Pem>| pem.map(|pem| pem.text.0.clone());
    let roots = match text(tls.and_then(|tls| tls.ca.as_ref())) {
        Some(text) => roots(&text).map_err(|fault| format!("the CA file {fault}"))?,
        None => system_roots()?,
    };
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let own = tls.and_then(|tls| text(tls.client_cert.as_ref()).zip(text(tls.client_key.as_ref())));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let told = |fault: Fault| format!("the client certificate {fault}");
            let (chain, key) =
                (certificates(&certificate).map_err(told)?, private_key(&key).map_err(told)?);
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = match link.protocol {
        Protocol::HttpsH2 => vec![b"h2".to_vec()],
        Protocol::Https => vec![b"http/1.1".to_vec()],
        Protocol::Http1 | Protocol::H2c => Vec::new(),
    };
    Ok(Arc::new(config))
}

/// Whether a text can stand in a certificate as a host's name.
pub fn is_host_name(text: &str) -> bool {
    matches!(ServerName::try_from(text), Ok(ServerName::DnsName(_)))
}

/// Whom the system trusts: the same as traffic does, whose library asks the same way.
fn system_roots() -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs().map_err(|error| error.to_string())?;
    store.add_parsable_certificates(found);
    if store.is_empty() { Err("the system trusts no CA at all".into()) } else { Ok(store) }
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

    #[test]
    fn names_of_hosts_are_no_addresses() {
        assert!(is_host_name("app.example") && is_host_name("localhost"));
        assert!(!is_host_name("127.0.0.1") && !is_host_name("") && !is_host_name("a b"));
    }
}
