//! What the guard found, in words and numbers: verdicts, evidence, tests, terms.

use super::{
    moment::Clock,
    numbers::{counted, from_ln, latency, measured, part},
    table::{
        Paint,
        Side::{Left, Right},
        Table, Tone, wrapped,
    },
};
use crate::model::{
    Millis, PoolName,
    guard::{
        Breach, Detector, Finding, Lacking, Measure, Terms, Verdict,
        verdict::{Sums, Test},
    },
};

/// A verdict in a sentence, and how it is meant.
pub fn sentence(verdict: &Verdict) -> (Tone, String) {
    let word = verdict.as_str();
    match verdict {
        Verdict::Go => (Tone::Good, format!("{word}: no worse than the baseline")),
        Verdict::NoGo(breach) => (Tone::Bad, format!("{word}: {}", broken(breach))),
        Verdict::Undecided(lacking) => (Tone::Plain, format!("{word}: {}", missing(lacking))),
        Verdict::BothDegraded(breach) => {
            let text = "the baseline is just as bad, so going back would not help";
            (Tone::Bad, format!("{word}: {text}: {}", broken(breach)))
        }
    }
}

/// `of 31 failures, 19 fell on green (errors 38.0%, at most 1.00% is in order)`.
fn broken(breach: &Breach) -> String {
    format!("{} ({})", breach.text.trim_end_matches('.'), excess(breach))
}

fn excess(breach: &Breach) -> String {
    let value = |value| measured(breach.measure, value);
    let (measure, is) = (breach.measure.as_str(), value(breach.measured));
    format!("{measure} {is}, at most {} is in order", value(breach.limit))
}

fn missing(lacking: &Lacking) -> String {
    match lacking {
        Lacking::Requests { have, need } => format!("{have} of {need} requests judged"),
        Lacking::Certainty { more, measure } => format!(
            "nothing is wrong so far; about {} {} {} certain",
            counted(*more, "more request"),
            if *more == 1 { "makes" } else { "make" },
            measure.as_str()
        ),
    }
}

/// `green: no-go: …` in its tone, as lines.
pub fn verdict_lines(indent: usize, who: &str, verdict: &Verdict, paint: Paint) -> Vec<String> {
    let (tone, text) = sentence(verdict);
    toned(paint, tone, wrapped(indent, &format!("{who}: {text}")))
}

/// The lines in a tone.
pub fn toned(paint: Paint, tone: Tone, lines: Vec<String>) -> Vec<String> {
    lines.iter().map(|line| paint.apply(tone, line).into_owned()).collect()
}

/// The numbers of both sides, for each finding under its own heading.
pub fn sides<'f>(findings: impl IntoIterator<Item = (String, &'f Finding)>) -> Table {
    let columns = [
        ("SIDE", Left),
        ("REQUESTS", Right),
        ("FAILED", Right),
        ("ERRORS", Right),
        ("USERS", Right),
        ("P50", Right),
        ("P95", Right),
        ("P99", Right),
    ];
    let mut table = Table::new(2, &columns).fitted();
    for (baseline, finding) in findings {
        let evidence = &finding.evidence;
        side(&mut table, finding.pool.to_string(), &evidence.candidate);
        side(&mut table, baseline, &evidence.baseline);
    }
    table
}

fn side(table: &mut Table, name: String, sums: &Sums) {
    table.row([
        name.into(),
        sums.requests.into(),
        sums.failed.into(),
        part(sums.failed, sums.requests).into(),
        sums.users_failed.into(),
        latency(sums.p50_ms).into(),
        latency(sums.p95_ms).into(),
        latency(sums.p99_ms).into(),
    ]);
}

/// What a baseline's row is called.
pub fn baseline_row(pool: Option<&PoolName>) -> String {
    pool.map_or("baseline".into(), |pool| format!("{pool} (baseline)"))
}

/// Everything that a finding was drawn from.
pub fn evidence(
    finding: &Finding,
    baseline: Option<&PoolName>,
    clock: &Clock,
    paint: Paint,
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Verdict::NoGo(breach) | Verdict::BothDegraded(breach) = &finding.verdict {
        lines.extend(found(breach, &finding.pool));
    }
    lines.extend(wrapped(2, &compared(finding, clock)));
    lines.extend(wrapped(2, &stage(finding)));
    lines.extend(sides([(baseline_row(baseline), finding)]).lines(paint));
    lines.extend(finding.evidence.tests.iter().flat_map(|t| wrapped(2, &test(t, &finding.pool))));
    lines
}

fn found(breach: &Breach, pool: &PoolName) -> Vec<String> {
    let (word, how) = (breach.detector.as_str(), detector(breach.detector));
    let sample = counted(breach.sample, "request");
    let texts = [
        format!("found by {word}: {how}"),
        format!("measured {}, from {sample} of {pool}", excess(breach)),
    ];
    texts.iter().flat_map(|text| wrapped(2, text)).collect()
}

const fn detector(detector: Detector) -> &'static str {
    match detector {
        Detector::GrossFailure => "failures on a scale that leaves no doubt",
        Detector::Regression => "the test against the baseline's traffic of the same time",
        Detector::Profile => "the test against the baseline's traffic from before the shift",
        Detector::Limit => "a configured limit",
    }
}

fn compared(finding: &Finding, clock: &Clock) -> String {
    let evidence = &finding.evidence;
    let with = match evidence.concurrent {
        true => "traffic of the same time",
        false => "profile from before the shift, which does not tell what befalls both",
    };
    let (since, pool, share) = (clock.at(evidence.since), &finding.pool, evidence.share);
    format!("evidence since {since}, now with {pool} at {share}, against the baseline's {with}")
}

fn stage(finding: &Finding) -> String {
    let side = |sums: &Sums| {
        format!("{}, {} failed", counted(sums.stage_requests, "request"), sums.stage_failed)
    };
    let (candidate, baseline) = (&finding.evidence.candidate, &finding.evidence.baseline);
    format!("in this stage: {} {}; baseline {}", finding.pool, side(candidate), side(baseline))
}

/// A sequential test is a bet: who bets on a difference that is not there wins no more than once in
/// `1/alpha` times what accuses.
fn test(test: &Test, pool: &PoolName) -> String {
    let bad = match test.measure {
        Measure::Errors => "failures".to_owned(),
        slow @ (Measure::P50 | Measure::P95 | Measure::P99) => {
            format!("answers slower than the baseline's {}", slow.as_str())
        }
    };
    let (measure, all, own) = (test.measure.as_str(), test.bad, test.bad_candidate);
    let (wealth, needed) = (from_ln(test.wealth_ln), from_ln(test.needed_ln));
    let so = if test.wealth_ln >= test.needed_ln { "accuses" } else { "does not accuse" };
    format!(
        "{measure}: of {all} {bad}, {own} fell on {pool}; evidence of {wealth} to 1 that it is worse, \
         {needed} to 1 needed: {so}"
    )
}

/// What is judged by, as lines.
pub fn terms(terms: &Terms) -> Vec<String> {
    let compared = match terms.compare {
        true => format!(
            "against the baseline: alpha {}, tolerance errors {}, latency {}",
            terms.alpha, terms.tolerance.errors, terms.tolerance.latency
        ),
        false => "without regard to the baseline".into(),
    };
    let shield = if terms.shield { "on" } else { "off" };
    let warmup = match terms.warmup {
        Millis(0) => String::new(),
        warmup => format!("; fresh endpoints are not judged for {warmup}"),
    };
    let texts = [
        format!("a no-go leads to {}; shield {shield}", terms.action.as_str()),
        format!("judged {compared}"),
        format!("limits: {}", limits(terms)),
        format!("from {} on{warmup}", counted(terms.min_requests.into(), "request")),
    ];
    texts.iter().flat_map(|text| wrapped(2, text)).collect()
}

/// `error_rate 1%, p95 500ms, over 10s`.
fn limits(terms: &Terms) -> String {
    let latencies = [("p50", terms.p50), ("p95", terms.p95), ("p99", terms.p99)];
    let latencies = latencies.into_iter().filter_map(|(name, limit)| Some((name, limit?)));
    let errors = terms.error_rate.map(|limit| format!("error_rate {limit}"));
    let named = latencies.map(|(name, limit)| format!("{name} {limit}"));
    let all: Vec<String> = errors.into_iter().chain(named).collect();
    if all.is_empty() {
        return "none".into();
    }
    let sustain = match terms.sustain {
        Millis(0) => String::new(),
        sustain => format!(", exceeded for {sustain}"),
    };
    format!("{}, over {}{sustain}", all.join(", "), terms.window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(measure: Measure) -> Breach {
        let text = "of 31 slow answers, 19 came from green.".into();
        let detector = Detector::Profile;
        Breach { detector, measure, measured: 1204.0, limit: 500.0, sample: 50, text }
    }

    #[test]
    fn verdicts_are_sentences() {
        let certainty = Lacking::Certainty { more: 1, measure: Measure::P95 };
        for (verdict, tone, text) in [
            (Verdict::Go, Tone::Good, "go: no worse than the baseline"),
            (
                Verdict::NoGo(breach(Measure::P95)),
                Tone::Bad,
                "no-go: of 31 slow answers, 19 came from green (p95 1.2s, at most 500ms is in order)",
            ),
            (
                Verdict::Undecided(certainty),
                Tone::Plain,
                "undecided: nothing is wrong so far; about 1 more request makes p95 certain",
            ),
            (
                Verdict::BothDegraded(breach(Measure::P50)),
                Tone::Bad,
                "both-degraded: the baseline is just as bad, so going back would not help: of 31 \
                 slow answers, 19 came from green (p50 1.2s, at most 500ms is in order)",
            ),
        ] {
            assert_eq!(sentence(&verdict), (tone, text.into()));
        }
    }

    #[test]
    fn terms_without_limits_and_comparison_say_so() {
        let none = Terms { compare: false, shield: false, ..Terms::default() };
        assert_eq!(
            terms(&none),
            [
                "  a no-go leads to rollback; shield off",
                "  judged without regard to the baseline",
                "  limits: none",
                "  from 50 requests on",
            ]
        );
    }
}
