//! TLS towards endpoints.

use std::sync::{Arc, OnceLock};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
};

use super::pem::{Fault, certificates, private_key, roots};
use crate::model::link::{Link, Pem, Protocol};

/// Makes TLS clients for control's own requests, probes and checks, and for the lean path.
///
/// # Errors
///
/// Why there can be none: the system trusts nobody, or a file that was good is not.
pub fn client(link: &Link) -> Result<Arc<ClientConfig>, String> {
    let tls = link.tls.as_ref();
    let text = |pem: Option<&Pem>| pem.map(|pem| pem.text.0.clone());
    let roots = match text(tls.and_then(|tls| tls.ca.as_ref())) {
        Some(text) => Arc::new(roots(&text).map_err(|fault| format!("the CA file {fault}"))?),
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

/// Whom the system trusts: the same as the full path does, whose library asks the same way. They are read
/// once, as there: neither that nor the room for them is needed for every pool.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs().map_err(|error| error.to_string())?;
    store.add_parsable_certificates(found);
    if store.is_empty() {
        return Err("the system trusts no CA at all".into());
    }
    Ok(ROOTS.get_or_init(|| Arc::new(store)).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_are_no_addresses() {
        assert!(is_host_name("app.example") && is_host_name("localhost"));
        assert!(!is_host_name("127.0.0.1") && !is_host_name("") && !is_host_name("a b"));
    }
}
