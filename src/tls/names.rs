//! Which certificate a client gets.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Certificates by the names that clients ask for.
#[derive(Debug, Default)]
pub struct Names {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows the first label.
    wildcards: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// In the order of the config.
    all: Vec<Arc<CertifiedKey>>,
}

impl Names {
    /// Adds a certificate for `names`. Of several with one name (say, with different kinds of keys)
    /// the first that the client understands is taken.
    pub fn add(&mut self, names: &[String], certified: Arc<CertifiedKey>) {
        for name in names {
            let (table, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcards, parent),
                None => (&mut self.exact, name.as_str()),
            };
            table.entry(name.to_owned()).or_default().push(certified.clone());
        }
        self.all.push(certified);
    }

    /// The certificates for a name, best first.
    fn of<'n>(&'n self, name: Option<&str>) -> &'n [Arc<CertifiedKey>] {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let named = name.as_deref().and_then(|name| {
            let parent = || self.wildcards.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(parent)
        });
        named.unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let understood = |certified: &&Arc<CertifiedKey>| {
            certified.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named = self.of(hello.server_name());
        named.iter().find(understood).or_else(|| self.all.iter().find(understood)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_come_before_wildcards_and_these_before_the_first() {
        let mut names = Names::default();
        let mut certified = Vec::new();
        for list in [&["first.example"][..], &["*.a.example"], &["x.a.example", "a.example"]] {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(list.clone()).unwrap();
            let key = made.signing_key.serialize_pem();
            let (one, facts) = crate::tls::certificate(&made.cert.pem(), &key).unwrap();
            names.add(&facts.names, one.clone());
            certified.push(one);
        }
        let is = |name: Option<&str>, n: usize| Arc::ptr_eq(&names.of(name)[0], &certified[n]);
        assert!(is(Some("X.a.example"), 2) && is(Some("a.example."), 2));
        assert!(is(Some("y.a.example"), 1));
        assert!(is(Some("z.y.a.example"), 0) && is(Some("other"), 0) && is(None, 0));
    }
}
