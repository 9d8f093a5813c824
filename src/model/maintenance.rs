//! Maintenance: everyone gets the page but those who may pass.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    facts::{Facts, Headers},
    settings::Secret,
    units::{Millis, Moment},
};

/// The cookie that lets its bearer pass, and the path of the link that sets it.
pub const BYPASS_COOKIE: &str = "lbd_bypass";
/// The link is this path followed by the secret, below any path of the service.
pub const BYPASS_PATH: &str = "/.lbd/bypass/";

/// Maintenance of one service or of all.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Since when, in milliseconds since the Unix epoch.
    pub since: Moment,
    /// Until when, if an end is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// What the page says, if not the configured message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<str>>,
    /// Client networks that pass.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// The secret of the link whose cookie lets its bearer pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Arc<str>>,
}

/// What maintenance makes of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gate {
    /// The request passes.
    Pass,
    /// The request gets the page.
    Page,
    /// The request used the secret link: it gets the cookie and is sent to `/`.
    Link,
}

impl Maintenance {
    /// What becomes of a request. `always` are the networks that the config lets pass.
    pub fn gate<H: Headers>(&self, facts: &Facts<'_, H>, always: &[IpNet]) -> Gate {
        let client: IpAddr = facts.client.to_canonical();
        if self.allow.iter().chain(always).any(|net| net.contains(&client)) {
            return Gate::Pass;
        }
        let Some(secret) = self.secret.clone().map(Secret) else { return Gate::Page };
        if facts.path.split_once(BYPASS_PATH).is_some_and(|(_, s)| secret.matches(s)) {
            return Gate::Link;
        }
        match facts.cookie(BYPASS_COOKIE) {
            Some(cookie) if secret.matches(cookie) => Gate::Pass,
            _ => Gate::Page,
        }
    }

    /// What to put into `Retry-After`, in seconds, at least 1.
    pub fn retry_after(&self, now: Moment, otherwise: Millis) -> u64 {
        let left = self.until.map_or(otherwise, |until| until.since(now));
        left.secs_ceil().max(1)
    }

    /// Whether its end has come.
    pub fn is_over(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maintenance() -> Maintenance {
        Maintenance {
            since: Moment(0),
            until: Some(Moment(10_000)),
            message: None,
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            secret: Some("s3cret".into()),
        }
    }

    fn gate(client: &str, path: &str, cookie: &str) -> Gate {
        let headers = vec![("cookie", cookie)];
        let client = client.parse().unwrap();
        let facts = Facts { host: "a", path, query: "", client, headers: &headers };
        maintenance().gate(&facts, &["192.0.2.1/32".parse().unwrap()])
    }

    #[test]
    fn only_the_allowed_and_the_initiated_pass() {
        assert_eq!(gate("198.51.100.1", "/", ""), Gate::Page);
        assert_eq!(gate("10.1.2.3", "/", ""), Gate::Pass);
        assert_eq!(gate("::ffff:10.1.2.3", "/", ""), Gate::Pass);
        assert_eq!(gate("192.0.2.1", "/", ""), Gate::Pass);
        assert_eq!(gate("198.51.100.1", "/.lbd/bypass/s3cret", ""), Gate::Link);
        assert_eq!(gate("198.51.100.1", "/api/.lbd/bypass/s3cret", ""), Gate::Link);
        assert_eq!(gate("198.51.100.1", "/.lbd/bypass/wrong", ""), Gate::Page);
        assert_eq!(gate("198.51.100.1", "/", "lbd_bypass=s3cret"), Gate::Pass);
        assert_eq!(gate("198.51.100.1", "/", "lbd_bypass=wrong"), Gate::Page);
    }

    #[test]
    fn retry_after_counts_down_to_the_end_and_is_never_zero() {
        let m = maintenance();
        assert_eq!(m.retry_after(Moment(0), Millis(60_000)), 10);
        assert_eq!(m.retry_after(Moment(9_001), Millis(60_000)), 1);
        assert_eq!(m.retry_after(Moment(99_000), Millis(60_000)), 1);
        assert!(m.is_over(Moment(10_000)) && !m.is_over(Moment(9_999)));
    }
}
