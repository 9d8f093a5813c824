//! HTTP/2 towards clients: requests beside each other, their limits, and clients who misbehave.

use std::collections::BTreeSet;

use crate::support::{
    Dead, Http2, Lab, Origin, Outcome, PATIENCE, Pki, RawOrigin, Speech, eventually,
    h2::{send, whole},
    installed, predicted,
};
use http::Request;
use tokio::time::timeout;

fn lab(blue: &Origin) -> Lab {
    Lab::new().pool("blue", blue).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_run_beside_each_other_on_one_connection() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let tls = format!("tls = {{ {} }}", pki.certificates(&["a"]));
    let lab = Lab::new().listener(&tls).pool("blue", &blue).start();
    let mut client = Http2::secured(&pki, lab.address(), "a.example").await;
    blue.hold();
    let mut answers = Vec::new();
    for _ in 0..20 {
        let request = Request::get("https://a.example/").body(()).unwrap();
        answers.push(client.begin(request, false).await.0);
    }
    tokio::task::block_in_place(|| blue.until_running(20));
    blue.release();
    for answer in answers {
        let answer = whole(answer).await.unwrap();
        assert_eq!((answer.status, answer.body), (200, b"blue".to_vec()));
    }
    lab.until_metric("lbd_connections{listener=\"http\"}", 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_divided_as_on_http1_and_the_endpoint_is_told_the_host() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    lab.ctl("weight green 50").succeeds();
    let mut client = Http2::plain(lab.address()).await;
    let mut on_green = BTreeSet::new();
    for n in 0..50 {
        let user = format!("user-{n}");
        let request = Request::get("http://a.example/").header("x-user-id", &user);
        let (answer, _) = client.begin(request.body(()).unwrap(), false).await;
        if whole(answer).await.unwrap().body == b"green" {
            on_green.insert(user);
        }
    }
    assert_eq!(on_green, predicted(50, 50));
    let told = client.get("http://a.example:81/echo").await.body;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("a.example:81"), "{told}");
}

/// Method: a body in pieces whose last one is empty must not leave a stray end on the endpoint's kept
/// connection (pingora issue 935): every answer is looked at, and so is what the endpoint received.
#[tokio::test(flavor = "multi_thread")]
async fn streamed_bodies_arrive_whole_and_leave_nothing_behind() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    let large = vec![b'x'; 700_000];
    for n in 0..20 {
        let pieces: [&[u8]; 3] = [b"one", &large, b"two"];
        let answer = client.post("http://a/mirror", &pieces).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == pieces.concat(), "round {n}: {} bytes", answer.body.len());
        assert_eq!(client.post("http://a/mirror", &[]).await.body, b"");
        assert_eq!(client.get("http://a/").await.body, b"blue");
    }
    lab.until_metric("lbd_requests_total{service=\"app\",pool=\"blue\",code=\"200\"}", 60.0);
}

/// Both sides speak HTTP/2, as with gRPC: what is said after the body comes through.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_answers_come_through() {
    let blue = Origin::speaking("blue", Speech { http2: true, tls: None });
    let lab = Lab::new().pool("blue", &blue).link("blue", "protocol = 'h2c'").start();
    let mut client = Http2::plain(lab.address()).await;
    for _ in 0..3 {
        let answer = client.get("http://a/grpc/end/5").await;
        let trailers = answer.trailers.expect("trailers");
        assert_eq!((answer.status, &trailers["grpc-status"]), (200, &"5".parse().unwrap()));
        assert_eq!(client.get("http://a/").await.trailers, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_wait_for_the_client() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    assert_eq!(client.get("http://a/bytes/5000000").await.body.len(), 5_000_000);
    assert_eq!(client.get("http://a/chunks/100").await.status, 200);
    let empty = client.get("http://a/204").await;
    assert!(empty.status == 204 && empty.body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_on_an_open_connection_sees_a_new_weight() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    let mut client = Http2::plain(lab.address()).await;
    assert_eq!(client.get("http://a/").await.body, b"blue");
    lab.ctl("weight green 100").succeeds();
    for _ in 0..10 {
        assert_eq!(client.get("http://a/").await.body, b"green");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_fail_are_told_as_on_http1() {
    let (dead, silent) = (Dead::new(), RawOrigin::saying(""));
    for (endpoint, status) in [(dead.address.to_string(), 502), (silent.address.to_string(), 502)] {
        let lab = Lab::new()
            .config("[service.app.health]\npassive = false\n[service.app.timeouts]\nconnect = \"300ms\"\n")
            .pool("blue", endpoint)
            .start();
        let mut client = Http2::plain(lab.address()).await;
        let answer = client.get("http://a/").await;
        assert!([status, 503].contains(&answer.status), "{answer:?}");
        // pingora writes no end behind the head that is all there is.
        let head = Request::head("http://a/").body(()).unwrap();
        let (answer, _) = client.begin(head, true).await;
        let answer = whole(answer).await.expect("an answer that is whole");
        assert!([status, 503].contains(&answer.status), "{answer:?}");
    }
    let hanging = Origin::answering("blue");
    hanging.hold();
    let lab = Lab::new()
        .config("[service.app.timeouts]\nfirst_byte = \"300ms\"\nidle = \"300ms\"\n")
        .pool("blue", &hanging)
        .start();
    let mut client = Http2::plain(lab.address()).await;
    assert_eq!(client.get("http://a/").await.status, 504);
    hanging.release();
    assert_eq!(client.get("http://a/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_ends_at_the_endpoint_and_harms_no_other() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    blue.hold();
    let request = || Request::get("http://a/").body(()).unwrap();
    let (given_up, mut stream) = client.begin(request(), false).await;
    let (kept, _) = client.begin(request(), false).await;
    tokio::task::block_in_place(|| blue.until_running(2));
    stream.send_reset(h2::Reason::CANCEL);
    drop(given_up);
    let failures =
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"client-abort\"}";
    tokio::task::block_in_place(|| lab.until_metric(failures, 1.0));
    blue.release();
    assert_eq!(whole(kept).await.unwrap().body, b"blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_headers_than_http1_takes_are_refused_as_there() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    for (headers, status) in [(90, 200), (101, 431)] {
        let mut request = Request::get("http://a/").body(()).unwrap();
        for n in 0..headers {
            let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
            request.headers_mut().insert(name, http::HeaderValue::from_static("1"));
        }
        let (answer, _) = client.begin(request, true).await;
        assert_eq!(whole(answer).await.unwrap().status, status, "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_requests_only_to_give_them_up_is_sent_away() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    let mut sent = 0;
    let storm = async {
        while let Ok(ready) = client.send.clone().ready().await {
            client.send = ready;
            let request = Request::get("http://a/").body(()).unwrap();
            let Ok((_, mut stream)) = client.send.send_request(request, false) else { break };
            tokio::task::yield_now().await;
            stream.send_reset(h2::Reason::CANCEL);
            sent += 1;
        }
    };
    timeout(PATIENCE, storm).await.expect("the connection is closed");
    assert!(sent < 20_000, "{sent}");
    let ended = timeout(PATIENCE, client.connection).await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    assert_eq!(Http2::plain(lab.address()).await.get("http://a/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_ends_its_request_only() {
    let blue = Origin::answering("blue");
    let lab = Lab::new()
        .listener("timeouts = { body = \"200ms\" }")
        .config("[service.app.timeouts]\nidle = \"200ms\"\n")
        .pool("blue", &blue)
        .start();
    let mut client = Http2::plain(lab.address()).await;
    let request = Request::post("http://a/mirror").body(()).unwrap();
    let (late, mut body) = client.begin(request, true).await;
    send(&mut body, b"a beginning").await;
    let ended = whole(late).await;
    assert!(
        ended.as_ref().map_or(true, |answer| answer.status >= 400 || answer.body != b"a beginning"),
        "{ended:?}"
    );
    assert_eq!(client.get("http://a/").await.body, b"blue");
    tokio::task::block_in_place(|| {
        lab.until_metric("lbd_requests_in_flight{service=\"app\",pool=\"blue\"}", 0.0)
    });
    drop(body);
}

/// Method: uploads that stop in the middle; the endpoint is asked by others before and after.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_the_endpoints_fault() {
    for is_fast in [true, false] {
        late_bodies(is_fast).await;
    }
}

async fn late_bodies(is_fast: bool) {
    let blue = Origin::answering("blue");
    let lab = Lab::new()
        .runtime(&format!("fast_path = {is_fast}"))
        .listener("timeouts = { body = \"200ms\" }")
        .config("[service.app.timeouts]\nfirst_byte = \"300ms\"\nidle = \"100ms\"\n")
        .config("[service.app.health]\npassive = { failures = 2, for = \"1m\" }\n")
        .pool("blue", &blue)
        .start();
    let mut client = Http2::plain(lab.address()).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let request = Request::post("http://a/echo").body(()).unwrap();
        let (late, mut body) = client.begin(request, true).await;
        send(&mut body, b"a beginning").await;
        open.push((late, body));
    }
    let late = "lbd_requests_total{service=\"app\",pool=\"-\",code=\"408\"}";
    tokio::task::block_in_place(|| lab.until_metric(late, 4.0));
    let standing = lab.status().standing("blue", &blue.to_string());
    assert_eq!(standing, "up");
    assert_eq!(client.get("http://a/").await.body, b"blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_is_given_up_after_its_own_time() {
    let blue = Origin::answering("blue");
    let lab = Lab::new()
        .config("[service.app.timeouts]\nfirst_byte = \"300ms\"\n")
        .pool("blue", &blue)
        .start();
    let mut client = Http2::plain(lab.address()).await;
    blue.hold();
    let request = Request::get("http://a/").body(()).unwrap();
    let (answer, _) = client.begin(request, false).await;
    // Though `idle` is a minute.
    assert_eq!(whole(answer).await.unwrap().status, 504);
    let failures = "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"timeout\"}";
    tokio::task::block_in_place(|| lab.until_metric(failures, 1.0));
    blue.release();
    assert_eq!(client.get("http://a/").await.status, 200);
}

/// Method: requests beside each other, half of which are given up at any moment; what the others get is
/// their own, so that no endpoint's connection is used again with a given-up answer on it.
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_takes_nobody_else_along() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    // Few enough not to be taken for a storm.
    for round in 0..40 {
        let size = 1000 + round * 997;
        let uri = |size| format!("http://a/bytes/{size}");
        let begun = |size: usize| Request::get(uri(size)).body(()).unwrap();
        let (kept, _) = client.begin(begun(size), false).await;
        let (given_up, mut stream) = client.begin(begun(size * 50), false).await;
        let (last, _) = client.begin(begun(size + 1), false).await;
        if round % 2 == 0 {
            // With a part of the answer on its way.
            given_up.await.unwrap();
        }
        stream.send_reset(h2::Reason::CANCEL);
        assert_eq!(whole(kept).await.unwrap().body.len(), size);
        assert_eq!(whole(last).await.unwrap().body.len(), size + 1);
    }
    tokio::task::block_in_place(|| {
        lab.until_metric("lbd_requests_in_flight{service=\"app\",pool=\"blue\"}", 0.0);
    });
    for blame in ["timeout", "reset", "protocol"] {
        let failures = format!(
            "lbd_request_failures_total{{service=\"app\",pool=\"blue\",blame=\"{blame}\"}}"
        );
        assert_eq!(lab.metric(&failures), 0.0, "{blame}");
    }
}

/// Method: bodies that are shorter and longer than was said, whole at once and in pieces.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_length_than_announced_is_refused() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    for pieces in [&["abc"][..], &["abcdefgh"], &["ab", "c"], &["abc", "defgh"]] {
        let mut client = Http2::plain(lab.address()).await;
        let request = Request::post("http://a/mirror").header("content-length", "5");
        let (answer, mut body) = client.begin(request.body(()).unwrap(), true).await;
        for piece in pieces {
            // It may have been refused by now.
            let _ = body.send_data((*piece).into(), false);
        }
        let _ = body.send_data(bytes::Bytes::new(), true);
        let answer = whole(answer).await;
        assert!(
            answer.as_ref().map_or(true, |answer| answer.status >= 400),
            "{pieces:?}: {answer:?}"
        );
        assert_eq!(client.get("http://a/").await.body, b"blue");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_streams_at_once_have_each_its_own_answer() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    for _ in 0..3 {
        let mut answers = Vec::new();
        for size in 0..100 {
            let request = Request::get(format!("http://a/bytes/{}", size * 300)).body(()).unwrap();
            // Each is taken beside the others: they share the connection's window.
            answers.push(tokio::spawn(whole(client.begin(request, false).await.0)));
        }
        for (size, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().unwrap().body.len(), size * 300);
        }
    }
}

/// Method: a client that takes a hundred bytes at once, whatever comes, and one that sends far more than
/// may be on its way.
#[tokio::test(flavor = "multi_thread")]
async fn narrow_windows_carry_large_bodies() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let mut client = Http2::narrow(lab.address(), 100).await;
    assert_eq!(client.get("http://a/bytes/60000").await.body.len(), 60_000);
    let piece = vec![b'x'; 1_000_000];
    let mut client = Http2::narrow(lab.address(), 20_000).await;
    let answer = client.post("http://a/mirror", &[&piece, b"!", &piece]).await;
    assert!(answer.body == [&piece[..], b"!", &piece].concat(), "{} bytes", answer.body.len());
}

/// Method: one stream whose answer nobody takes, beside others.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_taken_ends_its_request_only() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener("timeouts = { write = \"100ms\" }").pool("blue", &blue).start();
    let mut client = Http2::narrow(lab.address(), 1000).await;
    let request = Request::get("http://a/bytes/500000").body(()).unwrap();
    let (answer, _) = client.begin(request, false).await;
    let mut lying = answer.await.unwrap().into_body();
    for _ in 0..5 {
        assert_eq!(client.get("http://a/").await.body, b"blue");
    }
    let given_up =
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"client-abort\"}";
    tokio::task::block_in_place(|| lab.until_metric(given_up, 1.0));
    let mut taken = 0;
    let ended = loop {
        match timeout(PATIENCE, lying.data()).await.expect("it ends") {
            Some(Ok(piece)) => taken += piece.len(),
            other => break other,
        }
    };
    assert!(matches!(ended, Some(Err(_))) && taken < 500_000, "{ended:?} after {taken}");
    assert_eq!(client.get("http://a/").await.body, b"blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener("max_header_bytes = \"4KiB\"").pool("blue", &blue).start();
    let mut client = Http2::plain(lab.address()).await;
    let request = Request::get("http://a/").header("x-large", "x".repeat(20_000)).body(()).unwrap();
    let (answer, _) = client.begin(request, false).await;
    let answer = whole(answer).await;
    assert!(answer.as_ref().map_or(true, |answer| answer.status == 431), "{answer:?}");
    assert_eq!(blue.requests(), 0);
}

/// Method: what RFC 9113, section 8.2.2, calls malformed, and what could be read in two ways.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_never_reach_an_endpoint() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue);
    let post = || Request::post("http://a/");
    for request in [
        post().header("content-length", "5").header("content-length", "6"),
        post().header("content-length", "x"),
        post().header("transfer-encoding", "chunked"),
        post().header("connection", "close"),
        post().header("te", "gzip"),
        post().header("host", "b"),
        post().header("host", "a").header("host", "a"),
    ] {
        let mut client = Http2::plain(lab.address()).await;
        let request = request.body(()).unwrap();
        let shown = format!("{request:?}");
        client.send = client.send.clone().ready().await.unwrap();
        // The client library refuses some of them itself.
        if let Ok((answer, _)) = client.send.send_request(request, true) {
            let answer = whole(answer).await;
            assert!(
                answer.as_ref().map_or(true, |answer| answer.status == 400),
                "{shown}: {answer:?}"
            );
        }
    }
    assert_eq!(blue.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_process_finishes_what_runs_and_says_goodbye() {
    let blue = Origin::answering("blue");
    let mut lab = lab(&blue);
    let mut client = Http2::plain(lab.address()).await;
    blue.hold();
    let request = Request::get("http://a/").body(()).unwrap();
    let (running, _) = client.begin(request, false).await;
    tokio::task::block_in_place(|| blue.until_running(1));
    lab.sigterm();
    eventually("lbd stops", || lab.log().contains("stopping").then_some(()));
    blue.release();
    assert_eq!(whole(running).await.unwrap().body, b"blue");
    timeout(PATIENCE, client.connection).await.unwrap().unwrap().unwrap();
    assert!(tokio::task::block_in_place(|| lab.ended()).success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_requests_is_closed_after_a_while() {
    let blue = Origin::answering("blue");
    let lab =
        Lab::new().listener("timeouts = { keepalive = \"300ms\" }").pool("blue", &blue).start();
    let mut client = Http2::plain(lab.address()).await;
    assert_eq!(client.get("http://a/").await.status, 200);
    timeout(PATIENCE, client.connection).await.expect("it is closed").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_switched_off() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let tls = format!("http2 = false\ntls = {{ {} }}", pki.certificates(&["a"]));
    let lab = Lab::new().listener(&tls).pool("blue", &blue).start();
    let config = std::sync::Arc::new(pki.client(&["h2", "http/1.1"]));
    let stream = crate::support::secured(&config, lab.address(), "a.example").unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

/// Method: h2load with 10 connections of 20 requests at once, through TLS, while the weight changes.
#[test]
fn h2load_sees_no_failure_while_weights_change() {
    if !installed("h2load") {
        return;
    }
    let (blue, green, pki) = (Origin::answering("blue"), Origin::answering("green"), Pki::new());
    pki.sign("a", &["localhost"], 2099);
    let tls = format!("tls = {{ {} }}", pki.certificates(&["a"]));
    let lab = Lab::new().listener(&tls).pool("blue", &blue).pool("green", &green).start();
    let mut h2load = std::process::Command::new("h2load");
    h2load.args(["-n", "4000", "-c", "10", "-m", "20"]);
    h2load.arg(format!("https://localhost:{}/", lab.address().port()));
    let running = crate::support::Begun::new(h2load, lab.folder());
    for weight in [20, 50, 0, 100, 0] {
        lab.ctl(&format!("weight green {weight}")).succeeds();
    }
    let said: Outcome = running.ended();
    let said = said.succeeds();
    assert!(said.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
}
