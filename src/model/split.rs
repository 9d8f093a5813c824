//! The shares of a service's pools. They always sum to the whole.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes run over the same shares")
)]

use serde::{Deserialize, Serialize};

use super::{
    bucket::Bucket,
    refusal::Refusal,
    units::{PoolName, Share},
};

/// The shares of a service's pools; never empty.
///
/// Invariant: the shares sum to [`Share::WHOLE`]. The order of the candidates decides which buckets
/// they own ([`Places`]); [`Split::settled`] keeps it such that nobody's users move for a pool without
/// users.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<(PoolName, Share)>", into = "Vec<(PoolName, Share)>")]
pub struct Split(Vec<(PoolName, Share)>);

/// Shares that are no split.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the weights sum to {}.{:02}%, not to 100%", sum / 100, sum % 100)]
pub struct NotASplit {
    /// What the shares sum to, in basis points.
    pub sum: u32,
}

impl TryFrom<Vec<(PoolName, Share)>> for Split {
    type Error = NotASplit;

    fn try_from(shares: Vec<(PoolName, Share)>) -> Result<Self, NotASplit> {
        let sum = shares.iter().map(|(_, share)| u32::from(share.basis_points())).sum();
        if sum == u32::from(Share::WHOLE.basis_points()) {
            Ok(Self(shares))
        } else {
            Err(NotASplit { sum })
        }
    }
}

impl From<Split> for Vec<(PoolName, Share)> {
    fn from(split: Split) -> Self {
        split.0
    }
}

impl Split {
    /// A split that gives everything to `pool` and nothing to the other `pools`.
    pub fn all_to(pool: &PoolName, pools: impl IntoIterator<Item = PoolName>) -> Self {
        let share = |p: &PoolName| if p == pool { Share::WHOLE } else { Share::NONE };
        Self(pools.into_iter().map(|p| (p.clone(), share(&p))).collect())
    }

    /// The pools with their shares, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (&PoolName, Share)> {
        self.0.iter().map(|(pool, share)| (pool, *share))
    }

    /// The share of `pool`; nothing if it is not in the split.
    pub fn share(&self, pool: &PoolName) -> Share {
        self.iter().find(|(p, _)| *p == pool).map_or(Share::NONE, |(_, share)| share)
    }

    /// Whether `pool` is in the split.
    pub fn has(&self, pool: &PoolName) -> bool {
        self.0.iter().any(|(p, _)| p == pool)
    }

    /// Gives `pool` exactly `share` of the traffic.
    ///
    /// The baseline takes the rest. Other candidates keep what they have as long as it fits, and
    /// shrink in proportion where it does not. If `pool` is the baseline, the rest goes to those who
    /// have shares already, in proportion, or to the only other pool.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownPool`] if the split has no such pool; [`Refusal::NowhereElse`] if it is not
    /// clear which pool takes the rest.
    pub fn with_share(
        &self,
        pool: &PoolName,
        share: Share,
        baseline: &PoolName,
    ) -> Result<Self, Refusal> {
        if !self.has(pool) {
            return Err(Refusal::UnknownPool(pool.clone()));
        }
        let others: Vec<&PoolName> = self.iter().map(|(p, _)| p).filter(|p| *p != pool).collect();
        let shares = if pool == baseline {
            self.spread(&others, share.rest())
        } else {
            let candidates: Vec<&PoolName> =
                others.iter().copied().filter(|p| *p != baseline).collect();
            let held: u32 = self.sum(&candidates);
            let fits = held <= u32::from(share.rest().basis_points());
            let kept: Vec<(PoolName, Share)> = if fits {
                candidates.iter().map(|p| ((*p).clone(), self.share(p))).collect()
            } else {
                self.spread(&candidates, share.rest()).unwrap_or_default()
            };
            let taken = kept.iter().fold(share, |sum, (_, s)| sum.saturating_add(*s));
            Some([kept, vec![(baseline.clone(), taken.rest())]].concat())
        }
        .ok_or_else(|| Refusal::NowhereElse { pool: pool.clone(), rest: share.rest() })?;
        let of =
            |p: &PoolName| shares.iter().find(|(q, _)| q == p).map_or(Share::NONE, |(_, s)| *s);
        let next = self.iter().map(|(p, _)| (p.clone(), if p == pool { share } else { of(p) }));
        Ok(Self(next.collect()).settled(Some(self), baseline))
    }

    /// The same shares in an order that moves as few users as can be, coming from `before`: pools keep
    /// their places there, new ones come last, and a candidate that rises from nothing takes the first
    /// place whose holder has no users.
    #[must_use]
    pub fn settled(mut self, before: Option<&Self>, baseline: &PoolName) -> Self {
        let place = |pool: &PoolName| before.and_then(|b| b.0.iter().position(|(p, _)| p == pool));
        self.0.sort_by_key(|(pool, _)| place(pool).unwrap_or(usize::MAX));
        let candidates: Vec<usize> =
            (0..self.0.len()).filter(|n| self.0[*n].0 != *baseline).collect();
        for (rank, at) in candidates.iter().enumerate() {
            let (pool, share) = &self.0[*at];
            let rises = before.is_none_or(|b| b.share(pool) == Share::NONE) && *share > Share::NONE;
            let free = candidates[..rank].iter().find(|n| self.0[**n].1 == Share::NONE);
            if let (true, Some(free)) = (rises, free) {
                self.0.swap(*free, *at);
            }
        }
        self
    }

    /// Whether both have the same pools, in whatever order.
    pub fn has_pools_of(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|(pool, _)| other.has(pool))
    }

    /// Divides `rest` among `pools` in proportion to what they hold. `None` if nobody can take it.
    fn spread(&self, pools: &[&PoolName], rest: Share) -> Option<Vec<(PoolName, Share)>> {
        if rest == Share::NONE {
            return Some(Vec::new());
        }
        if let [only] = pools {
            return Some(vec![((*only).clone(), rest)]);
        }
        let held = self.sum(pools);
        if held == 0 {
            return None;
        }
        let part = |p: &PoolName| {
            let part =
                u32::from(self.share(p).basis_points()) * u32::from(rest.basis_points()) / held;
            Share::from_basis_points(part as u16)
        };
        let mut shares: Vec<_> = pools.iter().map(|p| ((*p).clone(), part(p))).collect();
        // What rounding leaves over goes to the largest.
        let given = shares.iter().fold(Share::NONE, |sum, (_, s)| sum.saturating_add(*s));
        if let Some(largest) = shares.iter_mut().max_by_key(|(_, s)| *s) {
            largest.1 = largest.1.saturating_add(rest.saturating_sub(given));
        }
        Some(shares)
    }

    fn sum(&self, pools: &[&PoolName]) -> u32 {
        pools.iter().map(|p| u32::from(self.share(p).basis_points())).sum()
    }

    /// The split on the way from `self` to `to` after `done` of `whole`, in both directions monotonic.
    ///
    /// `to`'s pools decide the order; rounding goes to `to`'s largest pool.
    pub fn toward(&self, to: &Self, done: u64, whole: u64) -> Self {
        let done = done.min(whole);
        if whole == 0 || done == whole {
            return to.clone();
        }
        let between = |from: Share, to: Share| {
            let (a, b) = (i64::from(from.basis_points()), i64::from(to.basis_points()));
            let moved = ((b - a) as i128 * done as i128 / whole as i128) as i64;
            Share::from_basis_points((a + moved) as u16)
        };
        let mut shares: Vec<_> =
            to.iter().map(|(p, share)| (p.clone(), between(self.share(p), share))).collect();
        let largest = to.0.iter().enumerate().max_by_key(|(_, (_, s))| *s).map_or(0, |(i, _)| i);
        let others: u16 = shares
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != largest)
            .map(|(_, (_, s))| s.basis_points())
            .sum();
        if let Some((_, share)) = shares.get_mut(largest) {
            *share = Share::from_basis_points(others).rest();
        }
        Self(shares)
    }
}

/// Which pool owns which buckets: what a worker looks up.
///
/// The first candidate owns `[0, share)`, the second owns from the top down, further ones follow the
/// first; the baseline owns the rest. So with up to two candidates, raising one's share moves users
/// only to it and lowering moves them only back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    /// Ascending upper bounds (exclusive) with the index of the pool that owns up to there.
    bounds: Vec<(u16, usize)>,
}

impl Places {
    /// Lays out `shares` (by pool index) around the pool with index `baseline`.
    pub fn new(shares: &[Share], baseline: usize) -> Self {
        let mut candidates = (0..shares.len()).filter(|pool| *pool != baseline);
        let (first, second) = (candidates.next(), candidates.next());
        let mut bounds = Vec::with_capacity(shares.len());
        let mut upper = Share::NONE;
        for pool in first.into_iter().chain(candidates) {
            upper = upper.saturating_add(shares[pool]);
            bounds.push((upper.basis_points(), pool));
        }
        let top = second.map_or(Share::NONE, |pool| shares[pool]);
        bounds.push((top.rest().basis_points(), baseline));
        bounds.extend(second.map(|pool| (Share::WHOLE.basis_points(), pool)));
        Self { bounds }
    }

    /// The index of the pool that owns `bucket`.
    pub fn owner(&self, bucket: Bucket) -> usize {
        let owner = self.bounds.iter().find(|(upper, _)| bucket.number() < *upper);
        owner.or(self.bounds.last()).map_or(0, |(_, pool)| *pool)
    }

    /// The buckets of `pool` as `[from, to)`.
    pub fn range(&self, pool: usize) -> (u16, u16) {
        let mut from = 0;
        for (upper, owner) in &self.bounds {
            if *owner == pool {
                return (from, *upper);
            }
            from = *upper;
        }
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Draw, *};

    fn pool(name: &str) -> PoolName {
        name.parse().unwrap()
    }

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    fn split(shares: &[(&str, &str)]) -> Split {
        shares.iter().map(|(p, s)| (pool(p), share(s))).collect::<Vec<_>>().try_into().unwrap()
    }

    #[test]
    fn the_baseline_takes_the_rest() {
        let before = split(&[("blue", "100"), ("green", "0")]);
        let after = before.with_share(&pool("green"), share("25"), &pool("blue")).unwrap();
        assert_eq!(after, split(&[("blue", "75"), ("green", "25")]));
    }

    #[test]
    fn other_candidates_keep_theirs_while_it_fits_and_shrink_in_proportion_then() {
        let before = split(&[("blue", "70"), ("green", "10"), ("red", "20")]);
        let set = |s| before.with_share(&pool("green"), share(s), &pool("blue")).unwrap();
        assert_eq!(set("30"), split(&[("blue", "50"), ("green", "30"), ("red", "20")]));
        assert_eq!(set("90"), split(&[("blue", "0"), ("green", "90"), ("red", "10")]));
        assert_eq!(set("100"), split(&[("blue", "0"), ("green", "100"), ("red", "0")]));
    }

    #[test]
    fn a_pool_without_users_takes_no_place() {
        let (blue, green) = (pool("blue"), pool("green"));
        let file = split(&[("blue", "100"), ("canary", "0"), ("green", "0")]).settled(None, &blue);
        let owns = |split: &Split, name: &str| {
            let at = |name: &str| split.iter().position(|(p, _)| p.as_str() == name).unwrap();
            let shares: Vec<_> = split.iter().map(|(_, s)| s).collect();
            Places::new(&shares, at("blue")).range(at(name))
        };
        let one = file.with_share(&green, share("30"), &blue).unwrap();
        assert_eq!(owns(&one, "green"), (0, 3000), "the only candidate owns from the bottom");
        let two = one.with_share(&pool("canary"), share("20"), &blue).unwrap();
        assert_eq!((owns(&two, "green"), owns(&two, "canary")), ((0, 3000), (8000, 10_000)));
        let back = two.with_share(&green, Share::NONE, &blue).unwrap();
        assert_eq!(owns(&back, "canary"), (8000, 10_000), "lowering one moves nobody of the other");
        let again = back.with_share(&green, share("10"), &blue).unwrap();
        assert_eq!((owns(&again, "green"), owns(&again, "canary")), ((0, 1000), (8000, 10_000)));
    }

    #[test]
    fn lowering_the_baseline_needs_somebody_to_take_the_rest() {
        let two = split(&[("blue", "100"), ("green", "0")]);
        let half = two.with_share(&pool("blue"), share("50"), &pool("blue")).unwrap();
        assert_eq!(half, split(&[("blue", "50"), ("green", "50")]));
        let three = split(&[("blue", "100"), ("green", "0"), ("red", "0")]);
        assert!(matches!(
            three.with_share(&pool("blue"), share("50"), &pool("blue")),
            Err(Refusal::NowhereElse { .. })
        ));
        let alone = split(&[("blue", "100")]);
        assert!(alone.with_share(&pool("blue"), share("25"), &pool("blue")).is_err());
        assert!(alone.with_share(&pool("blue"), share("100"), &pool("blue")).is_ok());
    }

    /// A service of 1 to 6 pools with any shares; the first is the baseline.
    fn any_split() -> impl Strategy<Value = Split> {
        prop::collection::vec(0u32..1000, 1..6).prop_map(|weights| {
            let names: Vec<_> = (0..weights.len()).map(|n| pool(&format!("p{n}"))).collect();
            let sum: u32 = weights.iter().sum::<u32>().max(1);
            let mut shares: Vec<_> = weights.iter().map(|w| (w * 10_000 / sum) as u16).collect();
            shares[0] += 10_000 - shares.iter().sum::<u16>();
            let shares = shares.into_iter().map(Share::from_basis_points);
            Split::try_from(names.into_iter().zip(shares).collect::<Vec<_>>()).unwrap()
        })
    }

    fn places(split: &Split) -> Places {
        Places::new(&split.iter().map(|(_, s)| s).collect::<Vec<_>>(), 0)
    }

    proptest! {
        /// Whatever is set, the shares sum to the whole and the pool has exactly what was asked.
        #[test]
        fn shares_sum_to_the_whole(before in any_split(), at in 0usize..6, points in 0u16..=10_000) {
            let at = pool(&format!("p{at}"));
            let wanted = Share::from_basis_points(points);
            if let Ok(after) = before.with_share(&at, wanted, &pool("p0")) {
                prop_assert_eq!(after.share(&at), wanted);
                prop_assert!(Split::try_from(Vec::from(after)).is_ok());
            }
        }

        /// Every bucket has one owner, and each pool owns as many as its share says.
        #[test]
        fn places_are_exact(split in any_split()) {
            let places = places(&split);
            let mut owned = vec![0u16; split.iter().count()];
            for n in 0..u64::from(Bucket::COUNT) {
                let bucket = Bucket::drawn(Draw(n * (u64::MAX / 10_000) + u64::MAX / 20_000));
                prop_assert_eq!(u64::from(bucket.number()), n);
                owned[places.owner(bucket)] += 1;
            }
            for (pool, (_, share)) in split.iter().enumerate() {
                let (from, to) = places.range(pool);
                prop_assert_eq!(owned[pool], share.basis_points());
                prop_assert_eq!(to - from, share.basis_points());
            }
        }

        /// Growing the candidate adds users to it and never exchanges them; 0 is nobody, 100 everybody.
        #[test]
        fn growth_moves_users_one_way(user in "[a-z0-9]{1,12}", small: u16, more: u16) {
            let (blue, green) = (pool("blue"), pool("green"));
            let base = Split::all_to(&blue, [blue.clone(), green.clone()]);
            let owner = |share: Share| {
                let split = base.with_share(&green, share, &blue).unwrap();
                places(&split).owner(Bucket::of("lbd", &user))
            };
            let small = Share::from_basis_points(small % 10_001);
            let large = small.saturating_add(Share::from_basis_points(more % 10_001));
            prop_assert!(owner(small) == 0 || owner(large) == 1);
            prop_assert_eq!(owner(Share::NONE), 0);
            prop_assert_eq!(owner(Share::WHOLE), 1);
        }

        /// With two candidates, growing one moves users only to it.
        #[test]
        fn two_candidates_grow_apart(bucket in 0u64..10_000, a in 0u16..4000, b in 0u16..4000, more in 0u16..2000) {
            let bucket = Bucket::drawn(Draw(bucket * (u64::MAX / 10_000) + 1));
            let shares = |a: u16, b: u16| [10_000 - a - b, a, b].map(Share::from_basis_points);
            let before = Places::new(&shares(a, b), 0).owner(bucket);
            let first = Places::new(&shares(a + more, b), 0).owner(bucket);
            let second = Places::new(&shares(a, b + more), 0).owner(bucket);
            prop_assert!(first == before || first == 1);
            prop_assert!(second == before || second == 2);
        }

        /// A ramp starts at the old split, ends at the new one, and each step is a split.
        #[test]
        fn ramps_stay_whole(from in any_split(), to in 0usize..6, done in 0u64..=30) {
            let names: Vec<_> = from.iter().map(|(p, _)| p.clone()).collect();
            let to = Split::all_to(&names[to % names.len()], names.clone());
            let step = from.toward(&to, done, 30);
            prop_assert!(Split::try_from(Vec::from(step)).is_ok());
            prop_assert_eq!(from.toward(&to, 0, 30), from.clone());
            prop_assert_eq!(from.toward(&to, 30, 30), to);
        }
    }
}
