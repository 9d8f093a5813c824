//! Several services, and more than two pools.

use crate::support::{Lab, Origin, Plan, Request};

/// `app` and `api` with blue and green, and `docs`, which has no green.
fn three(blue: &Origin, green: &Origin) -> Plan {
    Lab::new().config(&format!(
        "[service.app]\nhosts = [\"app.test\"]\n[service.app.pool.blue]\nendpoints = [\"{blue}\"]\n\
         [service.app.pool.green]\nendpoints = [\"{green}\"]\nweight = 0\n\
         [service.api]\nhosts = [\"api.test\"]\n[service.api.pool.blue]\nendpoints = [\"{blue}\"]\n\
         [service.api.pool.green]\nendpoints = [\"{green}\"]\nweight = 0\n\
         [service.docs]\nhosts = [\"docs.test\"]\n[service.docs.pool.live]\nendpoints = [\"{blue}\"]\n"
    ))
}

fn side(lab: &Lab, host: &str) -> String {
    lab.request(&Request::get("/").host(host)).expect(200).origin().to_owned()
}

/// Method: one command, one revision, both services that have the pool; the third is untouched.
#[test]
fn a_weight_acts_on_every_service_that_has_the_pool_in_one_revision() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = three(&blue, &green).start();
    let before = lab.status().revision.0;
    lab.ctl("weight green 100").succeeds();
    assert_eq!(lab.status().revision.0, before + 1);
    let sides = ["app.test", "api.test", "docs.test"].map(|host| side(&lab, host));
    assert_eq!(sides, ["green", "green", "blue"]);
    lab.ctl("rollback").succeeds();
    assert_eq!(lab.status().revision.0, before + 2);
    assert_eq!((side(&lab, "app.test"), side(&lab, "api.test")), ("blue".into(), "blue".into()));
}

/// Method: `--service` once, for a service without the pool, and for one that is not there.
#[test]
fn a_weight_can_be_limited_to_services() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = three(&blue, &green).start();
    lab.ctl("weight green 100 --service api").succeeds();
    assert_eq!((side(&lab, "app.test"), side(&lab, "api.test")), ("blue".into(), "green".into()));
    let revision = lab.status().revision;
    let said = lab.ctl("weight green 5 --service docs").fails_with(4);
    assert!(said.contains("docs") && said.contains("green"), "{said}");
    let said = lab.ctl("weight green 5 --service nosuch").fails_with(4);
    assert!(said.contains("nosuch"), "{said}");
    assert_eq!(lab.status().revision, revision);
    lab.ctl("rollback --service api").succeeds();
    assert_eq!(side(&lab, "api.test"), "blue");
}

/// Method: a service with three pools; what the candidates leave is the baseline's.
#[test]
fn a_third_pool_takes_its_part_from_the_baseline() {
    let origins = ["blue", "green", "red"].map(Origin::answering);
    let lab = origins.iter().zip(["blue", "green", "red"]);
    let lab = lab.fold(Lab::new(), |plan, (origin, name)| plan.pool(name, origin)).start();
    lab.ctl("weight green 20").succeeds();
    lab.ctl("weight red 30").succeeds();
    let status = lab.status();
    let shares = ["blue", "green", "red"].map(|pool| status.share(pool));
    assert_eq!(shares, ["50%", "20%", "30%"]);
    let crowd = lab.users(1000);
    assert_eq!(crowd.on("green"), crate::support::predicted(1000, 20));
    let red = crowd.on("red").len();
    assert!((220..=380).contains(&red), "{red} of 1000 at 30 %");
    // What the baseline cannot give, the other candidates must.
    lab.ctl("weight red 90").succeeds();
    let status = lab.status();
    assert_eq!(["blue", "green", "red"].map(|pool| status.share(pool)), ["0%", "10%", "90%"]);
}

/// Method: every kind of nonsense on the command line and what each leaves behind, which is nothing.
#[test]
fn nonsense_is_refused_with_its_exit_code_and_changes_nothing() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = three(&blue, &green).start();
    let before = lab.status().revision;
    for (words, code, hint) in [
        ("weight purple 5", 4, "purple"),
        ("weight green 101", 2, "101"),
        ("weight green -5", 2, "-5"),
        ("weight green ten", 2, "ten"),
        ("weight green 0.001", 2, "0.001"),
        ("switch live --service app", 4, "live"),
        ("weight green 5 --if-revision 99", 4, "99"),
        ("endpoint drain green 127.0.0.1:1", 4, "127.0.0.1:1"),
        ("endpoint add green nonsense", 2, "nonsense"),
        ("nosuchverb", 2, "nosuchverb"),
        ("weight green 5 --socket /nowhere/admin.sock", 3, "/nowhere/admin.sock"),
    ] {
        let said = lab.ctl(words).fails_with(code);
        assert!(said.contains(hint), "{words}: {said}");
    }
    assert_eq!(lab.status().revision, before);
    assert_eq!(side(&lab, "app.test"), "blue");
}

/// Method: a rehearsal says what would change; then the same command changes it.
#[test]
fn a_dry_run_changes_nothing() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = three(&blue, &green).start();
    let before = lab.status().revision;
    let said = lab.ctl("weight green 25 --dry-run").succeeds();
    assert!(said.contains("would change") && said.contains("green 0% → 25%"), "{said}");
    assert_eq!((lab.status().revision, lab.status().share("green")), (before, "0%".into()));
    let said = lab.ctl("weight green 25").succeeds();
    assert!(said.contains("green 0% → 25% (blue 100% → 75%), revision 2"), "{said}");
}
