//! One user, one voice.
//!
//! Users are what is divided by chance, not requests: one that fails on every page, or tries again and
//! again, says no more than one that fails once. So a user counts as bad only if they have not been bad
//! lately. How long that is adapts: what was said is forgotten in two steps, each when a quarter of all
//! users that were seen have spoken.

use serde::{Deserialize, Serialize};

use super::users::Users;
use crate::model::bucket::UserHash;

/// So many users must have spoken before anything is forgotten.
const FEW: u32 = 2;

/// Who was bad lately.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Voices {
    now: Users,
    before: Users,
    ever: Users,
}

impl Voices {
    /// Whether it counts if this user is bad. Requests without a known user always do: their pool was
    /// drawn for them alone.
    pub fn may_speak(&self, user: Option<UserHash>) -> bool {
        user.is_none_or(|user| !self.now.has(user) && !self.before.has(user))
    }

    /// Whether this user has spoken before, however long ago.
    pub fn has_spoken(&self, user: Option<UserHash>) -> bool {
        user.is_some_and(|user| self.ever.has(user))
    }

    /// The user was bad, of so many that were seen at all.
    pub fn speak(&mut self, user: Option<UserHash>, seen: u32) {
        let Some(user) = user else { return };
        self.now.add(user);
        self.ever.add(user);
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
        assert!(voices.has_spoken(user(1)) && !voices.has_spoken(user(2)));
    }

    #[test]
    fn strangers_always_speak() {
        let mut voices = Voices::default();
        (0..100).for_each(|_| voices.speak(None, 0));
        assert!(voices.may_speak(None) && !voices.has_spoken(None));
    }
}
