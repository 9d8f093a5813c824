//! What `[service.NAME]` says of requests and responses: limits, who is let in, what is changed.

use super::{
    Read,
    places::{network, path_prefix},
    reader::{Section, Value},
    values::{Limits, size, span, truth, whole, word},
};
use crate::model::{
    Millis,
    policy::{ErrorPages, Networks, Policy, RateKey, RateLimit, headers::Message},
};
use compression::compression;
use files::{basic_auth, error_pages};
use headers::header_edits;
use paths::{redirect, rewrite};

mod compression;
mod files;
mod headers;
mod paths;

const RATE_MAX: u32 = 1_000_000;
const PER_LIMITS: Limits = (Millis(1), Millis::from_secs(24 * 3600));
const RATE_KEYS: &[(&str, RateKey)] =
    &[("client-ip", RateKey::ClientIp), ("user-id", RateKey::UserId)];
const NETWORKS: &str = "a list of networks, as in [\"10.0.0.0/8\"]";

/// Reads the keys of a service's policy.
pub(super) fn policy(service: &mut Section<'_>, read: Read<'_>) -> Policy {
    Policy {
        max_body_bytes: service
            .optional("max_body_bytes", size(1..=1 << 40))
            .and_then(|bytes| u64::try_from(bytes).ok()),
        networks: networks(service),
        rate_limit: service.optional("rate_limit", rate_limit),
        basic_auth: service.optional("basic_auth", basic_auth(read)),
        error_pages: service.or("error_pages", ErrorPages::default(), error_pages(read)),
        request_headers: service.optional("request_headers", header_edits(Message::Request)),
        response_headers: service.optional("response_headers", header_edits(Message::Response)),
        forwarded: service.or("forwarded", false, truth),
        strip_prefix: service.optional("strip_prefix", path_prefix).map(Into::into),
        compression: service.optional("compression", compression),
        rewrite: service
            .list("rewrite", "each rule as a section [[service.NAME.rewrite]]", rewrite)
            .unwrap_or_default(),
        redirect: service
            .list("redirect", "each rule as a section [[service.NAME.redirect]]", redirect)
            .unwrap_or_default(),
    }
}

fn networks(service: &mut Section<'_>) -> Option<Networks> {
    let mut list = |name| service.optional(name, |value| value.list(NETWORKS, network));
    let (allow, deny) = (list("allow"), list("deny"));
    (allow.is_some() || deny.is_some()).then_some(Networks { allow, deny })
}

fn rate_limit(value: &Value<'_>) -> Option<RateLimit> {
    let mut section = value.section("{ requests = 100, per = \"1s\" }")?;
    let requests = section.required("requests", "100", whole(1..=RATE_MAX));
    let per = section.or("per", Millis::from_secs(1), span(PER_LIMITS));
    // Without a word on it, what a whole period allows may come at once.
    let burst = section.or("burst", requests.unwrap_or(1), whole(1..=RATE_MAX));
    let by = section.or("by", RateKey::default(), word(RATE_KEYS));
    section.finish();
    Some(RateLimit { requests: requests?, per, burst, by })
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_table, *};

    #[test]
    fn a_rate_has_a_burst_of_a_whole_period() {
        let rate = |requests, per, burst, by| {
            format!("{:?}", RateLimit { requests, per: Millis(per), burst, by })
        };
        read_table(
            rate_limit,
            &[
                ("{ requests = 5 }", &rate(5, 1000, 5, RateKey::ClientIp)),
                (
                    "{ requests = 5, per = '1m', burst = 2, by = 'user-id' }",
                    &rate(5, 60_000, 2, RateKey::UserId),
                ),
                ("{ requests = 0 }", "-"),
                ("{ requests = 1, per = '0s' }", "-"),
                ("{ requests = 1, by = 'session' }", "-"),
                ("100", "-"),
            ],
        );
    }
}
