//! The five launch runbooks: each is followed with `lbctl` alone, by its own thresholds. Holds are
//! shorter than on paper, by configuration. Response times are judged by limits and not compared with
//! the baseline's, since other tests slow this machine down as they come and go.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use crate::support::{Lab, Load, Origin, Receiver, Request, eventually};
use lbd::model::Share;

const PATIENT: &str = "compare = false\nmin_requests = 20\nwindow = \"2s\"\n";

fn webhook(name: &str, receiver: &Receiver, severity: &str) -> String {
    let url = &receiver.url;
    format!(
        "[[notify]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\n\
         severity = \"{severity}\"\n"
    )
}

fn check(service: &str, request: &str) -> String {
    format!("[[service.{service}.check]]\n{request}\n")
}

/// A single service with blue and green.
struct Site {
    _blue: Origin,
    green: Origin,
    lab: Lab,
}

impl Site {
    fn new(config: &str) -> Self {
        let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
        let lab = Lab::new().config(config).pool("blue", &blue).pool("green", &green).start();
        Self { _blue: blue, green, lab }
    }

    fn load(&self) -> Load {
        let load = self.lab.load();
        load.goes_on(100);
        load
    }

    fn until_taken_back(&self) {
        let seen = self.lab.until_phase("rolled-back");
        assert_eq!((seen.share("blue"), seen.share("green")), ("100%".into(), "0%".into()));
    }

    fn users_on_green(&self) -> BTreeSet<String> {
        self.lab.users(300).on("green")
    }
}

// R1: an email marketing system on a single host.

fn r1() -> Site {
    let checks = [
        "path = \"/health\"\nmax_latency = \"5s\"",
        "path = \"/api/v1/health\"",
        "path = \"/api/v1/contacts\"\nheaders = { Authorization = \"Bearer smoke\" }",
    ];
    let checks: String = checks.map(|request| check("app", request)).concat();
    Site::new(&format!(
        "[listener.secure]\naddress = \"127.0.0.1:0\"\n[guard]\nerror_rate = \"10%\"\n{PATIENT}\
         [rollout.default]\nstages = [\"100%\"]\nhold = \"500ms\"\nbake = \"500ms\"\n{checks}"
    ))
}

/// Every path on both listeners.
fn answers(site: &Site) -> BTreeSet<u16> {
    let listeners = site.lab.status().listeners.clone();
    assert_eq!(listeners.len(), 2);
    let paths = ["/", "/api/v1/campaigns", "/track/open/7?x=1"];
    let all = listeners.iter().flat_map(|listener| paths.map(|path| (&listener.address, path)));
    all.map(|(address, path)| {
        let mut client = crate::support::Client::tcp(address.parse().unwrap()).unwrap();
        client.call(&Request::get(path)).status
    })
    .collect()
}

#[test]
fn r1_new_code_behind_the_maintenance_page_and_a_report_at_the_end() {
    let site = r1();
    // 1. The page, for a window of two hours.
    let said = site.lab.ctl("maintenance on --for 2h --secret --reason 'release 7'").succeeds();
    assert_eq!(answers(&site), [503].into());
    // 2. Before going on.
    site.lab.ctl("check green").succeeds();
    // 3. The new code, seen by testers with the link before anybody else sees it.
    site.lab.ctl("rollout start green --reason 'release 7'").succeeds();
    let link = said.split_whitespace().find(|w| w.starts_with("/.lbd/bypass/")).unwrap();
    let opened = site.lab.get(link).expect(303);
    let cookie = opened.header("set-cookie").unwrap().split(';').next().unwrap();
    let tester = Request::get("/api/v1/contacts").header("Cookie", cookie);
    assert_eq!(site.lab.request(&tester).expect(200).origin(), "green");
    assert_eq!(answers(&site), [503].into());
    site.lab.ctl("maintenance off").succeeds();
    // 4. Users come, and nothing is wrong.
    let load = site.load();
    site.lab.until_phase("promoted");
    assert_eq!(answers(&site), [200].into());
    assert!(
        site.lab.metric("lbd_requests_total{service=\"app\",pool=\"green\",code=\"200\"}") > 0.0
    );
    load.without_failure();
    // 6. The report.
    let report = site.lab.ctl("rollout report").succeeds();
    for words in ["green", "release 7", "Duration", "owntime", "Timeline"] {
        assert!(report.contains(words), "{words}: {report}");
    }
}

/// Method: errors reach all users; the guard takes the release back, and the page is on in one command.
#[test]
fn r1_errors_beyond_ten_percent_of_users_take_it_back() {
    let site = r1();
    let load = site.load();
    site.lab.ctl("rollout start green").succeeds();
    site.green.status(500);
    site.until_taken_back();
    load.without_failure();
    let report = site.lab.ctl("rollout report").succeeds();
    assert!(report.contains("rolled back") && report.contains("Users"), "{report}");
    site.lab.ctl("maintenance on --message 'Back soon'").succeeds();
    assert_eq!(answers(&site), [503].into());
}

// R2: a retail dashboard, a canary by users.

fn r2(status_page: &Receiver) -> Site {
    let told = webhook("status-page", status_page, "info");
    Site::new(&format!(
        "[guard]\nerror_rate = \"1%\"\np95 = \"500ms\"\np99 = \"1s\"\n{PATIENT}\
         [rollout.default]\nstages = [\"5%\", \"25%\", \"100%\"]\nhold = \"500ms\"\n\
         bake = \"24h\"\n{told}"
    ))
}

/// Method: the same users come again and again while the canary grows. A user who was on green once is
/// there every time.
#[test]
fn r2_a_canary_grows_user_by_user_and_blue_stays_for_the_way_back() {
    let status_page = Receiver::taking();
    let site = r2(&status_page);
    site.lab.ctl("maintenance on --reason 'release 2.0'").succeeds();
    let told = status_page.hears("maintenance", "info").json();
    assert_eq!(told["reason"], "release 2.0");
    site.lab.ctl("maintenance off").succeeds();
    let load = site.load();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sweeps = scope.spawn(|| {
            let mut before = site.users_on_green();
            while !over.load(Relaxed) {
                let now = site.users_on_green();
                let back: Vec<_> = before.difference(&now).collect();
                assert!(back.is_empty(), "they went back to blue: {back:?}");
                before = now;
            }
            before.len()
        });
        let outcome = site.lab.ctl("rollout start green --wait");
        over.store(true, Relaxed);
        outcome.succeeds();
        sweeps.join().expect("nobody flips");
    });
    assert_eq!(site.users_on_green().len(), 300);
    // 7. Blue is the baseline for another day, and the way back is one command.
    let seen = site.lab.status();
    assert_eq!((seen.phase(), seen.service("app").baseline.as_str()), ("baking", "blue"));
    site.lab.ctl("rollback --reason 'emergency'").succeeds();
    assert!(site.users_on_green().is_empty());
    site.until_taken_back();
    load.without_failure();
    assert_eq!(status_page.hears("rollback", "warning").json()["reason"], "emergency");
}

/// Method: each of the two ways to be no-go, at 25 %.
#[test]
fn r2_errors_or_slowness_send_everybody_back() {
    for slow in [false, true] {
        let status_page = Receiver::taking();
        let site = r2(&status_page);
        let loads = [site.load(), site.load(), site.load(), site.load()];
        site.lab.ctl("rollout start green --stages 25,100 --hold 10m").succeeds();
        match slow {
            true => site.green.delay(800),
            false => site.green.status(500),
        }
        site.until_taken_back();
        loads.into_iter().for_each(|load| {
            load.without_failure();
        });
        let cause = status_page.hears("rollback", "critical").json();
        let cause = cause["cause"].as_str().unwrap();
        // Errors on that scale are beyond the limit, too: whichever is seen first.
        assert!(cause == "limit" || (cause == "gross-failure" && !slow), "{cause}");
    }
}

// R3: an ERP launch, with smoke tests before and two kinds of rollback.

fn r3() -> Site {
    let checks = [
        "path = \"/health\"",
        "method = \"POST\"\npath = \"/login\"\ndata = '{\"user\":\"smoke\"}'\nexpect = [200]",
        "path = \"/products\"\nexpect = [200]",
        "method = \"POST\"\npath = \"/orders\"\ndata = '{\"product\":1}'\nexpect = [201]",
    ];
    let checks: String = checks.map(|request| check("app", request)).concat();
    let site = Site::new(&format!(
        "[guard]\nerror_rate = \"5%\"\np95 = \"2s\"\n{PATIENT}\
         [rollout.default]\nstages = [\"5%\", \"10%\", \"25%\", \"50%\", \"100%\"]\n\
         hold = \"300ms\"\nbake = \"24h\"\n{checks}"
    ));
    site.green.status_at("/orders", 201);
    site
}

#[test]
fn r3_smoke_tests_then_five_steps() {
    let site = r3();
    let load = site.load();
    let table = site.lab.ctl("check green").succeeds();
    for request in ["GET /health", "POST /login", "GET /products", "POST /orders"] {
        assert!(table.contains(request), "{request}: {table}");
    }
    let outcome = site.lab.ctl("rollout start green --wait");
    let told = outcome.stderr.clone();
    outcome.succeeds();
    for share in ["5%", "10%", "25%", "50%", "100%"] {
        assert!(told.contains(&format!("green at {share}")), "{share}: {told}");
    }
    load.without_failure();
    assert_eq!(site.lab.status().share("green"), "100%");
}

#[test]
fn r3_a_smoke_test_that_fails_stops_it_before_any_traffic() {
    let site = r3();
    site.green.status_at("/orders", 500);
    let outcome = site.lab.ctl("check green");
    assert!(outcome.stdout.contains("POST /orders"), "{}", outcome.stdout);
    outcome.fails_with(1);
    let load = site.load();
    let said = site.lab.ctl("rollout start green --wait").fails_with(4);
    assert!(said.contains("POST /orders") && said.contains("500"), "{said}");
    site.lab.ctl("switch green").fails_with(4);
    assert_eq!(site.lab.status().share("green"), "0%");
    assert!(site.users_on_green().is_empty());
    load.goes_on(100);
    load.without_failure();
    let green = &site.lab.status().pool("green").requests.clone();
    assert_eq!(*green, 0);
}

/// Method: both kinds of rollback, from 50 %, while users come.
#[test]
fn r3_back_at_once_or_as_planned() {
    let site = r3();
    let load = site.load();
    site.lab.ctl("rollout start green --stages 50,100 --hold 10m").succeeds();
    assert!(!site.users_on_green().is_empty());
    site.lab.ctl("rollback").succeeds();
    assert!(site.users_on_green().is_empty());
    site.lab.ctl("rollout start green --stages 50,100 --hold 10m").succeeds();
    let (half, mut before) = (Share::from_basis_points(5_000), site.users_on_green());
    let ramp = site.lab.begin("rollback --ramp 3s --wait");
    let between = |share: Share| Share::NONE < share && share < half;
    site.lab.until("it is on its way down", |seen| between(seen.pool("green").share));
    while !before.is_empty() {
        let now = site.users_on_green();
        assert!(now.is_subset(&before), "nobody goes to green any more");
        before = now;
    }
    ramp.ended().succeeds();
    site.until_taken_back();
    load.without_failure();
}

#[test]
fn r3_thresholds_for_the_launch_and_for_every_day() {
    let site = r3();
    let terms = || {
        let terms = site.lab.ctl("guard status --json").json()["services"][0]["terms"].clone();
        [&terms["error_rate"], &terms["p95"]].map(|term| term.as_str().unwrap().to_owned())
    };
    site.lab.ctl("guard set --error-rate 0.1% --p95 200ms --reason launch").succeeds();
    assert_eq!(terms(), ["0.1%", "200ms"]);
    site.lab.ctl("guard set --reset --reason 'launch is over'").succeeds();
    assert_eq!(terms(), ["5%", "2s"]);
    let reasons: Vec<_> = site.lab.events().into_iter().map(|e| e["reason"].clone()).collect();
    assert!(reasons.contains(&"launch".into()) && reasons.contains(&"launch is over".into()));
}

/// Method: performance worse by more than 50 % is compared with blue's, of the same time.
#[test]
fn r3_a_release_that_is_much_slower_than_the_old_one_goes_back() {
    let site = r3();
    let terms = "--compare true --tolerance-latency 50% --p95 none --error-rate none";
    site.lab.ctl(&format!("guard set {terms}")).succeeds();
    let loads = [site.load(), site.load(), site.load()];
    site.lab.ctl("rollout start green --stages 25,100 --hold 10m").succeeds();
    site.green.delay(500);
    site.until_taken_back();
    loads.into_iter().for_each(|load| {
        load.without_failure();
    });
    let event = site.lab.events().into_iter().find(|e| e["kind"] == "rollback").unwrap();
    assert_eq!(event["cause"], "regression", "{event}");
}

// R4: a mass-mailing platform: frontend and backend move together.

/// Services with blue and green each, by host: `frontend.test` for `frontend`.
struct Platform {
    /// Blue and green of each service.
    origins: Vec<[Origin; 2]>,
    lab: Lab,
}

impl Platform {
    fn new(services: [&str; 2], config: &str) -> Self {
        let origins = services.map(|_| [Origin::answering("blue"), Origin::answering("green")]);
        let section = |(name, [blue, green]): (&str, &[Origin; 2])| {
            format!(
                "[service.{name}]\nhosts = [\"{name}.test\"]\nuser_id = [\"header:X-User-Id\"]\n\
                 [service.{name}.pool.blue]\nendpoints = [\"{blue}\"]\n\
                 [service.{name}.pool.green]\nendpoints = [\"{green}\"]\nweight = 0\n"
            )
        };
        let sections: String = services.into_iter().zip(&origins).map(section).collect();
        let lab = Lab::new().config(&format!("{sections}{config}")).start();
        Self { origins: origins.into(), lab }
    }

    fn green(&self, service: usize) -> &Origin {
        &self.origins[service][1]
    }

    fn load(&self, service: &str, path: &str) -> Load {
        let load = self.lab.load_of(Request::get(path).host(&format!("{service}.test")));
        load.goes_on(200);
        load
    }

    fn shares(&self, services: [&str; 2]) -> [String; 2] {
        let seen = self.lab.status();
        services.map(|service| seen.pool_of(service, "green").share.to_string())
    }

    /// Waits until both are back and no request is left on green.
    fn until_taken_back(&self, services: [&str; 2]) {
        self.lab.until("green is empty in both services", |seen| {
            services.iter().all(|service| {
                let green = seen.pool_of(service, "green");
                green.share == Share::NONE && green.in_flight == 0
            })
        });
    }
}

const R4: [&str; 2] = ["frontend", "backend"];

fn r4(alerts: &Receiver) -> Platform {
    let told = webhook("alerts", alerts, "critical");
    let checks = [
        check("backend", "path = \"/health\""),
        check("backend", "path = \"/health/ready\""),
        check("backend", "path = \"/health/live\""),
        check("frontend", "path = \"/\"\nexpect = [200]"),
    ];
    let stage = |share: &str| format!("{{ share = \"{share}\", min_requests = 20 }}");
    let stages = ["10%", "50%", "100%"].map(stage).join(", ");
    let platform = Platform::new(
        R4,
        &format!(
            "[guard]\ncompare = false\nerror_rate = 0\nmin_requests = 1\nwindow = \"2s\"\n\
             [rollout.default]\nstages = [{stages}]\nhold = \"500ms\"\nbake = \"24h\"\n{told}{}",
            checks.concat()
        ),
    );
    for [blue, green] in &platform.origins {
        blue.status_at("/track/click/1", 302);
        green.status_at("/track/click/1", 302);
    }
    platform
}

#[test]
fn r4_both_services_move_together_and_tracking_has_no_gap() {
    let alerts = Receiver::taking();
    let platform = r4(&alerts);
    platform.lab.ctl("check green").succeeds();
    let loads = [
        platform.load("backend", "/track/open/1"),
        platform.load("backend", "/track/click/1"),
        platform.load("frontend", "/"),
    ];
    let start = platform.lab.begin("rollout start green --wait");
    for share in ["10%", "50%", "100%"] {
        eventually(&format!("both at {share}"), || {
            let shares = platform.shares(R4);
            assert_eq!(shares[0], shares[1], "in lock-step");
            (shares[0] == share).then_some(())
        });
    }
    start.ended().succeeds();
    // Blue is kept idle, and the way back is one command.
    platform.lab.ctl("rollback").succeeds();
    platform.until_taken_back(R4);
    for load in loads {
        load.goes_on(100);
        load.without_failure();
    }
    assert!(alerts.told().is_empty(), "an operator's rollback alerts nobody");
}

/// Method: one single 500 of the backend's green, at 10 %; the frontend is sound.
#[test]
fn r4_any_5xx_of_one_service_takes_both_back_and_no_request_reaches_green() {
    let alerts = Receiver::taking();
    let platform = r4(&alerts);
    let loads = [platform.load("backend", "/track/open/1"), platform.load("frontend", "/")];
    platform.lab.ctl("rollout start green --hold 10m").succeeds();
    loads.iter().for_each(|load| load.goes_on(100));
    let user = crate::support::predicted(100, 10).pop_first().expect("somebody is on green");
    platform.green(1).status_at("/track/click/1", 500);
    let request = Request::get("/track/click/1").host("backend.test").user(&user);
    // The shield answers with blue's redirect, and the user sees nothing of it.
    assert_eq!(platform.lab.request(&request).expect(302).origin(), "blue");
    platform.until_taken_back(R4);
    let before = [0, 1].map(|service| platform.green(service).requests());
    loads.iter().for_each(|load| load.goes_on(300));
    let after = [0, 1].map(|service| platform.green(service).requests());
    assert_eq!(before, after, "green is off the air");
    for load in loads {
        load.without_failure();
    }
    let alert = alerts.hears("rollback", "critical").json();
    let text = alert["summary"].as_str().unwrap();
    assert!(text.contains("backend") && text.contains("green"), "{text}");
    assert_eq!(alert["cause"], "limit");
    let seen = platform.lab.status();
    for service in R4 {
        assert_eq!(seen.pool_of(service, "blue").share, Share::WHOLE);
    }
}

/// Method: the old version has one 500 of its own, just before the new one has.
#[test]
fn r4_a_5xx_of_the_old_version_protects_no_5xx_of_the_new_one() {
    let alerts = Receiver::taking();
    let platform = r4(&alerts);
    let load = platform.load("backend", "/track/open/1");
    platform.lab.ctl("rollout start green --hold 10m").succeeds();
    load.goes_on(300);
    let canary = crate::support::predicted(100, 10);
    let others = (0..).map(|n| format!("user-{n}")).find(|user| !canary.contains(user));
    let click = Request::get("/track/click/1").host("backend.test");
    platform.origins[1][0].status_at("/track/click/1", 500);
    platform.lab.request(&click.clone().user(&others.unwrap())).expect(500);
    platform.origins[1][0].status_at("/track/click/1", 302);
    load.goes_on(300);
    assert_eq!(platform.shares(R4), ["10%", "10%"], "blue's failure is not green's");
    assert!(alerts.told().is_empty(), "nor an alert about green");
    platform.green(1).status_at("/track/click/1", 500);
    let user = canary.first().expect("somebody is on green");
    platform.lab.request(&click.user(user)).expect(302);
    platform.until_taken_back(R4);
    load.without_failure();
    assert_eq!(alerts.hears("rollback", "critical").json()["cause"], "limit");
}

// R5: a mail platform, a canary before the cutover.

const R5: [&str; 2] = ["auth", "smtp"];

fn r5(team: &Receiver) -> Platform {
    let told = webhook("team", team, "warning");
    let checks = R5.map(|name| check(name, &format!("path = \"/health/{name}\"\nexpect = [200]")));
    Platform::new(
        R5,
        &format!(
            "[guard]\nerror_rate = \"1%\"\np95 = \"500ms\"\n{PATIENT}\
             [rollout.default]\nstages = [\"10%\", \"25%\", \"50%\", \"75%\", \"100%\"]\n\
             hold = \"300ms\"\nbake = \"300ms\"\n{told}{}",
            checks.concat()
        ),
    )
}

#[test]
fn r5_health_of_each_service_then_canary_then_cutover() {
    let team = Receiver::taking();
    let platform = r5(&team);
    platform.green(1).status_at("/health/smtp", 503);
    let outcome = platform.lab.ctl("check green");
    assert!(outcome.stdout.contains("/health/smtp"), "{}", outcome.stdout);
    outcome.fails_with(1);
    platform.lab.ctl("check green --service auth").succeeds();
    platform.green(1).status_at("/health/smtp", 200);
    platform.lab.ctl("check green").succeeds();
    let loads = R5.map(|service| platform.load(service, "/"));
    let outcome = platform.lab.ctl("rollout start green --wait");
    let told = outcome.stderr.clone();
    outcome.succeeds();
    for share in ["10%", "25%", "50%", "75%", "100%"] {
        assert!(told.contains(&format!("green at {share}")), "{share}: {told}");
    }
    for load in loads {
        load.without_failure();
    }
    let seen = platform.lab.status();
    assert_eq!(R5.map(|service| seen.service(service).baseline.as_str()), ["green"; 2]);
}

#[test]
fn r5_an_immediate_rollback_says_why_to_the_team_and_in_the_journal() {
    let team = Receiver::taking();
    let platform = r5(&team);
    let loads = R5.map(|service| platform.load(service, "/"));
    platform.lab.ctl("rollout start green --hold 10m").succeeds();
    loads.iter().for_each(|load| load.goes_on(100));
    platform.lab.ctl("rollback --reason 'bounces doubled'").succeeds();
    platform.until_taken_back(R5);
    for load in loads {
        load.without_failure();
    }
    assert_eq!(team.hears("rollback", "warning").json()["reason"], "bounces doubled");
    let journal = platform.lab.ctl("events --json").succeeds();
    assert!(journal.contains("bounces doubled"), "{journal}");
    let said = platform.lab.ctl("rollout status").succeeds();
    assert!(said.contains("rolled back by") && said.contains("bounces"), "{said}");
}
