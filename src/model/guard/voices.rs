//! One user, one voice.
//!
//! Users are what is divided by chance, not requests: one that fails on every page, or tries again and
//! again, says no more than one that fails once. So a user counts as bad only if they have not been bad
//! lately. How long that is adapts: what was said is forgotten in two steps, each when a quarter of all
//! users that were seen have spoken.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "a bucket lies below Bucket::COUNT")
)]

use crate::model::bucket::{Bucket, UserHash};

const WORDS: usize = (Bucket::COUNT as usize).div_ceil(64);
/// So many users must have spoken before anything is forgotten.
const FEW: u32 = 2;

/// A set of users, by their buckets.
#[derive(Clone, Debug)]
pub struct Users {
    bits: Box<[u64; WORDS]>,
    count: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self { bits: Box::new([0; WORDS]), count: 0 }
    }
}

impl Users {
    /// Whether the user is in it.
    pub fn has(&self, user: UserHash) -> bool {
        let (word, bit) = place(user);
        self.bits[word] & bit != 0
    }

    /// Adds a user.
    pub fn add(&mut self, user: UserHash) {
        let (word, bit) = place(user);
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.count += 1;
        }
    }

    /// How many are in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    fn clear(&mut self) {
        self.bits.fill(0);
        self.count = 0;
    }
}

fn place(user: UserHash) -> (usize, u64) {
    let bucket = user.bucket().number();
    (usize::from(bucket / 64), 1 << (bucket % 64))
}

/// Who was bad lately.
#[derive(Clone, Debug, Default)]
pub struct Voices {
    now: Users,
    before: Users,
}

impl Voices {
    /// Whether it counts if this user is bad. Requests without a known user always do: their pool was
    /// drawn for them alone.
    pub fn may_speak(&self, user: Option<UserHash>) -> bool {
        user.is_none_or(|user| !self.now.has(user) && !self.before.has(user))
    }

    /// The user was bad, of so many that were seen at all.
    pub fn speak(&mut self, user: Option<UserHash>, seen: u32) {
        let Some(user) = user else { return };
        self.now.add(user);
        if self.now.count() >= FEW.max(seen / 4) {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u32) -> Option<UserHash> {
        Some(UserHash::of("lbd", &n.to_string()))
    }

    #[test]
    fn a_user_has_one_voice_until_others_have_spoken() {
        let mut voices = Voices::default();
        voices.speak(user(1), 400);
        assert!(!voices.may_speak(user(1)) && voices.may_speak(user(2)));
        (100..200).for_each(|n| voices.speak(user(n), 400));
        assert!(!voices.may_speak(user(1)), "said in the step before");
        (200..320).for_each(|n| voices.speak(user(n), 400));
        assert!(voices.may_speak(user(1)));
    }

    #[test]
    fn strangers_always_speak() {
        let mut voices = Voices::default();
        (0..100).for_each(|_| voices.speak(None, 0));
        assert!(voices.may_speak(None));
    }
}
