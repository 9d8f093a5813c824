//! Serving: routes, headers, bodies and connections, as clients and origins see them.

use crate::support::{Answer, Client, Lab, Origin, Plan, RawOrigin, Request, eventually, timed};

/// A lab whose only pool is this origin.
fn lab_of(origin: &Origin) -> Lab {
    Lab::new().pool("blue", origin).start()
}

/// What the origin saw of a request header, every value of it.
fn seen(echo: &Answer, name: &str) -> Vec<String> {
    let echo = echo.json();
    let headers = echo["headers"].as_array().unwrap();
    let named = headers.iter().filter(|h| h[0] == name);
    named.map(|h| h[1].as_str().unwrap().to_owned()).collect()
}

/// A lab with three services: exact host, wildcard host, and a longer path on the exact host.
fn routed(web: &Origin, wild: &Origin, api: &Origin) -> Plan {
    let service = |name: &str, keys: &str, origin: &Origin| {
        format!(
            "[service.{name}]\n{keys}\n[service.{name}.pool.secretpool]\nendpoints = [\"{origin}\"]\n"
        )
    };
    Lab::new()
        .config(&service("web-internal", "hosts = [\"www.test\"]", web))
        .config(&service("wild-internal", "hosts = [\"*.wild.test\"]\npaths = [\"/only\"]", wild))
        .config(&service(
            "api-internal",
            "hosts = [\"www.test\"]\npaths = [\"/api\", \"/api/v2/x\"]",
            api,
        ))
}

/// Method: one origin for each service; hosts with port and in capitals, prefixes at their borders.
#[test]
fn requests_are_routed_by_host_and_longest_prefix() {
    let (web, wild, api) =
        (Origin::answering("web"), Origin::answering("wild"), Origin::answering("api"));
    let lab = routed(&web, &wild, &api).start();
    for (host, path, origin) in [
        ("www.test", "/", "web"),
        ("WWW.Test:8080", "/", "web"),
        ("www.test", "/api", "api"),
        ("www.test", "/api/v1?q=/x", "api"),
        ("www.test", "/apix", "web"),
        ("a.wild.test", "/only", "wild"),
        ("a.b.wild.test", "/only/this", "wild"),
    ] {
        let answer = lab.request(&Request::get(path).host(host)).expect(200);
        assert_eq!(answer.origin(), origin, "{host}{path}");
    }
}

/// Method: the bodies of 421 and 404, in every form, are searched for everything that is configured.
#[test]
fn an_unknown_host_or_path_names_nothing_of_the_inside() {
    let (web, wild, api) =
        (Origin::answering("web"), Origin::answering("wild"), Origin::answering("api"));
    let lab = routed(&web, &wild, &api).start();
    for (host, path, status) in
        [("other.test", "/", 421), ("wild.test", "/only", 421), ("a.wild.test", "/", 404)]
    {
        for accept in ["text/html", "application/json", "text/plain"] {
            let request = Request::get(path).host(host).header("Accept", accept);
            let answer = lab.request(&request).expect(status);
            assert!(answer.header("content-type").unwrap().starts_with(accept));
            let body = answer.text().to_lowercase();
            for inside in ["internal", "secretpool", "lbd", "pingora", "127.0.0.1"] {
                assert!(!body.contains(inside), "{host}{path} tells {inside}: {body}");
            }
            assert!(answer.header("server").is_none());
        }
    }
    assert_eq!(web.requests() + wild.requests() + api.requests(), 0);
}

/// Method: a client on 127.0.0.1 that is not trusted claims to be a proxy.
#[test]
fn forged_forwarding_headers_are_replaced() {
    let blue = Origin::answering("blue");
    let request = Request::get("/echo?a=b%20c")
        .header("X-Forwarded-For", "1.2.3.4")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.test")
        .header("Forwarded", "for=1.2.3.4");
    let echo = lab_of(&blue).request(&request).expect(200);
    assert_eq!(seen(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&echo, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&echo, "x-forwarded-host"), ["app.test"]);
    assert_eq!(seen(&echo, "host"), ["app.test"]);
    assert!(seen(&echo, "forwarded").is_empty() && seen(&echo, "via").is_empty());
    assert!(echo.header("via").is_none());
    assert_eq!(echo.json()["target"], "/echo?a=b%20c");
}

/// Method: the same claims, but the client's network is a trusted proxy's.
#[test]
fn a_trusted_proxys_forwarding_headers_are_kept() {
    let blue = Origin::answering("blue");
    let lab =
        Lab::new().listener("trusted_proxies = [\"127.0.0.0/8\"]").pool("blue", &blue).start();
    let request = Request::get("/echo")
        .header("X-Forwarded-For", "1.2.3.4, 5.6.7.8")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "front.test");
    let echo = lab.request(&request).expect(200);
    assert_eq!(seen(&echo, "x-forwarded-for"), ["1.2.3.4, 5.6.7.8, 127.0.0.1"]);
    assert_eq!(seen(&echo, "x-forwarded-proto"), ["https"]);
    assert_eq!(seen(&echo, "x-forwarded-host"), ["front.test"]);
}

/// Method: a request without id, two with one that is kept, one with an id that is too long.
#[test]
fn a_request_id_is_made_or_kept_and_told_to_both_sides() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let made = lab.get("/echo").expect(200);
    let id = made.header("x-request-id").expect("an id is made").to_owned();
    assert_eq!(seen(&made, "x-request-id"), [id.as_str()]);
    let again = lab.get("/echo");
    assert_ne!(again.header("x-request-id"), Some(id.as_str()));
    let kept = lab.request(&Request::get("/echo").header("X-Request-Id", "abc-1"));
    assert_eq!(
        (seen(&kept, "x-request-id"), kept.all("x-request-id")),
        (vec!["abc-1".into()], vec!["abc-1"])
    );
    let long = "x".repeat(500);
    let replaced = lab.request(&Request::get("/echo").header("X-Request-Id", &long));
    assert_ne!(replaced.header("x-request-id"), Some(long.as_str()));
    assert_eq!(seen(&replaced, "x-request-id"), replaced.all("x-request-id"));
}

/// Method: both sides send every header that concerns one connection, and one that `Connection` names.
#[test]
fn hop_by_hop_headers_stay_between_neighbours() {
    let raw = RawOrigin::saying(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-End: 1\r\n\r\nok",
    );
    let lab = Lab::new().pool("blue", &raw.address).start();
    let request = Request::get("/")
        .header("Connection", "keep-alive, X-Secret-Hop")
        .header("X-Secret-Hop", "1")
        .header("Keep-Alive", "timeout=9")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("TE", "trailers")
        .header("X-End", "1");
    let mut client = lab.client();
    let answer = client.call(&request).expect(200);
    for name in ["x-hop", "proxy-authenticate"] {
        assert_eq!(answer.header(name), None, "{name} reached the client");
    }
    assert_eq!(answer.header("x-end"), Some("1"));
    assert_ne!(answer.header("keep-alive"), Some("timeout=5"));
    assert_ne!(answer.header("connection"), Some("close, X-Hop"));
    let heads = eventually("the origin's record", || Some(raw.heads()).filter(|h| !h.is_empty()));
    let head = heads[0].to_lowercase();
    for name in ["x-secret-hop", "keep-alive:", "proxy-connection", "proxy-authorization", "te:"] {
        assert!(!head.contains(&format!("\r\n{name}")), "{name} reached the origin: {head}");
    }
    assert!(head.contains("\r\nx-end: 1\r\n"));
    // The origin closed its connection; the client's stays.
    client.call(&Request::get("/")).expect(200);
}

/// Method: an origin that speaks HTTP/1.0 and ends its body by closing.
#[test]
fn an_http_1_0_origin_is_served_to_the_end_of_its_body() {
    let raw = RawOrigin::saying("HTTP/1.0 200 OK\r\nX-Origin: old\r\n\r\nold but whole");
    let lab = Lab::new().pool("blue", &raw.address).start();
    let mut client = lab.client();
    for _ in 0..2 {
        let answer = client.call(&Request::get("/")).expect(200);
        assert_eq!((answer.text(), answer.version.as_str()), ("old but whole", "HTTP/1.1"));
    }
}

/// Method: an HTTP/1.0 client, with a length and with an origin's chunks; it must see no chunks.
#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let mut client = lab.client();
    let answer = client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").answer().expect(200);
    assert_eq!(answer.text(), "blue");
    assert!(client.is_closed(), "an HTTP/1.0 connection ends with its answer");
    let mut client = lab.client();
    let answer = client.send("GET /chunks/3 HTTP/1.0\r\n\r\n").answer().expect(200);
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.text(), "piece 0\npiece 1\npiece 2\n");
}

/// Method: one connection; each bodiless answer is followed by an ordinary request.
#[test]
fn answers_without_body_leave_the_connection_in_order() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let mut client = lab.client();
    let head = client.call(&Request::new("HEAD", "/bytes/77")).expect(200);
    assert_eq!(head.header("content-length"), Some("77"));
    for status in [204, 304] {
        client.call(&Request::get(&format!("/{status}"))).expect(status);
        assert_eq!(client.call(&Request::get("/")).expect(200).text(), "blue");
    }
    // lbd's own answer to HEAD has no body either.
    blue.status(500);
    assert_eq!(client.call(&Request::get("/")).status, 500);
    assert_eq!(blue.requests(), 6);
}

/// Method: chunks from the client, chunks from the origin, both, and none at all. One worker, so that
/// every connection to the origin is used again unless a body broke it.
#[test]
fn bodies_pass_in_chunks_both_ways() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().runtime("workers = 1").pool("blue", &blue).start();
    let body: Vec<u8> = (0..25_000u32).map(|n| n as u8).collect();
    let mirrored = lab.request(&Request::post("/mirror", body.clone()).chunked()).expect(200);
    assert!(mirrored.body == body && mirrored.header("transfer-encoding") == Some("chunked"));
    let empty = lab.request(&Request::post("/mirror", "").chunked()).expect(200);
    assert!(empty.body.is_empty());
    let mut client = lab.client();
    let echo = client.call(&Request::post("/echo", body.clone()).chunked()).expect(200).json();
    let expected = (Some(25_000), Some(crate::support::hash(&body)));
    assert_eq!((echo["length"].as_u64(), echo["hash"].as_u64()), expected);
    let pieces = client.call(&Request::get("/chunks/100")).expect(200);
    assert_eq!(pieces.text().lines().count(), 100);
    assert_eq!(blue.connections(), 1, "a body broke a connection");
}

/// Method: 10 MiB through the proxy and back, by hash and whole; lbd must not gather them.
#[test]
fn a_large_body_streams_through() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let body: Vec<u8> = (0..10 * 1024 * 1024u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let echo = lab.request(&Request::post("/echo", body.clone())).expect(200).json();
    assert_eq!(
        (echo["length"].as_u64(), echo["hash"].as_u64()),
        (Some(10 << 20), Some(crate::support::hash(&body)))
    );
    let (address, sent) = (lab.address(), body.clone());
    // Sending and receiving at once: a mirror that is not read would stand still.
    let mut client = Client::tcp(address).unwrap();
    let answer = client.exchange(&Request::post("/mirror", sent)).expect(200);
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
}

/// Method: five requests in one write, of which the first is the slowest.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let mut client = lab.client();
    let requests: String = (1..=5).map(|n| Request::get(&format!("/bytes/{n}")).head()).collect();
    client.send(requests);
    let lengths: Vec<usize> = (1..=5).map(|_| client.answer().expect(200).body.len()).collect();
    assert_eq!(lengths, [1, 2, 3, 4, 5]);
}

/// Method: 200 requests over 20 client connections; each worker keeps its connections to the origin.
#[test]
fn connections_to_the_origin_are_kept() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    for _ in 0..20 {
        let mut client = lab.client();
        (0..10).for_each(|_| drop(client.call(&Request::get("/")).expect(200)));
    }
    assert_eq!(blue.requests(), 200);
    assert!(blue.connections() <= 4, "{} connections for 2 workers", blue.connections());
}

/// Method: an origin on a Unix socket.
#[test]
fn an_endpoint_can_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let blue = Origin::on_socket("blue", &folder.path().join("app.sock"));
    let lab = lab_of(&blue);
    let mut client = lab.client();
    let echo = client.call(&Request::post("/echo", "hello")).expect(200);
    assert_eq!(
        (echo.json()["body"].as_str(), seen(&echo, "host")),
        (Some("hello"), vec!["app.test".into()])
    );
    client.call(&Request::get("/")).expect(200);
    assert_eq!(blue.connections(), 1);
}

/// Method: the client asks for leave before it sends its body, and gets it before anything is sent.
#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let mut client = lab.client();
    client.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let (waited, interim) = timed(|| client.read_head().expect("an interim answer"));
    assert_eq!(interim.status, 100, "after {waited:?}");
    assert_eq!(client.send("hello").answer().expect(200).json()["body"], "hello");
}

/// Method: an origin that sends back what it gets; the second piece is sent after the first came back.
#[test]
fn pieces_of_a_stream_pass_at_once() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let mut client = lab.client();
    client.send("POST /mirror HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nfirst\r\n");
    assert_eq!(client.read_head().expect("the head comes before the end").status, 200);
    assert_eq!(client.bytes(10), b"5\r\nfirst\r\n");
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(client.bytes(16), b"6\r\nsecond\r\n0\r\n\r\n");
}
