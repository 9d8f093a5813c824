//! `[service.NAME.pool.POOL]`: endpoints, weights, and which pool is the baseline.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    Read,
    link::link,
    reader::{Section, Value},
    values::{Limits, parsed, share, span, whole},
};
use crate::model::{
    Address, Millis, PoolName, Share,
    limit::Limit,
    link::Link,
    settings::{EndpointSpec, Pool},
    split::NotASplit,
};

const ENDPOINT_WEIGHT_MAX: u16 = 1000;
const IN_FLIGHT_MAX: u32 = 1_000_000;
const WAIT_LIMITS: Limits = (Millis(0), Millis(60_000));
const LATENCY_LIMITS: Limits = (Millis(1), Millis(600_000));
const ENDPOINTS: &str = "a list, as in [\"127.0.0.1:9000\"]";
const POOL: &str = "[service.NAME.pool.POOL] with endpoints = [\"127.0.0.1:9000\"]";

/// A pool as the file has it. The outer `None` of a field is a mistake that was reported.
struct Draft {
    name: Option<PoolName>,
    endpoints: Option<Vec<EndpointSpec>>,
    weight: Option<Option<Share>>,
    link: Option<Arc<Link>>,
    limit: Option<Option<Limit>>,
}

/// Reads all pools of a service; `None` if anything is wrong with them.
pub(super) fn pools(service: &mut Section<'_>, read: Read<'_>) -> Option<BTreeMap<PoolName, Pool>> {
    let section = service.section("pool");
    if section.is_empty() {
        return section.missing(
            "",
            "is missing: the service has no pool; write [service.NAME.pool.blue] with \
             endpoints = [\"127.0.0.1:9000\"]",
        );
    }
    let named = section.named::<PoolName>();
    // Every pool is read before one that is wrong spoils the service.
    let drafts: Vec<_> = named.into_iter().map(|(name, value)| draft(name, &value, read)).collect();
    let drafts: Vec<Draft> = drafts.into_iter().collect::<Option<_>>()?;
    if drafts.is_empty() {
        return None;
    }
    let typed: Vec<Option<Share>> =
        drafts.iter().map(|draft| draft.weight).collect::<Option<_>>()?;
    let weights = weights(&typed).or_else(|wrong| {
        let message = format!("{wrong}; write weights that do, or leave one out to take the rest");
        service.missing("", &message).ok_or(())
    });
    let pools = drafts.into_iter().zip(weights.ok()?).map(|(draft, weight)| {
        let (endpoints, link, limit) = (draft.endpoints?, draft.link?, draft.limit?);
        Some((draft.name?, Pool { weight, endpoints, link, limit }))
    });
    pools.collect()
}

/// Reads the baseline, or finds it: the only pool with weight, or the only pool.
pub(super) fn baseline(
    service: &mut Section<'_>,
    pools: Option<&BTreeMap<PoolName, Pool>>,
) -> Option<PoolName> {
    let typed = service.take("baseline");
    let pools = pools?;
    let names = || pools.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    if let Some(value) = typed {
        let known = |name: &&PoolName| value.text() == Some(name.as_str());
        let found = pools.keys().find(known).cloned();
        return found.or_else(|| value.is_not("a pool of this service", &names()));
    }
    let mut weighted = pools.iter().filter(|(_, pool)| pool.weight > Share::NONE);
    match (weighted.next(), weighted.next()) {
        (Some((only, _)), None) => Some(only.clone()),
        _ => service.missing(
            "baseline",
            &format!("is missing, and more than one pool has weight; write baseline = {}", names()),
        ),
    }
}

fn draft(name: Option<PoolName>, value: &Value<'_>, read: Read<'_>) -> Option<Draft> {
    let mut section = value.section(POOL)?;
    let endpoints = endpoints(&mut section);
    let weight = match section.take("weight") {
        Some(value) => share(&value).map(Some),
        None => Some(None),
    };
    let link = link(&mut section, endpoints.as_deref(), read);
    let limit = match section.take("limit") {
        Some(value) => limit(&value).map(Some),
        None => Some(None),
    };
    section.finish();
    Some(Draft { name, endpoints, weight, link, limit })
}

fn limit(value: &Value<'_>) -> Option<Limit> {
    let mut section = value.section("{ in_flight = 200 }")?;
    let in_flight = section.required("in_flight", "200", whole(1..=IN_FLIGHT_MAX));
    // Without a word on it, as many may wait as run.
    let queue = section.or("queue", in_flight.unwrap_or(1), whole(0..=IN_FLIGHT_MAX));
    let wait = section.or("wait", Millis::from_secs(1), span(WAIT_LIMITS));
    let latency = section.optional("latency", span(LATENCY_LIMITS));
    section.finish();
    Some(Limit { in_flight: in_flight?, queue, wait, latency })
}

fn endpoints(section: &mut Section<'_>) -> Option<Vec<EndpointSpec>> {
    let value =
        section.required("endpoints", "[\"127.0.0.1:9000\"]", |value| Some(value.clone()))?;
    let Some(items) = value.items() else { return value.is_not("a list", ENDPOINTS) };
    let mut seen = HashSet::new();
    let read = items.iter().map(|item| {
        let endpoint = endpoint(item)?;
        if !seen.insert(endpoint.address.clone()) {
            let again = format!("{} is listed twice; write it once, ", endpoint.address);
            return item.problem(again + "with a weight if it should get more");
        }
        Some(endpoint)
    });
    // Every endpoint is read before one that is wrong spoils the list.
    let read: Vec<Option<_>> = read.collect();
    read.into_iter().collect()
}

fn endpoint(value: &Value<'_>) -> Option<EndpointSpec> {
    if !value.is_table() {
        return Some(EndpointSpec { address: address(value)?, weight: 1 });
    }
    let mut section = value.section("{ address = \"127.0.0.1:9000\", weight = 1 }")?;
    let address = section.required("address", "\"127.0.0.1:9000\"", address);
    let weight = section.or("weight", 1, whole(1..=ENDPOINT_WEIGHT_MAX));
    section.finish();
    Some(EndpointSpec { address: address?, weight })
}

fn address(value: &Value<'_>) -> Option<Address> {
    let write = "HOST:PORT, IP:PORT, [IPv6]:PORT or unix:/path, as in \"127.0.0.1:9000\"";
    parsed(value, "an endpoint address", write)
}

/// The weights of all pools: those left out take equal parts of what the others leave.
fn weights(typed: &[Option<Share>]) -> Result<Vec<Share>, NotASplit> {
    let whole = u32::from(Share::WHOLE.basis_points());
    let sum: u32 = typed.iter().flatten().map(|share| u32::from(share.basis_points())).sum();
    let open = typed.iter().filter(|share| share.is_none()).count();
    if sum > whole || (open == 0 && sum != whole) {
        return Err(NotASplit { sum });
    }
    let rest = whole - sum;
    let open = u32::try_from(open).unwrap_or(u32::MAX).max(1);
    // What rounding leaves over goes to the first of them.
    let parts = std::iter::once(rest / open + rest % open).chain(std::iter::repeat(rest / open));
    let mut parts = parts.map(|part| Share::from_basis_points(u16::try_from(part).unwrap_or(0)));
    Ok(typed.iter().map(|share| share.or_else(|| parts.next()).unwrap_or_default()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::reader::{read_one, read_table},
        *,
    };

    fn points(typed: &[Option<u16>]) -> Result<Vec<u16>, u32> {
        let typed: Vec<_> = typed.iter().map(|p| p.map(Share::from_basis_points)).collect();
        let shares = weights(&typed).map_err(|wrong| wrong.sum)?;
        Ok(shares.into_iter().map(Share::basis_points).collect())
    }

    #[test]
    fn what_is_left_out_takes_the_rest() {
        assert_eq!(points(&[None]), Ok(vec![10_000]));
        assert_eq!(points(&[None, Some(0)]), Ok(vec![10_000, 0]));
        assert_eq!(points(&[Some(2500), Some(7500)]), Ok(vec![2500, 7500]));
        assert_eq!(points(&[Some(0), None, None, None]), Ok(vec![0, 3334, 3333, 3333]));
        assert_eq!(points(&[Some(10_000), None]), Ok(vec![10_000, 0]));
        assert_eq!(points(&[Some(10_000), Some(1), None]), Err(10_001));
        assert_eq!(points(&[Some(2500), Some(2500)]), Err(5000));
        assert_eq!(points(&[Some(0)]), Err(0));
    }

    #[test]
    fn a_limit_lets_as_many_wait_as_run_for_a_second() {
        let a_limit = |in_flight, queue, wait, latency: Option<u64>| {
            let latency = latency.map(Millis);
            format!("{:?}", Limit { in_flight, queue, wait: Millis(wait), latency })
        };
        read_table(
            limit,
            &[
                ("{ in_flight = 200 }", &a_limit(200, 200, 1000, None)),
                (
                    "{ in_flight = 1, queue = 0, wait = '0s', latency = '500ms' }",
                    &a_limit(1, 0, 0, Some(500)),
                ),
                ("{ queue = 1 }", "-"),
                ("{ in_flight = 0 }", "-"),
                ("{ in_flight = 1, wait = '61s' }", "-"),
                ("{ in_flight = 1, latency = '0s' }", "-"),
                ("200", "-"),
            ],
        );
    }

    #[test]
    fn endpoints_are_texts_or_tables() {
        let read = |text| read_one(text, |value| endpoints(&mut value.section("")?));
        let list = "{ endpoints = ['A:80', { address = 'unix:/b', weight = 3 }] }";
        let list: Vec<_> =
            read(list).unwrap().iter().map(|e| format!("{} {}", e.address, e.weight)).collect();
        assert_eq!(list, ["a:80 1", "unix:/b 3"]);
        assert_eq!(read("{ endpoints = [] }"), Ok(vec![]));
        for text in [
            "{}",
            "{ endpoints = 'a:80' }",
            "{ endpoints = ['a:80', 'A:80'] }",
            "{ endpoints = [{ address = 'a:80', weight = 0 }] }",
            "{ endpoints = [{ weight = 1 }] }",
            "{ endpoints = [80] }",
        ] {
            assert!(read(text).unwrap_err().contains("; write "), "{text}");
        }
    }

    proptest! {
        #[test]
        fn weights_sum_to_the_whole(
            typed in prop::collection::vec(prop::option::of(0u16..=10_000), 1..8)
        ) {
            if let Ok(points) = points(&typed) {
                prop_assert_eq!(points.iter().map(|p| u32::from(*p)).sum::<u32>(), 10_000);
                for (typed, given) in typed.iter().zip(&points) {
                    prop_assert!(typed.is_none_or(|typed| typed == *given));
                }
            }
        }
    }
}
