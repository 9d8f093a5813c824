//! `[service.NAME.pool.POOL]`: endpoints, weights, and which pool is the baseline.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    Read,
    link::link,
    reader::{Section, Value},
    values::{parsed, share, whole},
};
use crate::model::{
    Address, PoolName, Share,
    link::Link,
    settings::{EndpointSpec, Pool},
    split::NotASplit,
};

const ENDPOINT_WEIGHT_MAX: u16 = 1000;
const ENDPOINTS: &str = "a list, as in [\"127.0.0.1:9000\"]";
const POOL: &str = "[service.NAME.pool.POOL] with endpoints = [\"127.0.0.1:9000\"]";

/// A pool as the file has it. The outer `None` of a field is a mistake that was reported.
struct Draft {
    name: Option<PoolName>,
    endpoints: Option<Vec<EndpointSpec>>,
    weight: Option<Option<Share>>,
    link: Option<Arc<Link>>,
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
        Some((draft.name?, Pool { weight, endpoints: draft.endpoints?, link: draft.link? }))
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
    section.finish();
    Some(Draft { name, endpoints, weight, link })
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

    use super::{super::reader::read_one, *};

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
