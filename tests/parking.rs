//! Idle connections: parked after a second, and served again as if they had never been.

use std::{net::SocketAddr, thread};

use nix::sys::signal::Signal;

use crate::support::{Client, Http2, Lab, Origin, Pki, Request, ask, eventually, timed};

const OPEN: &str = "lbd_connections{listener=\"http\"}";
const PARKED: &str = "lbd_connections_parked{listener=\"http\"}";

fn lab(blue: &Origin, listener: &str) -> Lab {
    Lab::new().runtime("workers = 1").listener(listener).pool("blue", blue).start()
}

/// A connection that has been served once.
fn served(lab: &Lab) -> Client {
    let mut client = lab.client();
    client.call(&Request::get("/")).expect(200);
    client
}

#[test]
fn an_idle_connection_is_parked_and_served_again_and_parked_again() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "");
    let mut client = served(&lab);
    for _ in 0..3 {
        lab.until_metric(PARKED, 1.0);
        assert_eq!(lab.metric(OPEN), 1.0, "it is open all the time");
        assert_eq!(client.call(&Request::get("/")).expect(200).text(), "blue");
    }
}

/// Method: a request's head arrives in pieces, another two at once, and a body larger than what is read at
/// once, each time on a connection that was parked.
#[test]
fn nothing_of_what_wakes_it_is_lost() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "");
    let mut client = served(&lab);
    lab.until_metric(PARKED, 1.0);
    client.send("G");
    lab.until_metric(PARKED, 0.0);
    for piece in ["ET / HT", "TP/1.1\r\nHost: a", "\r\n", "\r\n"] {
        client.send(piece);
    }
    assert_eq!(client.answer().expect(200).text(), "blue");
    lab.until_metric(PARKED, 1.0);
    let get = |n: usize| format!("GET /bytes/{n} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send([get(7), get(8), get(9)].concat());
    for n in 7..10 {
        assert_eq!(client.answer().expect(200).body.len(), n);
    }
    lab.until_metric(PARKED, 1.0);
    let body = "0123456789".repeat(100_000);
    assert_eq!(client.exchange(&Request::post("/mirror", body.as_str())).expect(200).text(), body);
    // An answer that began before the body's end may have closed that one.
    drop(client);
    let mut client = served(&lab);
    lab.until_metric(PARKED, 1.0);
    client.send("nonsense\r\n\r\n");
    client.answer().expect(400);
}

#[test]
fn it_is_closed_after_keepalive_all_the_same() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "timeouts = { keepalive = '2s' }");
    let (took, ()) = timed(|| {
        let (mut served, mut silent) = (served(&lab), lab.client());
        lab.until_metric(PARKED, 2.0);
        assert!(served.is_closed() && silent.is_closed());
    });
    assert!((1.9..5.0).contains(&took.as_secs_f64()), "{took:?}");
    lab.until_metric(OPEN, 0.0);
    assert_eq!(lab.metric(PARKED), 0.0);
}

/// Method: the only connection that is allowed is parked, then its client leaves; the one that waits gets
/// its place.
#[test]
fn who_leaves_a_parked_connection_frees_its_place() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "max_connections = 1");
    let first = served(&lab);
    lab.until_metric(PARKED, 1.0);
    let mut second = lab.client();
    let second = thread::spawn(move || second.call(&Request::get("/")));
    lab.until_metric(PARKED, 1.0);
    assert!(!second.is_finished(), "a parked connection has its place");
    drop(first);
    second.join().unwrap().expect(200);
}

#[test]
fn it_counts_among_those_of_its_client_whom_it_does_not_forget() {
    let in_front = "proxy_protocol = true\ntrusted_proxies = ['127.0.0.1']";
    let blue = Origin::answering("blue");
    let lab = lab(&blue, &format!("{in_front}\nmax_connections_per_client = 1"));
    let open = || {
        let mut client = lab.client();
        client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n");
        client
    };
    let mut first = open();
    first.call(&Request::get("/")).expect(200);
    lab.until_metric(PARKED, 1.0);
    assert!(open().try_call(&Request::get("/")).is_err(), "the second of its client");
    let told = first.call(&Request::get("/echo")).expect(200);
    assert!(told.text().contains(r#"["x-forwarded-for","192.0.2.7"]"#), "{}", told.text());
    lab.until_metric(PARKED, 1.0);
    drop(first);
    eventually("there is room again", || open().try_call(&Request::get("/")).ok());
}

/// Method: two connections that have said nothing yet are parked; one turns out to speak HTTP/2. After a
/// request of HTTP/1.1 that would be too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_said_nothing_yet_may_still_say_anything() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "");
    let mut one = lab.client();
    let two = tokio::net::TcpStream::connect(lab.address()).await.unwrap();
    tokio::task::block_in_place(|| {
        lab.until_metric(PARKED, 2.0);
        one.call(&Request::get("/")).expect(200);
        lab.until_metric(PARKED, 2.0);
        one.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        one.answer().expect(505);
    });
    let (send, connection) = h2::client::handshake(two).await.unwrap();
    let mut two = Http2 { send, connection: tokio::spawn(connection) };
    assert_eq!(two.get("http://a.example/").await.body, b"blue");
}

#[test]
fn a_process_that_stops_closes_it_at_once() {
    let blue = Origin::answering("blue");
    let mut lab = lab(&blue, "");
    let (mut served, mut silent) = (served(&lab), lab.client());
    lab.until_metric(PARKED, 2.0);
    lab.sigterm();
    let (took, status) = timed(|| lab.ended());
    assert!(status.success() && took.as_secs_f64() < 2.0, "{status} after {took:?}");
    assert!(served.is_closed() && silent.is_closed());
}

/// Method: lbd is frozen while parked clients send requests, and told to stop before it is thawed.
#[test]
fn a_request_that_has_arrived_is_served_even_then() {
    let blue = Origin::answering("blue");
    let mut lab = lab(&blue, "");
    let mut clients: Vec<_> =
        (0..100).map(|n| if n < 50 { served(&lab) } else { lab.client() }).collect();
    lab.until_metric(PARKED, 100.0);
    lab.signal(Signal::SIGSTOP);
    for client in &mut clients {
        client.begin(&Request::get("/"));
    }
    lab.sigterm();
    lab.signal(Signal::SIGCONT);
    for client in &mut clients {
        // Whether it still says that it closes depends on who is sooner, the signal or the request.
        assert_eq!(client.answer().expect(200).text(), "blue");
    }
    assert!(lab.ended().success());
}

/// Method: as many as two thousand, woken all at once by two threads, and parked once more.
#[test]
fn many_are_parked_and_all_of_them_served_again() {
    const MANY: usize = 2_000;
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "");
    let mut clients: Vec<_> = (0..MANY).map(|_| served(&lab)).collect();
    for _ in 0..2 {
        lab.until_metric(PARKED, MANY as f64);
        let (one, other) = clients.split_at_mut(MANY / 2);
        thread::scope(|scope| {
            for clients in [one, other] {
                scope.spawn(|| {
                    for client in clients.iter_mut() {
                        client.begin(&Request::get("/"));
                    }
                    for client in clients {
                        assert_eq!(client.answer().expect(200).text(), "blue");
                    }
                });
            }
        });
        assert_eq!(lab.metric(OPEN), MANY as f64);
    }
    drop(clients);
    lab.until_metric(OPEN, 0.0);
    assert_eq!(lab.metric(PARKED), 0.0);
}

/// Method: the plain one comes later, and is parked nonetheless.
#[test]
fn a_connection_through_tls_is_not_parked() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let tls = format!("tls = {{ {} }}", pki.certificates(&["a"]));
    let lab = Lab::new()
        .runtime("workers = 1")
        .listener(&tls)
        .config("[listener.plain]\naddress = '127.0.0.1:0'")
        .pool("blue", &blue)
        .start();
    let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
    let config = std::sync::Arc::new(pki.client(&["http/1.1"]));
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let tcp = std::net::TcpStream::connect(lab.address()).unwrap();
    let mut secure = rustls::StreamOwned::new(connection, tcp);
    let status = lab.status();
    let plain = status.listeners.iter().find(|listener| listener.name.as_str() == "plain").unwrap();
    let address: SocketAddr = plain.address.parse().unwrap();
    secure.conn.complete_io(&mut secure.sock).unwrap();
    let mut plain = Client::tcp(address).unwrap();
    plain.call(&Request::get("/")).expect(200);
    lab.until_metric("lbd_connections_parked{listener=\"plain\"}", 1.0);
    assert_eq!((lab.metric(OPEN), lab.metric(PARKED)), (1.0, 0.0));
    assert!(ask(&mut secure, "a.example", "/").unwrap().ends_with("blue"));
}
