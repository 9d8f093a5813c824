//! The fixed place of a user, and the draw that stands in for it where no user is known.

use std::{fmt, io::Read};

use super::units::Share;

/// The fixed place of a user, `0..10_000`. `bucket < share` is the only comparison.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Bucket(u16);

/// A user's hash, from which the bucket follows. Different users rarely share one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserHash(pub u32);

/// A random number for one request, supplied by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Draw(pub u64);

impl Bucket {
    /// How many buckets there are.
    pub const COUNT: u16 = 10_000;

    /// The bucket of `user` under `salt`: that of their hash.
    pub fn of(salt: &str, user: &str) -> Self {
        UserHash::of(salt, user).bucket()
    }

    /// The bucket that a random draw falls into.
    pub const fn drawn(draw: Draw) -> Self {
        // Multiply-shift keeps the bias of 64 random bits over 10,000 places below 1e-15.
        Self(((draw.0 as u128 * Self::COUNT as u128) >> 64) as u16)
    }

    /// Whether this place lies in `[0, share)`.
    pub const fn below(self, share: Share) -> bool {
        self.0 < share.basis_points()
    }

    /// The place as a number, `0..10_000`.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl UserHash {
    /// `murmur3_x86_32(salt + ":" + user, seed 0)`.
    pub fn of(salt: &str, user: &str) -> Self {
        let mut text = salt.as_bytes().chain(&b":"[..]).chain(user.as_bytes());
        // Reading from memory cannot fail; 0 would only be a place like any other.
        Self(murmur3::murmur3_32(&mut text, 0).unwrap_or_default())
    }

    /// The bucket: the last two decimal digits of the hash choose the percent and the two before them
    /// the hundredth. For whole percents `bucket < share` is therefore `hash % 100 < percent`:
    /// Unleash's rule with the salt as group id, so that other systems can recompute who is where.
    pub const fn bucket(self) -> Bucket {
        Bucket(((self.0 % 100) * 100 + (self.0 / 100) % 100) as u16)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Draw {
    /// A number below `bound`, from the part of the draw that [`Bucket::drawn`] hardly uses, so that
    /// the endpoint inside a pool is independent of the pool. 0 if `bound` is 0.
    pub const fn below(self, bound: u32) -> u32 {
        ((self.0 as u32 as u64 * bound as u64) >> 32) as u32
    }

    /// Another draw, independent for all practical purposes (SplitMix64's finalizer: Steele, Lea and
    /// Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
    pub const fn another(self) -> Self {
        let z = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_match() {
        for (salt, user, percent) in [
            ("AB12A", "122", 22),
            ("AB12A", "155", 99),
            ("Feature.flexibleRollout.10", "174", 9),
            ("Feature.flexibleRollout.10", "499", 31),
            ("Feature.flexibleRollout.userId.55", "25", 54),
        ] {
            assert_eq!(Bucket::of(salt, user).number() / 100, percent, "{salt}:{user}");
        }
    }

    #[test]
    fn draws_reach_the_first_and_the_last_bucket() {
        assert_eq!(Bucket::drawn(Draw(0)).number(), 0);
        assert_eq!(Bucket::drawn(Draw(u64::MAX)).number(), 9_999);
    }

    #[test]
    fn draws_are_spread_evenly() {
        let mut counts = [0u32; 10];
        let mut draw = Draw(7);
        for _ in 0..100_000 {
            draw = draw.another();
            counts[usize::from(Bucket::drawn(draw).number() / 1000)] += 1;
        }
        assert!(counts.iter().all(|n| (9_500..10_500).contains(n)), "{counts:?}");
    }
}
