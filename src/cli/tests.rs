//! Whole verbs against a daemon that answers from a script, and lines that cannot be typed.

use clap::Parser;

use super::{
    Cli, Exit, execute,
    fake::Daemon,
    form,
    grammar::{Maintenance, Verb},
    out::Out,
    status::tests::SAMPLE,
};

pub struct Ran {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

pub async fn ran(socket: &str, line: &str) -> Ran {
    let words = ["lbctl", "--socket", socket].into_iter().chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let form = form(&cli.globals);
    let exit = execute(cli, Out::into(form, &mut out, &mut err)).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { exit, out: text(out), err: text(err) }
}

pub const CHANGED: &str =
    r#"{"revision":42,"changed":true,"summary":["green 10% → 25% (blue 90% → 75%)"]}"#;

fn changing() -> Daemon {
    Daemon::answering(|_| (200, CHANGED.into()))
}

#[tokio::test]
async fn a_setter_prints_what_changed() {
    let daemon = changing();
    let ran = ran(&daemon.socket(), "weight green 25 --service api --for 10m --reason why").await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));
    assert_eq!(ran.out, "green 10% → 25% (blue 90% → 75%), revision 42\n");
    let body = r#"{"pool":"green","share":"25%","services":["api"],"for":"10m"}"#;
    assert_eq!(daemon.asked(), [format!("PUT /v1/split?reason=why {body}")]);
}

#[tokio::test]
async fn json_is_the_reply_and_quiet_is_nothing() {
    let daemon = changing();
    let json = ran(&daemon.socket(), "switch green --json").await;
    assert_eq!((json.exit, json.out), (Exit::Done, format!("{CHANGED}\n")));
    let quiet = ran(&daemon.socket(), "switch green --quiet").await;
    assert_eq!((quiet.exit, quiet.out + &quiet.err), (Exit::Done, String::new()));
}

#[tokio::test]
async fn every_setter_calls_its_operation() {
    for (line, asked) in [
        ("switch green", r#"PUT /v1/split {"pool":"green","share":"100%","switch":true}"#),
        ("rollback --ramp 30s --dry-run", r#"POST /v1/rollback?dry_run=true {"ramp":"30s"}"#),
        ("rollback --if-revision 7", "POST /v1/rollback if-match=7 {}"),
        (
            "maintenance on --for 2h --allow 10.0.0.1 --secret sesame-open",
            r#"PUT /v1/maintenance {"for":"2h","allow":["10.0.0.1/32"],"secret":"sesame-open"}"#,
        ),
        ("maintenance off --service a --service b", "DELETE /v1/maintenance?service=a&service=b"),
        (
            "endpoint add green a:80 --weight 2",
            r#"POST /v1/pools/green/endpoints {"address":"a:80","weight":2}"#,
        ),
        (
            "endpoint ready green unix:/a",
            r#"PUT /v1/pools/green/endpoints/unix%3A%2Fa {"state":"ready"}"#,
        ),
        ("endpoint remove green a:80", "DELETE /v1/pools/green/endpoints/a%3A80"),
        ("cohort add green u", r#"POST /v1/cohorts/green {"list":"allow","users":["u"]}"#),
        (
            "cohort remove green u --deny",
            r#"POST /v1/cohorts/green/remove {"list":"deny","users":["u"]}"#,
        ),
        ("switch green --skip-checks", {
            r#"PUT /v1/split {"pool":"green","share":"100%","switch":true,"skip_checks":true}"#
        }),
        ("weight green 5 --force", r#"PUT /v1/split {"pool":"green","share":"5%","force":true}"#),
        ("pause --max 30s", r#"POST /v1/pause {"max":"30s"}"#),
        ("pause --service app --reason x", r#"POST /v1/pause?reason=x {"services":["app"]}"#),
        ("resume", "DELETE /v1/pause"),
        ("resume --service a --if-revision 7", "DELETE /v1/pause?service=a if-match=7"),
        ("rollout pause --reason lunch", "POST /v1/rollouts/current/pause?reason=lunch {}"),
        ("rollout resume", "POST /v1/rollouts/current/resume {}"),
        ("rollout promote", r#"POST /v1/rollouts/current/promote {"full":false}"#),
        ("rollout promote --full", r#"POST /v1/rollouts/current/promote {"full":true}"#),
        ("rollout abort --if-revision 7", "POST /v1/rollouts/current/abort if-match=7 {}"),
        (
            "guard set --service app --action hold --alpha 0.001 --tolerance-latency 30% \
             --error-rate none --p95 500ms --min-requests 100 --compare false --shield true",
            r#"PUT /v1/guard {"services":["app"],"terms":{"action":"hold","alpha":0.001,"compare":false,"error_rate":null,"min_requests":100,"p95":"500ms","shield":true,"tolerance":{"latency":"30%"}}}"#,
        ),
        (
            "guard set --tolerance-errors 1 --window 30s --sustain 5s --warmup 1m --dry-run",
            r#"PUT /v1/guard?dry_run=true {"terms":{"sustain":"5s","tolerance":{"errors":"1%"},"warmup":"1m","window":"30s"}}"#,
        ),
        ("guard set --reset", r#"PUT /v1/guard {"terms":{}}"#),
    ] {
        let daemon = changing();
        assert_eq!(ran(&daemon.socket(), line).await.exit, Exit::Done, "{line}");
        assert_eq!(daemon.asked(), [asked], "{line}");
    }
}

#[tokio::test]
async fn a_secret_link_is_shown_even_beside_json() {
    let daemon = changing();
    let text = ran(&daemon.socket(), "maintenance on --secret sesame-open").await;
    assert!(text.out.ends_with("who opens /.lbd/bypass/sesame-open passes\n"), "{}", text.out);
    let json = ran(&daemon.socket(), "maintenance on --secret --json").await;
    assert_eq!(json.out, format!("{CHANGED}\n"));
    assert!(json.err.starts_with("lbctl: who opens /.lbd/bypass/"), "{}", json.err);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_hint() {
    let failure = r#"{"error":"based on 7, 9 is in force","code":"stale_revision","hint":"read"}"#;
    let daemon = Daemon::answering(move |_| (412, failure.into()));
    let ran = ran(&daemon.socket(), "rollback --if-revision 7").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
    assert_eq!(ran.err, "lbctl: based on 7, 9 is in force\n  hint: read\n");
}

#[tokio::test]
async fn an_absent_daemon_is_exit_3() {
    let ran = ran("/nowhere/admin.sock", "status").await;
    assert_eq!(ran.exit, Exit::Unreachable);
    let told = "lbctl: cannot reach lbd at /nowhere/admin.sock: there is no such socket\n  hint: ";
    assert!(ran.err.starts_with(told), "{}", ran.err);
}

#[tokio::test]
async fn terms_for_what_only_shows_are_a_usage_error() {
    let ran = ran("/nowhere/admin.sock", "status --if-revision 4").await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.starts_with("lbctl: --if-revision is for verbs that change"), "{}", ran.err);
}

#[tokio::test]
async fn weights_are_shown_by_service() {
    let daemon = Daemon::answering(|_| (200, SAMPLE.into()));
    let green = ran(&daemon.socket(), "weight green").await;
    assert_eq!(green.exit, Exit::Done);
    assert!(
        green
            .out
            .starts_with("SERVICE  POOL   WEIGHT  OBSERVED\napi      green     25%     24.9%\n")
    );
    let json = ran(&daemon.socket(), "weight red --json").await;
    assert!(json.out.starts_with(r#"{"error":"no service has"#) && json.out.lines().count() == 1);
    let red = ran(&daemon.socket(), "weight red").await;
    assert_eq!(red.exit, Exit::Refused);
    assert!(
        red.err.starts_with("lbctl: no service has a pool named `red`\n  hint: "),
        "{}",
        red.err
    );
}

fn endpoints(in_flight: u64) -> String {
    format!(
        r#"{{"revision":1,"services":[{{"service":"app","endpoints":[{{"address":"a:80","weight":1,
        "state":"drain","standing":"out","in_flight":{in_flight},"requests":9}}]}}]}}"#
    )
}

#[tokio::test]
async fn removing_with_wait_drains_first() {
    let left = std::sync::atomic::AtomicU64::new(2);
    let daemon = Daemon::answering(move |asked| match asked.starts_with("GET") {
        true => (200, endpoints(left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed))),
        false => (200, CHANGED.into()),
    });
    let ran =
        ran(&daemon.socket(), "endpoint remove green a:80 --wait --if-revision 3 --json").await;
    assert_eq!((ran.exit, ran.out), (Exit::Done, format!("{CHANGED}\n")));
    assert_eq!(ran.err, "lbctl: 2 requests running\nlbctl: 1 request running\n");
    let asked = daemon.asked();
    assert_eq!(asked[0], r#"PUT /v1/pools/green/endpoints/a%3A80 if-match=3 {"state":"drain"}"#);
    assert_eq!(asked[1..4], ["GET /v1/pools/green/endpoints"; 3]);
    assert_eq!(asked[4], "DELETE /v1/pools/green/endpoints/a%3A80");
}

#[tokio::test]
async fn waiting_is_bounded() {
    let daemon = Daemon::answering(|asked| match asked.starts_with("GET") {
        true => (200, endpoints(3)),
        false => (200, CHANGED.into()),
    });
    let ran = ran(&daemon.socket(), "endpoint drain green a:80 --wait --timeout 500ms").await;
    assert_eq!(ran.exit, Exit::TimedOut);
    assert!(ran.err.contains("lbctl: gave up after 500ms: 3 requests running\n"), "{}", ran.err);
}

/// A status whose ramp runs until it was asked for twice, and then leaves blue at `share`.
fn ramping(share: &'static str) -> Daemon {
    let asked_for = std::sync::atomic::AtomicU64::new(0);
    Daemon::answering(move |asked| {
        if !asked.starts_with("GET") {
            return (200, CHANGED.into());
        }
        let runs = asked_for.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
        let mut status: serde_json::Value = serde_json::from_str(SAMPLE).unwrap();
        status["services"].as_array_mut().unwrap().truncate(1);
        if !runs {
            let api = status["services"][0].as_object_mut().unwrap();
            api.remove("ramp_until");
            api["pools"][0]["share"] = share.into();
        }
        (200, status.to_string())
    })
}

#[tokio::test]
async fn a_ramp_is_waited_for() {
    let daemon = ramping("100%");
    let ran = ran(&daemon.socket(), "rollback --ramp 30s --wait").await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, "lbctl: api: blue at 75%, 12s left\n"));
}

#[tokio::test]
async fn a_ramp_that_somebody_ended_is_a_failure() {
    let daemon = ramping("80%");
    let ran = ran(&daemon.socket(), "rollback --ramp 30s --wait").await;
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("ended by another command: blue of api is at 80%"), "{}", ran.err);
}

#[tokio::test]
async fn events_are_one_json_object_a_line() {
    let list = r#"{"events":[{"time":1,"kind":"weight","severity":"info",
        "actor":{"name":"a"},"summary":"x","revision":1},{"time":2,"kind":"weight",
        "severity":"info","actor":{"name":"a"},"summary":"y","revision":2}]}"#;
    let daemon = Daemon::answering(move |_| (200, list.into()));
    let ran = ran(&daemon.socket(), "events --json").await;
    assert_eq!((ran.exit, ran.out.lines().count()), (Exit::Done, 2));
    assert_eq!(daemon.asked(), ["GET /v1/events?limit=20"]);
}

#[tokio::test]
async fn a_reload_and_a_reset_are_one_document() {
    let reply = CHANGED.replace('}', r#","needs_restart":["runtime.workers"]}"#);
    let daemon = Daemon::answering(move |_| (200, reply.clone()));
    let line = "config reload --reset-runtime --if-revision 41";
    let text = ran(&daemon.socket(), line).await;
    assert_eq!(text.exit, Exit::Done, "{}", text.err);
    assert!(
        text.out.ends_with("revision 42\nruntime.workers takes effect with the next restart\n")
    );
    let asked = daemon.asked();
    assert_eq!(asked, [r#"POST /v1/config/reload if-match=41 {"reset_runtime":true}"#]);
    let json = ran(&daemon.socket(), &format!("{line} --json")).await;
    assert_eq!(json.out.lines().count(), 1);
}

#[tokio::test]
async fn a_config_file_that_cannot_be_read_is_a_usage_error() {
    let text = ran("/nowhere", "config check /nowhere/lbd.toml").await;
    assert_eq!((text.exit, text.out.as_str()), (Exit::Usage, ""));
    assert!(text.err.starts_with("lbctl: /nowhere/lbd.toml: 1 problem"), "{}", text.err);
}

#[tokio::test]
async fn the_client_s_release_is_shown_without_daemon() {
    let ran = ran("/nowhere/admin.sock", "version").await;
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.out.starts_with("lbctl "), "{}", ran.out);
}

#[test]
fn a_wrong_command_line_is_told_like_any_other_error() {
    let error = Cli::try_parse_from(["lbctl", "weight", "green", "101"]).unwrap_err();
    let told = super::misuse(&error);
    assert!(told.starts_with("lbctl: invalid value '101' for '[PERCENT]': `101` is not"), "{told}");
    assert!(told.ends_with("\n  hint: --help after the verb shows what it takes\n"), "{told}");
    assert!(!told.contains("For more information"), "{told}");
}

#[tokio::test]
async fn a_preflight_is_a_table_and_an_exit_code() {
    let report = |passed: bool| {
        format!(
            r#"{{"pool":"green","passed":{passed},"rows":[
            {{"service":"app","endpoint":"10.0.0.7:9001","check":"POST /login","passed":{passed},
              "text":"answered 200","took_ms":12.3}},
            {{"service":"app","check":"health","passed":true,"text":"1 of 1 is up"}}]}}"#
        )
    };
    let good = Daemon::answering(move |_| (200, report(true)));
    let text = ran(&good.socket(), "check green --service app").await;
    assert_eq!(good.asked(), [r#"POST /v1/checks {"pool":"green","services":["app"]}"#]);
    let expected = "\
SERVICE  ENDPOINT       CHECK        RESULT  TOOK  FOUND
app      10.0.0.7:9001  POST /login  passed  12ms  answered 200
app      -              health       passed     -  1 of 1 is up
green passed 2 checks
";
    assert_eq!((text.exit, text.out.as_str()), (Exit::Done, expected));
    let bad = Daemon::answering(move |_| (200, report(false)));
    let text = ran(&bad.socket(), "check green").await;
    assert_eq!(text.exit, Exit::Failed);
    assert!(text.out.contains("POST /login  failed  12ms"), "{}", text.out);
    assert!(text.err.starts_with("lbctl: green failed 1 of 2 checks\n  hint: "), "{}", text.err);
    let json = ran(&bad.socket(), "check green --json").await;
    assert!(json.exit == Exit::Failed && json.out.starts_with(r#"{"pool":"green""#));
}

#[tokio::test]
async fn the_guard_shows_what_it_judges_by_and_finds() {
    let list = r#"{"revision":4,"services":[{"service":"app","baseline":"blue",
        "differs_from_file":true,"terms":{"action":"rollback","compare":true,"alpha":0.0001,
          "tolerance":{"errors":"0.5%","latency":"20%"},"error_rate":"1%","p95":"500ms",
          "window":"10s","sustain":"5s","min_requests":50,"warmup":"30s","shield":true},
        "findings":[],
        "alarm":{"pool":"green","verdict":"both-degraded","since":0,"text":"blue fails, too"},
        "lockouts":{"red":{"since":0,"cause":"all requests failed"}}}]}"#;
    let daemon = Daemon::answering(move |_| (200, list.into()));
    let text = ran(&daemon.socket(), "guard status app").await;
    assert_eq!(daemon.asked(), ["GET /v1/guard?service=app"]);
    for line in [
        "app  baseline blue",
        "  judges by other terms than the config file's; `guard set --reset` goes back",
        "  a no-go leads to rollback; shield on",
        "  judged against the baseline: alpha 0.0001, tolerance errors 0.5%, latency 20%",
        "  limits: error_rate 1%, p95 500ms, over 10s, exceeded for 5s",
        "  from 50 requests on; fresh endpoints are not judged for 30s",
        "  no candidate is on trial",
    ] {
        assert!(text.out.lines().any(|l| l == line), "{line}\n{}", text.out);
    }
    for part in ["  alarm since 1970-", "  red is locked out since 1970-", "rollout start red`"] {
        assert!(text.out.contains(part), "{part}\n{}", text.out);
    }
    assert!(text.out.lines().all(|l| l.chars().count() <= 80), "{}", text.out);
}

#[tokio::test]
async fn a_guard_that_is_told_nothing_is_a_usage_error() {
    for line in ["guard set", "guard set --service app"] {
        let ran = ran("/nowhere/admin.sock", line).await;
        assert_eq!(ran.exit, Exit::Usage);
        assert!(ran.err.starts_with("lbctl: guard set: nothing is named"), "{}", ran.err);
    }
}

#[tokio::test]
async fn the_selftest_is_a_table() {
    let tests =
        r#"[{"service":"app","since":0,"runs":200,"alarms":1,"samples":80000,"alpha":0.01}]"#;
    let daemon = Daemon::answering(move |_| (200, tests.into()));
    let text = ran(&daemon.socket(), "guard selftest").await;
    assert!(text.out.starts_with("SERVICE  SINCE"), "{}", text.out);
    assert!(text.out.ends_with("  200             1  0.50%    1.00%     80000\n"), "{}", text.out);
    let none = Daemon::answering(move |_| (200, "[]".into()));
    let text = ran(&none.socket(), "guard selftest").await;
    assert_eq!(text.out, "no service is tested against itself\n");
}

#[tokio::test]
async fn receivers_are_listed_and_tried() {
    let daemon = Daemon::answering(|asked| match asked {
        "GET /v1/notify" => (
            200,
            r#"{"receivers":[{"name":"chat","kind":"slack","sent":4,"failed":1,"dropped":0,
            "waiting":0,"problem":"status 500"}]}"#
                .into(),
        ),
        "POST /v1/notify/chat/test" => (200, r#"{"sent":true}"#.into()),
        _ => (200, r#"{"sent":false,"problem":"connection refused"}"#.into()),
    });
    let list = ran(&daemon.socket(), "notify list").await;
    let expected = "\
NAME  KIND   SENT  FAILED  DROPPED  WAITING  PROBLEM
chat  slack     4       1        0        0  status 500
";
    assert_eq!(list.out, expected);
    let good = ran(&daemon.socket(), "notify test chat").await;
    assert_eq!((good.exit, good.out.as_str()), (Exit::Done, "chat took the notice\n"));
    let bad = ran(&daemon.socket(), "notify test pager").await;
    assert_eq!(bad.exit, Exit::Failed);
    assert!(bad.err.starts_with("lbctl: pager did not take the notice: connection refused\n"));
    assert_eq!(
        daemon.asked()[1..],
        ["POST /v1/notify/chat/test {}", "POST /v1/notify/pager/test {}"]
    );
}

#[tokio::test]
async fn what_only_asks_takes_no_terms_of_commands() {
    for line in ["rollout why --reason x", "check green --dry-run", "notify test a --if-revision 1"]
    {
        assert_eq!(ran("/nowhere/admin.sock", line).await.exit, Exit::Usage, "{line}");
    }
}

fn typed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn wrong_values_are_usage_errors_with_their_types_own_words() {
    for (line, words) in [
        ("lbctl weight gr/een 25", "`gr/een` is not a name"),
        ("lbctl weight green 101", "`101` is not a percentage"),
        ("lbctl weight green -5", "`-5` is not a percentage"),
        ("lbctl weight green 5 --for 10", "`10` is not a duration"),
        ("lbctl endpoint add green nowhere", "`nowhere` is not an endpoint address"),
        ("lbctl maintenance on --until soon", "`soon` is not a moment"),
        ("lbctl maintenance on --allow ten", "`ten` is not a network"),
        ("lbctl maintenance on --secret short", "at least 8 letters"),
        ("lbctl explain --header none", "`none` is not a header"),
        ("lbctl status -w --interval 1ms", "at least 100ms"),
        ("lbctl rollout start green --stages 5,x,100", "`x` is not a percentage"),
        ("lbctl rollout start green --advance never", "[possible values: hold, evidence, manual]"),
        ("lbctl rollout start green --plan a/b", "`a/b` is not a name"),
        ("lbctl rollout why first", "`first` is not the number of a rollout; write one, or last"),
        ("lbctl rollout simulate --alpha 0", "`0` is not a chance of a false alarm"),
        ("lbctl rollout simulate --alpha nan", "`nan` is not a chance of a false alarm"),
        (
            "lbctl rollout simulate --p95 fast",
            "is not a duration; write a number with a unit, as in 250ms, 30s, 5m or 2h, or none",
        ),
        ("lbctl rollout report --format pdf", "[possible values: md, json, html]"),
        ("lbctl guard set --action panic", "[possible values: rollback, hold, alert]"),
        ("lbctl guard set --min-requests 0", "0 is not in 1.."),
    ] {
        let error = typed(line).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(words), "{line}: {error}");
    }
}

#[test]
fn combinations_without_sense_are_usage_errors() {
    for line in [
        "lbctl",
        "lbctl explain",
        "lbctl explain --user a --header 'K: V'",
        "lbctl weight green --for 10m",
        "lbctl rollback --wait",
        "lbctl status --interval 2s",
        "lbctl maintenance on --for 1h --until 04:00",
        "lbctl endpoint add green a:80 --weight 0",
        "lbctl endpoint ready green a:80 --wait",
        "lbctl cohort add green",
        "lbctl weight green --force",
        "lbctl switch green --force",
        "lbctl status --json --quiet",
        "lbctl rollout",
        "lbctl rollout start",
        "lbctl rollout start green 5",
        "lbctl guard set --reset --alpha 0.01",
        "lbctl guard set --reset --action hold",
        "lbctl notify test",
        "lbctl pause 30s",
    ] {
        assert_eq!(typed(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn globals_stand_before_or_after_the_verb() {
    for line in [
        "lbctl --dry-run --if-revision 3 switch green",
        "lbctl switch green --dry-run --if-revision 3",
    ] {
        let cli = typed(line).unwrap();
        assert!(cli.globals.dry_run && cli.verb.changes());
        assert_eq!(cli.globals.if_revision, Some(3));
    }
}

#[test]
fn a_secret_may_be_left_to_lbctl() {
    let secret = |line: &str| match typed(line).unwrap().verb {
        Verb::Maintenance(Maintenance::On(on)) => on.secret,
        _ => panic!("{line}"),
    };
    assert_eq!(secret("lbctl maintenance on"), None);
    assert_eq!(secret("lbctl maintenance on --secret --for 2h"), Some(None));
    let given = secret("lbctl maintenance on --secret sesame-open").unwrap().unwrap();
    assert_eq!(given.0, "sesame-open");
}
