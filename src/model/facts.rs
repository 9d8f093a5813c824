//! What a decision may know of a request, read where it lies and only when a rule asks.

use std::{borrow::Cow, net::IpAddr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::settings::IdSource;

/// The headers of a request, whatever holds them.
pub trait Headers {
    /// The first value of the header `name` (lower case), if it is text.
    fn first(&self, name: &str) -> Option<&str>;
    /// Calls `visit` with every value of the header `name` that is text, until it returns something.
    fn find<'a, R>(&'a self, name: &str, visit: impl FnMut(&'a str) -> Option<R>) -> Option<R>;
}

/// One request, as far as decisions go.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a, H> {
    /// The authority without its port, as the client sent it.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: &'a str,
    /// The client, after trusted proxies.
    pub client: IpAddr,
    /// The headers.
    pub headers: &'a H,
}

/// The longest user id that is looked at, in bytes. A longer one counts as none.
pub const USER_ID_MAX: usize = 512;

impl<'a, H: Headers> Facts<'a, H> {
    /// The value of the cookie `name`, over all `Cookie` fields.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.headers.find("cookie", |field| {
            field.split(';').find_map(|pair| {
                let (key, value) = pair.trim_start().split_once('=')?;
                let value = value.trim_end();
                (key == name).then(|| {
                    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
                })
            })
        })
    }

    /// The value of the query parameter `name`, as sent (not percent-decoded).
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then_some(value)
        })
    }

    /// The user id: the first source of the ladder that has a usable value.
    pub fn user_id(&self, ladder: &[IdSource]) -> Option<Cow<'a, str>> {
        ladder.iter().find_map(|source| self.read(source).filter(|id| id.len() <= USER_ID_MAX))
    }

    fn read(&self, source: &IdSource) -> Option<Cow<'a, str>> {
        let text = match source {
            IdSource::Header(name) => self.headers.first(name).map(str::trim),
            IdSource::Cookie(name) => self.cookie(name),
            IdSource::Query(name) => self.parameter(name),
            IdSource::Jwt(claim) => return self.claim(claim).map(Cow::Owned),
            IdSource::ClientIp => return Some(Cow::Owned(self.client.to_canonical().to_string())),
        };
        text.filter(|id| !id.is_empty()).map(Cow::Borrowed)
    }

    /// A claim of the bearer token. Its signature is **not** verified: lbd only divides users, the
    /// application decides whom it believes.
    fn claim(&self, claim: &str) -> Option<String> {
        let value = self.headers.first("authorization")?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let payload = token.trim().split('.').nth(1)?.trim_end_matches('=');
        let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&json).ok()?;
        match claims.get(claim)? {
            serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// Headers as a list of pairs: for tests, fuzzing and `explain`.
impl<K: AsRef<str>, V: AsRef<str>> Headers for [(K, V)] {
    fn first(&self, name: &str) -> Option<&str> {
        self.find(name, Some)
    }

    fn find<'a, R>(&'a self, name: &str, visit: impl FnMut(&'a str) -> Option<R>) -> Option<R> {
        self.iter()
            .filter(|(key, _)| key.as_ref().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
            .find_map(visit)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Headers for Vec<(K, V)> {
    fn first(&self, name: &str) -> Option<&str> {
        self.find(name, Some)
    }

    fn find<'a, R>(&'a self, name: &str, visit: impl FnMut(&'a str) -> Option<R>) -> Option<R> {
        Headers::find(self.as_slice(), name, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(headers: &[(&str, &str)], query: &str, ladder: &[&str]) -> Option<String> {
        let ladder: Vec<IdSource> = ladder.iter().map(|s| s.parse().unwrap()).collect();
        let headers = headers.to_vec();
        let client = [10, 0, 0, 7].into();
        let facts = Facts { host: "a", path: "/", query, client, headers: &headers };
        facts.user_id(&ladder).map(Cow::into_owned)
    }

    #[test]
    fn the_first_source_with_a_value_wins() {
        let ladder = ["header:X-User-Id", "cookie:uid", "query:uid", "client-ip"];
        let headers = [("x-user-id", "h"), ("cookie", "a=b; uid=c")];
        assert_eq!(id(&headers, "uid=q", &ladder).as_deref(), Some("h"));
        assert_eq!(id(&headers[1..], "uid=q", &ladder).as_deref(), Some("c"));
        assert_eq!(id(&[], "x=1&uid=q", &ladder).as_deref(), Some("q"));
        assert_eq!(id(&[("x-user-id", " ")], "", &ladder).as_deref(), Some("10.0.0.7"));
        assert_eq!(id(&[], "", &ladder[..3]), None);
    }

    #[test]
    fn cookies_are_read_over_all_fields_and_by_exact_name() {
        let headers = [("cookie", "uidx=no"), ("cookie", "xuid=no; uid=\"yes\"")];
        assert_eq!(id(&headers, "", &["cookie:uid"]).as_deref(), Some("yes"));
    }

    #[test]
    fn a_jwt_claim_is_read_without_verifying() {
        let token = |payload: &str| format!("Bearer e30.{}.sig", URL_SAFE_NO_PAD.encode(payload));
        let read = |value: &str| id(&[("authorization", value)], "", &["jwt:sub"]);
        assert_eq!(read(&token(r#"{"sub":"ada"}"#)).as_deref(), Some("ada"));
        assert_eq!(read(&token(r#"{"sub":42}"#)).as_deref(), Some("42"));
        for bad in [
            &token(r#"{"sub":null}"#),
            &token("[]"),
            "Bearer x",
            "Basic e30.e30.e30",
            "Bearer a.!!.c",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_overlong_id_is_none() {
        let long = "x".repeat(USER_ID_MAX + 1);
        assert_eq!(id(&[("x-user-id", &long)], "", &["header:x-user-id"]), None);
    }
}
