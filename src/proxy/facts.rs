//! Reads a request's facts from pingora's header map.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use pingora_http::RequestHeader;

use super::client::Client;
use crate::model::{Facts, Headers};

/// pingora's headers, for the model.
pub struct Map<'a>(pub &'a HeaderMap);

impl Headers for Map<'_> {
    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    fn find<'a, R>(&'a self, name: &str, visit: impl FnMut(&'a str) -> Option<R>) -> Option<R> {
        self.0.get_all(name).iter().filter_map(|value| value.to_str().ok()).find_map(visit)
    }
}

/// The facts of `request` as `client` sent it.
pub fn facts<'a>(
    request: &'a RequestHeader,
    headers: &'a Map<'a>,
    client: IpAddr,
) -> Facts<'a, Map<'a>> {
    Facts {
        host: host(request),
        path: request.uri.path(),
        query: request.uri.query().unwrap_or_default(),
        client,
        headers,
    }
}

/// The length of the body in bytes, if the head says it.
pub fn announced(request: &RequestHeader) -> Option<u64> {
    request.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The Host header without its port. Where the address has an authority too, it is the same: the head
/// was refused otherwise.
fn host(request: &RequestHeader) -> &str {
    let host = request.headers.get(http::header::HOST).and_then(|h| h.to_str().ok());
    without_port(host.unwrap_or_default())
}

pub fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if authority[at + 1..].bytes().all(|b| b.is_ascii_digit()) => &authority[..at],
        Some(_) | None => authority,
    }
}

/// Who sent the request: the peer, or as far as proxies are trusted, whom they say.
pub fn client_address(request: &RequestHeader, client: &Client) -> IpAddr {
    let fields = request.headers.get_all("x-forwarded-for").iter();
    address_by(fields.map(HeaderValue::as_bytes), client)
}

/// The same by the values of `X-Forwarded-For`, in their order.
pub fn address_by<'h>(
    fields: impl DoubleEndedIterator<Item = &'h [u8]>,
    client: &Client,
) -> IpAddr {
    let mut address = client.peer.ip();
    if !client.is_trusted(address) {
        return address.to_canonical();
    }
    // From the nearest proxy outwards, up to the first that is not trusted or not understood: what
    // stands further left may be forged.
    for entry in fields.rev().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
        let Some(next) = std::str::from_utf8(entry).ok().and_then(|e| forwarded(e.trim())) else {
            break;
        };
        address = next;
        if !client.is_trusted(address) {
            break;
        }
    }
    address.to_canonical()
}

fn forwarded(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{announcement::Ends, listener::Listener};

    fn client(peer: &str, trusted: &[&str]) -> Client {
        let trusted_proxies = trusted.iter().map(|t| t.parse().unwrap()).collect();
        let here = "127.0.0.1:80".parse().unwrap();
        let listener = Listener { trusted_proxies, ..Listener::at(here) };
        let ends = Ends { client: peer.parse().unwrap(), here };
        Client::new(ends, Arc::new(listener), Arc::default())
    }

    fn address(peer: &str, trusted: &[&str], forwarded: &[&str]) -> String {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for value in forwarded {
            request.append_header("X-Forwarded-For", *value).unwrap();
        }
        client_address(&request, &client(peer, trusted)).to_string()
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let nets = ["10.0.0.0/8"];
        assert_eq!(address("192.0.2.9:1", &nets, &["1.1.1.1"]), "192.0.2.9");
        assert_eq!(address("10.0.0.1:1", &nets, &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(address("10.0.0.1:1", &nets, &["9.9.9.9, 1.1.1.1, 10.0.0.2"]), "1.1.1.1");
        assert_eq!(address("10.0.0.1:1", &nets, &["9.9.9.9", "1.1.1.1"]), "1.1.1.1");
        assert_eq!(address("10.0.0.1:1", &nets, &["nonsense"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1:1", &nets, &["10.9.9.9, x, 8.8.8.8"]), "8.8.8.8");
        assert_eq!(address("10.0.0.1:1", &nets, &["8.8.8.8, x"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1:1", &nets, &["[2001:db8::1]:99"]), "2001:db8::1");
    }

    #[test]
    fn ports_are_cut_off() {
        for (authority, host) in
            [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")]
        {
            assert_eq!(without_port(authority), host);
        }
    }
}
