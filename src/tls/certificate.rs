//! Reads certificates, chains and keys.

use std::sync::Arc;

use rustls::{crypto::aws_lc_rs, pki_types::CertificateDer, sign::CertifiedKey};
use x509_parser::{
    extensions::GeneralName,
    pem::Pem,
    prelude::{FromDer, X509Certificate},
};

use super::private_key;
use crate::model::{Moment, tls::CertificateFacts};

/// Reads a certificate with its chain and, if it is in the file as well, a stapled OCSP response
/// (a PEM block `OCSP RESPONSE`); and its key, which must fit.
///
/// # Errors
///
/// What is wrong, to follow the name of the file or key.
pub fn certificate(
    cert: &str,
    key: &str,
) -> Result<(Arc<CertifiedKey>, CertificateFacts), Problem> {
    let blocks = blocks(cert).map_err(Problem::Certificate)?;
    let ders = |label: &str| -> Vec<Vec<u8>> {
        blocks.iter().filter(|pem| pem.label == label).map(|pem| pem.contents.clone()).collect()
    };
    let chain: Vec<_> = ders("CERTIFICATE").into_iter().map(CertificateDer::from).collect();
    let Some(leaf) = chain.first() else {
        return Err(Problem::Certificate(
            "holds no certificate (-----BEGIN CERTIFICATE-----)".into(),
        ));
    };
    let facts = facts(leaf).map_err(Problem::Certificate)?;
    let key = private_key(key).map_err(|_| {
        Problem::Key("holds no private key in PEM (-----BEGIN PRIVATE KEY-----)".into())
    })?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    let mut certified = certified.map_err(|error| {
        Problem::Key(match error {
            rustls::Error::InconsistentKeys(_) => "is the key of another certificate".into(),
            error => format!("cannot be used: {error}"),
        })
    })?;
    certified.ocsp = ders("OCSP RESPONSE").into_iter().next();
    Ok((Arc::new(certified), facts))
}

/// What is wrong with a certificate's files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// With that of the certificate.
    Certificate(String),
    /// With that of the key.
    Key(String),
}

fn blocks(pem: &str) -> Result<Vec<Pem>, String> {
    let blocks = Pem::iter_from_buffer(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    blocks.map_err(|_| "is not whole, or not PEM".into())
}

fn facts(leaf: &CertificateDer<'_>) -> Result<CertificateFacts, String> {
    let unreadable = |_| "holds a certificate that cannot be read".to_owned();
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(unreadable)?;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_ascii_lowercase));
    }
    let issuer = certificate.issuer();
    let mut signer = issuer.iter_common_name().chain(issuer.iter_organization());
    let signer = signer.find_map(|name| name.as_str().ok()).unwrap_or_default().to_owned();
    let moment = |seconds: i64| Moment(seconds.max(0).unsigned_abs().saturating_mul(1000));
    let validity = certificate.validity();
    Ok(CertificateFacts {
        names,
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
        issuer: signer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_read_with_its_names_and_dates() {
        let (cert, key) = made(&["A.example", "*.b.example"]);
        let (certified, facts) = certificate(&cert, &key).unwrap();
        assert_eq!(facts.names, ["a.example", "*.b.example"]);
        assert!(facts.not_before < facts.not_after);
        assert!(certified.ocsp.is_none());
    }

    #[test]
    fn a_stapled_response_may_be_in_the_file() {
        let (cert, key) = made(&["a"]);
        let cert =
            format!("{cert}-----BEGIN OCSP RESPONSE-----\nAQID\n-----END OCSP RESPONSE-----\n");
        assert_eq!(certificate(&cert, &key).unwrap().0.ocsp.as_deref(), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let ((cert, key), (_, other)) = (made(&["a"]), made(&["b"]));
        let problem = |cert: &str, key: &str| certificate(cert, key).unwrap_err();
        let foreign = Problem::Key("is the key of another certificate".into());
        assert_eq!(problem(&cert, &other), foreign);
        assert!(matches!(problem(&cert, &cert), Problem::Key(_)));
        assert!(matches!(problem(&key, &key), Problem::Certificate(_)));
        assert!(matches!(problem("", &key), Problem::Certificate(_)));
        for cut in [30, cert.len() / 2, cert.len() - 20] {
            let half = problem(&cert[..cut], &key);
            assert!(matches!(half, Problem::Certificate(_)), "{cut}: {half:?}");
        }
    }
}
