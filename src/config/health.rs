//! `[service.NAME.health]`: the probe and the passive check.

use super::{
    places::{host_header, request_path},
    reader::{Section, Value},
    values::{Limits, expect, span, text, whole},
};
use crate::model::{
    Millis,
    health::Thresholds,
    settings::{Expect, HealthChecks, Passive, Probe},
};

const INTERVAL_LIMITS: Limits = (Millis(100), Millis::from_secs(3600));
const TIMEOUT_LIMITS: Limits = (Millis(10), Millis::from_secs(3600));
const OUT_LIMITS: Limits = (Millis(100), Millis::from_secs(24 * 3600));
const THRESHOLD_MAX: u32 = 100;
const FAILURES_MAX: u32 = 1000;
/// Longest text in bytes that is looked for in a probe's answer.
const BODY_MAX: usize = 1024;
const PASSIVE: Passive = Passive { failures: 5, span: Millis::from_secs(10) };
/// Keys that mean nothing without a probe.
const PROBE_KEYS: [&str; 7] = ["interval", "timeout", "rise", "fall", "expect", "body", "host"];

/// Reads `[service.NAME.health]`.
pub(super) fn health(mut section: Section<'_>) -> HealthChecks {
    let checks = HealthChecks {
        probe: probe(&mut section),
        passive: section.or("passive", Some(PASSIVE), passive),
    };
    section.finish();
    checks
}

fn probe(section: &mut Section<'_>) -> Option<Probe> {
    let path = section.take("path");
    if path.is_none() {
        for key in PROBE_KEYS {
            if let Some(value) = section.take(key) {
                value.problem::<()>(
                    "needs a path to probe; write path = \"/healthz\" too, or leave this key out",
                );
            }
        }
        return None;
    }
    let thresholds = |section: &mut Section<'_>| Thresholds {
        rise: section.or("rise", 2, whole(1..=THRESHOLD_MAX)),
        fall: section.or("fall", 3, whole(1..=THRESHOLD_MAX)),
    };
    let interval = section.or("interval", Millis::from_secs(2), span(INTERVAL_LIMITS));
    let timeout = section.or("timeout", Millis::from_secs(1), span(TIMEOUT_LIMITS));
    let thresholds = thresholds(section);
    let expect = section.or("expect", Expect(vec![(200, 399)]), expect);
    let body = section.optional("body", text(BODY_MAX)).map(Into::into);
    let host = section.optional("host", host_header);
    let path = request_path(&path?)?;
    Some(Probe { path, interval, timeout, thresholds, expect, body, host })
}

/// `false`, or how many failures take an endpoint out and for how long.
fn passive(value: &Value<'_>) -> Option<Option<Passive>> {
    match value.boolean() {
        Some(false) => return Some(None),
        Some(true) => return Some(Some(PASSIVE)),
        None => {}
    }
    let mut section = value.section("{ failures = 5, for = \"10s\" }, or false to turn it off")?;
    let passive = Passive {
        failures: section.or("failures", PASSIVE.failures, whole(1..=FAILURES_MAX)),
        span: section.or("for", PASSIVE.span, span(OUT_LIMITS)),
    };
    section.finish();
    Some(Some(passive))
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};

    fn read(text: &str) -> Result<HealthChecks, String> {
        read_one(text, |value| Some(health(value.section("")?)))
    }

    #[test]
    fn passive_checks_are_on_unless_turned_off() {
        assert_eq!(read("{}").unwrap().passive, Some(PASSIVE));
        assert_eq!(read("{ passive = true }").unwrap().passive, Some(PASSIVE));
        assert_eq!(read("{ passive = false }").unwrap().passive, None);
        let other = read("{ passive = { failures = 2 } }").unwrap().passive;
        assert_eq!(other, Some(Passive { failures: 2, ..PASSIVE }));
        assert!(read("{ passive = 'no' }").is_err());
        assert!(read("{ passive = { failures = 0 } }").is_err());
    }

    #[test]
    fn a_probe_needs_a_path() {
        assert_eq!(read("{}").unwrap().probe, None);
        let probe = read("{ path = '/h' }").unwrap().probe.unwrap();
        assert_eq!(
            (&*probe.path, probe.interval, probe.timeout),
            ("/h", Millis(2000), Millis(1000))
        );
        assert_eq!((probe.thresholds.rise, probe.thresholds.fall), (2, 3));
        assert_eq!(probe.expect.to_string(), "200-399");
        let message = read("{ interval = '2s', host = 'a' }").unwrap_err();
        assert_eq!(message.matches("path = \"/healthz\" too").count(), 2, "{message}");
    }
}
