//! What a gRPC answer says of how it went: its own status, beside that of HTTP.

use http::{HeaderMap, header};

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

    /// The status in an answer's headers or trailers, if it is there. One that is no number is unknown.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let text = fields.get("grpc-status")?.to_str().unwrap_or_default();
        Some(Self(text.parse().unwrap_or(UNKNOWN)))
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

/// Whether the status comes at the end of the answer that begins with `fields`. In gRPC-Web it is a
/// part of the body.
pub fn ends_with_status(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).map(|v| v.as_bytes()).unwrap_or_default();
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Whether an answer with these headers is one of gRPC, of whatever kind.
pub fn is_grpc(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).map(|v| v.as_bytes()).unwrap_or_default();
    kind.starts_with(b"application/grpc")
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
            let fields = fields("content-type", kind);
            assert_eq!((is_grpc(&fields), ends_with_status(&fields)), (grpc, at_the_end), "{kind}");
        }
    }
}
