//! What a gRPC answer says of how it went: its own status, beside that of HTTP.

use http::{HeaderMap, HeaderValue};

/// Statuses that say that the service failed, rather than the request: UNKNOWN, DEADLINE_EXCEEDED,
/// RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
const FAILURES: [u8; 6] = [2, 4, 8, 13, 14, 15];
const UNAVAILABLE: u8 = 14;
const UNKNOWN: u8 = 2;

/// A gRPC status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status(u8);

impl Status {
    /// What clients make of an answer that ends without one.
    pub const NONE: Self = Self(UNKNOWN);

    /// What the text says. One that is no number is unknown.
    fn read(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).unwrap_or_default();
        Self(text.parse().unwrap_or(UNKNOWN))
    }

    /// The status in an answer's headers or trailers, if it is there. One that is no number is unknown.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        Some(Self::read(fields.get("grpc-status")?.as_bytes()))
    }

    /// Whether the service failed.
    pub fn is_failure(self) -> bool {
        FAILURES.contains(&self.0)
    }

    /// Whether the endpoint says that it cannot serve at all, as a gateway's 503 does.
    pub fn is_unavailable(self) -> bool {
        self.0 == UNAVAILABLE
    }
}

/// What the head of an answer says of how the call went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// The status, of whatever kind of gRPC, if it is said already.
    pub status: Option<Status>,
    /// Whether it comes at the end of the answer. In gRPC-Web it is a part of the body.
    pub follows: bool,
}

impl Said {
    /// What a head says with this `Content-Type` and this `grpc-status`.
    pub fn of(kind: Option<&[u8]>, status: Option<&[u8]>) -> Self {
        let Some(rest) = kind.and_then(|kind| kind.strip_prefix(b"application/grpc")) else {
            return Self::default();
        };
        let follows = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
        Self { status: status.map(Status::read), follows }
    }

    /// What a head with these headers says.
    pub fn in_head(fields: &HeaderMap) -> Self {
        let value = |name: &str| fields.get(name).map(HeaderValue::as_bytes);
        Self::of(value("content-type"), value("grpc-status"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn statuses_that_are_failures() {
        let failed =
            |status: &str| Status::of(&fields("grpc-status", status)).unwrap().is_failure();
        for status in 0..=16 {
            let expected = [2, 4, 8, 13, 14, 15].contains(&status);
            assert_eq!(failed(&status.to_string()), expected, "{status}");
        }
        assert!(failed("fine") && failed("") && Status::NONE.is_failure());
        assert_eq!(Status::of(&HeaderMap::new()), None);
    }

    #[test]
    fn kinds_of_grpc() {
        for (kind, grpc, at_the_end) in [
            ("application/grpc", true, true),
            ("application/grpc+proto", true, true),
            ("application/grpc;x=1", true, true),
            ("application/grpc-web+proto", true, false),
            ("application/json", false, false),
        ] {
            let said = Said::in_head(&fields("content-type", kind));
            assert_eq!((said.status, said.follows), (None, at_the_end), "{kind}");
            let said = Said::of(Some(kind.as_bytes()), Some(b"5"));
            assert_eq!(said.status.is_some(), grpc, "{kind}");
        }
    }
}
