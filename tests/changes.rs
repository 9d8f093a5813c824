//! What is changed on the way: headers, paths, redirects, trace context.

use crate::support::{Answer, Lab, Origin, Plan, RawOrigin, Request};

/// A lab whose only pool is this origin, with lines for its service.
fn with(origin: &Origin, lines: &str) -> Plan {
    Lab::new().pool("blue", origin).app(lines)
}

/// What the origin saw of a request header, every value of it.
fn seen(echo: &Answer, name: &str) -> Vec<String> {
    let echo = echo.json();
    let headers = echo["headers"].as_array().unwrap();
    let named = headers.iter().filter(|h| h[0] == name);
    named.map(|h| h[1].as_str().unwrap().to_owned()).collect()
}

/// Method: every variable once, a header that is replaced, one that is added to, one that goes, and one
/// whose only variable is empty.
#[test]
fn request_headers_are_changed_as_the_config_says() {
    let blue = Origin::answering("blue");
    let lab = with(
        &blue,
        "user_id = [\"header:X-User-Id\"]\n\
         request_headers = { set = { X-All = \"{client_ip} {host} {scheme} {path} {request_id} \
         {user_id} {pool} {service} {{}}\", X-Own = \"ours\", X-User = \"{user_id}\", \
         Host = \"app.internal:80\" }, add = { X-More = \"2\" }, remove = [\"X-Debug\"] }",
    )
    .start();
    let request = Request::get("/echo?q=1")
        .header("X-Own", "theirs")
        .header("X-More", "1")
        .header("X-Debug", "1")
        .header("X-Request-Id", "id-1")
        .host("app.test:8080");
    let echo = lab.request(&request.clone().user("ada")).expect(200);
    assert_eq!(seen(&echo, "x-all"), ["127.0.0.1 app.test http /echo id-1 ada blue app {}"]);
    assert_eq!(seen(&echo, "x-own"), ["ours"]);
    assert_eq!(seen(&echo, "x-more"), ["1", "2"]);
    assert_eq!(seen(&echo, "x-debug"), [""; 0]);
    assert_eq!(seen(&echo, "host"), ["app.internal:80"]);
    assert_eq!(seen(&echo, "x-forwarded-host"), ["app.test:8080"]);
    let echo = lab.request(&request.header("X-User", "forged")).expect(200);
    assert_eq!(seen(&echo, "x-user"), [""; 0], "nobody is nobody");
}

/// Method: a client names what lbd sets among the headers of its connection; an endpoint that heeded that
/// would drop it.
#[test]
fn a_client_cannot_take_a_header_away_that_lbd_sets() {
    let raw = RawOrigin::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let lab = Lab::new()
        .pool("blue", &raw.address)
        .app("request_headers = { set = { X-Client = \"{client_ip}\" } }")
        .start();
    lab.request(&Request::get("/").header("Connection", "X-Client, X-Other")).expect(200);
    let head = raw.heads()[0].to_ascii_lowercase();
    assert!(head.contains("x-client: 127.0.0.1") && head.contains("x-forwarded-for: 127.0.0.1"));
    let named = head.lines().find(|line| line.starts_with("connection:"));
    assert!(named.is_none_or(|line| !line.contains("x-")), "{head}");
}

/// Method: a raw origin with headers to change; a claim with a line break is put into a header.
#[test]
fn response_headers_are_changed_and_no_value_ends_its_line() {
    let origin = RawOrigin::saying(
        "HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-A: theirs\r\nSet-Cookie: a=1\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let lab = Lab::new()
        .pool("blue", &origin.address)
        .app(
            "user_id = [\"jwt:sub\"]\n\
             response_headers = { set = { X-A = \"{pool} for {user_id}\" }, \
             add = { Set-Cookie = \"b=2\" }, remove = [\"Server\"] }",
        )
        .start();
    // {"sub":"a\r\nX-B: c"}
    let token = "Bearer e30.eyJzdWIiOiJhXHJcblgtQjogYyJ9.x";
    let answer = lab.request(&Request::get("/").header("Authorization", token)).expect(200);
    assert_eq!(answer.all("x-a"), ["blue for a%0D%0AX-B: c"]);
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((answer.header("server"), answer.header("x-b")), (None, None));
    assert_eq!(answer.text(), "ok");
}

/// Method: targets as the origin saw them, queries and odd characters included.
#[test]
fn endpoints_are_asked_for_the_stripped_and_rewritten_path() {
    let blue = Origin::answering("blue");
    let lab = with(&blue, "strip_prefix = \"/api\"")
        .config(
            "[[service.app.rewrite]]\nmatch = \"^/old/(.*)$\"\nto = \"/echo\"\n\
             [[service.app.rewrite]]\nmatch = \"^/e(?<rest>cho)/.*$\"\nto = \"/e${rest}\"\n\
             [[service.app.rewrite]]\nmatch = \"^/echo\"\nto = \"/echo\"",
        )
        .start();
    for (path, target) in [
        ("/api/echo", "/echo"),
        ("/api/echo?q=/api/old/1&r=%20", "/echo?q=/api/old/1&r=%20"),
        ("/api/old/a%2Fb?x", "/echo?x"),
        ("/old/a", "/echo"),
        ("/echo/further", "/echo"),
        ("/api/echo?", "/echo?"),
    ] {
        let echo = lab.get(path).expect(200);
        assert_eq!(echo.json()["target"], target, "{path}");
    }
    let lab = with(&blue, "strip_prefix = \"/echo\"").start();
    assert_eq!(lab.get("/echox").expect(200).text(), "blue");
    // What is left is the root, or begins with a slash.
    let raw = RawOrigin::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let lab = Lab::new()
        .pool("blue", &raw.address)
        .app("strip_prefix = \"/api\"")
        .config("[[service.app.rewrite]]\nmatch = \"^/x(.*)$\"\nto = \"/y/$1\"")
        .start();
    for path in ["/api", "/api//evil.test/", "/api/x%0d%0aA:b", "/xa|b"] {
        lab.get(path).expect(200);
    }
    let lines: Vec<_> =
        raw.heads().iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "GET / HTTP/1.1",
            "GET //evil.test/ HTTP/1.1",
            "GET /y/%0d%0aA:b HTTP/1.1",
            "GET /y/a%7Cb HTTP/1.1"
        ]
    );
}

/// Method: no redirect may reach the origin; the first rule that matches wins.
#[test]
fn clients_are_sent_elsewhere_before_anything_is_served() {
    let blue = Origin::answering("blue");
    let lab = with(&blue, "")
        .config(
            "[[service.app.redirect]]\nmatch = \"^/blog/(?<post>.*)$\"\n\
             to = \"https://blog.test/${post}\"\nstatus = 301\n\
             [[service.app.redirect]]\nmatch = \"^/go(.*)$\"\nto = \"/$1\"\nstatus = 308\n\
             [[service.app.redirect]]\nmatch = \"^/q$\"\nto = \"/r?own=1\"",
        )
        .start();
    let at = |path: &str| {
        let answer = lab.get(path);
        (answer.status, answer.header("location").unwrap_or_default().to_owned())
    };
    assert_eq!(at("/blog/2026/x?a=1"), (301, "https://blog.test/2026/x?a=1".into()));
    assert_eq!(at("/go//evil.test"), (308, "/evil.test".into()));
    assert_eq!(at("/go/%0d%0aSet-Cookie:a"), (308, "/%0d%0aSet-Cookie:a".into()));
    assert_eq!(at("/q?theirs=1"), (302, "/r?own=1".into()));
    assert_eq!(blue.requests(), 0);
    assert_eq!(at("/"), (200, String::new()));
    // Maintenance comes after.
    lab.ctl("maintenance on").succeeds();
    assert_eq!((at("/q").0, at("/").0), (302, 503));
}

/// Method: a sound trace context, none, and broken ones.
#[test]
fn a_trace_is_passed_on_or_begun() {
    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let blue = Origin::answering("blue");
    let lab = with(&blue, "").start();
    let traced = Request::get("/echo").header("tracestate", "a=b");
    let echo = lab.request(&traced.clone().header("traceparent", SOUND)).expect(200);
    assert_eq!(
        (seen(&echo, "traceparent"), seen(&echo, "tracestate")),
        (vec![SOUND.to_owned()], vec!["a=b".to_owned()])
    );
    let mut begun = Vec::new();
    for request in [
        traced.clone(),
        traced.clone().header("traceparent", &SOUND.to_uppercase()),
        traced.header("traceparent", SOUND).header("traceparent", SOUND),
    ] {
        let echo = lab.request(&request).expect(200);
        let values = seen(&echo, "traceparent");
        assert_eq!((values.len(), seen(&echo, "tracestate").len()), (1, 0));
        assert_eq!((values[0].len(), &values[0][..3], &values[0][52..]), (55, "00-", "-01"));
        begun.extend(values);
    }
    begun.push(SOUND.into());
    begun.sort();
    begun.dedup();
    assert_eq!(begun.len(), 4);
}

/// Method: the attempt that fails and the one on the other endpoint must belong to one trace.
#[test]
fn all_attempts_of_a_request_belong_to_one_trace() {
    let bad = RawOrigin::saying("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    let good = Origin::answering("good");
    let lab = Lab::new().pool("blue", &good).pool("green", &bad.address).start();
    lab.ctl("weight green 100 --force").succeeds();
    let echo = lab.get("/echo").expect(200);
    assert_eq!(echo.origin(), "good", "the shield");
    let trace = |line: &str| line.split('-').nth(1).unwrap().to_owned();
    let first = bad.heads()[0].clone();
    let first = first.lines().find(|line| line.starts_with("traceparent")).unwrap().to_owned();
    assert_eq!(trace(&first), trace(&seen(&echo, "traceparent")[0]));
}

/// Method: with and without a trusted proxy in front.
#[test]
fn forwarded_tells_of_the_client_if_it_is_wanted() {
    let blue = Origin::answering("blue");
    let request = Request::get("/echo").header("Forwarded", "for=192.0.2.1;proto=https");
    let lab = with(&blue, "forwarded = true").start();
    let echo = lab.request(&request).expect(200);
    assert_eq!(seen(&echo, "forwarded"), ["for=127.0.0.1;host=\"app.test\";proto=http"]);
    let trusting = with(&blue, "forwarded = true").listener("trusted_proxies = [\"127.0.0.1\"]");
    let echo = trusting.start().request(&request.header("X-Forwarded-Proto", "https")).expect(200);
    assert_eq!(
        seen(&echo, "forwarded"),
        ["for=192.0.2.1;proto=https, for=127.0.0.1;host=\"app.test\";proto=https"]
    );
}
