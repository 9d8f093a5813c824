//! How a worker's connections to endpoints are secured.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{ClientConfig, pki_types::ServerName};

use crate::{
    model::{address::Address, link::Link},
    tls,
};

/// What a handshake with an endpoint is made with.
#[derive(Debug)]
pub struct Secured {
    /// Whom lbd trusts and what it shows; it also keeps the sessions that can be resumed.
    pub client: Arc<ClientConfig>,
    /// Who the endpoint must be.
    pub name: ServerName<'static>,
}

/// A worker's own: what handshakes are made with, for each pool that speaks TLS. Kept by the address of
/// the link, which is kept beside it and so is nobody else's.
#[derive(Debug, Default)]
pub struct Trust(Mutex<HashMap<usize, Known>>);

type Known = (Arc<Link>, Arc<ClientConfig>);

impl Trust {
    /// What a handshake with the endpoint at `address` is made with; `None`: there is none to make.
    ///
    /// # Errors
    ///
    /// If the endpoint has no name, or a file that was found good with the config is not.
    pub fn of(&self, link: &Arc<Link>, address: &Address) -> io::Result<Option<Secured>> {
        if !link.protocol.is_tls() {
            return Ok(None);
        }
        let name = link.server_name(address).unwrap_or_default();
        let name = ServerName::try_from(asked_for(name)).map_err(io::Error::other)?;
        Ok(Some(Secured { client: self.client(link)?, name }))
    }

    fn client(&self, link: &Arc<Link>) -> io::Result<Arc<ClientConfig>> {
        // Only this worker's requests take the lock, one at a time on its thread.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Arc::as_ptr(link) as usize;
        if let Some((_, client)) = known.get(&place) {
            return Ok(client.clone());
        }
        // A reload that leaves a pool as it is leaves it its sessions.
        let same = known.values().find(|(other, _)| **other == **link);
        let client = match same {
            Some((_, client)) => client.clone(),
            None => tls::client(link).map_err(io::Error::other)?,
        };
        // What a reload left behind goes when something new comes.
        known.retain(|_, (link, _)| Arc::strong_count(link) > 1);
        known.insert(place, (link.clone(), client.clone()));
        Ok(client)
    }
}

/// The name as the full path's library asks for it: no certificate names an underscore in the first label,
/// and one for all names below the second is meant.
fn asked_for(name: &str) -> String {
    match name.split_once('.') {
        Some((first, rest)) if rest.contains('.') => format!("{}.{rest}", first.replace('_', "-")),
        Some(_) | None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::{Pem, Protocol, Tls};

    fn link(protocol: Protocol, ca: &str, name: &str) -> Arc<Link> {
        let ca = Pem { path: "f".into(), text: crate::model::settings::Secret(ca.into()) };
        let tls = Tls { ca: Some(ca), server_name: Some(name.into()), ..Tls::default() };
        let tls = protocol.is_tls().then_some(tls);
        Arc::new(Link { protocol, tls, ..Link::default() })
    }

    fn ca() -> String {
        rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn sessions_are_shared_only_by_those_who_trust_alike() {
        let (trust, first, second) = (Trust::default(), ca(), ca());
        let address: Address = "127.0.0.1:443".parse().unwrap();
        let client = |link: &Arc<Link>| trust.of(link, &address).unwrap().unwrap().client;
        let one = link(Protocol::Https, &first, "app.example");
        let (again, other) = (
            link(Protocol::Https, &first, "app.example"),
            link(Protocol::Https, &second, "app.example"),
        );
        assert!(Arc::ptr_eq(&client(&one), &client(&one)));
        assert!(Arc::ptr_eq(&client(&one), &client(&again)), "a reload that changes nothing");
        assert!(!Arc::ptr_eq(&client(&one), &client(&other)));
        drop((one, again));
        client(&link(Protocol::Https, &second, "b.example"));
        assert!(trust.0.lock().unwrap().len() <= 2, "what is gone is forgotten");
    }

    #[test]
    fn an_endpoint_without_a_name_is_trusted_with_nothing() {
        let trust = Trust::default();
        let address: Address = "127.0.0.1:443".parse().unwrap();
        assert!(trust.of(&link(Protocol::Http1, "", ""), &address).unwrap().is_none());
        assert!(trust.of(&link(Protocol::Https, &ca(), ""), &address).is_err());
        assert!(trust.of(&link(Protocol::Https, "no PEM", "app.example"), &address).is_err());
    }

    #[test]
    fn underscores_are_asked_for_as_certificates_have_them() {
        assert_eq!(asked_for("a_b.c.example"), "a-b.c.example");
        for name in ["a.b_c.example", "a_b.example", "a_b", "app.example", ""] {
            assert_eq!(asked_for(name), name);
        }
    }
}
