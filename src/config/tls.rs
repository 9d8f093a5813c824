//! `[listener.NAME.tls]`, with the files that it names.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Read,
    places::file_content,
    reader::Value,
    values::{Limits, span, word},
};
use crate::{
    model::{
        Millis,
        settings::Secret,
        tls::{Certificate, ListenerTls, TlsVersion, TrustAnchors},
    },
    tls,
};

const MIN_LIFE_LIMITS: Limits = (Millis(0), Millis::from_secs(365 * 24 * 3600));
const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];

/// Reads TLS of a listener; `read` reads the files.
pub(super) fn tls(value: &Value<'_>, read: Read<'_>) -> Option<ListenerTls> {
    let example = "{ cert = \"FULLCHAIN.pem\", key = \"KEY.pem\" }";
    let mut section = value.section(&format!("tls = {{ certificates = [{example}] }}"))?;
    let (certificates, acme) = (section.take("certificates"), section.take("acme"));
    let names = acme.as_ref().map(super::acme::names);
    let listed = match &certificates {
        Some(value) => value.list(&format!("a list, as in [{example}]"), |v| certificate(v, read)),
        None if acme.is_some() => Some(Vec::new()),
        None => section.missing(
            "certificates",
            &format!("is missing; write [{example}], or acme = [\"www.example.com\"]"),
        ),
    };
    if let (Some(value), Some([])) = (&certificates, listed.as_deref()) {
        value.problem::<()>(format!("is empty; write at least one, as in [{example}]"));
    }
    let min_version = section.or("min_version", TlsVersion::default(), word(&VERSIONS));
    let client_ca = section.take("client_ca");
    let anchors = client_ca.as_ref().map(|value| trust_anchors(value, "clients'", read));
    let min_life = section.optional("min_life", span(MIN_LIFE_LIMITS));
    section.finish();
    let client_ca = anchors.map_or(Some(None), |read| read.map(Some))?;
    let acme = names.map_or(Some(Vec::new()), |names| names)?;
    let certificates = listed.filter(|list| !list.is_empty() || certificates.is_none())?;
    Some(ListenerTls { certificates, acme, min_version, client_ca, min_life })
}

fn certificate(value: &Value<'_>, read: Read<'_>) -> Option<Certificate> {
    let mut section = value.section("{ cert = \"FULLCHAIN.pem\", key = \"KEY.pem\" }")?;
    let cert = section.required("cert", "\"FULLCHAIN.pem\"", with_content(read));
    let key = section.required("key", "\"KEY.pem\"", with_content(read));
    section.finish();
    let ((cert, cert_pem), (key, key_pem)) = (cert?, key?);
    let facts = match tls::certificate(&cert_pem, &key_pem) {
        Ok((_, facts)) => facts,
        Err(tls::Problem::Certificate(problem)) => {
            let write = "write the file with the certificate and its chain in PEM";
            return value.problem(format!("{} {problem}; {write}", cert.display()));
        }
        Err(tls::Problem::Key(problem)) => {
            let write = "write the file with this certificate's own key in PEM";
            return value.problem(format!("{} {problem}; {write}", key.display()));
        }
    };
    Some(Certificate { cert, key, cert_pem, key_pem: Secret(key_pem), facts })
}

/// Reads the certificates of those who sign `whose`.
pub(super) fn trust_anchors(
    value: &Value<'_>,
    whose: &str,
    read: Read<'_>,
) -> Option<TrustAnchors> {
    let (file, pem) = with_content(read)(value)?;
    match tls::roots(&pem) {
        Ok(_) => Some(TrustAnchors { file, pem }),
        Err(problem) => value.problem(format!(
            "{} {problem}; write a file with the certificates of those who sign {whose}, in PEM",
            value.shown()
        )),
    }
}

/// The same, with what is in the files now.
///
/// # Errors
///
/// Everything that is wrong.
pub fn reread(tls: &ListenerTls, read: Read<'_>) -> Result<ListenerTls, Vec<String>> {
    let mut problems = Vec::new();
    let mut content = |path: &Path| match read(path) {
        Ok(text) => Some(Arc::<str>::from(text)),
        Err(error) => {
            problems.push(format!("{} cannot be read: {error}", path.display()));
            None
        }
    };
    let certificates = tls.certificates.iter().map(|old| {
        let (cert_pem, key_pem) = (content(&old.cert)?, content(&old.key)?);
        Some(Certificate { cert_pem, key_pem: Secret(key_pem), ..old.clone() })
    });
    let certificates: Vec<_> = certificates.collect();
    let anchors = tls.client_ca.as_ref().map(|old| {
        let pem = content(&old.file)?;
        Some(TrustAnchors { pem, ..old.clone() })
    });
    let mut new = ListenerTls { certificates: Vec::new(), client_ca: None, ..tls.clone() };
    for mut one in certificates.into_iter().flatten() {
        match tls::certificate(&one.cert_pem, &one.key_pem.0) {
            Ok((_, facts)) => one.facts = facts,
            Err(tls::Problem::Certificate(p)) => {
                problems.push(format!("{} {p}", one.cert.display()))
            }
            Err(tls::Problem::Key(p)) => problems.push(format!("{} {p}", one.key.display())),
        }
        new.certificates.push(one);
    }
    if let Some(Some(ca)) = anchors {
        if let Err(problem) = tls::roots(&ca.pem) {
            problems.push(format!("{} {problem}", ca.file.display()));
        }
        new.client_ca = Some(ca);
    }
    if problems.is_empty() { Ok(new) } else { Err(problems) }
}

/// A file's path, and what is in it.
fn with_content(read: Read<'_>) -> impl Fn(&Value<'_>) -> Option<(PathBuf, Arc<str>)> {
    move |value| {
        let write = "check the path and that lbd's user may read the file";
        file_content(value, read, write).map(|(path, text)| (path, text.into()))
    }
}
