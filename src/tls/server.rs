//! What a listener's handshakes are made with.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::{ProducesTickets, WebPkiClientVerifier},
    version,
};

use super::{certificate, names::Names, own::stand_in, roots};
use crate::model::tls::{Certificate, ListenerTls, TlsVersion};

/// What session tickets are sealed with. Tickets of clients that showed a certificate must not be
/// taken after those who may sign it have changed.
#[derive(Clone)]
pub struct Tickets {
    producer: Arc<dyn ProducesTickets>,
    signers: Option<Arc<str>>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// `old`, or new ones where those would let the wrong clients in. Their keys change by themselves.
    fn of(tls: &ListenerTls, old: Option<&Self>) -> Result<Self, rustls::Error> {
        let signers = tls.client_ca.as_ref().map(|ca| ca.pem.clone());
        match old.filter(|old| old.signers == signers) {
            Some(old) => Ok(old.clone()),
            None => Ok(Self { producer: aws_lc_rs::Ticketer::new()?, signers }),
        }
    }
}

/// What handshakes are made with, and the tickets for the next call. A certificate that was `issued`
/// to lbd comes before those from files; names that it is to have one for, and that no file covers,
/// have one that lbd signs itself until then.
///
/// # Errors
///
/// What is wrong with the certificates, which the config check has ruled out.
pub fn server(
    tls: &ListenerTls,
    issued: Option<&Certificate>,
    http2: bool,
    tickets: Option<&Tickets>,
) -> Result<(ServerConfig, Tickets), String> {
    let mut names = Names::default();
    for entry in issued.into_iter().chain(&tls.certificates) {
        let read = certificate(&entry.cert_pem, &entry.key_pem.0);
        let (certified, facts) = read.map_err(|problem| format!("{problem:?}"))?;
        names.add(&facts.names, certified);
    }
    let uncovered = tls.uncovered();
    if issued.is_none() && !uncovered.is_empty() {
        names.add(&uncovered, stand_in(&uncovered)?);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tickets = Tickets::of(tls, tickets).map_err(|error| error.to_string())?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls.min_version))
        .map_err(|error| error.to_string())?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = roots(&ca.pem).map_err(|fault| format!("{} {fault}", ca.file.display()))?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(names));
    config.ticketer = tickets.producer.clone();
    config.alpn_protocols = alpn(http2);
    Ok((config, tickets))
}

fn versions(oldest: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match oldest {
        TlsVersion::V12 => vec![&version::TLS13, &version::TLS12],
        TlsVersion::V13 => vec![&version::TLS13],
    }
}

fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let names: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    names.iter().map(|name| name.to_vec()).collect()
}
