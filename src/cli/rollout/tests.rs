//! Whole verbs of `rollout` against a daemon that answers from a script.

use std::sync::Mutex;

use serde_json::json;

use crate::{
    api::release::{RolloutStatus, Simulated},
    cli::{
        Exit,
        fake::Daemon,
        tests::{CHANGED, Ran, ran},
    },
    model::{
        Actor, Millis, Moment, Share,
        guard::{
            Breach, Detector, Evidence, Finding, Lacking, Measure, Tape, Terms, Verdict,
            verdict::{Sums, Test},
        },
        rollout::{Milestone, Phase, Plan, Record, Rollout, record::ServiceRecord},
    },
};

/// 2026-11-21 14:00:00 UTC.
const BEGAN: Moment = Moment(1_795_269_600_000);

fn alice() -> Actor {
    Actor { name: "alice".into(), uid: Some(1000), pid: None }
}

fn share(percent: u16) -> Share {
    Share::from_basis_points(percent * 100)
}

fn rollout(phase: Phase) -> Rollout {
    let milestone = |phase: &str, percent: u16, by: Actor| Milestone {
        at: BEGAN,
        phase: phase.into(),
        share: share(percent),
        by,
        text: String::new(),
    };
    let mut milestones = vec![milestone("checking", 0, alice())];
    if phase != Phase::Checking {
        milestones.push(milestone("holding", 5, Actor::lbd()));
    }
    Rollout {
        id: 7,
        candidate: "green".parse().unwrap(),
        services: vec!["api".parse().unwrap(), "app".parse().unwrap()],
        name: "default".into(),
        plan: Plan::default(),
        salt: None,
        by: alice(),
        reason: Some("release 7".into()),
        began: BEGAN,
        phase,
        milestones,
    }
}

fn holding(stage: usize) -> Rollout {
    rollout(Phase::Holding { stage, since: BEGAN })
}

fn baking(bake: Millis) -> Rollout {
    let mut rollout = rollout(Phase::Baking { since: BEGAN, until: BEGAN.after(bake) });
    rollout.plan.bake = bake;
    rollout
}

fn promoted() -> Rollout {
    rollout(Phase::Promoted { at: BEGAN })
}

fn rolled_back(why: &str) -> Rollout {
    rollout(Phase::RolledBack { at: BEGAN, why: why.into() })
}

/// Ended while it was checked, by `by`.
fn stillborn(by: Actor, why: &str) -> Rollout {
    let mut rollout = rolled_back(why);
    for milestone in &mut rollout.milestones {
        milestone.share = Share::NONE;
    }
    rollout.milestones.last_mut().unwrap().by = by;
    rollout
}

fn paused() -> Rollout {
    let why = "api: of 31 failures, 19 fell on green".into();
    rollout(Phase::Paused { stage: 1, held: Millis(0), since: BEGAN, why })
}

fn sums(requests: u64, failed: u64) -> Sums {
    Sums {
        requests,
        failed,
        users_failed: failed.min(12),
        stage_requests: requests / 2,
        stage_failed: failed / 2,
        p50_ms: Some(4.21),
        p95_ms: Some(45.3),
        p99_ms: None,
    }
}

fn finding(verdict: Verdict) -> Finding {
    let test = |measure, wealth_ln| Test {
        measure,
        bad: 31,
        bad_candidate: 19,
        wealth_ln,
        needed_ln: 80_000f64.ln(),
    };
    Finding {
        pool: "green".parse().unwrap(),
        at: BEGAN,
        verdict,
        evidence: Evidence {
            since: BEGAN,
            share: share(5),
            concurrent: true,
            candidate: sums(50, 19),
            baseline: sums(950, 12),
            tests: vec![test(Measure::Errors, 27.7), test(Measure::P95, -0.9)],
        },
    }
}

fn breach() -> Breach {
    Breach {
        detector: Detector::GrossFailure,
        measure: Measure::Errors,
        measured: 0.38,
        limit: 0.01,
        sample: 50,
        text: "of 31 failures since 14:00, 19 fell on green, which served 5%".into(),
    }
}

fn no_go() -> Finding {
    finding(Verdict::NoGo(breach()))
}

fn undecided() -> Finding {
    finding(Verdict::Undecided(Lacking::Requests { have: 12, need: 50 }))
}

fn status(rollout: Rollout) -> RolloutStatus {
    let findings = match rollout.phase.stage() {
        Some(_) => [("api".parse().unwrap(), undecided())].into(),
        None => Default::default(),
    };
    RolloutStatus {
        share: rollout.share().unwrap_or_default(),
        text: rollout.told(&rollout.phase),
        waits_for: Some("2m more of its hold; 12 of 50 requests of api judged".into()),
        due: None,
        findings,
        rollout,
    }
}

fn record(rollout: Rollout) -> Record {
    let service = ServiceRecord {
        baseline: Some("blue".parse().unwrap()),
        finding: Some(no_go()),
        terms: Some(Terms { p95: Some(Millis(500)), ..Terms::default() }),
        tape: Tape::default(),
        ..ServiceRecord::default()
    };
    let services =
        [("api".parse().unwrap(), service), ("app".parse().unwrap(), ServiceRecord::default())];
    Record { rollout, ended: Some(BEGAN.after(Millis(90_000))), services: services.into() }
}

/// What a question for the rollout that runs is answered with, one after the other; the last again and
/// again. `None`: the daemon hangs up.
fn daemon(seen: Vec<Option<Rollout>>) -> Daemon {
    let seen = Mutex::new(seen.into_iter().rev().collect::<Vec<_>>());
    Daemon::answering(move |asked| {
        let mut seen = seen.lock().unwrap();
        let mut next = || if seen.len() > 1 { seen.pop() } else { seen.last().cloned() };
        match asked {
            "GET /v1/rollouts/current" => match next().unwrap() {
                Some(rollout) => (200, serde_json::to_string(&status(rollout)).unwrap()),
                None => (0, String::new()),
            },
            "GET /v1/rollouts/7" => {
                let ended = rolled_back("aborted by bob");
                (200, serde_json::to_string(&record(ended)).unwrap())
            }
            _ => (200, CHANGED.into()),
        }
    })
}

async fn started(line: &str, seen: Vec<Rollout>) -> Ran {
    let daemon = daemon(seen.into_iter().map(Some).collect());
    ran(&daemon.socket(), &format!("rollout start green {line}")).await
}

/// Answers everything with `reply`.
fn replying(reply: &impl serde::Serialize) -> Daemon {
    let text = serde_json::to_string(reply).unwrap();
    Daemon::answering(move |_| (200, text.clone()))
}

#[tokio::test]
async fn a_start_carries_the_shift() {
    for (line, asked) in [
        (
            "rollout start green --dry-run",
            r#"POST /v1/rollouts?dry_run=true {"pool":"green","changes":{}}"#,
        ),
        (
            "rollout start green --dry-run --plan careful --stages 5,25%,100 --hold 5m \
             --advance evidence --max-hold 1h --bake 10m --service api --service app \
             --fresh-cohort --skip-checks",
            concat!(
                r#"POST /v1/rollouts?dry_run=true {"pool":"green","services":["api","app"],"#,
                r#""plan":"careful","changes":{"stages":[{"share":"5%"},{"share":"25%"},"#,
                r#"{"share":"100%"}],"hold":"5m","advance":"evidence","max_hold":"1h","#,
                r#""bake":"10m"},"fresh_cohort":true,"skip_checks":true}"#
            ),
        ),
        (
            "rollout start green --wait --dry-run --if-revision 4 --reason why",
            concat!(
                "POST /v1/rollouts?dry_run=true&reason=why if-match=4 ",
                r#"{"pool":"green","changes":{}}"#
            ),
        ),
    ] {
        let daemon = daemon(vec![Some(holding(0))]);
        let ran = ran(&daemon.socket(), line).await;
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""), "{line}");
        // A rehearsal is not waited for.
        assert_eq!(daemon.asked(), [asked], "{line}");
    }
}

#[tokio::test]
async fn a_start_waits_for_the_preflight() {
    let checking = || rollout(Phase::Checking);
    let good = started("", vec![checking(), holding(0)]).await;
    assert_eq!(good.exit, Exit::Done);
    assert_eq!(good.out, "green 10% → 25% (blue 90% → 75%), revision 42\n");
    assert_eq!(
        good.err,
        "lbctl: rollout 7 is checked\nlbctl: rollout 7 holds stage 1 of 5: green at 5%\n"
    );
    for line in ["", "--wait"] {
        let failed = stillborn(Actor::lbd(), "the preflight failed: GET / answered 500");
        let bad = started(line, vec![checking(), failed]).await;
        assert_eq!(bad.exit, Exit::Refused);
        let told = "lbctl: rollout 7 is checked\n\
                    lbctl: rollout 7 is rolled back: the preflight failed: GET / answered 500\n  \
                    hint: the candidate got no traffic; ";
        assert!(bad.err.starts_with(told), "{}", bad.err);
    }
    let aborted = started("", vec![checking(), stillborn(alice(), "aborted by alice")]).await;
    assert_eq!(aborted.exit, Exit::RolledBack);
}

#[tokio::test]
async fn the_outcome_is_the_exit_code() {
    let day = Millis::from_secs(86_400);
    for (end, exit, told) in [
        (promoted(), Exit::Done, "lbctl: rollout 7 is done: green is the new baseline\n"),
        (
            baking(day),
            Exit::Done,
            "judged for 1day\nlbctl: --wait ends here: the bake takes longer than 15 minutes\n",
        ),
        (
            rolled_back("errors"),
            Exit::RolledBack,
            "at 10%\nlbctl: rollout 7 is rolled back: errors\n  hint: `lbctl rollout why` shows the \
             evidence, `lbctl rollout report` all of it\n",
        ),
        (
            paused(),
            Exit::Held,
            "at 10%\nlbctl: rollout 7 is paused with green at 10%: api: of 31 failures, 19 fell on \
             green\n  hint: `lbctl rollout why` shows the evidence; `lbctl rollout resume` goes on, \
             `promote` takes the next stage, `abort` ends it\n",
        ),
    ] {
        let ran = started("--wait", vec![holding(0), holding(0), holding(1), end]).await;
        assert_eq!(ran.exit, exit, "{}", ran.err);
        let begin = "lbctl: rollout 7 holds stage 1 of 5: green at 5%\n\
                     lbctl: rollout 7 holds stage 2 of 5: green at 10%\n";
        assert!(ran.err.starts_with(begin) && ran.err.ends_with(told), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_short_bake_is_waited_for() {
    let quarter = Millis::from_secs(900);
    let ran = started("--wait --quiet", vec![baking(quarter), promoted()]).await;
    assert_eq!((ran.exit, ran.out + &ran.err), (Exit::Done, String::new()));
    let bad = started("--wait", vec![baking(quarter), rolled_back("slow")]).await;
    assert_eq!(bad.exit, Exit::RolledBack);
}

#[tokio::test]
async fn a_wait_that_times_out_lets_the_rollout_go_on() {
    let ran = started("--wait --timeout 300ms", vec![holding(2)]).await;
    assert_eq!(ran.exit, Exit::TimedOut);
    let told =
        "lbctl: gave up after 300ms: rollout 7 goes on; it holds stage 3 of 5: green at 25%\n";
    assert!(ran.err.contains(told), "{}", ran.err);
}

#[tokio::test]
async fn a_daemon_that_restarts_is_waited_for() {
    let seen = vec![Some(holding(0)), None, None, Some(holding(0)), Some(promoted())];
    let daemon = daemon(seen);
    let ran = ran(&daemon.socket(), "rollout start green --wait").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() == 4 && lines[1].ends_with("; trying again"), "{}", ran.err);
    assert_eq!(lines[2], "lbctl: lbd is back");
}

#[tokio::test]
async fn a_rollout_that_another_one_follows_is_over() {
    let other = Rollout { id: 8, ..holding(0) };
    let ran = started("--wait --json", vec![holding(0), other]).await;
    assert_eq!((ran.exit, ran.out), (Exit::RolledBack, format!("{CHANGED}\n")));
    assert!(ran.err.contains("lbctl: rollout 7 is rolled back: aborted by bob\n"), "{}", ran.err);
}

#[tokio::test]
async fn a_start_that_is_refused_is_exit_4() {
    let failure = r#"{"error":"rollout 6 runs","code":"rollout_runs","hint":"end it"}"#;
    let daemon = Daemon::answering(move |_| (409, failure.into()));
    let ran = ran(&daemon.socket(), "rollout start green --wait").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert_eq!(ran.err, "lbctl: rollout 6 runs\n  hint: end it\n");
    assert_eq!(daemon.asked().len(), 1);
}

#[tokio::test]
async fn the_status_of_a_rollout() {
    let daemon = replying(&status(holding(1)));
    let text = ran(&daemon.socket(), "rollout status").await;
    let lines: Vec<&str> = text.out.lines().collect();
    assert_eq!(
        lines[0], "rollout 7 of green in api, app holds stage 2 of 5: green at 10%",
        "{}",
        text.out
    );
    assert!(lines[1].starts_with("  started at ") && text.out.contains("by alice: release"));
    for line in [
        "  stages: 5% → [10%] → 25% → 50% → 100% → bake 1day",
        "  plan default: a stage ends with its hold; hold 5m, 1h at most",
        "  waits for 2m more of its hold; 12 of 50 requests of api judged",
        "  api: undecided: 12 of 50 requests judged",
        "  SIDE             REQUESTS  FAILED  ERRORS  USERS    P50   P95  P99",
        "  green                  50      19   38.0%     12  4.2ms  45ms    -",
        "  baseline of api       950      12   1.26%     12  4.2ms  45ms    -",
    ] {
        assert!(lines.contains(&line), "{line}\n{}", text.out);
    }
    let over = ran(&replying(&status(promoted())).socket(), "rollout status").await;
    assert!(
        over.out.contains("  ended at ") && over.out.contains("ago), after 0s\n"),
        "{}",
        over.out
    );
    let json = ran(&daemon.socket(), "rollout status --json").await;
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&value["id"], &value["phase"]["phase"]), (&json!(7), &json!("holding")));
}

#[tokio::test]
async fn without_rollout_the_status_is_a_refusal() {
    let failure = r#"{"error":"no rollout is running","code":"no_rollout","hint":"start one"}"#;
    let daemon = Daemon::answering(move |_| (409, failure.into()));
    let ran = ran(&daemon.socket(), "rollout status").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
}

#[tokio::test]
async fn the_history_is_a_table() {
    let list = json!({"rollouts": [
        {"id": 8, "candidate": "green", "services": ["api", "app"], "plan": "default",
         "by": "alice", "began": 0, "ended": 90_000, "phase": "promoted",
         "text": "is done: green is the new baseline"},
        {"id": 7, "candidate": "blue", "services": ["api"], "plan": "careful", "by": "bob",
         "began": 0, "ended": 4_000, "phase": "rolled-back", "text": "is rolled back: errors"},
    ]});
    let text = ran(&replying(&list).socket(), "rollout history").await;
    let lines: Vec<&str> = text.out.lines().collect();
    assert!(lines[0].starts_with("ID  POOL   SERVICES  PLAN     BY     STARTED"), "{}", text.out);
    assert!(lines[1].starts_with(" 8  green  api, app  default  alice  19"), "{}", text.out);
    assert!(lines[1].ends_with("  1m 30s  promoted     is done: green is the new baseline"));
    assert!(lines[2].ends_with("      4s  rolled-back  is rolled back: errors"));
    let none = ran(&replying(&json!({"rollouts": []})).socket(), "rollout history").await;
    assert_eq!(none.out, "there was no rollout yet\n");
}

/// What follows from a finding, whichever way it came.
const EVIDENCE: [&str; 8] = [
    "  measured errors 38.0%, at most 1.00% is in order, from 50 requests of green",
    "  in this stage: green 25 requests, 9 failed; baseline 475 requests, 6 failed",
    "  SIDE             REQUESTS  FAILED  ERRORS  USERS    P50   P95  P99",
    "  blue (baseline)       950      12   1.26%     12  4.2ms  45ms    -",
    "  errors: of 31 failures, 19 fell on green; evidence of 10^12 to 1 that it is",
    "    worse, 80,000 to 1 needed: accuses",
    "  p95: of 31 answers slower than the baseline's p95, 19 fell on green; evidence",
    "    of 0.4 to 1 that it is worse, 80,000 to 1 needed: does not accuse",
];

#[tokio::test]
async fn a_verdict_is_explained_from_the_record() {
    let daemon = replying(&record(rolled_back("errors")));
    let text = ran(&daemon.socket(), "rollout why 7").await;
    assert_eq!((text.exit, daemon.asked()), (Exit::Done, vec!["GET /v1/rollouts/7".to_owned()]));
    let lines: Vec<&str> = text.out.lines().collect();
    assert_eq!(lines[0], "rollout 7 of green in api, app is rolled back: errors");
    assert!(lines[1].starts_with("api: green at "), "{}", text.out);
    let found = "  found by gross-failure: failures on a scale that leaves no doubt";
    let limits = "  limits: p95 500ms, over 10s";
    for line in EVIDENCE.into_iter().chain([found, limits, "app: nothing was judged"]) {
        assert!(lines.contains(&line), "{line}\n{}", text.out);
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{}", text.out);
}

fn guard(findings: &[Finding]) -> serde_json::Value {
    json!({"revision": 4, "services": [{"service": "api", "baseline": "blue",
        "terms": Terms::default(), "differs_from_file": false, "findings": findings,
        "lockouts": {}}]})
}

/// A daemon with this rollout, these findings on trial, and a record.
fn on_trial(current: Option<Rollout>, findings: &[Finding]) -> Daemon {
    let guard = guard(findings).to_string();
    Daemon::answering(move |asked| match (asked, &current) {
        ("GET /v1/guard", _) => (200, guard.clone()),
        ("GET /v1/rollouts/current", Some(rollout)) => {
            (200, serde_json::to_string(&status(rollout.clone())).unwrap())
        }
        ("GET /v1/rollouts/current", None) => {
            (409, r#"{"error":"none","code":"no_rollout","hint":""}"#.into())
        }
        (_, _) => (200, serde_json::to_string(&record(rolled_back("errors"))).unwrap()),
    })
}

#[tokio::test]
async fn without_number_it_is_who_is_on_trial_that_is_explained() {
    let running = on_trial(Some(holding(1)), &[no_go()]);
    let text = ran(&running.socket(), "rollout why").await;
    assert!(text.out.starts_with("rollout 7 of green in api, app holds stage 2"), "{}", text.out);
    for line in EVIDENCE.into_iter().chain(["  limits: none"]) {
        assert!(text.out.lines().any(|l| l == line), "{line}\n{}", text.out);
    }
    let by_hand = ran(&on_trial(None, &[undecided()]).socket(), "rollout why").await;
    assert!(by_hand.out.starts_with("api: green at "), "{}", by_hand.out);
    // How long ago that was decides where its line breaks.
    let words: Vec<_> = by_hand.out.split_whitespace().collect();
    assert!(words.join(" ").contains("undecided: 12 of 50 requests judged"), "{}", by_hand.out);
    let early = ran(&on_trial(Some(holding(0)), &[]).socket(), "rollout why").await;
    assert!(early.out.ends_with("  nothing was judged yet\n"), "{}", early.out);
    for over in [Some(promoted()), None] {
        let daemon = on_trial(over, &[]);
        let json = ran(&daemon.socket(), "rollout why --json").await;
        assert_eq!(daemon.asked().last().unwrap(), "GET /v1/rollouts/last");
        assert!(serde_json::from_str::<Record>(&json.out).is_ok(), "{}", json.out);
    }
}

#[tokio::test]
async fn a_plan_is_shown_with_what_it_notices() {
    let stage = |share: &str, rps: f64, secs: Option<f64>| {
        json!({"share": share, "rps": rps, "hold": "5m", "requests": (rps * 300.0) as u64,
        "seconds_to_judge": secs, "is_long_enough": secs.is_some_and(|s| s < 300.0),
        "notices": [
            {"what": "all requests fail", "measure": "errors", "requests": 5, "seconds": 0.25},
            {"what": "5% of requests fail", "measure": "errors", "requests": 170,
             "seconds": secs.map(|s| s * 4.0)},
            {"what": "p95 grows by 10%", "measure": "p95"},
        ]})
    };
    let outlook = json!({"pool": "green", "plan": "careful, changed", "services": [
        {"service": "api", "rps": 412.3, "error_ratio": 0.0042,
         "stages": [stage("5%", 20.6, Some(2.4)), stage("10%", 0.1, Some(500.0)),
                    stage("100%", 0.0, None)]}],
        "warnings": ["the hold of 10% is too short for a verdict"]});
    let daemon = replying(&outlook);
    let text = ran(&daemon.socket(), "rollout plan green --plan careful --hold 5m").await;
    assert_eq!(
        daemon.asked(),
        [r#"POST /v1/rollouts/plan {"pool":"green","plan":"careful","changes":{"hold":"5m"}}"#]
    );
    let expected = "\
plan careful, changed to green

api: 412 requests a second, of which 0.42% fail
  STAGE  REQ/S  HOLD  REQUESTS  TIME TO JUDGE  HOLD IS
     5%   20.6    5m      6180             2s  long enough
    10%    0.1    5m        30         8m 20s  too short
   100%      0    5m         0          never  too short
  TIME TO NOTICE AT           5%        10%       100%
  all requests fail          <1s        <1s        <1s
  5% of requests fail         9s    33m 20s      never
  p95 grows by 10%     tolerated  tolerated  tolerated

warning: the hold of 10% is too short for a verdict
";
    assert_eq!(text.out, expected, "\n{}", text.out);
}

#[tokio::test]
async fn other_terms_are_simulated() {
    let simulated = |service: &str, now: Option<Verdict>, at| Simulated {
        service: service.parse().unwrap(),
        then: now.as_ref().map(|_| Verdict::Go),
        now,
        at,
        terms: Terms::default(),
    };
    let reply = [
        simulated("api", Some(Verdict::NoGo(breach())), Some(BEGAN)),
        simulated("app", None, None),
    ];
    let daemon = replying(&reply);
    let line = "rollout simulate 7 --alpha 0.01 --p95 none --tolerance-errors 1";
    let text = ran(&daemon.socket(), line).await;
    assert_eq!(
        daemon.asked(),
        [concat!(
            "POST /v1/rollouts/7/simulate ",
            r#"{"terms":{"alpha":0.01,"p95":null,"tolerance":{"errors":"1%"}}}"#
        )]
    );
    for part in [
        "api\n  then: go: no worse than the baseline\n  by these terms, first at ",
        "app\n  then: nothing was judged\n  by these terms: no evidence was kept to judge\n",
    ] {
        assert!(text.out.contains(part), "{}", text.out);
    }
    let last = ran(&daemon.socket(), "rollout simulate").await;
    assert_eq!(last.exit, Exit::Done);
    assert_eq!(daemon.asked()[1], r#"POST /v1/rollouts/last/simulate {"terms":{}}"#);
}

#[tokio::test]
async fn a_report_is_printed_as_it_is_or_written() {
    let daemon = Daemon::answering(|_| (200, "# Rollout 7\n".into()));
    let text = ran(&daemon.socket(), "rollout report").await;
    assert_eq!((text.exit, text.out.as_str()), (Exit::Done, "# Rollout 7\n"));
    ran(&daemon.socket(), "rollout report 7 --json").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.html").display().to_string();
    let line = format!("rollout report 7 --format html --output {file}");
    let written = ran(&daemon.socket(), &line).await;
    assert_eq!((written.exit, written.out), (Exit::Done, format!("{file} is written\n")));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# Rollout 7\n");
    assert_eq!(
        daemon.asked(),
        [
            "GET /v1/rollouts/last/report?format=md",
            "GET /v1/rollouts/7/report?format=json",
            "GET /v1/rollouts/7/report?format=html",
        ]
    );
    let nowhere = ran(&daemon.socket(), "rollout report --output /nowhere/r.md").await;
    assert_eq!(nowhere.exit, Exit::Failed);
    assert!(nowhere.err.starts_with("lbctl: /nowhere/r.md: No such file"), "{}", nowhere.err);
}
