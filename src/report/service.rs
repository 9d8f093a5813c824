//! What the report says about one service: verdict, traffic, evidence, and the terms that were in
//! force.

use jiff::tz::TimeZone;

use super::{
    sheet::{Block, Grid, Section, affected},
    summary::{OfPool, OfService, Summary},
    words::{NONE, clock, count, known, millis, percent, rate, span},
};
use crate::model::{
    Millis, PoolName, ServiceName,
    guard::{
        Breach, Evidence, Finding, Lacking, Measure, Terms, Verdict,
        verdict::{Sums, Test},
    },
    rollout::{Record, record::ServiceRecord},
};

/// The section on the service `name`.
pub fn section(record: &Record, summary: &Summary, name: &ServiceName, zone: &TimeZone) -> Section {
    let none = ServiceRecord::default();
    let service = record.services.get(name).unwrap_or(&none);
    let finding = service.finding.as_ref();
    let traffic = summary.services.get(name).and_then(|s| traffic(record, service, s));
    let evidence = finding.map(|f| evidence(record, service, f, zone));
    let tests = finding.and_then(|f| tests(&f.evidence));
    let terms = service.terms.as_ref().map(terms);
    Section {
        service: name.to_string(),
        verdict: finding.map_or_else(
            || "The guard made no finding.".into(),
            |finding| sentence(record, service, finding, zone),
        ),
        blocks: [traffic, evidence, tests, terms].into_iter().flatten().collect(),
    }
}

fn baseline(service: &ServiceRecord) -> &str {
    service.baseline.as_ref().map_or("the baseline", |pool| pool.as_str())
}

/// The verdict in a sentence.
fn sentence(
    record: &Record,
    service: &ServiceRecord,
    finding: &Finding,
    zone: &TimeZone,
) -> String {
    let (pool, at) = (&finding.pool, clock(finding.at, record.rollout.began, zone));
    let head = format!("Last verdict on {pool}, at {at}: {}", finding.verdict.as_str());
    let body = match &finding.verdict {
        Verdict::Go => {
            format!("shown to be no worse than {}, within the tolerance.", baseline(service))
        }
        Verdict::NoGo(breach) => broken(breach),
        Verdict::Undecided(lacking) => missing(lacking),
        Verdict::BothDegraded(breach) => format!(
            "{} is just as bad, so that going back would not help. {}",
            baseline(service),
            broken(breach)
        ),
    };
    format!("{head}: {body}")
}

fn broken(breach: &Breach) -> String {
    let words = match breach.measure {
        Measure::Errors => percent,
        Measure::P50 | Measure::P95 | Measure::P99 => millis,
    };
    format!(
        "{} ({}: {} of {} requests, {}; in order are up to {}).",
        breach.text.trim_end_matches('.'),
        breach.detector.as_str(),
        breach.measure.as_str(),
        count(breach.sample),
        words(breach.measured),
        words(breach.limit),
    )
}

fn missing(lacking: &Lacking) -> String {
    match lacking {
        Lacking::Requests { have, need } => {
            format!("{} of the {} requests that it takes were judged.", count(*have), count(*need))
        }
        Lacking::Certainty { more, measure } => format!(
            "nothing is wrong; it takes about {} more requests to be certain of {}.",
            count(*more),
            measure.as_str()
        ),
    }
}

fn traffic(record: &Record, service: &ServiceRecord, numbers: &OfService) -> Option<Block> {
    let pools = ordered(record, service, numbers);
    if pools.is_empty() {
        return None;
    }
    let heads = pools.iter().map(|(name, _)| role(record, service, name));
    let mut grid = Grid::of_numbers(["Pool".into()].into_iter().chain(heads));
    let mut row = |name: &str, cell: &dyn Fn(&OfPool) -> String| {
        grid.row(name, pools.iter().map(|(_, pool)| cell(pool)));
    };
    row("Requests", &|p| count(p.requests));
    row("Failed first attempts", &|p| count(p.failures));
    for blame in blames(&pools) {
        let of = |p: &OfPool| count(p.failures_by_blame.get(blame).copied().unwrap_or(0));
        row(&format!("… by {blame}"), &of);
    }
    row("Error rate", &|p| known(p.error_rate, percent));
    row("Shielded", &|p| count(p.shielded));
    row("Users affected", &affected);
    row("Requests per second, mean", &|p| known(p.rate_mean, rate));
    row("Requests per second, peak", &|p| known(p.rate_peak, rate));
    row("Response time p50, mean", &|p| known(p.p50_ms, millis));
    row("Response time p95, mean", &|p| known(p.p95_ms, millis));
    row("Response time p99, mean", &|p| known(p.p99_ms, millis));
    row("Every first attempt failed for", &|p| span(p.downtime));
    let note = format!(
        "Downtime, in which no pool got a first attempt through: {}.",
        span(numbers.downtime)
    );
    Some(Block { title: "Traffic", note, grid })
}

/// The candidate, the baseline, all others.
fn ordered<'n>(
    record: &Record,
    service: &ServiceRecord,
    numbers: &'n OfService,
) -> Vec<(&'n PoolName, &'n OfPool)> {
    let mut pools: Vec<_> = numbers.pools.iter().collect();
    pools.sort_by_key(|(name, _)| {
        (**name != record.rollout.candidate, Some(*name) != service.baseline.as_ref())
    });
    pools
}

fn role(record: &Record, service: &ServiceRecord, name: &PoolName) -> String {
    if *name == record.rollout.candidate {
        format!("{name} (candidate)")
    } else if Some(name) == service.baseline.as_ref() {
        format!("{name} (baseline)")
    } else {
        name.to_string()
    }
}

fn blames<'p>(pools: &[(&PoolName, &'p OfPool)]) -> Vec<&'p str> {
    let all = pools.iter().flat_map(|(_, p)| p.failures_by_blame.keys());
    let mut blames: Vec<&str> = all.map(String::as_str).collect();
    blames.sort_unstable();
    blames.dedup();
    blames
}

fn evidence(record: &Record, service: &ServiceRecord, finding: &Finding, zone: &TimeZone) -> Block {
    let Evidence { since, share, concurrent, candidate, baseline: base, .. } = &finding.evidence;
    let mut grid = Grid::of_numbers([
        "Judged".into(),
        format!("{} (candidate)", finding.pool),
        format!("{} (baseline)", baseline(service)),
    ]);
    let mut row = |name: &str, cell: &dyn Fn(&Sums) -> String| {
        grid.row(name, [candidate, base].map(cell));
    };
    row("Requests", &|s| count(s.requests));
    row("Failed", &|s| count(s.failed));
    row("Users who saw a failure", &|s| count(s.users_failed));
    row("Requests in the last stage", &|s| count(s.stage_requests));
    row("Failed in the last stage", &|s| count(s.stage_failed));
    row("Response time p50, recent", &|s| known(s.p50_ms, millis));
    row("Response time p95, recent", &|s| known(s.p95_ms, millis));
    row("Response time p99, recent", &|s| known(s.p99_ms, millis));
    let measure = match concurrent {
        true => "the baseline's traffic beside it",
        false => "the baseline's profile from before the shift",
    };
    let since = clock(*since, record.rollout.began, zone);
    let note = format!("Since {since}; {share} on the candidate, compared with {measure}.");
    Block { title: "Evidence", note, grid }
}

fn tests(evidence: &Evidence) -> Option<Block> {
    if evidence.tests.is_empty() {
        return None;
    }
    let columns = ["Test", "Bad answers", "Of the candidate", "Wealth (ln)", "Needed (ln)", ""];
    let mut grid = Grid::of_numbers(columns.map(Into::into));
    for test in &evidence.tests {
        let numbers = [
            count(test.bad),
            count(test.bad_candidate),
            format!("{:.2}", test.wealth_ln),
            format!("{:.2}", test.needed_ln),
            standing(test).into(),
        ];
        grid.row(test.measure.as_str(), numbers);
    }
    let note = "A test accuses the candidate as soon as its wealth is what is needed.".into();
    Some(Block { title: "Sequential tests", note, grid })
}

fn standing(test: &Test) -> &'static str {
    if test.wealth_ln >= test.needed_ln { "accuses" } else { "does not accuse" }
}

fn terms(terms: &Terms) -> Block {
    let mut grid = Grid::of_texts(["Key", "Value"]);
    let mut row = |name: &str, value: String| grid.row(name, [value]);
    let limit = |span: Option<Millis>| span.map_or_else(|| NONE.into(), |s| s.to_string());
    let yes_no = |is: bool| if is { "yes" } else { "no" };
    row("action", terms.action.as_str().into());
    row("compare", yes_no(terms.compare).into());
    row("alpha", terms.alpha.to_string());
    row("tolerance.errors", terms.tolerance.errors.to_string());
    row("tolerance.latency", terms.tolerance.latency.to_string());
    row("error_rate", terms.error_rate.map_or_else(|| NONE.into(), |s| s.to_string()));
    row("p50", limit(terms.p50));
    row("p95", limit(terms.p95));
    row("p99", limit(terms.p99));
    row("window", terms.window.to_string());
    row("sustain", terms.sustain.to_string());
    row("min_requests", terms.min_requests.to_string());
    row("warmup", terms.warmup.to_string());
    row("shield", yes_no(terms.shield).into());
    let note = "The keys of [guard] that were in force.".into();
    Block { title: "What the guard judged by", note, grid }
}
