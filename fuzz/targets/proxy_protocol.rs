//! Whatever a connection begins with is a header of the PROXY protocol as the specification has it, or
//! refused; its end is found wherever the bytes are cut; and what lbd itself announces is understood.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use lbd::{
    edge::proxy_protocol::{client, length},
    model::announcement::{Ends, ProxyProtocol},
};
use libfuzzer_sys::fuzz_target;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|bytes: &[u8]| {
    let whole = length(bytes);
    for end in 0..bytes.len() {
        let early = length(&bytes[..end]);
        assert!(early == Ok(None) || early == whole, "the first {end} bytes say {early:?}");
    }
    if let Ok(Some(length)) = whole
        && let Some(header) = bytes.get(..length)
    {
        assert_eq!(client(header).ok(), specified(header), "{}", header.escape_ascii());
    }
    announced(bytes);
});

/// What the specification (HAProxy, sections 2.1 and 2.2) says of a whole header.
fn specified(header: &[u8]) -> Option<Option<SocketAddr>> {
    if let Some(line) = header.strip_prefix(b"PROXY ") {
        let line = line.strip_suffix(b"\r\n")?;
        if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
            return Some(None);
        }
        let line = std::str::from_utf8(line).ok()?;
        let [family, from, to, from_port, to_port] = line.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let port = |text: &str| {
            let number: u16 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        };
        let (port, _) = (port(from_port)?, port(to_port)?);
        return match family {
            "TCP4" => {
                let (from, _): (Ipv4Addr, Ipv4Addr) = (from.parse().ok()?, to.parse().ok()?);
                Some(Some((from, port).into()))
            }
            "TCP6" => {
                let (from, _): (Ipv6Addr, Ipv6Addr) = (from.parse().ok()?, to.parse().ok()?);
                Some(Some((from, port).into()))
            }
            _ => None,
        };
    }
    let rest = header.strip_prefix(SIGNATURE)?;
    let (&[command, family, _, _], addresses) = rest.split_first_chunk()?;
    let port = |at: usize| Some(u16::from_be_bytes([*addresses.get(at)?, *addresses.get(at + 1)?]));
    match (command, family) {
        (0x20, _) | (0x21, 0x00) => Some(None),
        (0x21, 0x11 | 0x12) => {
            let from: [u8; 4] = *addresses.first_chunk()?;
            addresses.get(..12)?;
            Some(Some((from, port(8)?).into()))
        }
        (0x21, 0x21 | 0x22) => {
            let from: [u8; 16] = *addresses.first_chunk()?;
            addresses.get(..36)?;
            Some(Some((from, port(32)?).into()))
        }
        (0x21, 0x31 | 0x32) => addresses.get(..216).map(|_| None),
        _ => None,
    }
}

/// What is said to endpoints names the same client when it is read.
fn announced(bytes: &[u8]) {
    let Some((numbers, _)) = bytes.split_first_chunk::<37>() else { return };
    let end = |at: usize, is_wide: bool| {
        let octets: [u8; 16] = numbers[at..at + 16].try_into().expect("16 bytes");
        let port = u16::from_be_bytes([numbers[at + 16], numbers[at + 17]]);
        if is_wide {
            SocketAddr::from((Ipv6Addr::from(octets), port))
        } else {
            let [a, b, c, d, ..] = octets;
            SocketAddr::from(([a, b, c, d], port))
        }
    };
    let ends = Ends { client: end(1, numbers[0] & 1 != 0), here: end(19, numbers[0] & 2 != 0) };
    for form in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let header = form.announce(Some(ends));
        assert_eq!(length(&header), Ok(Some(header.len())), "{ends:?}");
        let told = client(&header).expect("our own").expect("a client");
        let canonical = |end: SocketAddr| (end.ip().to_canonical(), end.port());
        assert_eq!(canonical(told), canonical(ends.client), "{ends:?}");
        assert_eq!(client(&form.announce(None)), Ok(None));
    }
}
