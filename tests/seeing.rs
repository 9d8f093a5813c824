//! Seeing: what the access log and the status tell of the traffic.

use std::{fs, path::Path};

use crate::support::{Lab, Origin, Plan, Request, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

fn logged(blue: &Origin, green: &Origin, folder: &Path, format: &str) -> Plan {
    let file = folder.join("access.log");
    let log =
        format!("[service.app.access_log]\ntarget = \"{}\"\nformat = \"{format}\"", file.display());
    // One worker, so that the lines are in the order of the requests.
    Lab::new().runtime("workers = 1").pool("blue", blue).pool("green", green).config(&log)
}

/// The lines of a log once there are `count` of them.
fn lines(file: &Path, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in {}", file.display()), || {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (text.ends_with('\n') && lines.len() == count).then_some(lines)
    })
}

/// Method: a user's request, a failed one and one that lbd answers itself; every field that is
/// documented is compared.
#[test]
fn each_request_is_a_line_of_json() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let folder = tempfile::tempdir().unwrap();
    let lab = logged(&blue, &green, folder.path(), "json").start();
    lab.ctl("switch green").succeeds();
    let request = Request::post("/mirror?a=b", "hello").user("ada").header("X-Request-Id", "id-1");
    lab.request(&request.header("User-Agent", "quote\"d")).expect(200);
    green.close();
    lab.request(&Request::post("/", "x")).expect(502);
    lab.ctl("maintenance on").succeeds();
    lab.get("/").expect(503);
    let lines = lines(&folder.path().join("access.log"), 3);
    let lines: Vec<Value> = lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    for (field, value) in [
        ("request_id", Value::from("id-1")),
        ("revision", 2.into()),
        ("client", "127.0.0.1".into()),
        ("method", "POST".into()),
        ("host", "app.test".into()),
        ("path", "/mirror?a=b".into()),
        ("status", 200.into()),
        ("bytes", 5.into()),
        ("bytes_in", 5.into()),
        ("service", "app".into()),
        ("pool", "green".into()),
        ("endpoint", green.address.clone().into()),
        ("rule", "bucket".into()),
        ("bucket", lbd::model::Bucket::of("lbd", "ada").number().into()),
        ("attempts", 1.into()),
        ("user_agent", "quote\"d".into()),
    ] {
        assert_eq!(lines[0][field], value, "{field} in {}", lines[0]);
    }
    assert!(lines[0]["duration_ms"].as_f64() >= lines[0]["first_byte_ms"].as_f64());
    assert_eq!(
        (lines[1]["status"].as_u64(), lines[1]["blame"].as_str()),
        (Some(502), Some("reset"))
    );
    assert_eq!((lines[2]["status"].as_u64(), lines[2]["pool"].as_str()), (Some(503), Some("-")));
}

/// Method: the file is moved away as logrotate does, and lbd is told with SIGUSR1.
#[test]
fn the_log_can_be_rotated() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let folder = tempfile::tempdir().unwrap();
    let lab = logged(&blue, &green, folder.path(), "combined").start();
    let (file, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    lab.get("/first").expect(200);
    let line = lines(&file, 1).remove(0);
    assert!(
        line.starts_with("127.0.0.1 - - [") && line.contains("\"GET /first HTTP/1.1\" 200 4"),
        "{line}"
    );
    fs::rename(&file, &moved).unwrap();
    lab.signal(Signal::SIGUSR1);
    eventually("the log is there anew", || {
        lab.get("/second").expect(200);
        file.exists().then_some(())
    });
    let anew = eventually("a line in it", || {
        fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(anew.contains("/second") && !anew.contains("/first"), "{anew}");
    assert!(fs::read_to_string(&moved).unwrap().starts_with(&line));
}

/// Method: 1,000 users at 25 %; what the status observes is what the prediction says.
#[test]
fn the_status_observes_the_share_that_was_set() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    lab.ctl("weight green 25").succeeds();
    lab.users(1000);
    let expected = crate::support::predicted(1000, 25).len() as f64 / 1000.0;
    let status = lab.until("all requests are counted", |s| {
        s.pool("blue").requests + s.pool("green").requests == 1000
    });
    let observed = lab.until("the share is observed", |s| {
        s.pool("green").observed.is_some_and(|share| (share - expected).abs() < 0.001)
    });
    assert!(observed.pool("green").p99_ms >= observed.pool("green").p50_ms);
    assert_eq!((status.pool("green").in_flight, status.pool("green").error_ratio), (0, 0.0));
    let text = lab.ctl("status").succeeds();
    assert!(
        text.contains("25%") && text.contains("green") && text.contains(&green.address),
        "{text}"
    );
}
