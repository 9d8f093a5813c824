//! The PROXY protocol: what lbd says at the start of a connection to an endpoint about the client that
//! it is made for (HAProxy, "The PROXY protocol, versions 1 and 2").

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::Serialize;

/// The form in which clients are announced.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// A binary header.
    V2,
}

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// The client.
    pub client: SocketAddr,
    /// Where it connected to.
    pub here: SocketAddr,
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, on behalf of somebody or in one's own name.
const PROXIED: u8 = 0x21;
const LOCAL: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

impl ProxyProtocol {
    /// What a connection begins with; without ends it is lbd's own, as that of a probe.
    pub fn announce(self, ends: Option<Ends>) -> Vec<u8> {
        let Some(ends) = ends else {
            return match self {
                Self::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
                Self::V2 => [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat(),
            };
        };
        let ports = (ends.client.port(), ends.here.port());
        match (ends.client.ip().to_canonical(), ends.here.ip().to_canonical()) {
            (IpAddr::V4(client), IpAddr::V4(here)) => match self {
                Self::V1 => {
                    format!("PROXY TCP4 {client} {here} {} {}\r\n", ports.0, ports.1).into()
                }
                Self::V2 => binary(TCP4, &client.octets(), &here.octets(), ports),
            },
            (client, here) => {
                let (client, here) = (wide(client), wide(here));
                match self {
                    Self::V1 => {
                        format!("PROXY TCP6 {client} {here} {} {}\r\n", ports.0, ports.1).into()
                    }
                    Self::V2 => binary(TCP6, &client.octets(), &here.octets(), ports),
                }
            }
        }
    }
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn binary(family: u8, client: &[u8], here: &[u8], ports: (u16, u16)) -> Vec<u8> {
    let length = (client.len() + here.len() + 4) as u16;
    let (from, to) = (ports.0.to_be_bytes(), ports.1.to_be_bytes());
    [&SIGNATURE, &[PROXIED, family][..], &length.to_be_bytes(), client, here, &from, &to].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, here: &str) -> Option<Ends> {
        Some(Ends { client: client.parse().unwrap(), here: here.parse().unwrap() })
    }

    fn text(ends: Option<Ends>) -> String {
        String::from_utf8(ProxyProtocol::V1.announce(ends)).unwrap()
    }

    #[test]
    fn lines_of_version_1() {
        let four = ends("192.0.2.1:5000", "192.0.2.9:80");
        assert_eq!(text(four), "PROXY TCP4 192.0.2.1 192.0.2.9 5000 80\r\n");
        let mapped = ends("[::ffff:192.0.2.1]:5000", "192.0.2.9:80");
        assert_eq!(text(mapped), text(four), "an IPv4 client of an IPv6 listener");
        let six = ends("[2001:db8::1]:5000", "[2001:db8::9]:80");
        assert_eq!(text(six), "PROXY TCP6 2001:db8::1 2001:db8::9 5000 80\r\n");
        assert_eq!(text(None), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn headers_of_version_2() {
        let v2 = |ends| ProxyProtocol::V2.announce(ends);
        let four = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
            &[192, 0, 2, 1, 192, 0, 2, 9, 0x13, 0x88, 0, 80],
        ];
        assert_eq!(v2(ends("192.0.2.1:5000", "192.0.2.9:80")), four.concat());
        let six = v2(ends("[2001:db8::1]:5000", "[2001:db8::9]:80"));
        assert_eq!((six.len(), &six[12..16]), (16 + 36, &b"\x21\x21\0\x24"[..]));
        assert_eq!(v2(None), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
