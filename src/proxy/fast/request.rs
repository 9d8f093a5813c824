//! A request as the lean path reads it: slices of the head as it came, and nothing else.

use std::{mem::MaybeUninit, net::IpAddr};

use super::super::{client::Client, facts::address_by};
use crate::{edge::head::HEADERS_MAX, model::Headers};

/// Room for the headers of a head.
pub type Slots<'h> = [MaybeUninit<httparse::Header<'h>>; HEADERS_MAX];

/// Room for the headers of a head.
pub const fn slots<'h>() -> Slots<'h> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// A request's head.
#[derive(Debug)]
pub struct Request<'h> {
    /// The method.
    pub method: &'h str,
    /// Path and query, as sent.
    pub target: &'h str,
    /// The headers, as sent.
    pub headers: &'h [httparse::Header<'h>],
}

impl<'h> Request<'h> {
    /// Reads a head that was judged before. `None`: it is not in the form that the lean path serves,
    /// that is HTTP/1.1 and an address which begins with a slash.
    pub fn read(head: &'h [u8], slots: &'h mut Slots<'h>) -> Option<Self> {
        let mut parsed = httparse::Request::new(&mut []);
        parsed.parse_with_uninit_headers(head, slots).ok()?;
        let (method, target) = (parsed.method?, parsed.path?);
        // Nor does the full path take these in an address.
        let is_odd = target.bytes().any(|b| matches!(b, b'"' | b'<' | b'>' | b'`'));
        let is_plain = parsed.version == Some(1) && target.starts_with('/') && !is_odd;
        is_plain.then_some(Self { method, target, headers: parsed.headers })
    }

    /// The address without its query, and the query without its `?`.
    pub fn path(&self) -> (&'h str, &'h str) {
        self.target.split_once('?').unwrap_or((self.target, ""))
    }

    /// All values of the header `name` (lower case).
    pub fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'h [u8]> {
        let named = move |h: &&httparse::Header<'h>| h.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|h| h.value)
    }

    /// Whether a header of this name (lower case) is there, or a cookie, whatever they say.
    pub fn has(&self, name: &str) -> bool {
        let is_cookie = |pair: &[u8]| {
            let key = pair.split(|b| *b == b'=').next().unwrap_or_default();
            key.trim_ascii() == name.as_bytes()
        };
        let mut cookies = self.values("cookie").flat_map(|field| field.split(|b| *b == b';'));
        self.values(name).next().is_some() || cookies.any(is_cookie)
    }

    /// Who sent it: the peer, or as far as proxies are trusted, whom they say.
    pub fn address(&self, client: &Client) -> IpAddr {
        address_by(self.values("x-forwarded-for"), client)
    }
}

impl Headers for Request<'_> {
    fn first(&self, name: &str) -> Option<&str> {
        text(self.values(name).next()?)
    }

    fn find<'a, R>(&'a self, name: &str, visit: impl FnMut(&'a str) -> Option<R>) -> Option<R> {
        self.values(name).filter_map(text).find_map(visit)
    }
}

/// A value as text: visible characters and blanks of ASCII, as for the full path.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    if is_text { std::str::from_utf8(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Option<String> {
        let mut slots = slots();
        let request = Request::read(head.as_bytes(), &mut slots)?;
        Some(format!("{} {:?} {:?}", request.method, request.path(), request.first("host")))
    }

    #[test]
    fn only_the_usual_form_is_read() {
        let usual = "GET /a?b=c?d HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(read(usual).unwrap(), r#"GET ("/a", "b=c?d") Some("x")"#);
        for other in [
            "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /?q=\"x\" HTTP/1.1\r\nHost: x\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
