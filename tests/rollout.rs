//! Rollouts: staged shifts to a candidate, as scripts and people drive them.

use std::{collections::BTreeSet, fs};

use crate::support::{Dead, Lab, Load, Origin, Plan, predicted};

/// Stages that are over soon, if there is traffic to judge. Nothing is compared with response times of
/// a moment ago, because other tests slow this machine down as they come and go.
const QUICK: &str = "[guard]\ncompare = false\nmin_requests = 20\nwindow = \"1s\"\n\
     [rollout.default]\nstages = [\"20%\", \"50%\", \"100%\"]\nhold = \"300ms\"\nbake = \"300ms\"\n";
/// The same, where only a person ends a stage.
const MANUAL: &str = "[rollout.default]\nstages = [\"20%\", \"50%\", \"100%\"]\n\
     advance = \"manual\"\nbake = \"1h\"\n";

struct Site {
    blue: Origin,
    green: Origin,
    lab: Lab,
}

fn site(config: &str) -> Site {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = plan(&blue, &green, config).start();
    Site { blue, green, lab }
}

fn plan(blue: &Origin, green: &Origin, config: &str) -> Plan {
    Lab::new().config(config).pool("blue", blue).pool("green", green)
}

impl Site {
    fn load(&self) -> Load {
        let load = self.lab.load();
        load.goes_on(300);
        load
    }

    fn share(&self) -> String {
        self.lab.status().share("green")
    }

    fn users_on_green(&self) -> BTreeSet<String> {
        self.lab.users(500).on("green")
    }
}

// How it ends, as a deploy script sees it.

#[test]
fn a_good_release_is_promoted_and_the_script_gets_0() {
    let site = site(QUICK);
    let load = site.load();
    let said = site.lab.begin("rollout start green --wait --reason 'release 7'").ended();
    let told = said.stderr.clone();
    said.succeeds();
    for stage in ["stage 1 of 3", "stage 2 of 3", "stage 3 of 3", "baking", "new baseline"] {
        assert!(told.contains(stage), "{stage}: {told}");
    }
    load.without_failure();
    let seen = site.lab.status();
    assert_eq!((seen.phase(), seen.share("green")), ("promoted", "100%".into()));
    assert_eq!(seen.service("app").baseline.as_str(), "green");
    let events = site.lab.events();
    let started = events.iter().find(|e| e["reason"] == "release 7");
    assert_eq!(started.expect("the start is in the journal")["kind"], "rollout");
}

/// Method: green answers 500 from its first request on.
#[test]
fn a_bad_release_is_rolled_back_and_the_script_gets_6() {
    let site = site(QUICK);
    site.green.status(500);
    let load = site.load();
    let said = site.lab.ctl("rollout start green --wait").fails_with(6);
    assert!(said.contains("rolled back") && said.contains("rollout why"), "{said}");
    load.without_failure();
    let seen = site.lab.status();
    assert_eq!((seen.phase(), seen.share("green")), ("rolled-back", "0%".into()));
    assert_eq!(seen.service("app").baseline.as_str(), "blue");
    let why = site.lab.ctl("rollout why").succeeds();
    assert!(why.contains("fell on green"), "{why}");
}

/// Method: the same release, where the guard may only hold it.
#[test]
fn a_bad_release_is_held_if_told_so_and_the_script_gets_7() {
    let site = site(&QUICK.replace("[guard]", "[guard]\naction = \"hold\""));
    site.green.status(500);
    let load = site.load();
    let said = site.lab.ctl("rollout start green --wait").fails_with(7);
    assert!(said.contains("paused"), "{said}");
    load.without_failure();
    assert_eq!((site.lab.status().phase(), site.share()), ("paused", "20%".into()));
}

#[test]
fn a_script_that_gives_up_gets_5_and_the_rollout_goes_on() {
    let site = site(QUICK);
    let said = site.lab.ctl("rollout start green --hold 30m --wait --timeout 1s").fails_with(5);
    assert!(said.contains("goes on"), "{said}");
    assert_eq!((site.lab.status().phase(), site.share()), ("holding", "20%".into()));
}

/// Method: a smoke test that green fails; then it is passed over.
#[test]
fn a_release_that_fails_its_checks_gets_no_traffic_and_the_script_4() {
    let checks = "[[service.app.check]]\npath = \"/products\"\n";
    let site = site(&format!("{QUICK}{checks}"));
    site.green.status_at("/products", 500);
    let said = site.lab.ctl("rollout start green --wait").fails_with(4);
    assert!(said.contains("/products") && said.contains("--skip-checks"), "{said}");
    site.lab.ctl("rollout start green").fails_with(4);
    assert_eq!(site.share(), "0%");
    assert!(site.users_on_green().is_empty());
    site.lab.ctl("rollout start green --skip-checks").succeeds();
    assert_eq!((site.lab.status().phase(), site.share()), ("holding", "20%".into()));
}

// What people do to it on the way.

#[test]
fn it_can_be_paused_resumed_promoted_and_aborted() {
    let site = site(MANUAL);
    site.lab.ctl("rollout start green").succeeds();
    site.lab.ctl("rollout pause --reason 'support has questions'").succeeds();
    site.lab.until_phase("paused");
    assert_eq!(site.share(), "20%");
    site.lab.ctl("rollout resume").succeeds();
    assert_eq!((site.lab.status().phase(), site.share()), ("holding", "20%".into()));
    site.lab.ctl("rollout promote").succeeds();
    assert_eq!((site.lab.status().stage(), site.share()), (2, "50%".into()));
    site.lab.ctl("rollout promote --full").succeeds();
    assert_eq!((site.lab.status().phase(), site.share()), ("baking", "100%".into()));
    site.lab.ctl("rollout pause").fails_with(4);
    site.lab.ctl("rollout abort --reason 'wrong release'").succeeds();
    let seen = site.lab.status();
    assert_eq!((seen.phase(), seen.share("green")), ("rolled-back", "0%".into()));
    assert!(site.users_on_green().is_empty());
    let said = site.lab.ctl("rollout abort").fails_with(4);
    assert!(said.contains("no rollout is running"), "{said}");
    assert!(site.lab.ctl("rollout status").succeeds().contains("wrong release"));
}

#[test]
fn the_end_of_the_bake_can_be_brought_forward() {
    let site = site(MANUAL);
    site.lab.ctl("rollout start green").succeeds();
    site.lab.ctl("rollout promote --full").succeeds();
    assert_eq!(site.lab.status().service("app").baseline.as_str(), "blue");
    site.lab.ctl("rollout promote").succeeds();
    assert_eq!(site.lab.status().service("app").baseline.as_str(), "green");
    assert_eq!(site.lab.status().phase(), "promoted");
}

#[test]
fn a_paused_rollout_is_still_guarded() {
    let site = site(MANUAL);
    let load = site.load();
    site.lab.ctl("rollout start green").succeeds();
    site.lab.ctl("rollout pause").succeeds();
    load.goes_on(300);
    site.green.status(500);
    site.lab.until_phase("rolled-back");
    assert_eq!(site.share(), "0%");
    load.without_failure();
}

#[test]
fn a_weight_is_refused_meanwhile_unless_it_is_forced() {
    let site = site(MANUAL);
    site.lab.ctl("rollout start green").succeeds();
    for words in ["weight green 60", "weight blue 100", "switch green", "rollout start green"] {
        let said = site.lab.ctl(words).fails_with(4);
        assert!(said.contains("rollout 1 of green is holding"), "{words}: {said}");
    }
    assert_eq!((site.lab.status().phase(), site.share()), ("holding", "20%".into()));
    site.lab.ctl("weight green 60 --force").succeeds();
    assert_eq!((site.lab.status().phase(), site.share()), ("rolled-back", "60%".into()));
}

#[test]
fn a_rollback_ends_it_in_each_phase() {
    let site = site(MANUAL);
    for moves in [&[][..], &["pause"], &["promote"], &["promote --full"]] {
        site.lab.ctl("rollout start green").succeeds();
        for verb in moves {
            site.lab.ctl(&format!("rollout {verb}")).succeeds();
        }
        site.lab.ctl("rollback").succeeds();
        let seen = site.lab.status();
        assert_eq!((seen.phase(), seen.share("green")), ("rolled-back", "0%".into()), "{moves:?}");
    }
    assert!(site.lab.ctl("rollback").succeeds().contains("nothing to roll back"));
}

// What does not disturb it.

/// Method: lbd is ended as a service manager does, and as a power cut does, in one phase after the other.
#[test]
fn its_phase_survives_restarts_and_kills() {
    for kills in [false, true] {
        let mut site = site(MANUAL);
        for (words, phase, share) in [
            ("rollout start green", "holding", "20%"),
            ("rollout promote", "holding", "50%"),
            ("rollout pause", "paused", "50%"),
            ("rollout promote --full", "baking", "100%"),
            ("rollback", "rolled-back", "0%"),
        ] {
            site.lab.ctl(words).succeeds();
            match kills {
                true => {
                    site.lab.kill9();
                    site.lab.launch();
                }
                false => site.lab.restart(),
            }
            let seen = site.lab.status();
            assert_eq!((seen.phase(), &*seen.share("green")), (phase, share), "{words}");
        }
    }
}

/// Method: green is slow to answer its smoke test, and lbd is started anew meanwhile.
#[test]
fn checks_that_a_restart_interrupts_are_made_again() {
    let checks = "[[service.app.check]]\npath = \"/products\"\n";
    let mut site = site(&format!("{MANUAL}{checks}"));
    site.green.hold();
    let start = site.lab.begin("rollout start green");
    site.lab.until_phase("checking");
    site.green.until_running(1);
    site.lab.kill9();
    site.lab.launch();
    site.lab.until_phase("checking");
    assert_eq!(site.share(), "0%");
    site.green.release();
    site.lab.until_phase("holding");
    assert_eq!(site.share(), "20%");
    start.ended().succeeds();
}

/// Method: the plan is edited between two stages, and the file loaded.
#[test]
fn a_plan_that_is_edited_changes_the_next_rollout_and_not_the_one_that_runs() {
    let site = site(MANUAL);
    site.lab.ctl("rollout start green").succeeds();
    let edited = MANUAL.replace("\"20%\", \"50%\"", "\"1%\", \"2%\", \"3%\"");
    assert_ne!(edited, MANUAL);
    site.lab.write_plan(&plan(&site.blue, &site.green, &edited));
    site.lab.ctl("config reload").succeeds();
    assert_eq!((site.lab.status().phase(), site.share()), ("holding", "20%".into()));
    site.lab.ctl("rollout promote").succeeds();
    assert_eq!(site.share(), "50%");
    site.lab.ctl("rollout abort").succeeds();
    site.lab.ctl("rollout start green").succeeds();
    assert_eq!(site.share(), "1%");
}

/// Method: nobody sends anything for several holds; then somebody does.
#[test]
fn without_traffic_it_holds() {
    let site = site(QUICK);
    site.lab.ctl("rollout start green --hold 1ms").succeeds();
    let waits = site.lab.until("it waits for requests", |seen| {
        let status = seen.rollout.as_ref().unwrap();
        let text = status.waits_for.as_deref().unwrap_or_default();
        text.contains("request") && status.due.is_some()
    });
    assert_eq!((waits.phase(), waits.share("green")), ("holding", "20%".into()));
    let load = site.load();
    site.lab.until_phase("promoted");
    load.without_failure();
}

// Who is moved.

/// Method: the same users before, at, and after a rollout with a cohort of its own.
#[test]
fn a_fresh_cohort_is_not_the_usual_one() {
    let site = site(MANUAL);
    site.lab.ctl("rollout start green --fresh-cohort").succeeds();
    let fresh = site.users_on_green();
    assert_ne!(fresh, predicted(500, 20));
    assert!((60..=140).contains(&fresh.len()), "{} of 500 at 20 %", fresh.len());
    site.lab.ctl("rollout promote").succeeds();
    assert!(site.users_on_green().is_superset(&fresh), "nobody goes back on the way up");
    site.lab.ctl("rollout abort").succeeds();
    assert!(site.users_on_green().is_empty());
    site.lab.ctl("rollout start green").succeeds();
    assert_eq!(site.users_on_green(), predicted(500, 20));
}

// What is told of it.

#[test]
fn status_and_metrics_show_where_it_stands() {
    let stage = "lbd_rollout_stage";
    let metric = |lab: &Lab| {
        let text =
            lab.admin().call(&crate::support::Request::get("/metrics").host("lbd")).expect(200);
        let line = text.text().lines().find(|line| line.starts_with(stage)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned)).unwrap_or_default()
    };
    let site = site(MANUAL);
    assert_eq!(metric(&site.lab), "0");
    site.lab.ctl("rollout start green --reason 'release 7'").succeeds();
    for words in ["status", "rollout status"] {
        let said = site.lab.ctl(words).succeeds();
        assert!(said.contains("holds stage 1 of 3: green at 20%"), "{words}: {said}");
    }
    assert!(site.lab.ctl("rollout status").succeeds().contains("release 7"));
    assert_eq!(metric(&site.lab), "1");
    site.lab.ctl("rollout promote").succeeds();
    assert_eq!(metric(&site.lab), "2");
    site.lab.ctl("rollout promote --full").succeeds();
    assert_eq!(metric(&site.lab), "-1");
    assert!(site.lab.ctl("status").succeeds().contains("baking"));
    site.lab.ctl("rollout abort").succeeds();
    assert_eq!(metric(&site.lab), "0");
    let json = site.lab.ctl("rollout status --json").json();
    assert_eq!((json["id"].as_u64(), json["candidate"].as_str()), (Some(1), Some("green")));
}

/// Method: one rollout that is promoted and one that the guard takes back, then everything that tells
/// of them afterwards, also after a restart.
#[test]
fn what_is_over_can_be_looked_up() {
    let mut site = site(QUICK);
    let load = site.load();
    let text = site.lab.ctl("rollout plan green").succeeds();
    assert!(text.contains("20%") && text.contains("100%"), "{text}");
    site.lab.ctl("rollout start green --wait").succeeds();
    site.blue.status(500);
    site.lab.ctl("rollout start blue --wait").fails_with(6);
    load.without_failure();
    site.lab.restart();

    let history = site.lab.ctl("rollout history").succeeds();
    assert!(history.contains("promoted") && history.contains("rolled-back"), "{history}");
    let listed = site.lab.ctl("rollout history --json").json();
    let ids: Vec<_> = listed["rollouts"].as_array().unwrap().iter().map(|r| &r["id"]).collect();
    assert_eq!(ids, [2, 1]);

    let why = site.lab.ctl("rollout why 2").succeeds();
    assert!(why.contains("rolled back") && why.contains("blue"), "{why}");
    assert!(site.lab.ctl("rollout why 1").succeeds().contains("green"));
    site.lab.ctl("rollout why 99").fails_with(4);

    let simulated = site.lab.ctl("rollout simulate 2 --alpha 0.01").succeeds();
    assert!(simulated.contains("then") && simulated.contains("by these terms"), "{simulated}");
    let json = site.lab.ctl("rollout simulate 1 --error-rate 0.1% --json").json();
    assert_eq!(json[0]["terms"]["error_rate"], "0.1%");

    let markdown = site.lab.ctl("rollout report 1").succeeds();
    for words in ["# ", "## Timeline", "## Service app", "green", "20%", "50%", "100%"] {
        assert!(markdown.contains(words), "{words}: {markdown}");
    }
    let json = site.lab.ctl("rollout report 2 --format json").json();
    assert!(json.is_object(), "{json}");
    let file = site.lab.path("report.html");
    let words = format!("rollout report last --format html --output {}", file.display());
    site.lab.ctl(&words).succeeds();
    let html = fs::read_to_string(file).unwrap();
    assert!(html.contains("<svg") && html.contains("blue"), "a page with plots");
    for outside in ["src=\"http", "href=\"http", "src='http", "url(http", "@import"] {
        assert!(!html.contains(outside), "{outside}: the page needs nothing from elsewhere");
    }
}

#[test]
fn before_the_first_one_there_is_nothing_to_look_up() {
    let site = site(MANUAL);
    assert!(site.lab.ctl("rollout history").succeeds().contains("no rollout"));
    for words in ["rollout status", "rollout why", "rollout report", "rollout simulate"] {
        site.lab.ctl(words).fails_with(4);
    }
}

// What is refused.

/// Method: every kind of nonsense, and what each leaves behind, which is nothing.
#[test]
fn nonsense_is_refused_with_its_exit_code_and_changes_nothing() {
    let (blue, green, dead) = (Origin::answering("blue"), Origin::answering("green"), Dead::new());
    let health = "[service.app.health]\npath = \"/healthz\"\ninterval = \"100ms\"\nfall = 1\n";
    let plan = plan(&blue, &green, &format!("{MANUAL}{health}")).pool("red", dead.address);
    let lab = plan.start();
    lab.until("red is down", |s| s.standing("red", &dead.address.to_string()) == "out");
    lab.until("green is up", |s| s.standing("green", &green.address) == "up");
    let before = lab.status().revision;
    for (words, code, hint) in [
        ("start green --stages 5,25,10,100", 4, "rise"),
        ("start green --stages 5,5,100", 4, "rise"),
        ("start green --stages 0,100", 4, "rise"),
        ("start green --stages 5,50", 4, "100%"),
        ("start green --stages 5,200", 2, "200"),
        ("start green --hold 0s", 4, "hold"),
        ("start green --hold soon", 2, "soon"),
        ("start green --advance never", 2, "never"),
        ("start green --plan nosuch", 4, "nosuch"),
        ("start green --service nosuch", 4, "nosuch"),
        ("start purple", 4, "purple"),
        ("start blue", 4, "baseline"),
        ("start red", 4, "no usable endpoint"),
        ("start green --if-revision 99", 4, "99"),
        ("start", 2, "POOL"),
        ("plan purple", 4, "purple"),
        ("promote", 4, "no rollout"),
        ("promote --full", 4, "no rollout"),
        ("pause", 4, "no rollout"),
        ("resume", 4, "no rollout"),
        ("abort", 4, "no rollout"),
        ("report --format pdf", 2, "pdf"),
    ] {
        let said = lab.ctl(&format!("rollout {words}")).fails_with(code);
        assert!(said.contains(hint), "{words}: {said}");
        let seen = lab.status();
        assert_eq!((seen.revision, seen.phase()), (before, "none"), "{words}");
    }
}

#[test]
fn a_rehearsal_changes_nothing() {
    let site = site(MANUAL);
    let before = site.lab.status().revision;
    let said = site.lab.ctl("rollout start green --wait --dry-run").succeeds();
    assert!(said.contains("would change") && said.contains("rollout 1 of green"), "{said}");
    assert_eq!((site.lab.status().revision, site.lab.status().phase()), (before, "none"));
    site.lab.ctl("rollout start green").succeeds();
    let (before, known) = (site.lab.status().revision, site.lab.events().len());
    for verb in ["pause", "promote", "promote --full", "abort"] {
        let said = site.lab.ctl(&format!("rollout {verb} --dry-run")).succeeds();
        assert!(said.contains("would change"), "{verb}: {said}");
        assert_eq!((site.lab.status().revision, site.share()), (before, "20%".into()), "{verb}");
    }
    assert_eq!(site.lab.events().len(), known, "nor is it in the journal");
}
