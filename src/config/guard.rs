//! `[guard]` and `[service.NAME.guard]`: what candidates are judged by.

use super::{
    reader::{Section, Value},
    values::{Limits, or_none, share, span, truth, whole, word},
};
use crate::model::{
    Millis,
    guard::{Action, Terms, Tolerance, terms::WINDOW_MAX},
};

const ACTIONS: &[(&str, Action)] =
    &[("rollback", Action::Rollback), ("hold", Action::Hold), ("alert", Action::Alert)];
const ALPHA_MAX: f64 = 0.1;
const LATENCY_LIMITS: Limits = (Millis(1), Millis::from_secs(3600));
const WINDOW_LIMITS: Limits = (Millis::from_secs(1), WINDOW_MAX);
const SUSTAIN_LIMITS: Limits = (Millis(0), Millis::from_secs(24 * 3600));
const WARMUP_LIMITS: Limits = (Millis(0), Millis::from_secs(3600));
/// Most requests that a judgement may be made to wait for.
pub(super) const REQUESTS_MAX: u32 = 1_000_000;

/// Reads a guard; what it leaves out is as `above`.
pub(super) fn guard(mut section: Section<'_>, above: &Terms) -> Terms {
    let terms = Terms {
        action: section.or("action", above.action, word(ACTIONS)),
        compare: section.or("compare", above.compare, truth),
        alpha: section.or("alpha", above.alpha, alpha),
        tolerance: tolerance(section.section("tolerance"), above.tolerance),
        error_rate: section.or("error_rate", above.error_rate, or_none(share)),
        p50: section.or("p50", above.p50, or_none(span(LATENCY_LIMITS))),
        p95: section.or("p95", above.p95, or_none(span(LATENCY_LIMITS))),
        p99: section.or("p99", above.p99, or_none(span(LATENCY_LIMITS))),
        window: section.or("window", above.window, window),
        sustain: section.or("sustain", above.sustain, span(SUSTAIN_LIMITS)),
        min_requests: section.or("min_requests", above.min_requests, whole(1..=REQUESTS_MAX)),
        warmup: section.or("warmup", above.warmup, span(WARMUP_LIMITS)),
        shield: section.or("shield", above.shield, truth),
    };
    section.finish();
    terms
}

fn tolerance(mut section: Section<'_>, above: Tolerance) -> Tolerance {
    let tolerance = Tolerance {
        errors: section.or("errors", above.errors, share),
        latency: section.or("latency", above.latency, share),
    };
    section.finish();
    tolerance
}

fn alpha(value: &Value<'_>) -> Option<f64> {
    let typed = value.decimal().and_then(|number| number.parse().ok());
    // The comparison refuses what is not a number, too.
    typed.filter(|alpha| *alpha > 0.0 && *alpha <= ALPHA_MAX).or_else(|| {
        let write = format!("a number above 0 and at most {ALPHA_MAX}, as in 0.0001");
        value.is_not("a chance of a false alarm", &write)
    })
}

fn window(value: &Value<'_>) -> Option<Millis> {
    let long = value
        .text()
        .and_then(|text| text.parse::<Millis>().ok())
        .is_some_and(|span| span > WINDOW_MAX);
    if !long {
        return span(WINDOW_LIMITS)(value);
    }
    let minutes = WINDOW_MAX.duration().as_secs() / 60;
    let (min, max) = WINDOW_LIMITS;
    value.problem(format!(
        "{} is too long: the guard keeps {minutes} minutes; write {min} to {max}",
        value.shown()
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};
    use crate::model::Share;

    fn read(text: &str, above: &Terms) -> Result<Terms, String> {
        read_one(text, |value| Some(guard(value.section("")?, above)))
    }

    fn strict() -> Terms {
        Terms {
            action: Action::Hold,
            compare: false,
            alpha: 0.01,
            tolerance: Tolerance {
                errors: Share::from_basis_points(10),
                latency: Share::from_basis_points(500),
            },
            error_rate: Some(Share::from_basis_points(100)),
            p50: Some(Millis(100)),
            p95: Some(Millis(500)),
            p99: Some(Millis(1000)),
            window: Millis::from_secs(30),
            sustain: Millis::from_secs(5),
            min_requests: 500,
            warmup: Millis::from_secs(60),
            shield: false,
        }
    }

    const STRICT: &str = "{ action = 'hold', compare = false, alpha = 1e-2, \
        tolerance = { errors = '0.1%', latency = 5 }, error_rate = 1, p50 = '100ms', \
        p95 = '500ms', p99 = '1s', window = '30s', sustain = '5s', min_requests = 500, \
        warmup = '1m', shield = false }";

    #[test]
    fn every_key_is_read() {
        assert_eq!(read(STRICT, &Terms::default()), Ok(strict()));
        let ends = "{ alpha = 0.1, window = '15m', sustain = '24h', min_requests = 1_000_000, \
                    warmup = '1h', error_rate = '0%', p50 = '1ms' }";
        let terms = read(ends, &Terms::default()).unwrap();
        assert_eq!((terms.alpha, terms.window), (0.1, WINDOW_MAX));
    }

    #[test]
    fn what_is_left_out_is_as_above() {
        assert_eq!(read("{}", &Terms::default()), Ok(Terms::default()));
        assert_eq!(read("{}", &strict()), Ok(strict()));
        assert_eq!(read(STRICT, &strict()), Ok(strict()));
        let other = read("{ tolerance = { latency = 50 }, p95 = '2s' }", &strict()).unwrap();
        let latency = Share::from_basis_points(5000);
        let tolerance = Tolerance { latency, ..strict().tolerance };
        assert_eq!(other, Terms { tolerance, p95: Some(Millis(2000)), ..strict() });
    }

    #[test]
    fn none_lifts_a_limit() {
        let none = "{ error_rate = 'none', p50 = 'none', p95 = 'none', p99 = 'none' }";
        let lifted = Terms { error_rate: None, p50: None, p95: None, p99: None, ..strict() };
        assert_eq!(read(none, &strict()), Ok(lifted));
        assert!(read("{ window = 'none' }", &strict()).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("action = 'abort'", "\"abort\" is not known here; write \"rollback\" or \"hold\" or"),
            ("compare = 'yes'", "\"yes\" is not true or false; write one of them, without quotes"),
            ("alpha = 0", "0 is not a chance of a false alarm; write a number above 0 and at most"),
            ("alpha = 0.11", "0.11 is not a chance of a false alarm; write"),
            ("alpha = -0.01", "-0.01 is not a chance of a false alarm; write"),
            ("alpha = nan", "nan is not a chance of a false alarm; write"),
            ("alpha = '0.01'", "\"0.01\" is not a chance of a false alarm; write"),
            ("tolerance = '1%'", "\"1%\" is not a table; write it as a section [v.tolerance]"),
            ("tolerance = { errors = '1x' }", "\"1x\" is not a percentage; write"),
            ("tolerance = { error = '1%' }", "unknown key; did you mean errors?"),
            ("error_rate = '101%'", "\"101%\" is not a percentage; write"),
            ("p50 = '0s'", "\"0s\" is too short; write 1ms to 1h"),
            ("p95 = 500", "500 is not a duration; write a number with a unit"),
            ("p99 = '2h'", "\"2h\" is too long; write 1ms to 1h"),
            ("window = '999ms'", "\"999ms\" is too short; write 1s to 15m"),
            ("window = '1h'", "\"1h\" is too long: the guard keeps 15 minutes; write 1s to 15m"),
            ("window = 10", "10 is not a duration; write"),
            ("sustain = '25h'", "\"25h\" is too long; write 0s to 1day"),
            ("min_requests = 0", "0 is out of range; write a number from 1 to 1000000"),
            ("min_requests = 1000001", "1000001 is out of range; write"),
            ("warmup = '61m'", "\"61m\" is too long; write 0s to 1h"),
            ("shield = 1", "1 is not true or false; write"),
            ("sheild = true", "unknown key; did you mean shield?"),
        ] {
            let message = read(&format!("{{ {text} }}"), &Terms::default()).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }
}
