//! How often a client may ask: a token bucket, kept as the moment at which it will be full again (the
//! generic cell rate algorithm of ITU-T I.371), so that one number is all there is to a client.

use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;

use crate::model::Millis;

/// A limit on requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateLimit {
    /// So many requests...
    pub requests: u32,
    /// ...in this time, once the burst is used up.
    pub per: Millis,
    /// How many may come at once.
    pub burst: u32,
    /// Who shares a bucket.
    pub by: RateKey,
}

/// Who shares a bucket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateKey {
    /// An IPv4 address, or a /64 network of IPv6: one customer has as many addresses there as they like.
    #[default]
    ClientIp,
    /// A user; a request without user id counts for its address.
    UserId,
}

/// A point in time, in nanoseconds since some fixed beginning.
pub type Nanos = u64;

impl RateLimit {
    /// The time in which one request is earned back.
    fn interval(&self) -> Nanos {
        let per = self.per.0.saturating_mul(1_000_000);
        (per / u64::from(self.requests.max(1))).max(1)
    }

    /// Whether a client whose bucket will be full at `full` may ask at `now`: when it will be full after
    /// this request, or else after how many nanoseconds they may ask again.
    ///
    /// # Errors
    ///
    /// The time to wait if the bucket is empty.
    pub fn take(&self, full: Nanos, now: Nanos) -> Result<Nanos, Nanos> {
        let interval = self.interval();
        let depth = interval.saturating_mul(u64::from(self.burst.max(1)));
        let next = full.max(now).saturating_add(interval);
        match (next - now).checked_sub(depth) {
            None | Some(0) => Ok(next),
            Some(wait) => Err(wait),
        }
    }
}

/// `Retry-After` for a wait in nanoseconds: whole seconds, at least one.
pub fn retry_after(wait: Nanos) -> u64 {
    wait.div_ceil(1_000_000_000).max(1)
}

/// The address that a client's requests count for: IPv6 by its /64 network.
pub fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(requests: u32, per: u64, burst: u32) -> RateLimit {
        RateLimit { requests, per: Millis(per), burst, by: RateKey::ClientIp }
    }

    /// How many of the requests that come at these moments (milliseconds) get in.
    fn admitted(limit: RateLimit, moments: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut full = 0;
        let mut take = |at: &u64| limit.take(full, at * 1_000_000).map(|next| full = next).is_ok();
        moments.into_iter().filter(|at| take(at)).collect()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_for_each_interval() {
        let moments = (1000..2000).step_by(10);
        assert_eq!(admitted(limit(10, 1000, 3), [1000; 9]).len(), 3);
        assert_eq!(admitted(limit(10, 1000, 3), moments).len(), 3 + 9);
        assert_eq!(admitted(limit(1, 60_000, 1), [5, 6, 60_004, 60_005, 60_006]), [5, 60_005]);
    }

    #[test]
    fn who_is_refused_is_told_how_long_and_asking_does_not_prolong_it() {
        let limit = limit(1, 10_000, 1);
        let full = limit.take(0, 0).unwrap();
        assert_eq!(limit.take(full, 0), Err(10_000_000_000));
        assert_eq!(limit.take(full, 9_500_000_000).map_err(retry_after), Err(1));
        assert!(limit.take(full, 10_000_000_000).is_ok());
        assert_eq!((retry_after(0), retry_after(1_000_000_001)), (1, 2));
    }

    #[test]
    fn ipv6_counts_by_network_and_ipv4_by_address() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_together(
            requests in 1u32..1000, per in 1u64..100_000, burst in 1u32..100,
            gaps in prop::collection::vec(0u64..1000, 1..300)
        ) {
            let limit = limit(requests, per, burst);
            let moments = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) });
            let admitted = admitted(limit, moments);
            let (first, last) = (admitted[0], admitted[admitted.len() - 1]);
            let earned = (last - first) as f64 * f64::from(requests) / per as f64;
            prop_assert!(admitted.len() as f64 <= f64::from(burst) + earned + 1.0);
        }

        #[test]
        fn no_moment_and_no_limit_is_too_large(
            requests: u32, per: u64, burst: u32, full: u64, now: u64
        ) {
            match limit(requests, per, burst).take(full, now) {
                Ok(next) => prop_assert!(next > now || now == u64::MAX),
                Err(wait) => prop_assert!(wait > 0),
            }
        }
    }
}
