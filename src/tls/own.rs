//! Keys, requests and certificates that lbd makes itself.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::automatic::Proofs;

/// What a handshake offers that is only there to prove a name (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// A key of one's own, in PEM, and the request to sign it for `names`, in DER.
///
/// # Errors
///
/// What the cryptography says.
pub fn request(names: &[String]) -> Result<(String, Vec<u8>), String> {
    let text = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new(names).map_err(text)?;
    // Authorities take the names from the extension, and refuse common names that are too long.
    params.distinguished_name = rcgen::DistinguishedName::new();
    let key = KeyPair::generate().map_err(text)?;
    let request = params.serialize_request(&key).map_err(text)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

/// A certificate that nobody trusts, for as long as there is none that they could.
///
/// # Errors
///
/// What the cryptography says.
pub fn stand_in(names: &[String]) -> Result<Arc<CertifiedKey>, String> {
    self_signed(names, None)
}

/// What handshakes are made with that are there to prove one of the names.
///
/// # Errors
///
/// What the cryptography says.
pub fn proving(proofs: &Proofs) -> Result<ServerConfig, String> {
    let sign = |(name, digest): (&String, &[u8; 32])| {
        let extension = CustomExtension::new_acme_identifier(digest);
        Ok((name.clone(), self_signed(std::slice::from_ref(name), Some(extension))?))
    };
    let certificates = proofs.iter().map(sign).collect::<Result<Vec<_>, String>>()?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config =
        builder.with_no_client_auth().with_cert_resolver(Arc::new(Proving(certificates)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}

fn self_signed(
    names: &[String],
    extension: Option<CustomExtension>,
) -> Result<Arc<CertifiedKey>, String> {
    let text = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new(names).map_err(text)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "lbd stand-in");
    params.custom_extensions.extend(extension);
    let key = KeyPair::generate().map_err(text)?;
    let certificate = params.self_signed(&key).map_err(text)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
    // Not compared with the key, which would refuse the critical extension as unknown.
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// The certificates that prove names.
#[derive(Debug)]
struct Proving(Vec<(String, Arc<CertifiedKey>)>);

impl ResolvesServerCert for Proving {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name()?;
        let proof = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked));
        proof.map(|(_, certified)| certified.clone())
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_proof_has_its_name_and_the_critical_extension() {
        let extension = CustomExtension::new_acme_identifier(&[7; 32]);
        let certified = self_signed(&names(&["a.example"]), Some(extension)).unwrap();
        let (_, certificate) = X509Certificate::from_der(&certified.cert[0]).unwrap();
        let extension = certificate
            .extensions()
            .iter()
            .find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(extension.critical);
        // An OCTET STRING with the digest (RFC 8737, section 3).
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
    }

    #[test]
    fn a_request_names_what_it_is_for_and_nothing_else() {
        use x509_parser::certification_request::X509CertificationRequest;
        let (key, der) = request(&names(&["a.example", "b.example"])).unwrap();
        assert!(key.contains("PRIVATE KEY"));
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert_eq!(request.certification_request_info.subject.iter().count(), 0);
        let text = String::from_utf8_lossy(&der).into_owned();
        assert!(text.contains("a.example") && text.contains("b.example"));
    }
}
