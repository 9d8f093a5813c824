//! Who a proxy in front says its client is, by the PROXY protocol (versions 1 and 2).

use std::{
    io,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
};

use ppp::{v1, v2};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// How headers of version 1 begin.
const V1: &[u8] = b"PROXY ";
/// A header of version 1 that names nobody.
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
/// The longest header of version 1, with its line end.
const V1_MAX: usize = 107;
/// The fixed part of version 2, whose last two bytes give the length of the rest.
const V2_FIXED: usize = 16;
/// Longer headers of version 2 than this carry more than addresses; nobody needs it here.
const V2_MAX: usize = 4096;
/// What version 2 calls a connection in the proxy's own name, whatever else it says.
const LOCAL: u8 = 0x20;
/// The families and transports that version 2 has; its receivers must refuse any others.
const KNOWN: [u8; 7] = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32];

/// Bytes that are no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// Reads the header that a connection begins with, and not a byte more. `None`: the proxy speaks for
/// itself, as in its health checks.
///
/// # Errors
///
/// If there is none, or it is malformed; the connection must be closed.
pub async fn read(tcp: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::new();
    loop {
        let known = header.len();
        let mut ahead = [0; 512];
        let seen = tcp.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        header.extend_from_slice(ahead.get(..seen).unwrap_or_default());
        let whole = length(&header).map_err(|Malformed| io::ErrorKind::InvalidData)?;
        // Where the end is not in sight, all that is in sight belongs to it.
        header.truncate(whole.unwrap_or(header.len()).min(header.len()));
        tcp.read_exact(header.get_mut(known..).unwrap_or_default()).await?;
        if whole == Some(header.len()) {
            return client(&header).map_err(|Malformed| io::ErrorKind::InvalidData.into());
        }
    }
}

/// How long the header is that these bytes begin with, or begin to be, as far as they tell.
///
/// # Errors
///
/// [`Malformed`]: whatever follows, they are none.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let begins = |how: &[u8]| bytes.iter().zip(how).all(|(is, should)| is == should);
    if begins(v2::PROTOCOL_PREFIX) {
        let Some([high, low]) = bytes.get(V2_FIXED - 2..V2_FIXED) else { return Ok(None) };
        let rest = usize::from(u16::from_be_bytes([*high, *low]));
        if rest > V2_MAX { Err(Malformed) } else { Ok(Some(V2_FIXED + rest)) }
    } else if begins(V1) {
        let line = bytes.get(..V1_MAX).unwrap_or(bytes);
        match line.iter().position(|byte| *byte == b'\n') {
            Some(end) => Ok(Some(end + 1)),
            None if line.len() == V1_MAX => Err(Malformed),
            None => Ok(None),
        }
    } else {
        Err(Malformed)
    }
}

/// Whom a whole header names, if anybody.
///
/// # Errors
///
/// [`Malformed`]: it is none.
pub fn client(header: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    if length(header) != Ok(Some(header.len())) {
        return Err(Malformed);
    }
    if header.starts_with(V1) { of_line(header) } else { of_binary(header) }
}

fn of_line(header: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let line = header.strip_suffix(b"\r\n").ok_or(Malformed)?;
    if line == UNKNOWN || line.strip_prefix(UNKNOWN).is_some_and(|rest| rest.starts_with(b" ")) {
        // Whatever follows is ignored; the parser knows only so many words of it.
        return Ok(None);
    }
    if line.contains(&b'+') {
        // The parser would take a sign before a port.
        return Err(Malformed);
    }
    let parsed = v1::Header::try_from(header).map_err(|_| Malformed)?;
    Ok(match parsed.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(a) => Some(ipv4(a.source_address, a.source_port)),
        v1::Addresses::Tcp6(a) => Some(ipv6(a.source_address, a.source_port)),
    })
}

fn of_binary(header: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let Some([command, family]) = header.get(V2_FIXED - 4..V2_FIXED - 2) else {
        return Err(Malformed);
    };
    if *command == LOCAL {
        return Ok(None);
    }
    if !KNOWN.contains(family) {
        return Err(Malformed);
    }
    let parsed = v2::Header::try_from(header).map_err(|_| Malformed)?;
    Ok(match parsed.addresses {
        v2::Addresses::IPv4(a) => Some(ipv4(a.source_address, a.source_port)),
        v2::Addresses::IPv6(a) => Some(ipv6(a.source_address, a.source_port)),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    })
}

fn ipv4(address: std::net::Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddrV4::new(address, port).into()
}

fn ipv6(address: std::net::Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddrV6::new(address, port, 0, 0).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// What is read of `bytes`, and what is left in the socket; they arrive in two pieces.
    async fn received(bytes: Vec<u8>, cut: usize) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sending = tokio::spawn(async move {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let (early, late) = bytes.split_at(cut.min(bytes.len()));
            tcp.write_all(early).await.unwrap();
            tcp.write_all(late).await.unwrap();
        });
        let (mut tcp, _) = listener.accept().await.unwrap();
        let client = read(&mut tcp).await;
        sending.await.unwrap();
        let mut rest = Vec::new();
        // After a malformed header unread bytes may reset the connection.
        let _ = tcp.read_to_end(&mut rest).await;
        (client, rest)
    }

    fn binary(command: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, 0x11], &length, body].concat()
    }

    fn other_family(family: u8) -> Vec<u8> {
        let mut header = binary(1, &[0; 216]);
        header[13] = family;
        header
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_the_rest_alone() {
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nGET / HTTP/1.1\r\n".to_vec();
        let (client, rest) = received(line, 20).await;
        assert_eq!(client.unwrap(), Some("192.0.2.7:4711".parse().unwrap()));
        assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n\x16\x03".to_vec();
        let (client, rest) = received(line, 3).await;
        assert_eq!(client.unwrap(), Some("[2001:db8::1]:1".parse().unwrap()));
        assert_eq!(rest, [0x16, 0x03]);
        let mut bytes = binary(1, &[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 187]);
        bytes.extend_from_slice(b"rest");
        let (client, rest) = received(bytes, 13).await;
        assert_eq!(client.unwrap(), Some("192.0.2.7:4711".parse().unwrap()));
        assert_eq!(rest, b"rest");
    }

    #[tokio::test]
    async fn a_proxy_may_speak_for_itself() {
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN  a b c\td e f g\r\n"] {
            assert_eq!(received(line.into(), 0).await.0.unwrap(), None, "{line:?}");
        }
        assert_eq!(received(binary(0, &[0; 12]), 5).await.0.unwrap(), None);
        // Whatever it says then is ignored.
        assert_eq!(received(binary(0, &[]), 5).await.0.unwrap(), None);
        let mut other = binary(0, &[1, 2, 3]);
        other[13] = 0xff;
        assert_eq!(received(other, 14).await.0.unwrap(), None);
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.999 1.1.1.1 1 2\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            binary(9, &[0; 12]),
            b"PROXY".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n".to_vec(),
            b"PROXY UNKNOWN \n".to_vec(),
            b"PROXY UNKNOWNS\r\n".to_vec(),
            other_family(0x10),
            other_family(0x41),
        ] {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            assert!(received(bytes, 0).await.0.is_err(), "{shown:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_become_a_header_is_refused_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut asking = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut tcp, _) = listener.accept().await.unwrap();
        // Nothing more comes, and the connection stays open.
        asking.write_all(b"GET").await.unwrap();
        let read = tokio::time::timeout(std::time::Duration::from_secs(10), read(&mut tcp));
        assert!(read.await.expect("no more is waited for").is_err());
    }

    proptest! {
        /// What is told of a beginning is not taken back.
        #[test]
        fn no_header_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            for bytes in [bytes.clone(), [V1, &bytes].concat(), [v2::PROTOCOL_PREFIX, &bytes].concat()] {
                let early = length(&bytes[..cut.min(bytes.len())]);
                if early != Ok(None) {
                    prop_assert_eq!(early, length(&bytes));
                }
                let _ = client(&bytes);
            }
        }
    }
}
