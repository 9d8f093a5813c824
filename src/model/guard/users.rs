//! A set of users, by their buckets.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "a bucket lies below Bucket::COUNT")
)]

use serde::{Deserialize, Serialize};

use crate::model::bucket::{Bucket, UserHash};

const WORDS: usize = (Bucket::COUNT as usize).div_ceil(64);

/// A set of users, by their buckets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct Users {
    bits: Box<[u64; WORDS]>,
    count: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self { bits: Box::new([0; WORDS]), count: 0 }
    }
}

impl From<Users> for Vec<u64> {
    fn from(users: Users) -> Self {
        users.bits.to_vec()
    }
}

impl TryFrom<Vec<u64>> for Users {
    type Error = &'static str;

    fn try_from(words: Vec<u64>) -> Result<Self, Self::Error> {
        let count = words.iter().map(|word| word.count_ones()).sum();
        let bits = words.into_boxed_slice().try_into();
        Ok(Self { bits: bits.map_err(|_| "not as many users as there are buckets")?, count })
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

    /// Removes a user.
    pub fn remove(&mut self, user: UserHash) {
        let (word, bit) = place(user);
        if self.bits[word] & bit != 0 {
            self.bits[word] &= !bit;
            self.count -= 1;
        }
    }

    /// Removes everybody.
    pub fn clear(&mut self) {
        self.bits.fill(0);
        self.count = 0;
    }
}

fn place(user: UserHash) -> (usize, u64) {
    let bucket = user.bucket().number();
    (usize::from(bucket / 64), 1 << (bucket % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_counts_once() {
        let (one, other) = (UserHash(1), UserHash(2));
        let mut users = Users::default();
        [one, one, other].into_iter().for_each(|user| users.add(user));
        assert!(users.has(one) && users.count() == 2);
        [one, one].into_iter().for_each(|user| users.remove(user));
        assert!(!users.has(one) && users.has(other) && users.count() == 1);
        users.clear();
        assert!(!users.has(other) && users.count() == 0);
    }
}
