//! Certificates that lbd gets by itself (ACME, RFC 8555): what for, from whom, and when.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;

use super::{
    bucket::Draw,
    settings::Secret,
    tls::{CertificateFacts, TrustAnchors},
    units::{Millis, Moment},
};

/// Let's Encrypt's own server.
pub const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Its server for trials, whose certificates nobody trusts.
pub const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// How long the first failure is slept over; twice as long after each further one. So long that an
/// hour sees five attempts: more failures, and Let's Encrypt takes no orders for the name.
const FIRST_WAIT: Millis = Millis::from_secs(120);
const LONGEST_WAIT: Millis = Millis::from_secs(6 * 3600);
/// The longest wait that a server can ask for.
const LONGEST_ASKED: Millis = Millis::from_secs(8 * 24 * 3600);

/// `[acme]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Acme {
    /// Where the server describes itself.
    pub directory: Arc<str>,
    /// Whom the server may write to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email: Vec<Arc<str>>,
    /// Who signs the server's own certificate; the system's authorities if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<TrustAnchors>,
    /// Which customer of the authority the account belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eab: Option<Binding>,
    /// How lbd proves that a name is its own.
    pub challenge: Challenge,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: LETSENCRYPT.into(),
            email: Vec::new(),
            ca: None,
            eab: None,
            challenge: Challenge::default(),
        }
    }
}

/// An external account binding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Binding {
    /// What the authority calls its customer.
    pub key_id: Arc<str>,
    /// The key that it gave to them, in Base64 for URLs.
    pub key: Secret,
}

/// How lbd proves that a name is its own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Challenge {
    /// By an answer to a request on port 80.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// By a certificate in a handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// What a listener is to have a certificate for, and from whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The host names.
    pub names: Vec<String>,
    /// From whom.
    pub acme: Acme,
}

/// The certificate that a listener has.
#[derive(Clone, Copy, Debug)]
pub struct Held<'h> {
    /// What it says.
    pub facts: &'h CertificateFacts,
    /// Whose server gave it.
    pub directory: &'h str,
}

/// Why a certificate is ordered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// There is none.
    First,
    /// It is for other names, or from another server, than the config says now.
    Changed,
    /// A third of its life is left.
    Renewal,
}

/// What is to be done for a listener's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Nothing until then.
    Rest(Moment),
    /// Nothing until the order under way has ended.
    Wait,
    /// One is to be ordered.
    Order(Why),
}

/// Watches over a listener's certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// What was ordered last.
    asked: Option<Wanted>,
    is_under_way: bool,
    failures: u32,
    /// When the next attempt is to be made.
    rest: Moment,
    /// Before when the server wants none.
    barred: Moment,
}

impl Watch {
    /// What is to be done now.
    pub fn next(&self, wanted: &Wanted, held: Option<Held<'_>>, now: Moment) -> Next {
        if self.is_under_way {
            return Next::Wait;
        }
        let why = match held {
            None => Why::First,
            Some(held) if !held.is_as(wanted) => Why::Changed,
            Some(held) if now < renewal(held.facts) => return Next::Rest(renewal(held.facts)),
            Some(_) => Why::Renewal,
        };
        // What failed before says nothing about another order.
        let is_same = self.asked.as_ref() == Some(wanted);
        let rest = self.rest.max(self.barred);
        if is_same && now < rest { Next::Rest(rest) } else { Next::Order(why) }
    }

    /// Somebody has mended what was wrong: only what the server asked for is still waited for.
    pub const fn hurry(&mut self) {
        self.rest = Moment(0);
    }

    /// An order begins.
    pub fn begin(&mut self, wanted: Wanted) {
        if self.asked.as_ref() != Some(&wanted) {
            self.failures = 0;
        }
        self.asked = Some(wanted);
        self.is_under_way = true;
    }

    /// The order has brought a certificate. One that would have to be ordered again at once, because a
    /// clock is wrong or the server has added a name, counts as a failure: nobody must be asked without
    /// end.
    pub fn issued(&mut self, wanted: &Wanted, held: Held<'_>, now: Moment, draw: Draw) {
        let last = std::mem::take(self);
        if let Next::Order(_) = self.next(wanted, Some(held), now) {
            *self = last;
            self.failed(now, None, draw);
        }
    }

    /// The order has failed. Says for how long the next one waits: twice as long as the last time, a
    /// little by chance so that not all machines come back at once, and at least as long as the server
    /// `asked` for.
    pub fn failed(&mut self, now: Moment, asked: Option<Millis>, draw: Draw) -> Millis {
        let usual = FIRST_WAIT.0.saturating_mul(1 << self.failures.min(16));
        let usual = usual.min(LONGEST_WAIT.0);
        let chance = u64::from(draw.below(u32::try_from(usual / 4).unwrap_or(u32::MAX)));
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        let wait = Millis((usual + chance).max(asked.0));
        self.failures = self.failures.saturating_add(1);
        self.is_under_way = false;
        self.rest = now.after(wait);
        self.barred = now.after(asked);
        wait
    }
}

impl Held<'_> {
    fn is_as(&self, wanted: &Wanted) -> bool {
        let has: BTreeSet<&String> = self.facts.names.iter().collect();
        self.directory == &*wanted.acme.directory && has == wanted.names.iter().collect()
    }
}

/// When a third of its life is left.
fn renewal(facts: &CertificateFacts) -> Moment {
    let life = facts.not_after.since(facts.not_before);
    Moment(facts.not_after.0.saturating_sub(life.0 / 3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    fn wanted(names: &[&str]) -> Wanted {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Wanted { names, acme: Acme::default() }
    }

    fn facts(names: &[&str], from: u64, to: u64) -> CertificateFacts {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (not_before, not_after) = (Moment(from), Moment(to));
        CertificateFacts { names, not_before, not_after, ..CertificateFacts::default() }
    }

    fn held(facts: &CertificateFacts) -> Option<Held<'_>> {
        Some(Held { facts, directory: LETSENCRYPT })
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let (watch, wanted) = (Watch::default(), wanted(&["b", "a"]));
        let facts = facts(&["a", "b"], 10 * DAY, 100 * DAY);
        let at = |day| watch.next(&wanted, held(&facts), Moment(day * DAY));
        assert_eq!(at(10), Next::Rest(Moment(70 * DAY)));
        assert_eq!(at(69), Next::Rest(Moment(70 * DAY)));
        assert_eq!(at(70), Next::Order(Why::Renewal));
        assert_eq!(at(200), Next::Order(Why::Renewal));
    }

    #[test]
    fn other_names_or_another_server_are_a_new_order() {
        let (watch, now) = (Watch::default(), Moment(0));
        let facts = facts(&["a", "b"], 0, 90 * DAY);
        let next = |wanted: &Wanted| watch.next(wanted, held(&facts), now);
        assert_eq!(next(&wanted(&["a", "b", "c"])), Next::Order(Why::Changed));
        assert_eq!(next(&wanted(&["a"])), Next::Order(Why::Changed));
        let acme = Acme { directory: LETSENCRYPT_STAGING.into(), ..Acme::default() };
        assert_eq!(next(&Wanted { acme, ..wanted(&["a", "b"]) }), Next::Order(Why::Changed));
        assert_eq!(watch.next(&wanted(&["a"]), None, now), Next::Order(Why::First));
    }

    #[test]
    fn one_order_at_a_time_and_longer_waits_after_each_failure() {
        let (mut watch, wanted) = (Watch::default(), wanted(&["a"]));
        let mut now = Moment(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(watch.next(&wanted, None, now), Next::Order(Why::First));
            watch.begin(wanted.clone());
            assert_eq!(watch.next(&wanted, None, now.after(LONGEST_WAIT)), Next::Wait);
            let wait = watch.failed(now, None, Draw(0));
            assert_eq!(watch.next(&wanted, None, now), Next::Rest(now.after(wait)));
            now = now.after(wait);
            waits.push(wait.0 / 60_000);
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360, 360]);
        let tries_in_the_first_hour = [0, 2, 6, 14, 30];
        assert_eq!(tries_in_the_first_hour.len(), 5);
        assert!(waits.iter().take(5).sum::<u64>() > 60, "the sixth comes later");
    }

    #[test]
    fn a_server_that_asks_for_more_patience_gets_it() {
        let mut watch = Watch::default();
        let hours = |n: u64| Millis::from_secs(n * 3600);
        assert_eq!(watch.failed(Moment(0), Some(hours(30)), Draw(0)), hours(30));
        assert_eq!(watch.failed(Moment(0), Some(hours(9999)), Draw(0)), LONGEST_ASKED);
        assert_eq!(watch.failed(Moment(0), Some(Millis(1)), Draw(0)), Millis::from_secs(480));
    }

    #[test]
    fn an_operator_can_hurry_lbd_but_not_the_server() {
        let (mut watch, wanted) = (Watch::default(), wanted(&["a"]));
        watch.begin(wanted.clone());
        watch.failed(Moment(0), None, Draw(0));
        watch.hurry();
        assert_eq!(watch.next(&wanted, None, Moment(0)), Next::Order(Why::First));
        watch.begin(wanted.clone());
        watch.hurry();
        assert_eq!(watch.next(&wanted, None, Moment(0)), Next::Wait);
        watch.failed(Moment(0), Some(Millis(7)), Draw(0));
        watch.hurry();
        assert_eq!(watch.next(&wanted, None, Moment(0)), Next::Rest(Moment(7)));
    }

    #[test]
    fn what_failed_holds_up_no_other_order() {
        let mut watch = Watch::default();
        watch.begin(wanted(&["a"]));
        watch.failed(Moment(0), None, Draw(0));
        assert_eq!(watch.next(&wanted(&["b"]), None, Moment(1)), Next::Order(Why::First));
        watch.begin(wanted(&["b"]));
        assert_eq!(watch.failed(Moment(1), None, Draw(0)), FIRST_WAIT);
        watch.begin(wanted(&["b"]));
        let facts = facts(&["b"], 0, 90 * DAY);
        watch.issued(&wanted(&["b"]), held(&facts).unwrap(), Moment(1), Draw(0));
        assert_eq!(watch, Watch::default());
    }

    #[test]
    fn a_certificate_that_is_no_use_is_not_ordered_without_end() {
        let (mut watch, wanted, now) = (Watch::default(), wanted(&["a"]), Moment(100 * DAY));
        let expired = facts(&["a"], 0, 90 * DAY);
        let more = facts(&["a", "www.a"], 99 * DAY, 190 * DAY);
        for (n, facts) in [expired, more].iter().enumerate() {
            watch.begin(wanted.clone());
            watch.issued(&wanted, held(facts).unwrap(), now, Draw(0));
            let rest = now.after(Millis(FIRST_WAIT.0 << n));
            assert_eq!(watch.next(&wanted, held(facts), now), Next::Rest(rest));
        }
    }

    proptest! {
        /// Whatever happens when, an order is never begun while one runs, nor before the wait is over.
        #[test]
        fn never_two_at_once_and_never_too_soon(
            steps in prop::collection::vec((0u8..3, 0u64..10 * DAY, any::<u64>(), any::<u32>()), 1..60),
        ) {
            let (mut watch, wanted) = (Watch::default(), wanted(&["a"]));
            let (mut now, mut earliest, mut runs) = (Moment(0), Moment(0), false);
            for (step, passed, draw, asked) in steps {
                now = now.after(Millis(passed));
                let next = watch.next(&wanted, None, now);
                if let Next::Order(_) = next {
                    prop_assert!(!runs && now >= earliest);
                }
                prop_assert_eq!(next == Next::Wait, runs);
                match step {
                    0 if matches!(next, Next::Order(_)) => {
                        watch.begin(wanted.clone());
                        runs = true;
                    }
                    1 if runs => {
                        let wait = watch.failed(now, Some(Millis(asked.into())), Draw(draw));
                        prop_assert!(wait >= FIRST_WAIT && wait <= LONGEST_ASKED);
                        prop_assert!(wait >= Millis(asked.into()).min(LONGEST_ASKED));
                        earliest = now.after(wait);
                        runs = false;
                    }
                    2 if runs => {
                        let facts = facts(&["a"], now.0, now.0 + 90 * DAY);
                        watch.issued(&wanted, held(&facts).unwrap(), now, Draw(draw));
                        (earliest, runs) = (now, false);
                    }
                    _ => {}
                }
            }
        }
    }
}
