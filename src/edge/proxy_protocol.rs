//! Who a proxy in front says its client is, by the PROXY protocol (versions 1 and 2).

use std::{
    io,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
};

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// The longest header of version 1, with its line end.
const V1_MAX: usize = 107;
/// The fixed part of version 2, whose last two bytes give the length of the rest.
const V2_FIXED: usize = 16;
/// Longer headers of version 2 than this carry more than addresses; nobody needs it here.
const V2_MAX: usize = 4096;
/// No header of either version is shorter.
const SHORTEST: usize = 15;

/// Reads the header that a connection begins with, and not a byte more. `None`: the proxy speaks for
/// itself, as in its health checks.
///
/// # Errors
///
/// If there is none, or it is malformed; the connection must be closed.
pub async fn read(tcp: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SHORTEST];
    tcp.read_exact(&mut header).await?;
    if v2::PROTOCOL_PREFIX.starts_with(header.get(..12).unwrap_or_default()) {
        read_binary(tcp, &mut header).await?;
    } else {
        read_line(tcp, &mut header).await?;
    }
    client(&header).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

async fn read_binary(tcp: &mut TcpStream, header: &mut Vec<u8>) -> io::Result<()> {
    header.resize(V2_FIXED, 0);
    tcp.read_exact(header.get_mut(SHORTEST..).unwrap_or_default()).await?;
    let length = match header.get(V2_FIXED - 2..) {
        Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    if length > V2_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    header.resize(V2_FIXED + length, 0);
    tcp.read_exact(header.get_mut(V2_FIXED..).unwrap_or_default()).await?;
    Ok(())
}

async fn read_line(tcp: &mut TcpStream, header: &mut Vec<u8>) -> io::Result<()> {
    while !header.ends_with(b"\n") {
        if header.len() >= V1_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut ahead = [0; V1_MAX];
        let room = ahead.get_mut(..V1_MAX - header.len()).unwrap_or_default();
        let seen = tcp.peek(room).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = room.get(..seen).unwrap_or_default();
        let wanted = line.iter().position(|byte| *byte == b'\n').map_or(seen, |at| at + 1);
        let begin = header.len();
        header.resize(begin + wanted, 0);
        tcp.read_exact(header.get_mut(begin..).unwrap_or_default()).await?;
    }
    Ok(())
}

/// What a whole header says; `None`: it is malformed.
pub fn client(header: &[u8]) -> Option<Option<SocketAddr>> {
    let parsed = HeaderResult::parse(header);
    if parsed.is_incomplete() {
        return None;
    }
    match parsed {
        HeaderResult::V1(Ok(header)) => Some(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(a) => {
                Some(SocketAddrV4::new(a.source_address, a.source_port).into())
            }
            v1::Addresses::Tcp6(a) => Some(ipv6(a.source_address, a.source_port)),
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Some(None),
        HeaderResult::V2(Ok(header)) => Some(match header.addresses {
            v2::Addresses::IPv4(a) => {
                Some(SocketAddrV4::new(a.source_address, a.source_port).into())
            }
            v2::Addresses::IPv6(a) => Some(ipv6(a.source_address, a.source_port)),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
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
        assert_eq!(received(b"PROXY UNKNOWN\r\n".to_vec(), 0).await.0.unwrap(), None);
        assert_eq!(received(binary(0, &[0; 12]), 5).await.0.unwrap(), None);
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.999 1.1.1.1 1 2\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            binary(9, &[0; 12]),
            b"PROXY".to_vec(),
        ] {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            assert!(received(bytes, 0).await.0.is_err(), "{shown:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            client(&bytes);
            client(&[v2::PROTOCOL_PREFIX, &bytes].concat());
        }
    }
}
