//! The listeners' certificates while lbd runs: what they are, loading them anew, and telling in time
//! that they end.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Control;
use crate::{
    api::{
        certificate::{CertificateList, CertificateSource, CertificateView},
        release::CheckRow,
    },
    config,
    model::{
        Actor, Millis, Moment, Refusal, Settings, Severity,
        tls::{Certificate, CertificateFacts, ListenerTls},
        units::{ListenerName, ServiceName},
    },
};

/// What a preflight's row about a certificate is called.
pub const CHECK: &str = "certificate";
const DAY: u64 = 24 * 3600 * 1000;

/// What was told of certificates that end, so that each is told once.
#[derive(Debug, Default)]
pub struct Told(BTreeMap<(ListenerName, PathBuf), (Moment, Severity)>);

impl Told {
    /// What has to be told now, and was not.
    fn look<'c>(
        &mut self,
        certificates: impl Iterator<Item = Shown<'c>>,
        now: Moment,
    ) -> Vec<(Severity, String)> {
        let mut news = Vec::new();
        let mut told = BTreeMap::new();
        for shown in certificates {
            let Shown { listener, certificate, .. } = shown;
            let end = certificate.facts.not_after;
            let Some(severity) = shown.urgency(now) else { continue };
            let key = (listener.clone(), certificate.cert.clone());
            if self.0.get(&key) != Some(&(end, severity)) {
                news.push((severity, shown.warning(now)));
            }
            told.insert(key, (end, severity));
        }
        self.0 = told;
        news
    }
}

/// A certificate that a listener shows.
#[derive(Clone, Copy, Debug)]
struct Shown<'c> {
    listener: &'c ListenerName,
    certificate: &'c Certificate,
    source: CertificateSource,
}

impl<'c> Shown<'c> {
    fn of(source: CertificateSource) -> impl Fn((&'c ListenerName, &'c Certificate)) -> Shown<'c> {
        move |(listener, certificate)| Shown { listener, certificate, source }
    }

    fn urgency(self, now: Moment) -> Option<Severity> {
        let CertificateFacts { not_before, not_after, .. } = self.certificate.facts;
        let (soon, very_soon) = self.source.thresholds(not_after.since(not_before).0, DAY);
        match not_after.since(now).0 {
            left if left < very_soon || now >= not_after => Some(Severity::Critical),
            left if left < soon => Some(Severity::Warning),
            _ => None,
        }
    }

    /// Whether clients of a service with these hosts may be shown it.
    fn is_for(self, hosts: &[String]) -> bool {
        let is_under = |name: &str, pattern: &str| {
            let parent = pattern.strip_prefix("*.");
            name == pattern
                || parent.is_some_and(|p| name.split_once('.').is_some_and(|n| n.1 == p))
        };
        let names = &self.certificate.facts.names;
        let is_shown = |host: &String| {
            host == "*" || names.iter().any(|name| is_under(host, name) || is_under(name, host))
        };
        hosts.is_empty() || hosts.iter().any(is_shown)
    }

    /// The row of a preflight that does not pass if less than `min_life` is left, or if the end is
    /// near enough to be urgent where nobody said so.
    fn row(self, service: &ServiceName, min_life: Option<Millis>, now: Moment) -> CheckRow {
        let Self { listener, certificate, .. } = self;
        let (names, end) = (certificate.facts.names.join(", "), certificate.facts.not_after);
        let when = match end.0.checked_sub(now.0) {
            None => "has expired".to_owned(),
            Some(left) => format!("{} days left", left / DAY),
        };
        CheckRow {
            service: service.clone(),
            endpoint: None,
            check: CHECK.to_owned(),
            passed: match min_life {
                Some(least) => now < end && end.since(now) >= least,
                None => self.urgency(now) != Some(Severity::Critical),
            },
            text: format!("that of listener {listener} for {names}: {when}"),
            took_ms: None,
        }
    }

    fn warning(self, now: Moment) -> String {
        let Self { listener, certificate, source } = self;
        let (names, end) = (certificate.facts.names.join(", "), certificate.facts.not_after);
        let when = match end.0.checked_sub(now.0) {
            None => "has expired".to_owned(),
            Some(left) => format!("expires in {} days", left / DAY),
        };
        let file = certificate.cert.display();
        let remedy = match source {
            CertificateSource::File => "put a new one there, lbd loads it by itself",
            CertificateSource::Acme => {
                "lbd could not renew it so far; the events before this one tell why"
            }
        };
        format!("the certificate for {names} on listener {listener} {when} ({file}); {remedy}")
    }
}

fn certificates(settings: &Settings) -> impl Iterator<Item = (&ListenerName, &Certificate)> {
    settings.listener.iter().flat_map(|(name, listener)| {
        let tls: Option<&ListenerTls> = listener.tls.as_ref();
        tls.into_iter().flat_map(|tls| &tls.certificates).map(move |one| (name, one))
    })
}

/// A new certificate that has expired, or is not valid yet, must not take the place of one that is in
/// force.
///
/// # Errors
///
/// [`Refusal::BadConfig`] with all that have.
pub fn refuse_expired(old: &Settings, new: &Settings, now: Moment) -> Result<(), Refusal> {
    let is_known = |name: &ListenerName, wanted: &Certificate| {
        certificates(old).any(|(n, one)| n == name && one.cert_pem == wanted.cert_pem)
    };
    let expired: Vec<String> = certificates(new)
        .filter(|(name, one)| !is_known(name, one))
        .filter_map(|(name, one)| {
            let what = match &one.facts {
                facts if facts.not_after < now => "has expired",
                facts if facts.not_before > now => "is not valid yet",
                _ => return None,
            };
            let file = one.cert.display();
            Some(format!("listener.{name}: {file} {what}; put one there that is valid"))
        })
        .collect();
    if expired.is_empty() { Ok(()) } else { Err(Refusal::BadConfig(expired.join("\n"))) }
}

/// `settings` with what is in the certificates' files now. Paths start at the config's folder.
///
/// # Errors
///
/// [`Refusal::BadConfig`] with everything that is wrong.
pub fn reread(settings: &Settings, file: &Path) -> Result<Settings, Refusal> {
    let read = |path: &Path| std::fs::read_to_string(config::beside(file, path));
    let (mut new, mut problems) = (settings.clone(), Vec::new());
    for (name, listener) in &mut new.listener {
        let Some(tls) = &listener.tls else { continue };
        match config::reread(tls, &read) {
            Ok(tls) => Arc::make_mut(listener).tls = Some(tls),
            Err(found) => {
                problems.extend(found.into_iter().map(|p| format!("listener.{name}: {p}")))
            }
        }
    }
    if problems.is_empty() { Ok(new) } else { Err(Refusal::BadConfig(problems.join("\n"))) }
}

impl Control {
    /// Tells of certificates that end soon.
    pub fn look_at_certificates(&mut self, now: Moment) {
        let settings = &self.model.settings;
        let files = certificates(settings).map(Shown::of(CertificateSource::File));
        let acme = self.acme.issued(settings).map(Shown::of(CertificateSource::Acme));
        for (severity, summary) in self.told_of_certificates.look(files.chain(acme), now) {
            self.note("certificate", severity, Actor::lbd(), summary);
        }
    }

    /// The certificates that clients of a service are shown, as rows of a preflight: one that ends very
    /// soon does not pass.
    pub fn certificate_rows(&self, service: &ServiceName, now: Moment) -> Vec<CheckRow> {
        let settings = &self.model.settings;
        let hosts = settings.service.get(service).map(|s| s.hosts.as_slice()).unwrap_or_default();
        let files = certificates(settings).map(Shown::of(CertificateSource::File));
        let acme = self.acme.issued(settings).map(Shown::of(CertificateSource::Acme));
        let all = files.chain(acme).filter(|shown| shown.is_for(hosts));
        let min_life = |listener| settings.listener.get(listener)?.tls.as_ref()?.min_life;
        all.map(|shown| shown.row(service, min_life(shown.listener), now)).collect()
    }

    /// The certificates in force.
    pub fn certificates(&self, now: Moment) -> CertificateList {
        let settings = &self.model.settings;
        let view = |source| {
            move |(listener, one): (&ListenerName, &Certificate)| CertificateView {
                source,
                issuer: one.facts.issuer.clone(),
                listener: listener.clone(),
                names: one.facts.names.clone(),
                not_before: one.facts.not_before,
                not_after: one.facts.not_after,
                days_left: one.facts.not_after.0.saturating_sub(now.0) / DAY,
                expired: one.facts.not_after < now,
                cert: one.cert.display().to_string(),
                key: one.key.display().to_string(),
            }
        };
        let acme = self.acme.issued(settings).map(view(CertificateSource::Acme));
        let files = certificates(settings).map(view(CertificateSource::File));
        CertificateList { certificates: acme.chain(files).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(not_after: u64) -> Settings {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let text = "[listener.web]\naddress = '0.0.0.0:443'\n\
                    tls = { certificates = [{ cert = 'c', key = 'k' }] }\n\
                    [service.app.pool.blue]\nendpoints = []\n";
        let read = |path: &Path| Ok(if path == Path::new("c") { &cert } else { &key }.clone());
        let mut settings = config::check(text, &read).unwrap();
        let listener = settings.listener.values_mut().next().unwrap();
        let tls = Arc::make_mut(listener).tls.as_mut().unwrap();
        tls.certificates[0].facts.not_before = Moment(0);
        tls.certificates[0].facts.not_after = Moment(not_after);
        settings
    }

    fn files(settings: &Settings) -> impl Iterator<Item = Shown<'_>> {
        certificates(settings).map(Shown::of(CertificateSource::File))
    }

    #[test]
    fn each_step_towards_the_end_is_told_once() {
        let (settings, mut told) = (settings(100 * DAY), Told::default());
        let mut at = |day: u64| told.look(files(&settings), Moment(day * DAY)).into_iter().next();
        assert_eq!(at(69), None);
        let (severity, text) = at(71).unwrap();
        assert_eq!(severity, Severity::Warning);
        assert!(text.contains("for a.example on listener web expires in 29 days"), "{text}");
        assert_eq!(at(80), None);
        assert_eq!(at(94).unwrap().0, Severity::Critical);
        assert_eq!(at(95), None);
        assert_eq!(at(101), None);
    }

    #[test]
    fn what_lbd_renews_by_itself_is_told_of_when_that_is_late() {
        let mut settings = settings(100 * DAY);
        let listener = settings.listener.values_mut().next().unwrap();
        let facts = &mut Arc::make_mut(listener).tls.as_mut().unwrap().certificates[0].facts;
        facts.not_before = Moment(10 * DAY);
        let at = |day: u64| {
            let shown = certificates(&settings).map(Shown::of(CertificateSource::Acme));
            Told::default().look(shown, Moment(day * DAY)).into_iter().next()
        };
        // It is renewed from day 70 on.
        assert_eq!((at(70), at(84)), (None, None));
        let (severity, text) = at(86).unwrap();
        assert_eq!(severity, Severity::Warning);
        assert!(text.contains("could not renew it"), "{text}");
        assert_eq!(at(94).unwrap().0, Severity::Critical);
    }

    #[test]
    fn a_preflight_minds_the_certificates_of_its_service() {
        let settings = settings(100 * DAY);
        let shown = files(&settings).next().unwrap();
        let service: ServiceName = "app".parse().unwrap();
        let passed_by = |least: Option<u64>, day: u64| {
            let least = least.map(|days| Millis(days * DAY));
            shown.row(&service, least, Moment(day * DAY)).passed
        };
        let passed = |day| passed_by(None, day);
        assert!(passed(80) && !passed(94) && !passed(101));
        let strict = |day| passed_by(Some(14), day);
        assert!(strict(86) && !strict(87) && !strict(101));
        assert!(!passed_by(Some(0), 101), "an expired one never passes");
        let is_for = |hosts: &[&str]| {
            shown.is_for(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())
        };
        assert!(is_for(&[]) && is_for(&["*"]) && is_for(&["a.example"]) && is_for(&["*.example"]));
        assert!(!is_for(&["b.example"]) && !is_for(&["*.other"]));
    }

    #[test]
    fn an_expired_certificate_does_not_replace_one_that_is_in_force() {
        let (old, new) = (settings(100 * DAY), settings(50 * DAY));
        assert!(refuse_expired(&old, &new, Moment(60 * DAY)).is_err());
        assert!(refuse_expired(&old, &new, Moment(40 * DAY)).is_ok());
        let mut early = new.clone();
        let listener = early.listener.values_mut().next().unwrap();
        let tls = Arc::make_mut(listener).tls.as_mut().unwrap();
        tls.certificates[0].facts.not_before = Moment(45 * DAY);
        assert!(refuse_expired(&old, &early, Moment(40 * DAY)).is_err());
        // It runs already: a reload of something else must still be possible.
        assert!(refuse_expired(&new, &new, Moment(60 * DAY)).is_ok());
    }
}
