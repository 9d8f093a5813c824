//! Clients who come through a proxy in front, and clients with too many connections.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use crate::support::{Client, Lab, Origin, Pki, Request, eventually};

const IN_FRONT: &str = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";

/// What a connection that begins with `header` is answered.
fn answer(lab: &Lab, header: &[u8]) -> String {
    let mut tcp = TcpStream::connect(lab.address()).unwrap();
    tcp.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    tcp.write_all(header).unwrap();
    tcp.write_all(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // What is refused may be reset.
    let _ = tcp.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn the_client_is_whom_the_proxy_names() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener(IN_FRONT).pool("blue", &blue).start();
    let told = answer(&lab, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n");
    assert!(told.contains(r#"["x-forwarded-for","192.0.2.7"]"#), "{told}");
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    binary.extend_from_slice(&[192, 0, 2, 8, 198, 51, 100, 1, 0x12, 0x67, 0, 80]);
    let told = answer(&lab, &binary);
    assert!(told.contains(r#"["x-forwarded-for","192.0.2.8"]"#), "{told}");
    let told = answer(&lab, b"PROXY UNKNOWN\r\n");
    assert!(told.contains(r#"["x-forwarded-for","127.0.0.1"]"#), "{told}");
}

#[test]
fn who_names_nobody_or_may_not_is_not_served() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener(IN_FRONT).pool("blue", &blue).start();
    assert_eq!(answer(&lab, b""), "");
    assert_eq!(answer(&lab, b"PROXY TCP4 nonsense\r\n"), "");
    let strict = Lab::new()
        .listener("proxy_protocol = true\ntrusted_proxies = [\"192.0.2.0/24\"]")
        .pool("blue", &blue)
        .start();
    assert_eq!(answer(&strict, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n"), "");
    assert_eq!(blue.requests(), 0);
}

#[test]
fn it_comes_before_tls() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let tls = format!("{IN_FRONT}\ntls = {{ {} }}", pki.certificates(&["a"]));
    let lab = Lab::new().listener(&tls).pool("blue", &blue).start();
    let mut tcp = TcpStream::connect(lab.address()).unwrap();
    tcp.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n").unwrap();
    let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
    let config = Arc::new(pki.client(&["http/1.1"]));
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, tcp);
    let told = crate::support::ask(&mut stream, "a.example", "/echo").unwrap();
    assert!(told.contains(r#"["x-forwarded-for","2001:db8::7"]"#), "{told}");
}

#[test]
fn a_client_has_so_many_connections_and_others_are_not_harmed() {
    let blue = Origin::answering("blue");
    let limit = format!("{IN_FRONT}\nmax_connections_per_client = 2");
    let lab = Lab::new().listener(&limit).pool("blue", &blue).start();
    let open = |client: &str| {
        let mut connection = Client::tcp(lab.address()).unwrap();
        connection.send(format!("PROXY TCP4 {client} 198.51.100.1 1 80\r\n"));
        connection
    };
    let served = |connection: &mut Client| connection.try_call(&Request::get("/")).is_ok();
    let (mut one, mut two) = (open("192.0.2.7"), open("192.0.2.7"));
    assert!(served(&mut one) && served(&mut two));
    assert!(!served(&mut open("192.0.2.7")), "the third");
    assert!(served(&mut open("192.0.2.8")), "another client");
    drop(one);
    eventually("there is room again", || served(&mut open("192.0.2.7")).then_some(()));
}
