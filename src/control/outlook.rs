//! What a plan can notice, from live rates: `rollout plan`.

use super::Control;
use crate::{
    api::release::{Notice, PlanOutlook, ServiceOutlook, StageOutlook},
    model::{
        Millis, PoolName, Refusal, ServiceName,
        command::RolloutStart,
        guard::{
            Measure, Terms,
            outlook::{requests_to_go, requests_to_notice, requests_to_notice_slow},
        },
        rollout::{Advance, Plan, Stage},
    },
};

/// Parts of failed requests whose notice is told.
const FAILURES: [(&str, f64); 5] = [
    ("all requests fail", 1.0),
    ("half of the requests fail", 0.5),
    ("20% of the requests fail", 0.2),
    ("5% of the requests fail", 0.05),
    ("2% of the requests fail", 0.02),
];
/// Parts of answers beyond a percentile whose notice is told: what a candidate shows whose whole
/// distribution moved up by that factor, for a log-normal one with a shape of 0.5.
const SLOW: [(&str, usize, Measure, f64); 3] = [
    ("response times double", 1, Measure::P95, 0.27),
    ("response times are five times as long", 1, Measure::P95, 0.89),
    ("10% of the answers are beyond the p95", 1, Measure::P95, 0.1),
];

/// What each stage of the plan that `start` asks for can notice.
///
/// # Errors
///
/// What `rollout start` would be refused for, apart from what only matters when it starts.
pub fn outlook(control: &Control, start: &RolloutStart) -> Result<PlanOutlook, Refusal> {
    let services = control.model.services_with(&start.pool, &start.services)?;
    control.model.refuse_baseline(&services, &start.pool)?;
    let (name, plan) = control.model.planned(start.plan.as_ref(), &start.changes)?;
    let among = services.len();
    let mut warnings = Vec::new();
    let services = services
        .into_iter()
        .map(|service| control.service_outlook(service, &plan, among, &mut warnings))
        .collect();
    Ok(PlanOutlook { pool: start.pool.clone(), plan: name, services, warnings })
}

impl Control {
    fn service_outlook(
        &self,
        service: ServiceName,
        plan: &Plan,
        among: usize,
        warnings: &mut Vec<String>,
    ) -> ServiceOutlook {
        let status = self.status(std::slice::from_ref(&service), super::status::Secrets::Hidden);
        let seen = status.services.into_iter().next();
        let rps = seen.iter().flat_map(|s| &s.pools).map(|pool| pool.rps).sum::<f64>();
        let baseline: Option<PoolName> = seen.as_ref().map(|s| s.baseline.clone());
        let of_baseline =
            seen.iter().flat_map(|s| &s.pools).find(|p| Some(&p.name) == baseline.as_ref());
        let error_ratio = of_baseline.map_or(0.0, |pool| pool.error_ratio);
        let terms = self.model.state.services.get(&service).map(|s| s.terms().clone());
        let terms = terms.unwrap_or_default();
        let stages: Vec<StageOutlook> = plan
            .stages
            .iter()
            .map(|stage| stage_outlook(stage, plan, &terms, among, rps, error_ratio))
            .collect();
        for stage in stages.iter().filter(|stage| !stage.is_long_enough) {
            warnings.push(match stage.seconds_to_judge {
                None => format!("{service} has no traffic now: no stage would ever be judged"),
                Some(seconds) => format!(
                    "{service}: {} at {} is too short, a verdict takes about {}",
                    stage.hold,
                    stage.share,
                    Millis((seconds * 1000.0).ceil() as u64 / 1000 * 1000 + 1000),
                ),
            });
        }
        warnings.dedup();
        ServiceOutlook { service, rps, error_ratio, stages }
    }
}

fn stage_outlook(
    stage: &Stage,
    plan: &Plan,
    terms: &Terms,
    among: usize,
    rps: f64,
    error_ratio: f64,
) -> StageOutlook {
    let hold = stage.hold.unwrap_or(plan.hold);
    let own = rps * stage.share.ratio();
    let seconds = |requests: u64| (own > 0.0).then(|| requests as f64 / own);
    let terms =
        Terms { min_requests: stage.min_requests.unwrap_or(terms.min_requests), ..terms.clone() };
    let need = match plan.advance {
        Advance::Evidence => requests_to_go(&terms, error_ratio),
        Advance::Hold | Advance::Manual => u64::from(terms.min_requests),
    };
    let seconds_to_judge = seconds(need);
    let share = stage.share.ratio();
    let notice = |what: &str, measure, requests: Option<u64>| Notice {
        what: what.to_owned(),
        measure,
        requests,
        seconds: requests.and_then(seconds),
    };
    let failing = FAILURES.iter().map(|(what, rate)| {
        notice(what, Measure::Errors, requests_to_notice(&terms, among, share, error_ratio, *rate))
    });
    let slow = SLOW.iter().map(|(what, n, measure, part)| {
        notice(what, *measure, requests_to_notice_slow(&terms, among, share, *n, *part))
    });
    let compared = terms.compare;
    StageOutlook {
        share: stage.share,
        rps: own,
        hold,
        requests: (own * hold.0 as f64 / 1000.0) as u64,
        seconds_to_judge,
        notices: failing.chain(slow.filter(|_| compared)).collect(),
        is_long_enough: seconds_to_judge.is_some_and(|s| s * 1000.0 <= hold.0 as f64),
    }
}
