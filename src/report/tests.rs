use jiff::tz::TimeZone;
use serde_json::Value;

use super::{html, json, markdown, sample};
use crate::model::{
    Millis,
    rollout::{Phase, Record, record::ServiceRecord},
};

fn samples() -> [(&'static str, Record); 4] {
    [
        ("fresh", sample::fresh()),
        ("young", sample::young()),
        ("rolled-back", sample::rolled_back()),
        ("promoted", sample::promoted()),
    ]
}

fn parsed(record: &Record) -> Value {
    serde_json::from_str(&json(record)).unwrap()
}

fn html_of(record: &Record) -> String {
    html(record, &TimeZone::UTC)
}

/// With `LBD_REPORTS=FOLDER` the samples are written there, to be looked at.
#[test]
fn samples_can_be_looked_at() {
    let Ok(folder) = std::env::var("LBD_REPORTS") else { return };
    let zone = TimeZone::get("Europe/Zurich").unwrap();
    for (name, record) in samples() {
        std::fs::write(format!("{folder}/{name}.html"), html(&record, &zone)).unwrap();
        std::fs::write(format!("{folder}/{name}.md"), markdown(&record, &zone)).unwrap();
        std::fs::write(format!("{folder}/{name}.json"), json(&record)).unwrap();
    }
}

#[test]
fn the_json_is_the_record_with_a_summary() {
    for (name, record) in samples() {
        let mut report = parsed(&record);
        let summary = report.as_object_mut().unwrap().remove("summary").unwrap();
        assert!(summary["duration"].is_string(), "{name}");
        let alone: Value = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(report, alone, "{name}");
    }
}

#[test]
fn the_json_has_a_line_for_each_point() {
    let text = json(&sample::rolled_back());
    let points = text.lines().filter(|line| line.trim_start().starts_with("{\"at\":"));
    assert_eq!(points.filter(|line| line.contains("\"p99_ms\"")).count(), 600);
    assert!(text.lines().any(|line| line == "  \"summary\": {"));
}

#[test]
fn the_summary_adds_up() {
    let record = sample::rolled_back();
    let points = &record.services["api"].points;
    let green = sample::pool("green");
    let count = |of: fn(&crate::model::rollout::record::PointOfPool) -> u64| -> u64 {
        points.iter().map(|p| of(&p.pools[&green])).sum()
    };
    let (requests, failed) = (count(|p| p.requests), count(|p| p.failed));
    let summary = &parsed(&record)["summary"];
    assert_eq!(summary["outcome"], "rolled-back");
    assert_eq!(summary["is_running"], false);
    assert_eq!(summary["duration"], "4m52s");
    let pool = &summary["services"]["api"]["pools"]["green"];
    assert_eq!(pool["requests"], requests);
    assert_eq!(pool["failures"], failed);
    let blames = pool["failures_by_blame"].as_object().unwrap();
    assert_eq!(blames.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), failed);
    assert_eq!(blames.len(), 2);
    for (key, number) in
        [("error_rate", failed as f64 / requests as f64), ("rate_mean", requests as f64 / 300.0)]
    {
        assert!((pool[key].as_f64().unwrap() - number).abs() < 1e-12, "{key}");
    }
    let peak = points.iter().map(|p| p.pools[&green].requests).max().unwrap();
    assert_eq!(pool["rate_peak"], peak as f64);
    assert_eq!((&pool["shielded"], &pool["users_affected"]), (&70.into(), &1_024.into()));
}

#[test]
fn stages_last_until_the_next_one() {
    let stages = parsed(&sample::rolled_back())["summary"]["stages"].clone();
    let shown: Vec<String> = stages.as_array().unwrap().iter().map(stage).collect();
    let expected = [
        "checking 0% 8s",
        "holding 5% 2m30s",
        "paused 5% 12s",
        "holding 25% 2m2s",
        "rolled-back 0% 0s",
    ];
    assert_eq!(shown, expected);
}

fn stage(stage: &Value) -> String {
    let word = |key: &str| stage[key].as_str().unwrap().to_owned();
    format!("{} {} {}", word("phase"), word("share"), word("lasted"))
}

/// A point of the candidate and the baseline: requests and failures each.
fn point_of(record: &mut Record, at: usize, counts: [(u64, u64); 2]) {
    let service = record.services.values_mut().next().unwrap();
    for (name, (requests, failed)) in ["green", "blue"].into_iter().zip(counts) {
        let of_pool = service.points[at].pools.get_mut(&sample::pool(name)).unwrap();
        (of_pool.requests, of_pool.failed) = (requests, failed);
    }
}

#[test]
fn downtime_is_when_nothing_got_through_on_any_pool() {
    let mut record = sample::promoted();
    point_of(&mut record, 10, [(5, 5), (9, 9)]);
    point_of(&mut record, 11, [(5, 5), (9, 8)]);
    point_of(&mut record, 12, [(0, 0), (0, 0)]);
    point_of(&mut record, 13, [(0, 0), (3, 3)]);
    let app = parsed(&record)["summary"]["services"]["app"].clone();
    assert_eq!(app["downtime"], "4s", "two points of two seconds");
    assert_eq!(app["pools"]["green"]["downtime"], "4s");
    assert_eq!(app["pools"]["blue"]["downtime"], "4s");
    assert!(markdown(&record, &TimeZone::UTC).contains("- **Downtime:** 4s\n"));
}

#[test]
fn a_title_says_what_and_how_it_went() {
    let title = |record: &Record| {
        let text = markdown(record, &TimeZone::UTC);
        text.lines().next().unwrap().trim_start_matches("# ").to_owned()
    };
    assert_eq!(title(&sample::promoted()), "Rollout 7: green of app — promoted");
    let back =
        format!("Rollout 7: green of app, api — rolled back: no-go for api: {}", sample::BREACH);
    assert_eq!(title(&sample::rolled_back()), back);
    assert_eq!(title(&sample::fresh()), "Rollout 7: green of app, api — checking");
    let mut paused = sample::young();
    let why = "lunch".to_owned();
    let (since, held) = (sample::later(9), Millis(1_000));
    paused.rollout.phase = Phase::Paused { stage: 1, held, since, why };
    assert_eq!(title(&paused), "Rollout 7: green of app, api — paused at 25%: lunch");
}

#[test]
fn both_texts_have_what_a_deployment_report_needs() {
    let record = sample::rolled_back();
    for text in [markdown(&record, &TimeZone::UTC), html_of(&record)] {
        for fact in [
            "4m 52s",
            "alice (uid 1000)",
            "2026-09-21 14:13:20 UTC",
            "2026-09-21 14:18:12 UTC",
            "5% → 25% → 100%",
            "at least 1,024",
            "… by timeout",
            "Downtime",
            "Requests per second, mean",
            "Response time p95, mean",
            "14:16:10",
            sample::BREACH,
            "gross-failure: errors of 76 requests, 38.2%; in order are up to 0.5%",
            "31.70",
            "9.90",
            "does not accuse",
            "9,012",
            "42,118",
            "10 s",
            "tolerance.latency",
            "0.0001",
            "It takes about 8,200 more requests to be certain of p95",
        ] {
            let is_said = text.to_lowercase().contains(&fact.to_lowercase());
            assert!(is_said || text.contains(&fact.replace('_', "\\_")), "{fact}");
        }
    }
}

#[test]
fn markdown_tables_are_whole() {
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    for (name, record) in samples() {
        let text = markdown(&record, &TimeZone::UTC);
        let mut width = None;
        for line in text.lines() {
            if !line.starts_with('|') {
                width = None;
                continue;
            }
            assert!(line.ends_with('|'), "{name}: {line}");
            assert_eq!(*width.get_or_insert_with(|| bars(line)), bars(line), "{name}: {line}");
        }
    }
}

#[test]
fn what_people_typed_is_never_markup() {
    let mut record = sample::rolled_back();
    record.rollout.by.name = "<img src=x>".into();
    record.rollout.name = "a|b".into();
    let text = markdown(&record, &TimeZone::UTC);
    assert!(!text.contains("<script") && !text.contains("<img"));
    assert!(text.contains("&lt;script>alert(1)&lt;/script> \\| fix &amp; \\[go\\]"), "{text}");
    assert!(text.contains("lunch \\| dessert |\n"));

    let page = html_of(&record);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"));
    assert!(!page.contains("<script") && !page.contains("<img"));

    let service = record.services.values_mut().next().unwrap();
    service.traffic.values_mut().next().unwrap().failures.insert("</table><i>".into(), 1);
    record.rollout.milestones[2].phase = "</svg><script>".into();
    let page = html_of(&record);
    assert!(!page.contains("<script") && !page.contains("</table><i>"));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn the_page_stands_alone() {
    for (name, record) in samples() {
        let page = html_of(&record).replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for word in ["http://", "https://", "<script", "<link", "url(", "@import", "src=", "href="]
        {
            assert!(!page.contains(word), "{name}: {word}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    }
}

/// The names of elements that are never closed.
const VOID: [&str; 2] = ["meta", "!doctype"];

#[test]
fn every_element_is_closed() {
    for (name, record) in samples() {
        let page = html_of(&record);
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1).filter_map(|piece| piece.split('>').next()) {
            let element = tag.trim_start_matches('/').split_whitespace().next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(element), "{name}");
            } else if !tag.ends_with('/') && !VOID.contains(&element) {
                open.push(element);
            }
        }
        assert!(open.is_empty(), "{name}: {open:?}");
    }
}

#[test]
fn plots_show_each_service_and_stage() {
    let back = html_of(&sample::rolled_back());
    assert_eq!(back.matches("<svg").count(), 6, "three for each service");
    for text in ["Share", "Error rate", "Response time", "green p99", "blue p50", "Time (UTC)"] {
        assert!(back.contains(text), "{text}");
    }
    for mark in ["5%", "paused", "25%", "rolled back"] {
        assert!(back.matches(&format!(">\n{mark}\n</text>")).count() >= 6, "{mark}");
    }
    let promoted = html_of(&sample::promoted());
    assert_eq!(promoted.matches("<svg").count(), 6, "the bake has plots of its own");
    assert!(promoted.contains("Error rate, bake") && promoted.contains("Share, stages"));
    assert_eq!(html_of(&sample::fresh()).matches("<svg").count(), 0);
    assert_eq!(html_of(&sample::young()).matches("<svg").count(), 3);
    assert!(html_of(&sample::young()).contains("<circle"), "one point is a dot");
}

#[test]
fn strange_records_have_reports_too() {
    let mut record = sample::young();
    record.services.insert("api".parse().unwrap(), ServiceRecord::default());
    let service = record.services.get_mut("app").unwrap();
    for of_pool in service.points[0].pools.values_mut() {
        of_pool.p50_ms = Some(f64::NAN);
        of_pool.p99_ms = Some(f64::INFINITY);
        of_pool.failed = u64::MAX;
    }
    service.points[0].span = Millis(0);
    service.traffic.values_mut().for_each(|t| {
        t.requests = u64::MAX;
        t.failures = [("a".into(), u64::MAX), ("b".into(), u64::MAX)].into();
    });
    record.rollout.services.clear();
    record.ended = Some(crate::model::Moment(0));
    assert!(html_of(&record).contains("<svg"));
    assert!(markdown(&record, &TimeZone::UTC).starts_with("# Rollout 7"));
    assert!(parsed(&record).is_object());
    record.rollout.plan.stages.clear();
    record.rollout.began = crate::model::Moment(u64::MAX);
    assert!(html_of(&record).contains("</html>"));
}
