//! Trailers: the fields behind a body's last chunk, and which of them a proxy passes on.
//!
//! Whoever reads a message may put them among its headers. So nothing goes on that frames or routes the
//! message, says who sent it, changes how it is to be taken, or concerns one connection only (RFC 9110,
//! section 6.5.1), nor what lbd sets itself, in whatever spelling applications take for the same.

use bytes::{BufMut, BytesMut};

use super::buffers::{self, Lent};

/// The lines of trailers that have come so far. Holds nothing, and allocates nothing, for bodies without.
#[derive(Debug, Default)]
pub struct Trailers {
    lines: Lent,
    are_private: bool,
}

impl Trailers {
    /// Those of a message that says of some that they concern one connection only: none goes on.
    pub fn private() -> Self {
        Self { lines: Lent::default(), are_private: true }
    }

    /// Whether none has come.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes the next byte of a line that was found sound.
    pub(super) fn push(&mut self, byte: u8) {
        if self.lines.capacity() == 0 {
            self.lines = buffers::take().into();
        }
        self.lines.put_u8(byte);
    }

    /// Those that go on: names and values, as they came.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines: &[u8] = if self.are_private { &[] } else { &self.lines };
        let lines = lines.split(|byte| *byte == b'\n');
        let fields = lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, rest) = line.split_at_checked(colon)?;
            Some((name, rest.strip_prefix(b":")?.trim_ascii()))
        });
        fields.filter(|(name, _)| may_follow(name))
    }

    /// Writes those that go on, and the empty line that ends the body. None is left here.
    pub fn write(&mut self, out: &mut BytesMut) {
        for (name, value) in self.fields() {
            for part in [name, b": ", value, b"\r\n"] {
                out.put_slice(part);
            }
        }
        out.put_slice(b"\r\n");
        self.lines = Lent::default();
    }
}

/// Writes the header that announces trailers, if it names any that go on.
pub fn announce(said: &[u8], out: &mut BytesMut) {
    let names = said.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut lead: &[u8] = b"trailer: ";
    for name in names.filter(|name| is_name(name) && may_follow(name)) {
        out.put_slice(lead);
        out.put_slice(name);
        lead = b", ";
    }
    if lead == b", " {
        out.put_slice(b"\r\n");
    }
}

/// Whether a field of this name goes on behind a body.
pub fn may_follow(name: &[u8]) -> bool {
    /// How the names of whole families begin.
    const FAMILIES: [&[u8]; 4] = [b"if-", b"proxy-", b"content-", b"x-forwarded-"];
    /// RFC 9530 makes it for trailers.
    const DIGEST: &[u8] = b"content-digest";
    const NAMES: [&[u8]; 41] = [
        b"te",
        b"age",
        b"via",
        b"date",
        b"host",
        b"vary",
        b"range",
        b"cookie",
        b"expect",
        b"pragma",
        b"cookie2",
        b"expires",
        b"trailer",
        b"upgrade",
        b"warning",
        b"location",
        b"forwarded",
        b"connection",
        b"keep-alive",
        b"set-cookie",
        b"tracestate",
        b"retry-after",
        b"set-cookie2",
        b"traceparent",
        b"max-forwards",
        b"x-request-id",
        b"authorization",
        b"cache-control",
        b"http2-settings",
        b"www-authenticate",
        b"transfer-encoding",
        b"authentication-info",
        b"x-real-ip",
        b"x-client-ip",
        b"x-http-method",
        b"x-original-url",
        b"x-rewrite-url",
        b"true-client-ip",
        b"x-method-override",
        b"x-http-method-override",
        b"strict-transport-security",
    ];
    let begins =
        |family: &&[u8]| name.get(..family.len()).is_some_and(|begin| alike(begin, family));
    let is_of_family = FAMILIES.iter().any(begins) && !name.eq_ignore_ascii_case(DIGEST);
    !is_of_family && !NAMES.iter().any(|known| alike(name, known))
}

/// Whether many applications know both names by one variable: case and underscores make no difference.
fn alike(name: &[u8], known: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() == known.len() && name.iter().zip(known).all(same)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_of_name(*byte))
}

/// Whether a field's name may have this byte (RFC 9110, section 5.6.2).
pub(super) fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(lines: &str) -> String {
        let mut trailers = Trailers::default();
        lines.bytes().for_each(|byte| trailers.push(byte));
        let mut out = BytesMut::new();
        trailers.write(&mut out);
        assert!(trailers.is_empty());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_belongs_behind_a_body_goes_on() {
        let lines = "X-Sum: 1\r\nx-sum:2\r\ngrpc-status: \t5 \r\nETag: \"a:b\"\r\nX-Empty:\r\n\
                     Server-Timing: a;dur=1\r\nContent-Digest: sha-256=:x:\r\nhosts: a\r\n";
        let expected = "X-Sum: 1\r\nx-sum: 2\r\ngrpc-status: 5\r\nETag: \"a:b\"\r\nX-Empty: \r\n\
                        Server-Timing: a;dur=1\r\nContent-Digest: sha-256=:x:\r\nhosts: a\r\n\r\n";
        assert_eq!(passed(lines), expected);
    }

    #[test]
    fn what_would_change_the_message_does_not_in_any_spelling() {
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "Host",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Content-Type",
            "Content-Encoding",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "Cache-Control",
            "If-Match",
            "Range",
            "Location",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Port",
            "X-Request-Id",
            "Traceparent",
            "Tracestate",
        ] {
            let spellings = [
                name.to_owned(),
                name.to_ascii_lowercase(),
                name.to_ascii_uppercase(),
                name.replace('-', "_"),
                name.replacen('-', "_", 1).to_ascii_uppercase(),
            ];
            for name in spellings {
                assert_eq!(passed(&format!("A: 1\r\n{name}: 9\r\n")), "A: 1\r\n\r\n", "{name}");
            }
        }
    }

    #[test]
    fn only_what_goes_on_is_announced() {
        let announced = |said: &str| {
            let mut out = BytesMut::new();
            announce(said.as_bytes(), &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert_eq!(announced("X-Sum"), "trailer: X-Sum\r\n");
        assert_eq!(announced("a,Content-Length ,\tb"), "trailer: a, b\r\n");
        assert_eq!(announced("a\r\n b, a b, ,\r\n c"), "trailer: c\r\n");
        assert_eq!(announced("host, transfer_encoding"), "");
        assert_eq!(announced(""), "");
    }

    #[test]
    fn none_goes_on_of_those_that_concern_one_connection() {
        let mut trailers = Trailers::private();
        b"A: 1\r\n".iter().for_each(|byte| trailers.push(*byte));
        let mut out = BytesMut::new();
        trailers.write(&mut out);
        assert_eq!(out, "\r\n");
    }
}
