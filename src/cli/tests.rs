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

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

async fn ran(socket: &str, line: &str) -> Ran {
    let words = ["lbctl", "--socket", socket].into_iter().chain(line.split(' '));
    let cli = Cli::try_parse_from(words).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let form = form(&cli.globals);
    let exit = execute(cli, Out::into(form, &mut out, &mut err)).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { exit, out: text(out), err: text(err) }
}

const CHANGED: &str =
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
        "lbctl weight green 5 --force",
        "lbctl status --json --quiet",
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
